//! The pulling side: a compressed source is read and decompressed ahead of its reader.
//!
//! One thread splits the source into blocks, the crew decompresses them, and the caller's thread
//! takes their content in the order of the source.

use super::{
    Block, BlockResult, BlockUnpacker, Crew, NextBlock, QueuedBlock, failed_before, free_blocks,
    thread_died,
};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

/// A reader of the content of a compressed source, which other threads read and decompress ahead.
///
/// An error of the source comes out as it was, after all content before it. Damage is
/// [`InvalidData`](io::ErrorKind::InvalidData) or, where the end is missing,
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). A decoder that is dropped early stops its
/// threads and joins them; it waits for no more than one read of the source and one block.
pub struct Decoder {
    threads: Option<DecoderThreads>,
    /// The block being read.
    reading: Option<Block>,
    /// The bytes of that block that were read.
    position: usize,
    /// The reason why there are no threads: the end, or an error until it is reported.
    ended: Result<(), Option<io::Error>>,
}

/// The threads behind a [`Decoder`]; the crew belongs to the splitting thread.
struct DecoderThreads {
    queued: Receiver<QueuedBlock>,
    give_back: Sender<Block>,
    splitter: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Decoder {
    /// Starts `threads` decompressing threads (at least one) and one that reads the source.
    pub(in crate::pipeline::compress) fn start<U: BlockUnpacker>(
        unpacker: U,
        threads: usize,
    ) -> Decoder {
        let (threads, ended) = match DecoderThreads::start(unpacker, threads.max(1)) {
            Ok(threads) => (Some(threads), Ok(())),
            Err(error) => (None, Err(Some(error))),
        };
        Decoder {
            threads,
            reading: None,
            position: 0,
            ended,
        }
    }

    /// Waits for the next block; `None` at the end.
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let Some(threads) = &self.threads else {
            return match &mut self.ended {
                Ok(()) => Ok(None),
                Err(error) => Err(error.take().unwrap_or_else(failed_before)),
            };
        };
        let next = match threads.queued.recv() {
            Ok(QueuedBlock::Block(result)) => {
                let result = result.recv();
                result.unwrap_or_else(|_| Err(thread_died())).map(Some)
            }
            Ok(QueuedBlock::End) => Ok(None),
            Err(_) => Err(thread_died()),
        };
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.stop(),
            Err(_) => {
                self.ended = Err(None);
                self.stop();
            }
        }
        next
    }

    /// Ends the threads and joins them.
    fn stop(&mut self) {
        if let Some(DecoderThreads {
            queued,
            give_back,
            splitter,
            stop,
        }) = self.threads.take()
        {
            stop.store(true, Ordering::Relaxed);
            drop((queued, give_back));
            let _ = splitter.join();
        }
    }
}

impl DecoderThreads {
    fn start<U: BlockUnpacker>(unpacker: U, threads: usize) -> io::Result<DecoderThreads> {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..threads)
            .map(|_| unpacker.new_worker())
            .collect::<io::Result<_>>()?;
        let crew = Crew::start(workers, &stop)?;
        // One is read while another is decoded: a single thread is asked for where memory counts.
        let (give_back, free) = free_blocks(threads + 1 + usize::from(threads > 1));
        let (line, queued) = channel();
        let body = move || split_source(unpacker, &crew, &free, &line);
        let splitter = Builder::new().name("split".into()).spawn(body)?;
        Ok(DecoderThreads {
            queued,
            give_back,
            splitter,
            stop,
        })
    }
}

/// The splitting thread: an error is the last thing that it puts in line.
fn split_source<U: BlockUnpacker>(
    mut unpacker: U,
    crew: &Crew,
    free: &Receiver<Block>,
    line: &Sender<QueuedBlock>,
) {
    if let Err(error) = split_into_blocks(&mut unpacker, crew, free, line) {
        let _ = line.send(QueuedBlock::Block(ready_result(Err(error))));
    }
}

/// Fills one free block after the other and puts it in line, until the end of the source or until
/// nobody reads.
fn split_into_blocks<U: BlockUnpacker>(
    unpacker: &mut U,
    crew: &Crew,
    free: &Receiver<Block>,
    line: &Sender<QueuedBlock>,
) -> io::Result<()> {
    for mut block in free {
        let queued = match unpacker.read_next(&mut block)? {
            NextBlock::Packed => QueuedBlock::Block(crew.submit(block)?),
            NextBlock::Content => QueuedBlock::Block(ready_result(Ok(block))),
            NextBlock::End => {
                let _ = line.send(QueuedBlock::End);
                break;
            }
        };
        if line.send(queued).is_err() {
            break;
        }
    }
    Ok(())
}

/// A place in line whose result is there already.
fn ready_result(result: BlockResult) -> Receiver<BlockResult> {
    let (sender, receiver) = sync_channel(1);
    // This can't fail: there is room for one, and the receiver is here.
    let _ = sender.send(result);
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
            if let (Some(block), Some(threads)) = (self.reading.take(), &self.threads) {
                // The splitting thread may be done.
                let _ = threads.give_back.send(block);
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
