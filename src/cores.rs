//! The same small work for very many items, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The same as [`on_threads`], with a thread for each core.
pub fn on_every_core<T: Send, C: Default>(
    count: usize,
    at_once: usize,
    work: impl Fn(usize, &mut C) -> T + Sync,
) -> Vec<Vec<T>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    on_threads(cores, count, at_once, work)
}

/// Calls `work` for each number below `count`, on so many threads. A thread takes `at_once` numbers
/// at a time and keeps a context of its own. The results are in order, in one list for each such batch.
pub fn on_threads<T: Send, C: Default>(
    threads: usize,
    count: usize,
    at_once: usize,
    work: impl Fn(usize, &mut C) -> T + Sync,
) -> Vec<Vec<T>> {
    let next = AtomicUsize::new(0);
    let run = || {
        let (mut context, mut done) = (C::default(), Vec::new());
        loop {
            let from = next.fetch_add(at_once, Ordering::Relaxed);
            if from >= count {
                return done;
            }
            let numbers = from..(from + at_once).min(count);
            done.push((
                from,
                numbers
                    .map(|number| work(number, &mut context))
                    .collect::<Vec<T>>(),
            ));
        }
    };
    let helpers = count.div_ceil(at_once).min(threads).saturating_sub(1);
    let mut blocks = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..helpers).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for thread in threads {
            done.extend(
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        done
    });
    blocks.sort_unstable_by_key(|(from, _)| *from);
    blocks.into_iter().map(|(_, block)| block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_complete() {
        for (count, at_once) in [(0, 1), (1, 64), (63, 64), (1000, 7)] {
            let done: Vec<usize> = on_every_core(count, at_once, |number, ()| number * 2)
                .into_iter()
                .flatten()
                .collect();
            assert_eq!(
                done,
                (0..count).map(|number| number * 2).collect::<Vec<_>>()
            );
        }
    }
}
