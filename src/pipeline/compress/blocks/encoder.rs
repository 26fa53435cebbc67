//! The pushing side: what is written is compressed on other threads, and written out in order.
//!
//! The caller's thread fills blocks, the crew compresses them, and one more thread writes them to
//! the sink in the order in which they were filled.

use super::{Block, BlockPacker, Crew, QueuedBlock, failed_before, free_blocks, thread_died};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

/// A writer that compresses on other threads, into the sink that it was created with.
///
/// Only [`Encoder::finish`] completes the stream. An error of the sink comes back, as it was, from
/// the `write` that notices it or from `finish`. An encoder that is dropped unfinished gives up,
/// joins its threads, and leaves an incomplete stream.
pub struct Encoder<W> {
    threads: Option<EncoderThreads<W>>,
    /// The block being filled, with capacity for `block_bytes`.
    filling: Option<Block>,
    block_bytes: usize,
    /// The reason why there are no threads, until it is reported.
    failure: Option<io::Error>,
}

/// The threads behind an [`Encoder`].
struct EncoderThreads<W> {
    crew: Crew,
    line: Sender<QueuedBlock>,
    free: Receiver<Block>,
    writer: JoinHandle<io::Result<W>>,
    stop: Arc<AtomicBool>,
}

impl<W: Write + Send + 'static> Encoder<W> {
    /// Starts `threads` compressing threads (at least one) and one that writes.
    pub(in crate::pipeline::compress) fn start<P: BlockPacker>(
        packer: P,
        threads: usize,
        sink: W,
    ) -> Encoder<W> {
        let block_bytes = packer.block_bytes();
        let (threads, failure) = match EncoderThreads::start(packer, threads.max(1), sink) {
            Ok(threads) => (Some(threads), None),
            Err(error) => (None, Some(error)),
        };
        Encoder {
            threads,
            filling: None,
            block_bytes,
            failure,
        }
    }
}

impl<W: Write + Send + 'static> EncoderThreads<W> {
    fn start<P: BlockPacker>(packer: P, threads: usize, sink: W) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..threads)
            .map(|_| packer.new_worker())
            .collect::<io::Result<_>>()?;
        let crew = Crew::start(workers, &stop)?;
        let (give_back, free) = free_blocks(threads + 2);
        let (line, queued) = channel();
        let stopped = Arc::clone(&stop);
        let body = move || write_in_order(packer, sink, &queued, &give_back, &stopped);
        let writer = Builder::new().name("write".into()).spawn(body)?;
        Ok(EncoderThreads {
            crew,
            line,
            free,
            writer,
            stop,
        })
    }
}

impl<W> EncoderThreads<W> {
    /// Gives a full block to the crew, and its place in line to the writing thread.
    fn hand_over(&self, block: Block) -> io::Result<()> {
        let result = self.crew.submit(block)?;
        self.line
            .send(QueuedBlock::Block(result))
            .map_err(|_| thread_died())
    }

    /// Waits for the end of the threads, and returns the result of the writing one.
    fn close(self) -> io::Result<W> {
        drop(self.line);
        self.writer.join().unwrap_or_else(|_| Err(thread_died()))
    }
}

/// The writing thread: writes the opening, the blocks, and the closing.
fn write_in_order<W: Write, P: BlockPacker>(
    mut packer: P,
    mut sink: W,
    queued: &Receiver<QueuedBlock>,
    give_back: &Sender<Block>,
    stop: &AtomicBool,
) -> io::Result<W> {
    sink.write_all(&packer.opening())?;
    for next in queued {
        match next {
            QueuedBlock::Block(result) => {
                let mut block = result.recv().map_err(|_| thread_died())??;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sink.write_all(&block.output)?;
                packer.note_written(&block)?;
                block.input.clear();
                // The caller may have no more content.
                let _ = give_back.send(block);
            }
            QueuedBlock::End => {
                sink.write_all(&packer.closing())?;
                sink.flush()?;
                return Ok(sink);
            }
        }
    }
    Err(io::Error::other("the stream was given up before its end"))
}

impl<W> Encoder<W> {
    /// Ends the stream, joins the threads, and returns the sink, flushed.
    ///
    /// # Errors
    /// The sink's own error, or that of a worker; also if an earlier `write` failed.
    pub fn finish(mut self) -> io::Result<W> {
        if let (Some(threads), Some(block)) = (&self.threads, self.filling.take())
            && !block.input.is_empty()
            && threads.hand_over(block).is_err()
        {
            return Err(self.give_up());
        }
        let Some(threads) = self.threads.take() else {
            return Err(self.give_up());
        };
        // If this fails, the writing thread is gone, and gives the reason when it is joined.
        let _ = threads.line.send(QueuedBlock::End);
        threads.close()
    }

    /// Ends the threads, and returns the reason why they can't go on: the error of the writing one.
    fn give_up(&mut self) -> io::Error {
        let Some(threads) = self.threads.take() else {
            return self.failure.take().unwrap_or_else(failed_before);
        };
        threads.stop.store(true, Ordering::Relaxed);
        match threads.close() {
            Err(error) => error,
            Ok(_) => thread_died(),
        }
    }
}

impl<W> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(threads) = &self.threads else {
            return Err(self.give_up());
        };
        let mut block = match self.filling.take() {
            Some(block) => block,
            None => match threads.free.recv() {
                Ok(mut block) => {
                    // This allocates only once for each of the blocks.
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
        } else if threads.hand_over(block).is_err() {
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
        if self.threads.is_some() {
            self.give_up();
        }
    }
}
