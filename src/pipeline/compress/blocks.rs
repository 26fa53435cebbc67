//! Compression in blocks on several threads: the part that all formats share.
//!
//! Pushing: the caller's thread fills a block, a crew of workers compresses blocks, one thread
//! writes them in order. Pulling: one thread splits the source into blocks, the crew decompresses
//! them, the caller's thread takes them in order. What a block looks like is the business of
//! [`Pack`] and [`Unpack`].
//!
//! Memory: there is a fixed number of blocks, two more than workers, and they go round; whoever
//! wants to fill one waits until one is free. So every queue is bounded without a bound of its own,
//! and none can block for ever. Order: with each block handed to the crew goes a channel for its
//! one answer; the channels stand in line.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// What goes round between the threads. Its buffers keep their memory.
#[derive(Default)]
pub struct Block {
    /// What a worker reads.
    pub input: Vec<u8>,
    /// What a worker makes of it.
    pub output: Vec<u8>,
    /// Where in the compressed stream the block begins, in bytes; for messages. Known only when
    /// decoding.
    pub at: u64,
}

/// One worker's part: makes the `output` of a block from its `input`.
pub type Work = Box<dyn FnMut(&mut Block) -> io::Result<()> + Send>;

/// The writing half of a format.
pub trait Pack: Send + 'static {
    /// Bytes of content in one block; only the last may have fewer.
    fn block_bytes(&self) -> usize;
    /// A compressor for one thread.
    fn worker(&self) -> io::Result<Work>;
    /// What stands before the first block.
    fn opening(&mut self) -> Vec<u8>;
    /// Told of every block after it was written, in order.
    fn written(&mut self, block: &Block) -> io::Result<()>;
    /// What stands after the last block, without which the stream is incomplete.
    fn closing(&mut self) -> Vec<u8>;
}

/// The reading half of a format.
pub trait Unpack: Send + 'static {
    /// A decompressor for one thread.
    fn worker(&self) -> io::Result<Work>;
    /// Fills `block` with what comes next in the source. Not called again after [`Next::End`] or an
    /// error.
    fn next(&mut self, block: &mut Block) -> io::Result<Next>;
}

/// What [`Unpack::next`] found.
pub enum Next {
    /// `input` holds a block for a worker.
    Packed,
    /// `output` holds content already.
    Content,
    /// The stream is complete and over.
    End,
}

/// The answer to one block; the other side of a [`Receiver`] that stands in line.
type Answer = io::Result<Block>;

struct Job {
    block: Block,
    answer: SyncSender<Answer>,
}

/// What stands in line for the thread that needs the blocks in order.
enum Order {
    Block(Receiver<Answer>),
    End,
}

/// The workers. Dropped, it ends and joins them, the jobs under way and in the queue done first
/// unless `stop` is set.
struct Crew {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(works: Vec<Work>, stop: &Arc<AtomicBool>) -> io::Result<Crew> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for mut work in works {
            let (queue, stop) = (Arc::clone(&queue), Arc::clone(stop));
            let body = move || {
                loop {
                    // The lock is held only while waiting, and nothing can panic there.
                    let job = queue.lock().map(|queue| queue.recv());
                    let Ok(Ok(Job { mut block, answer })) = job else {
                        return;
                    };
                    if !stop.load(Ordering::Relaxed) {
                        let done = work(&mut block);
                        // Nobody waits for the answer any more where the stream was dropped.
                        let _ = answer.send(done.map(|()| block));
                    }
                }
            };
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

    /// Hands a block over; the answer comes through what is returned.
    fn submit(&self, block: Block) -> io::Result<Receiver<Answer>> {
        let (answer, receiver) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(died)?;
        jobs.send(Job { block, answer }).map_err(|_| died())?;
        Ok(receiver)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was seen as a missing answer already.
            let _ = thread.join();
        }
    }
}

/// Makes the round of free blocks.
fn free_blocks(threads: usize) -> (Sender<Block>, Receiver<Block>) {
    let (give, take) = channel();
    for _ in 0..threads + 2 {
        // Can't fail: both ends are here.
        let _ = give.send(Block::default());
    }
    (give, take)
}

fn died() -> io::Error {
    io::Error::other("a thread of the compression died")
}

fn failed_before() -> io::Error {
    io::Error::other("the stream has failed before")
}

// ---------------------------------------------------------------- pushing

/// Compresses what is written to it, on other threads, into the sink it was made with.
///
/// Only [`Encoder::finish`] completes the stream. An error of the sink comes back, as it was, from
/// the `write` that notices it or from `finish`. Dropped unfinished, it gives up, joins its
/// threads, and leaves an incomplete stream.
pub struct Encoder<W> {
    line: Option<EncodeLine<W>>,
    /// The block being filled, with capacity for `block_bytes`.
    filling: Option<Block>,
    block_bytes: usize,
    /// Why there is no line, where that was not reported yet.
    failure: Option<io::Error>,
}

