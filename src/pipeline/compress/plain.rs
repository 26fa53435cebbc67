//! No compression. The content still goes through the threads: the sink hashes and writes while the
//! caller reads on.

use super::blocks::{Block, BlockPacker, BlockUnpacker, BlockWorker, NextBlock};
use super::source::read_up_to;
use std::io::{self, Read};
use std::mem;

/// The bytes that go from thread to thread at once.
const BLOCK: usize = 1 << 20;

/// The writing half.
pub struct PlainPacker;

impl BlockPacker for PlainPacker {
    fn block_bytes(&self) -> usize {
        BLOCK
    }

    fn new_worker(&self) -> io::Result<BlockWorker> {
        Ok(Box::new(|block| {
            mem::swap(&mut block.input, &mut block.output);
            Ok(())
        }))
    }

    fn opening(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn note_written(&mut self, _: &Block) -> io::Result<()> {
        Ok(())
    }

    fn closing(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// The reading half.
pub struct PlainUnpacker<R>(pub R);

impl<R: Read + Send + 'static> BlockUnpacker for PlainUnpacker<R> {
    fn new_worker(&self) -> io::Result<BlockWorker> {
        // It is never called: there is nothing to unpack.
        Ok(Box::new(|_| Ok(())))
    }

    fn read_next(&mut self, block: &mut Block) -> io::Result<NextBlock> {
        Ok(if read_up_to(&mut self.0, &mut block.output, BLOCK)? == 0 {
            NextBlock::End
        } else {
            NextBlock::Content
        })
    }
}
