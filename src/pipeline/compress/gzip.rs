//! gzip in independent members, one for each block, that every gunzip reads.
//!
//! The header of each member has an extra field `DB` with the size of the whole member, so that a
//! reader finds the members without inflating them, and inflates them in parallel. The stream ends
//! with a member without content, which has a second extra field `DE` with the size of the whole
//! content. A stream that lacks it, or lacks a member, is found to be incomplete. (Streams put one
//! after the other are one stream, as gzip has it.)
//!
//! gzip data that other programs made is read too, one member after the other on one thread.

use super::blocks::{Block, BlockPacker, BlockUnpacker, BlockWorker, NextBlock};
use super::source::{ReadAhead, damaged, read_up_to, truncated};
use flate2::bufread::GzDecoder;
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use std::io::{self, BufRead, ErrorKind, Read};
use std::mem;

/// The content of a member, in bytes. Deflate looks back 32 KiB only, so that larger members would
/// gain next to nothing.
pub const BLOCK: usize = 1 << 20;

/// The largest content of a member of ours, in bytes; one that claims more is damaged.
const MAX_CONTENT: usize = 8 << 20;
/// The largest size of a member of ours, in bytes; one that claims more is damaged.
const MAX_MEMBER: usize = MAX_CONTENT + (MAX_CONTENT >> 8) + 1024;

/// A header's first bytes: the magic number, deflate, "there is an extra field". The six bytes that
/// follow (time, flags, system) have no meaning.
const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 4];
/// The size of a header up to the end of its `DB` field.
const HEADER: usize = 20;
/// The size of a trailer: CRC-32 and length of the content.
const TRAILER: usize = 8;
/// The size of the last member: `HEADER`, the `DE` field, deflate's empty block, the trailer.
const END: usize = HEADER + 12 + 2 + TRAILER;

/// The sequentially inflated bytes that go to the reader at once.
const CHUNK: usize = 256 << 10;