/// The threads behind an [`Encoder`].
struct EncodeLine<W> {
    crew: Crew,
    orders: Sender<Order>,
    free: Receiver<Block>,
    writer: JoinHandle<io::Result<W>>,
    stop: Arc<AtomicBool>,
}

impl<W: Write + Send + 'static> Encoder<W> {
    /// Starts `threads` compressing threads (at least one) and one that writes.
    pub(super) fn start<P: Pack>(pack: P, threads: usize, sink: W) -> Encoder<W> {
        let block_bytes = pack.block_bytes();
        let (line, failure) = match EncodeLine::start(pack, threads.max(1), sink) {
            Ok(line) => (Some(line), None),
            Err(error) => (None, Some(error)),
        };
        Encoder {
            line,
            filling: None,
            block_bytes,
            failure,
        }
    }
}

impl<W: Write + Send + 'static> EncodeLine<W> {
    fn start<P: Pack>(pack: P, threads: usize, sink: W) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let works = (0..threads)
            .map(|_| pack.worker())
            .collect::<io::Result<_>>()?;
        let crew = Crew::start(works, &stop)?;
        let (give_back, free) = free_blocks(threads);
        let (orders, line) = channel();
        let stopped = Arc::clone(&stop);
        let body = move || write_in_order(pack, sink, &line, &give_back, &stopped);
        let writer = Builder::new().name("write".into()).spawn(body)?;
        Ok(EncodeLine {
            crew,
            orders,
            free,
            writer,
            stop,
        })
    }
}

impl<W> EncodeLine<W> {
    fn hand_over(&self, block: Block) -> io::Result<()> {
        let answer = self.crew.submit(block)?;
        self.orders.send(Order::Block(answer)).map_err(|_| died())
    }

    /// Lets the threads come to their end and gives what the writing one returned.
    fn close(self) -> io::Result<W> {
        drop(self.orders);
        self.writer.join().unwrap_or_else(|_| Err(died()))
    }
}

/// The writing thread: opening, blocks, closing.
fn write_in_order<W: Write, P: Pack>(
    mut pack: P,
    mut sink: W,
    line: &Receiver<Order>,
    give_back: &Sender<Block>,
    stop: &AtomicBool,
) -> io::Result<W> {
    sink.write_all(&pack.opening())?;
    for order in line {
        match order {
            Order::Block(answer) => {
                let mut block = answer.recv().map_err(|_| died())??;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sink.write_all(&block.output)?;
                pack.written(&block)?;
                block.input.clear();
                // The caller may have no more to fill.
                let _ = give_back.send(block);
            }
            Order::End => {
                sink.write_all(&pack.closing())?;
                sink.flush()?;
                return Ok(sink);
            }
        }
    }
    Err(io::Error::other("the stream was given up before its end"))
}

impl<W> Encoder<W> {
    /// Ends the stream, joins the threads and gives the sink back, flushed.
    ///
    /// # Errors
    /// The sink's own error, or that of a worker; also if an earlier `write` failed.
    pub fn finish(mut self) -> io::Result<W> {
        if let (Some(line), Some(block)) = (&self.line, self.filling.take())
            && !block.input.is_empty()
            && line.hand_over(block).is_err()
        {
            return Err(self.give_up());
        }
        let Some(line) = self.line.take() else {
            return Err(self.give_up());
        };
        // Where this fails the writing thread is gone, and says why when it is joined.
        let _ = line.orders.send(Order::End);
        line.close()
    }

    /// The reason why the line can't go on: what its writing thread ended with.
    fn give_up(&mut self) -> io::Error {
        let Some(line) = self.line.take() else {
            return self.failure.take().unwrap_or_else(failed_before);
        };
        line.stop.store(true, Ordering::Relaxed);
        match line.close() {
            Err(error) => error,
            Ok(_) => died(),
        }
    }
}

impl<W> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(line) = &self.line else {
            return Err(self.give_up());
        };
        let mut block = match self.filling.take() {
            Some(block) => block,
            None => match line.free.recv() {
                Ok(mut block) => {
                    // Once for each block that goes round.
                    block.input.reserve_exact(self.block_bytes);
                    block
                }
                Err(_) => return Err(self.give_up()),
            },
        };
        let taken = bytes.len().min(self.block_bytes - block.input.len());
        block.input.extend_from_slice(&bytes[..taken]);
        if block.input.len() < self.block_bytes {
            self.filling = Some(block);
        } else if line.hand_over(block).is_err() {
            return Err(self.give_up());
        }
        Ok(taken)
    }

    /// Does nothing: a block is compressed when it is full, and the last one by
    /// [`Encoder::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W> Drop for Encoder<W> {
    fn drop(&mut self) {
        if self.line.is_some() {
            self.give_up();
        }
    }
}

