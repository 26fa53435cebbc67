//! Work on several items at once, with the results in the order of the items; and the slots that
//! limit how much a whole run does at once.

use crate::interrupt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Does `work` to each item, `jobs` at a time. After a signal nothing new is begun: what was not
/// begun is `None`.
pub fn map_parallel<T: Send, R: Send>(
    items: Vec<T>,
    jobs: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<Option<R>> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let threads = jobs.clamp(1, items.len().max(1));
    let waiting = Mutex::new(items.into_iter().enumerate());
    let worker = || {
        let mut done = Vec::new();
        loop {
            // A statement of its own: the lock must not be held while the work is done.
            let next = guard(&waiting).next();
            match next {
                Some((place, item)) if !interrupt::requested() => done.push((place, work(item))),
                _ => return done,
            }
        }
    };
    // Children die with the thread that started them, so each of them is started and waited for by
    // one thread.
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut done = worker();
        for thread in others {
            done.extend(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        for (place, result) in done {
            results[place] = Some(result);
        }
    });
    results
}

/// The limit on how many backups are made at once, whatever they belong to.
pub struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of the slots, held until it is dropped. Whoever holds one must not wait for another.
pub struct Slot<'a>(&'a Slots);

impl Slots {
    /// A limit of `count`, at least one.
    pub fn new(count: usize) -> Slots {
        Slots {
            free: Mutex::new(count.max(1)),
            freed: Condvar::new(),
        }
    }

    /// Waits for a free slot.
    pub fn acquire(&self) -> Slot<'_> {
        let free = guard(&self.free);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *guard(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let slow_first = |number: u64| {
            std::thread::sleep(Duration::from_millis(20 - number * 2));
            number
        };
        for jobs in [1, 3, 100] {
            let results = map_parallel((0..10).collect(), jobs, slow_first);
            assert_eq!(results, (0..10).map(Some).collect::<Vec<_>>());
        }
        assert_eq!(map_parallel(Vec::new(), 4, slow_first), []);
    }

    #[test]
    fn slots_bound_what_happens_at_once() {
        let (slots, now, most) = (Slots::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        map_parallel((0..12).collect(), 6, |_: u32| {
            let _slot = slots.acquire();
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 2);
    }
}
