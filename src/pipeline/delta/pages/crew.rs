//! The threads that encode blocks of pages, and the order in which their windows are written.
//!
//! There is one block more than threads, and they are used again and again: whoever needs one waits
//! for the oldest block under way and writes its window. So memory is bounded, and no thread is
//! needed for the order.

use super::super::statistics::DeltaStatistics;
use super::super::window::WindowSink;
use super::{MAX_WINDOW, PageBlock, PageEncoder};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// The crew. Threads are started when the first block comes, and are joined when it is dropped.
pub struct PageCrew {
    threads: usize,
    workers: Option<PageWorkers>,
    /// What encodes without threads.
    encoder: PageEncoder,
    /// The blocks under way, the oldest first.
    pending: VecDeque<Receiver<PageBlock>>,
    free: Vec<PageBlock>,
}

/// The threads and the channel to them.
struct PageWorkers {
    jobs: Option<Sender<PageJob>>,
    threads: Vec<JoinHandle<()>>,
}

/// A block to encode, and the channel on which it comes back.
type PageJob = (PageBlock, SyncSender<PageBlock>);

impl PageCrew {
    /// A crew of so many threads; below two there are none, and the caller's encodes.
    pub fn new(threads: usize) -> Self {
        PageCrew {
            threads,
            workers: None,
            encoder: PageEncoder::default(),
            pending: VecDeque::new(),
            free: Vec::new(),
        }
    }

    /// Returns an empty block. It may have to write a window first.
    pub fn free_block<W: Write>(&mut self, sink: &mut WindowSink<W>) -> io::Result<PageBlock> {
        while self.pending.len() > self.threads {
            self.settle_oldest(sink)?;
        }
        let mut block = self.free.pop().unwrap_or_default();
        block.content.reserve_exact(MAX_WINDOW);
        Ok(block)
    }

    /// Encodes a block, sooner or later.
    pub fn submit<W: Write>(
        &mut self,
        mut block: PageBlock,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        if self.workers.is_none() && self.threads > 1 {
            self.workers = PageWorkers::start(self.threads);
            if self.workers.is_none() {
                self.threads = 0;
            }
        }
        let Some(workers) = &self.workers else {
            self.encoder.encode(&mut block);
            return self.write_window(block, sink);
        };
        self.pending.push_back(workers.submit(block)?);
        Ok(())
    }

    /// Writes the windows of all blocks under way.
    pub fn settle_all<W: Write>(&mut self, sink: &mut WindowSink<W>) -> io::Result<()> {
        while !self.pending.is_empty() {
            self.settle_oldest(sink)?;
        }
        Ok(())
    }

    fn settle_oldest<W: Write>(&mut self, sink: &mut WindowSink<W>) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else {
            return Ok(());
        };
        let block = result.recv().map_err(|_| thread_died())?;
        self.write_window(block, sink)
    }

    fn write_window<W: Write>(
        &mut self,
        mut block: PageBlock,
        sink: &mut WindowSink<W>,
    ) -> io::Result<()> {
        sink.write(&block.window, block.statistics)?;
        block.content.clear();
        block.statistics = DeltaStatistics::default();
        self.free.push(block);
        Ok(())
    }
}

impl PageWorkers {
    /// Starts up to so many threads; `None` if the system has none to give.
    fn start(count: usize) -> Option<PageWorkers> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let body = move || encode_blocks(&queue);
            threads.extend(Builder::new().name("delta".into()).spawn(body));
        }
        (!threads.is_empty()).then_some(PageWorkers {
            jobs: Some(jobs),
            threads,
        })
    }

    fn submit(&self, block: PageBlock) -> io::Result<Receiver<PageBlock>> {
        let (result, receiver) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(thread_died)?;
        jobs.send((block, result)).map_err(|_| thread_died())?;
        Ok(receiver)
    }
}

impl Drop for PageWorkers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was noticed as a missing result already.
            let _ = thread.join();
        }
    }
}

/// A thread: encodes one block after the other, until there are no more senders.
fn encode_blocks(queue: &Mutex<Receiver<PageJob>>) {
    let mut encoder = PageEncoder::default();
    loop {
        // The lock is held only while waiting, and nothing can panic there.
        let job = queue.lock().map(|queue| queue.recv());
        let Ok(Ok((mut block, result))) = job else {
            return;
        };
        encoder.encode(&mut block);
        // Nobody waits for the result any more if the writer was dropped.
        let _ = result.send(block);
    }
}

fn thread_died() -> io::Error {
    io::Error::other("a thread of the delta died")
}
