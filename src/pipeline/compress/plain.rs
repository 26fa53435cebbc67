//! No compression. It still goes through the threads: the sink hashes and writes while the caller
//! reads on.

use super::blocks::{Block, Next, Pack, Unpack, Work};
use super::source::fill;
use std::io::{self, Read};
use std::mem;

/// Bytes that go from thread to thread at once.
const BLOCK: usize = 1 << 20;

/// The writing half.
pub struct PlainPacker;

impl Pack for PlainPacker {
    fn block_bytes(&self) -> usize {
        BLOCK
    }

    fn worker(&self) -> io::Result<Work> {
        Ok(Box::new(|block| {
            mem::swap(&mut block.input, &mut block.output);
            Ok(())
        }))
    }

    fn opening(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn written(&mut self, _: &Block) -> io::Result<()> {
        Ok(())
    }

    fn closing(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// The reading half.
pub struct PlainUnpacker<R>(pub R);

impl<R: Read + Send + 'static> Unpack for PlainUnpacker<R> {
    fn worker(&self) -> io::Result<Work> {
        // Never called: there is nothing to unpack.
        Ok(Box::new(|_| Ok(())))
    }

    fn next(&mut self, block: &mut Block) -> io::Result<Next> {
        Ok(if fill(&mut self.0, &mut block.output, BLOCK)? == 0 {
            Next::End
        } else {
            Next::Content
        })
    }
}
