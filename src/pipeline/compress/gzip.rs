//! gzip in independent members, one for each block, that every gunzip reads.
//!
//! The header of each member has an extra field `DB` with the size of the whole member, so that a
//! reader finds the members without inflating them, and inflates them in parallel. The stream ends
//! with a member without content, which has a second extra field `DE` with the size of the whole
//! content: a stream that lacks it, or lacks a member, is found to be incomplete. (Streams put one
//! after the other are one stream, as gzip has it.)
//!
//! gzip data that others made is read too, one member after the other on one thread.

use super::blocks::{Block, Next, Pack, Unpack, Work};
use super::source::{ReadAhead, damaged, fill, truncated};
use flate2::bufread::GzDecoder;
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use std::io::{self, BufRead, ErrorKind, Read};
use std::mem;

/// Content of a member, in bytes. Deflate looks back 32 KiB only, so that larger ones would gain
/// next to nothing.
pub const BLOCK: usize = 1 << 20;

/// A member of ours that claims more content than this is damaged; so is one of more than
/// [`MAX_MEMBER`] bytes.
const MAX_CONTENT: usize = 8 << 20;
const MAX_MEMBER: usize = MAX_CONTENT + (MAX_CONTENT >> 8) + 1024;

/// Magic, deflate, "there is an extra field". What follows (time, flags, system: six bytes) has no
/// meaning.
const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 4];
/// Up to and with the `DB` field.
const HEADER: usize = 20;
/// CRC-32 and length of the content.
const TRAILER: usize = 8;
/// The whole last member: `HEADER`, the `DE` field, deflate's empty block, trailer.
const END: usize = HEADER + 12 + 2 + TRAILER;

/// Sequentially inflated bytes that go to the reader at once.
const CHUNK: usize = 256 << 10;

/// Writes the header of a member that is `size` bytes long and has `extra` bytes of extra fields.
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

/// What a member's first bytes say.
#[derive(Debug, PartialEq)]
enum MemberHead {
    /// One of ours, this many bytes long.
    Block(usize),
    End,
    Foreign,
}

fn kind(head: &[u8]) -> MemberHead {
    if head.len() < HEADER || head[..4] != MAGIC || head[12..16] != *b"DB\x04\x00" {
        return MemberHead::Foreign;
    }
    match u16::from_le_bytes([head[10], head[11]]) {
        8 => {
            MemberHead::Block(u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize)
        }
        20 => MemberHead::End,
        _ => MemberHead::Foreign,
    }
}

/// The writing half.
pub struct GzipPacker {
    level: CompressionLvl,
    block_bytes: usize,
    total: u64,
}

impl GzipPacker {
    /// `level` as libdeflate has them, 1 to 12.
    pub fn new(level: u8, block_bytes: usize) -> Self {
        let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
        GzipPacker {
            level,
            block_bytes,
            total: 0,
        }
    }
}

impl Pack for GzipPacker {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn worker(&self) -> io::Result<Work> {
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

    fn written(&mut self, block: &Block) -> io::Result<()> {
        self.total += block.input.len() as u64;
        Ok(())
    }

    fn closing(&mut self) -> Vec<u8> {
        end_member(self.total)
    }
}

/// The reading half.
pub struct GzipUnpacker<R> {
    place: GzipState<R>,
}

/// Where in the source the splitter stands.
enum GzipState<R> {
    /// Where a stream may begin.
    Start(ReadAhead<R>, Preceding),
    /// After a member of ours that was not the last; with the content's size so far.
    Ours(ReadAhead<R>, u64),
    /// In somebody else's member.
    Foreign(Box<GzDecoder<ReadAhead<R>>>),
    /// At the end, or an error was returned.
    Over,
}

/// What stands before a place where a stream may begin.
#[derive(PartialEq)]
enum Preceding {
    Nothing,
    Ours,
    Foreign,
}

impl<R: Read> GzipUnpacker<R> {
    pub fn new(source: R) -> Self {
        GzipUnpacker {
            place: GzipState::Start(ReadAhead::new(source), Preceding::Nothing),
        }
    }

