//! Compression in blocks on several threads: the part that all formats share.
//!
//! The crew of workers and the blocks that they work on live here; [`encoder`] is the pushing side
//! and [`decoder`] the pulling one. The formats of blocks are given by [`BlockPacker`] and
//! [`BlockUnpacker`].
//!
//! Memory: there is a fixed number of blocks, two more than workers (one more, where a single one
//! decodes), and they are used again and again. Whoever wants to fill one waits until one is free.
//! So every queue is bounded without a bound of its own, and none can block for ever. Order: each
//! block is handed to the crew with a channel for its one result, and the receivers of these
//! channels stand in line.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::Encoder;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// A piece of the stream on its way between the threads. Its buffers keep their memory.
#[derive(Default)]
pub struct Block {
    /// The bytes that a worker reads.
    pub input: Vec<u8>,
    /// The bytes that a worker makes of them.
    pub output: Vec<u8>,
    /// The offset in the compressed stream at which the block begins, in bytes; for messages. It
    /// is known only when decoding.
    pub at: u64,
}

/// The work of one thread: makes the `output` of a block from its `input`.
pub type BlockWorker = Box<dyn FnMut(&mut Block) -> io::Result<()> + Send>;

/// The writing half of a format.
pub trait BlockPacker: Send + 'static {
    /// The bytes of content in one block; only the last block may have fewer.
    fn block_bytes(&self) -> usize;
    /// Creates a compressor for one thread.
    fn new_worker(&self) -> io::Result<BlockWorker>;
    /// Returns the bytes before the first block.
    fn opening(&mut self) -> Vec<u8>;
    /// Takes note of a block that was written. It is called for every block, in order.
    fn note_written(&mut self, block: &Block) -> io::Result<()>;
    /// Returns the bytes after the last block, without which the stream is incomplete.
    fn closing(&mut self) -> Vec<u8>;
}

/// The reading half of a format.
pub trait BlockUnpacker: Send + 'static {
    /// Creates a decompressor for one thread.
    fn new_worker(&self) -> io::Result<BlockWorker>;
    /// Fills `block` with the next piece of the source. It is not called again after
    /// [`NextBlock::End`] or an error.
    fn read_next(&mut self, block: &mut Block) -> io::Result<NextBlock>;
}

/// The result of [`BlockUnpacker::read_next`].
pub enum NextBlock {
    /// The block's `input` is for a worker.
    Packed,
    /// The block's `output` holds content already.
    Content,
    /// The stream is complete and over.
    End,
}

/// A block that a worker is done with, or the worker's error.
type BlockResult = io::Result<Block>;

/// A block for the crew, and the channel for its result.
struct BlockJob {
    block: Block,
    result: SyncSender<BlockResult>,
}

/// A place in the line of the thread that needs the blocks in order.
enum QueuedBlock {
    /// The result of this block comes through the channel.
    Block(Receiver<BlockResult>),
    /// No block follows.
    End,
}

/// The workers. When it is dropped, the jobs under way and in the queue are done first, unless
/// `stop` is set; then the workers end and are joined.
struct Crew {
    jobs: Option<Sender<BlockJob>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts one thread for each worker.
    fn start(workers: Vec<BlockWorker>, stop: &Arc<AtomicBool>) -> io::Result<Crew> {
        let (jobs, queue) = channel::<BlockJob>();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for worker in workers {
            let (queue, stop) = (Arc::clone(&queue), Arc::clone(stop));
            let body = move || work_off(&queue, worker, &stop);
            match Builder::new().name("compress".into()).spawn(body) {
                Ok(thread) => threads.push(thread),
                // Fewer threads than asked do the same work.
                Err(_) if !threads.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Crew {
            jobs: Some(jobs),
            threads,
        })
    }

    /// Hands a block over. Its result comes through the returned channel.
    fn submit(&self, block: Block) -> io::Result<Receiver<BlockResult>> {
        let (result, receiver) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(thread_died)?;
        jobs.send(BlockJob { block, result })
            .map_err(|_| thread_died())?;
        Ok(receiver)
    }
}

/// A worker's thread: does one job of the queue after another, until there are no more senders.
fn work_off(queue: &Mutex<Receiver<BlockJob>>, mut worker: BlockWorker, stop: &AtomicBool) {
    loop {
        // The lock is held only while waiting, and nothing can panic there.
        let job = queue.lock().map(|queue| queue.recv());
        let Ok(Ok(BlockJob { mut block, result })) = job else {
            return;
        };
        if !stop.load(Ordering::Relaxed) {
            let outcome = worker(&mut block);
            // Nobody waits for the result any more if the stream was dropped.
            let _ = result.send(outcome.map(|()| block));
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was noticed as a missing result already.
            let _ = thread.join();
        }
    }
}

/// Creates the free blocks: the channel by which they are given back, and that by which they come.
fn free_blocks(count: usize) -> (Sender<Block>, Receiver<Block>) {
    let (give_back, free) = channel();
    for _ in 0..count {
        // This can't fail: both ends are here.
        let _ = give_back.send(Block::default());
    }
    (give_back, free)
}

/// The error where a thread is gone without a result.
fn thread_died() -> io::Error {
    io::Error::other("a thread of the compression died")
}

/// The error of a call after the one that got the stream's own error.
fn failed_before() -> io::Error {
    io::Error::other("the stream has failed before")
}