/// The header of a member that is `size` bytes long and has `extra` bytes of extra fields.
fn header(extra: u16, size: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[9] = 255; // made on an unknown system
    bytes[10..12].copy_from_slice(&extra.to_le_bytes());
    bytes[12..16].copy_from_slice(b"DB\x04\x00");
    bytes[16..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// The last member of a stream with `total` bytes of content.
fn end_member(total: u64) -> Vec<u8> {
    let mut bytes = header(8 + 12, END as u32).to_vec();
    bytes.extend_from_slice(b"DE\x08\x00");
    bytes.extend_from_slice(&total.to_le_bytes());
    bytes.extend_from_slice(&[3, 0]);
    bytes.extend_from_slice(&[0; TRAILER]);
    bytes
}

/// The kind of a member, by its first bytes.
#[derive(Debug, PartialEq)]
enum MemberHead {
    /// A block of ours, this many bytes long.
    Block(usize),
    /// The last member of a stream of ours.
    End,
    /// A member that another program made.
    Foreign,
}

impl MemberHead {
    fn parse(head: &[u8]) -> MemberHead {
        if head.len() < HEADER || head[..4] != MAGIC || head[12..16] != *b"DB\x04\x00" {
            return MemberHead::Foreign;
        }
        match u16::from_le_bytes([head[10], head[11]]) {
            8 => MemberHead::Block(read_u32(head, 16) as usize),
            20 => MemberHead::End,
            _ => MemberHead::Foreign,
        }
    }
}

/// The 32-bit number at this offset.
fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The writing half.
pub struct GzipPacker {
    level: CompressionLvl,
    block_bytes: usize,
    total: u64,
}

impl GzipPacker {
    /// A packer for this `level` of libdeflate, 1 to 12.
    pub fn new(level: u8, block_bytes: usize) -> Self {
        let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
        GzipPacker {
            level,
            block_bytes,
            total: 0,
        }
    }
}

impl BlockPacker for GzipPacker {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn new_worker(&self) -> io::Result<BlockWorker> {
        let mut compressor = Compressor::new(self.level);
        Ok(Box::new(move |block| {
            let Block { input, output, .. } = block;
            let bound = compressor.deflate_compress_bound(input.len());
            output.resize(HEADER + bound + TRAILER, 0);
            let body = compressor
                .deflate_compress(input, &mut output[HEADER..HEADER + bound])
                .map_err(|error| io::Error::other(format!("gzip compression failed: {error}")))?;
            output.truncate(HEADER + body);
            output.extend_from_slice(&libdeflater::crc32(input).to_le_bytes());
            output.extend_from_slice(&(input.len() as u32).to_le_bytes());
            let size = output.len() as u32;
            output[..HEADER].copy_from_slice(&header(8, size));
            Ok(())
        }))
    }

    fn opening(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn note_written(&mut self, block: &Block) -> io::Result<()> {
        self.total += block.input.len() as u64;
        Ok(())
    }

    fn closing(&mut self) -> Vec<u8> {
        end_member(self.total)
    }
}

/// The reading half.
pub struct GzipUnpacker<R> {
    state: GzipState<R>,
}

/// The splitter's position in the source.
enum GzipState<R> {
    /// A stream may begin here.
    Start(ReadAhead<R>, Preceding),
    /// After a member of ours that was not the last; with the content's size so far.
    Ours(ReadAhead<R>, u64),
    /// In a member of another program.
    Foreign(Box<GzDecoder<ReadAhead<R>>>),
    /// At the end, or an error was returned.
    Over,
}

/// The data before a place where a stream may begin.
#[derive(PartialEq)]
enum Preceding {
    /// It is the beginning of the source.
    Nothing,
    /// A whole stream of ours.
    Ours,
    /// A member of another program.
    Foreign,
}

impl<R: Read> GzipUnpacker<R> {
    /// An unpacker at the beginning of `source`.
    pub fn new(source: R) -> Self {
        GzipUnpacker {
            state: GzipState::Start(ReadAhead::new(source), Preceding::Nothing),
        }
    }

    /// Reads a member of ours, which claims to be `size` bytes long, into `block`. `total` is the
    /// size of the content before it.
    fn read_member(
        &mut self,
        mut source: ReadAhead<R>,
        size: usize,
        total: u64,
        block: &mut Block,
    ) -> io::Result<NextBlock> {
        block.at = source.position();
        if !(HEADER + TRAILER..=MAX_MEMBER).contains(&size) {
            return Err(damaged(format!(
                "gzip data is damaged: the block at byte {} claims a size of {size} bytes",
                block.at
            )));
        }
        block.input.clear();
        if !source.append(&mut block.input, size)? {
            return Err(truncated("gzip", source.position()));
        }
        let length = content_length(&block.input);
        if length > MAX_CONTENT {
            return Err(damaged(format!(
                "gzip data is damaged: the block at byte {} claims {length} bytes of content",
                block.at
            )));
        }
        self.state = GzipState::Ours(source, total + length as u64);
        Ok(NextBlock::Packed)
    }

    /// Inflates the next part of another program's member into `block`. Returns false at the
    /// member's end.
    fn inflate_part(
        &mut self,
        mut decoder: Box<GzDecoder<ReadAhead<R>>>,
        block: &mut Block,
    ) -> io::Result<bool> {
        let read = read_up_to(&mut decoder, &mut block.output, CHUNK).map_err(|error| {
            let source = decoder.get_ref();
            match error.kind() {
                _ if source.has_failed() => error,
                ErrorKind::UnexpectedEof => truncated("gzip", source.position()),
                _ => damaged(format!(
                    "gzip data is damaged: {error}, before byte {}",
                    source.position()
                )),
            }
        })?;
        self.state = match read {
            0 => GzipState::Start((*decoder).into_inner(), Preceding::Foreign),
            _ => GzipState::Foreign(decoder),
        };
        Ok(read > 0)
    }
}

/// The checksum of the content, in a member's trailer.
fn content_checksum(member: &[u8]) -> u32 {
    read_u32(member, member.len() - TRAILER)
}

/// The length of the content in bytes, in a member's trailer.
fn content_length(member: &[u8]) -> usize {
    read_u32(member, member.len() - 4) as usize
}

/// The error of a block at byte `at` that can't be inflated.
fn damaged_block(what: &str, at: u64) -> io::Error {
    damaged(format!(
        "gzip data is damaged: {what} in the block at byte {at}"
    ))
}

impl<R: Read + Send + 'static> BlockUnpacker for GzipUnpacker<R> {
    fn new_worker(&self) -> io::Result<BlockWorker> {
        let mut decompressor = Decompressor::new();
        Ok(Box::new(move |block| {
            let Block { input, output, at } = block;
            let length = content_length(input);
            output.resize(length, 0);
            let body = &input[HEADER..input.len() - TRAILER];
            let inflated = decompressor
                .deflate_decompress(body, output)
                .map_err(|_| damaged_block("invalid compressed data", *at))?;
            if inflated != length {
                return Err(damaged_block("wrong length", *at));
            }
            if libdeflater::crc32(output) != content_checksum(input) {
                return Err(damaged_block("wrong checksum", *at));
            }
            Ok(())
        }))
    }

    fn read_next(&mut self, block: &mut Block) -> io::Result<NextBlock> {
        loop {
            match mem::replace(&mut self.state, GzipState::Over) {
                GzipState::Over => return Ok(NextBlock::End),
                GzipState::Start(mut source, preceding) => {
                    let at = source.position();
                    let head = source.peek(HEADER)?;
                    if head.is_empty() && preceding != Preceding::Nothing {
                        return Ok(NextBlock::End);
                    }
                    if preceding != Preceding::Nothing && !head.starts_with(&MAGIC[..2]) {
                        // Padding after the last member, as on tapes, is no damage.
                        let is_padding =
                            preceding == Preceding::Foreign && has_only_zeros(&mut source)?;
                        let text = "gzip data is followed by something else";
                        return if is_padding {
                            Ok(NextBlock::End)
                        } else {
                            Err(damaged(format!("{text} at byte {at}")))
                        };
                    }
                    self.state = match MemberHead::parse(head) {
                        MemberHead::Block(_) | MemberHead::End => GzipState::Ours(source, 0),
                        // The decoder reads the header at once, and keeps an error for the first
                        // read.
                        MemberHead::Foreign => GzipState::Foreign(Box::new(GzDecoder::new(source))),
                    };
                }
                GzipState::Ours(mut source, total) => {
                    let at = source.position();
                    let head = source.peek(END)?;
                    let (length, complete) = (head.len(), head == end_member(total));
                    match MemberHead::parse(head) {
                        MemberHead::Block(size) => {
                            return self.read_member(source, size, total, block);
                        }
                        MemberHead::End if complete => {
                            source.consume(END);
                            self.state = GzipState::Start(source, Preceding::Ours);
                        }
                        MemberHead::End if length == END => {
                            return Err(damaged(
                                "gzip data is damaged: the content has not the length that its end \
                                 says",
                            ));
                        }
                        _ if length < END => return Err(truncated("gzip", at + length as u64)),
                        _ => {
                            return Err(damaged(format!(
                                "gzip data is damaged: no block begins at byte {at}"
                            )));
                        }
                    }
                }
                GzipState::Foreign(decoder) => {
                    if self.inflate_part(decoder, block)? {
                        return Ok(NextBlock::Content);
                    }
                }
            }
        }
    }
}

/// Reads the rest of the source, and tells whether it holds zeros alone.
fn has_only_zeros<R: Read>(source: &mut ReadAhead<R>) -> io::Result<bool> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let length = bytes.len();
        source.consume(length);
    }
}