    /// Reads a member of ours into `block`.
    fn member(
        &mut self,
        mut source: ReadAhead<R>,
        size: usize,
        total: u64,
        block: &mut Block,
    ) -> io::Result<Next> {
        block.at = source.at();
        if !(HEADER + TRAILER..=MAX_MEMBER).contains(&size) {
            return Err(damaged(format!(
                "gzip data is damaged: the block at byte {} claims a size of {size} bytes",
                block.at
            )));
        }
        block.input.clear();
        if !source.append(&mut block.input, size)? {
            return Err(truncated("gzip", source.at()));
        }
        let length = trailer(&block.input).1;
        if length > MAX_CONTENT {
            return Err(damaged(format!(
                "gzip data is damaged: the block at byte {} claims {length} bytes of content",
                block.at
            )));
        }
        self.place = GzipState::Ours(source, total + length as u64);
        Ok(Next::Packed)
    }

    /// Inflates the next part of somebody else's member into `block`; false at the member's end.
    fn inflate(
        &mut self,
        mut decoder: Box<GzDecoder<ReadAhead<R>>>,
        block: &mut Block,
    ) -> io::Result<bool> {
        let read = fill(&mut decoder, &mut block.output, CHUNK).map_err(|error| {
            let source = decoder.get_ref();
            match error.kind() {
                _ if source.failed() => error,
                ErrorKind::UnexpectedEof => truncated("gzip", source.at()),
                _ => damaged(format!(
                    "gzip data is damaged: {error}, before byte {}",
                    source.at()
                )),
            }
        })?;
        self.place = match read {
            0 => GzipState::Start((*decoder).into_inner(), Preceding::Foreign),
            _ => GzipState::Foreign(decoder),
        };
        Ok(read > 0)
    }
}

/// Checksum and length of the content as a member's trailer has them.
fn trailer(member: &[u8]) -> (u32, usize) {
    let field = |at: usize| {
        u32::from_le_bytes([member[at], member[at + 1], member[at + 2], member[at + 3]])
    };
    (field(member.len() - 8), field(member.len() - 4) as usize)
}

impl<R: Read + Send + 'static> Unpack for GzipUnpacker<R> {
    fn worker(&self) -> io::Result<Work> {
        let mut decompressor = Decompressor::new();
        Ok(Box::new(move |block| {
            let Block { input, output, at } = block;
            let wrong = |what: &str| {
                damaged(format!(
                    "gzip data is damaged: {what} in the block at byte {at}"
                ))
            };
            let (checksum, length) = trailer(input);
            output.resize(length, 0);
            let body = &input[HEADER..input.len() - TRAILER];
            let inflated = decompressor
                .deflate_decompress(body, output)
                .map_err(|_| wrong("invalid compressed data"))?;
            if inflated != length {
                return Err(wrong("wrong length"));
            }
            if libdeflater::crc32(output) != checksum {
                return Err(wrong("wrong checksum"));
            }
            Ok(())
        }))
    }

    fn next(&mut self, block: &mut Block) -> io::Result<Next> {
        loop {
            match mem::replace(&mut self.place, GzipState::Over) {
                GzipState::Over => return Ok(Next::End),
                GzipState::Start(mut source, before) => {
                    let at = source.at();
                    let head = source.peek(HEADER)?;
                    if head.is_empty() && before != Preceding::Nothing {
                        return Ok(Next::End);
                    }
                    if before != Preceding::Nothing && !head.starts_with(&MAGIC[..2]) {
                        let only_zeros = before == Preceding::Foreign && only_zeros(&mut source)?;
                        let text = "gzip data is followed by something else";
                        return if only_zeros {
                            Ok(Next::End)
                        } else {
                            Err(damaged(format!("{text} at byte {at}")))
                        };
                    }
                    self.place = match kind(head) {
                        MemberHead::Block(_) | MemberHead::End => GzipState::Ours(source, 0),
                        // The decoder reads the header at once, and keeps an error for the first
                        // read.
                        MemberHead::Foreign => GzipState::Foreign(Box::new(GzDecoder::new(source))),
                    };
                }
                GzipState::Ours(mut source, total) => {
                    let at = source.at();
                    let head = source.peek(END)?;
                    let (length, complete) = (head.len(), head == end_member(total));
                    match kind(head) {
                        MemberHead::Block(size) => return self.member(source, size, total, block),
                        MemberHead::End if complete => {
                            source.consume(END);
                            self.place = GzipState::Start(source, Preceding::Ours);
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
                    if self.inflate(decoder, block)? {
                        return Ok(Next::Content);
                    }
                }
            }
        }
    }
}

/// Padding after the last member, as tapes have it, is no damage.
fn only_zeros<R: Read>(source: &mut ReadAhead<R>) -> io::Result<bool> {
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
