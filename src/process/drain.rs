//! Reads a child's output while it runs, and keeps a part of it.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much of a child's stderr is kept, in bytes: the end is what matters.
pub const STDERR_KEPT: usize = 64 << 10;

/// How long the output is waited for after the program's end: a process that it left in the
/// background may hold the pipe open for ever.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The longest wait for the output, however much still comes.
const LONGEST_LINGER: Duration = Duration::from_secs(30);

/// Which part of a child's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeptPart {
    All,
    /// The first [`STDERR_KEPT`] bytes.
    Begin,
    /// The last ones.
    End,
}

/// A child's output, read as it comes so that the child never waits for a reader.
#[derive(Debug)]
pub(super) struct Drain {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Drain {
    /// Starts to read `from` on a thread of its own.
    pub(super) fn new(from: impl Read + Send + 'static, which: KeptPart) -> Drain {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = Arc::clone(&kept);
        let thread = std::thread::spawn(move || read_to_end(from, which, &into));
        Drain { kept, thread }
    }

    /// The output as text. If it has not ended, its end is waited for: for `wait`, and on while
    /// more still comes.
    pub(super) fn text(&self, wait: Duration) -> String {
        String::from_utf8_lossy(&self.bytes(wait)).into_owned()
    }

    /// The output as it came, waited for as in [`Drain::text`].
    pub(super) fn bytes(&self, wait: Duration) -> Vec<u8> {
        let (last, mut length) = (Instant::now() + LONGEST_LINGER, self.kept().len());
        let mut deadline = Instant::now() + wait;
        while !self.thread.is_finished() && Instant::now() < deadline.min(last) {
            std::thread::sleep(Duration::from_millis(1));
            // On a busy machine the output may come slowly; it is not cut off for that.
            let now = self.kept().len();
            if now > length {
                (length, deadline) = (now, Instant::now() + wait);
            }
        }
        self.kept().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_to_end(mut from: impl Read, which: KeptPart, into: &Mutex<Vec<u8>>) {
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut block) {
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        if which == KeptPart::Begin && kept.len() >= STDERR_KEPT {
            continue;
        }
        kept.extend_from_slice(&block[..count]);
        if which == KeptPart::End && kept.len() > 2 * STDERR_KEPT {
            let surplus = kept.len() - STDERR_KEPT;
            kept.drain(..surplus);
        }
    }
}