// ---------------------------------------------------------------- pulling

/// Reads the content of the compressed source it was made with, which other threads read and
/// decompress ahead.
///
/// An error of the source comes out as it was, after all content before it; damage is
/// [`InvalidData`](io::ErrorKind::InvalidData) or, where the end is missing,
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). Dropped early, it stops its threads and joins
/// them, waiting for no more than one read of the source and one block.
pub struct Decoder {
    line: Option<DecodeLine>,
    /// The block being read, and how far.
    reading: Option<Block>,
    position: usize,
    /// Why there is no line: an error not reported yet, or the end.
    ended: Result<(), Option<io::Error>>,
}

/// The threads behind a [`Decoder`]; the crew belongs to the splitting thread.
struct DecodeLine {
    orders: Receiver<Order>,
    give_back: Sender<Block>,
    splitter: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Decoder {
    /// Starts `threads` decompressing threads (at least one) and one that reads the source.
    pub(super) fn start<U: Unpack>(unpack: U, threads: usize) -> Decoder {
        let (line, ended) = match DecodeLine::start(unpack, threads.max(1)) {
            Ok(line) => (Some(line), Ok(())),
            Err(error) => (None, Err(Some(error))),
        };
        Decoder {
            line,
            reading: None,
            position: 0,
            ended,
        }
    }

    /// Waits for the next block; `None` at the end.
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let Some(line) = &self.line else {
            return match &mut self.ended {
                Ok(()) => Ok(None),
                Err(error) => Err(error.take().unwrap_or_else(failed_before)),
            };
        };
        let answer = match line.orders.recv() {
            Ok(Order::Block(answer)) => answer.recv().unwrap_or_else(|_| Err(died())).map(Some),
            Ok(Order::End) => Ok(None),
            Err(_) => Err(died()),
        };
        match &answer {
            Ok(Some(_)) => {}
            Ok(None) => self.stop(),
            Err(_) => {
                self.ended = Err(None);
                self.stop();
            }
        }
        answer
    }

    fn stop(&mut self) {
        if let Some(DecodeLine {
            orders,
            give_back,
            splitter,
            stop,
        }) = self.line.take()
        {
            stop.store(true, Ordering::Relaxed);
            drop((orders, give_back));
            let _ = splitter.join();
        }
    }
}

impl DecodeLine {
    fn start<U: Unpack>(mut unpack: U, threads: usize) -> io::Result<DecodeLine> {
        let stop = Arc::new(AtomicBool::new(false));
        let works = (0..threads)
            .map(|_| unpack.worker())
            .collect::<io::Result<_>>()?;
        let crew = Crew::start(works, &stop)?;
        let (give_back, free) = free_blocks(threads);
        let (line, orders) = channel();
        let body = move || {
            if let Err(error) = split(&mut unpack, &crew, &free, &line) {
                let _ = line.send(Order::Block(answered(Err(error))));
            }
        };
        let splitter = Builder::new().name("split".into()).spawn(body)?;
        Ok(DecodeLine {
            orders,
            give_back,
            splitter,
            stop,
        })
    }
}

/// The splitting thread: one free block after the other is filled and put in line, until the end or
/// until nobody reads.
fn split<U: Unpack>(
    unpack: &mut U,
    crew: &Crew,
    free: &Receiver<Block>,
    line: &Sender<Order>,
) -> io::Result<()> {
    for mut block in free {
        let order = match unpack.next(&mut block)? {
            Next::Packed => Order::Block(crew.submit(block)?),
            Next::Content => Order::Block(answered(Ok(block))),
            Next::End => {
                let _ = line.send(Order::End);
                break;
            }
        };
        if line.send(order).is_err() {
            break;
        }
    }
    Ok(())
}

/// An answer that is there already.
fn answered(answer: Answer) -> Receiver<Answer> {
    let (sender, receiver) = sync_channel(1);
    // Can't fail: there is room for one, and the receiver is here.
    let _ = sender.send(answer);
    receiver
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(block) = &self.reading {
                let rest = &block.output[self.position..];
                if !rest.is_empty() {
                    let taken = rest.len().min(buffer.len());
                    buffer[..taken].copy_from_slice(&rest[..taken]);
                    self.position += taken;
                    return Ok(taken);
                }
            }
            if let (Some(block), Some(line)) = (self.reading.take(), &self.line) {
                // The splitting thread may be done.
                let _ = line.give_back.send(block);
            }
            self.position = 0;
            self.reading = self.next_block()?;
            if self.reading.is_none() {
                return Ok(0);
            }
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.stop();
    }
}
