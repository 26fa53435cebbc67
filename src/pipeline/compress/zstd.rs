//! zstd in independent frames, one for each block, that every `zstd -d` reads.
//!
//! Each frame knows the size of its content and has a checksum. The stream ends with the seek table
//! of zstd's "seekable format": a skippable frame that lists the frames, for other tools to use and
//! for us to know that none is missing. The stream begins with a frame without content whose size
//! is written in eight bytes, which no encoder does. So a stream of ours is known, which must end
//! with a seek table. (Streams put one after the other are one stream.)
//!
//! Data that other programs made is read too: in parallel if all frames know their sizes and are
//! small, else on one thread.

use super::blocks::{Block, BlockPacker, BlockUnpacker, BlockWorker, NextBlock};
use super::source::{ReadAhead, damaged, read_up_to, truncated};
use std::io::{self, BufRead, ErrorKind, Read};
use std::mem;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

/// The content of a frame, in bytes. Compared with one frame for everything this costs 0.04 to
/// 0.7 % in size, depending on how far apart the data repeat; 1 MiB costs 3 %; 8 MiB would need
/// twice the memory for 0.3 %.
pub const BLOCK: usize = 4 << 20;

/// The same where memory counts.
pub const LEAN_BLOCK: usize = 1 << 20;

/// The largest content of a block, in bytes. Frames with more are decompressed as a stream.
const MAX_CONTENT: u64 = 8 << 20;
/// The largest size of a frame with no more than `MAX_CONTENT`, in bytes; a larger one is damaged.
const MAX_FRAME: usize = 16 << 20;

/// The largest window that is accepted, as a power of two. Memory is taken only as far as the
/// window is filled.
const WINDOW_LOG_MAX: u32 = if cfg!(target_pointer_width = "64") {
    31
} else {
    30
};

/// A frame's first bytes.
const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The first bytes of the skippable frame that the seekable format uses.
const TABLE: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// The last bytes of a seek table.
const TABLE_END: [u8; 4] = 0x8F92_EAB1_u32.to_le_bytes();
/// The size of a seek table's footer: number of frames, flags, `TABLE_END`.
const TABLE_FOOTER: usize = 9;

/// The first bytes of our streams: a frame of one segment with its size (0) in eight bytes and a
/// checksum; its last block is raw and empty; the checksum of nothing.
const OPENING: [u8; 20] = [
    0x28, 0xb5, 0x2f, 0xfd, 0xe4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51,
];

/// The bytes that go to the reader at once when they are decompressed as a stream.
const CHUNK: usize = 256 << 10;

/// A frame's entry in the seek table.
fn seek_table_entry(packed: u32, content: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&packed.to_le_bytes());
    bytes[4..].copy_from_slice(&content.to_le_bytes());
    bytes
}

/// The writing half.
pub struct ZstdPacker {
    level: i32,
    block_bytes: usize,
    /// The seek table's entries: 8 bytes for each frame, 2 MiB for a terabyte.
    table: Vec<u8>,
}

impl ZstdPacker {
    /// A packer for this `level` of zstd, 1 to 19.
    pub fn new(level: i8, block_bytes: usize) -> Self {
        ZstdPacker {
            level: i32::from(level),
            block_bytes,
            table: Vec::new(),
        }
    }
}

impl BlockPacker for ZstdPacker {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn new_worker(&self) -> io::Result<BlockWorker> {
        let mut compressor = Compressor::new(self.level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Box::new(move |block| {
            block.output.clear();
            block
                .output
                .reserve_exact(compress_bound(block.input.len()));
            compressor.compress_to_buffer(&block.input, &mut block.output)?;
            Ok(())
        }))
    }

    fn opening(&mut self) -> Vec<u8> {
        self.table
            .extend_from_slice(&seek_table_entry(OPENING.len() as u32, 0));
        OPENING.to_vec()
    }

    fn note_written(&mut self, block: &Block) -> io::Result<()> {
        self.table.extend_from_slice(&seek_table_entry(
            block.output.len() as u32,
            block.input.len() as u32,
        ));
        // A skippable frame's size has 32 bits: enough for two petabytes.
        match u32::try_from(self.table.len() + TABLE_FOOTER) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("too much data for one zstd stream")),
        }
    }

    fn closing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.table.len() + 17);
        bytes.extend_from_slice(&TABLE);
        bytes.extend_from_slice(&((self.table.len() + TABLE_FOOTER) as u32).to_le_bytes());
        bytes.extend_from_slice(&self.table);
        bytes.extend_from_slice(&((self.table.len() / 8) as u32).to_le_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&TABLE_END);
        bytes
    }
}

/// The reading half.
pub struct ZstdUnpacker<R> {
    state: ZstdState<R>,
}

/// The splitter's position in the source.
enum ZstdState<R> {
    /// Before the first frame of all.
    Start(ReadAhead<R>),
    /// Between frames; the end is allowed here.
    Between(ReadAhead<R>),
    /// In a stream of ours, before its seek table.
    Ours(ReadAhead<R>, FrameProgress),
    /// In a frame that is decompressed as a stream, or after it.
    Streaming(Box<zstd::stream::read::Decoder<'static, ReadAhead<R>>>),
    /// At the end, or an error was returned.
    Over,
}

/// The frames so far of a stream of ours, to be compared with its seek table.
struct FrameProgress {
    frames: u32,
    /// The checksum of the entries that the seek table must have.
    entries: crc32fast::Hasher,
}

impl FrameProgress {
    fn add(&mut self, packed: usize, content: u64) {
        // Both are below 16 MiB, or `read_frame` would have refused the frame.
        self.entries
            .update(&seek_table_entry(packed as u32, content as u32));
        self.frames = self.frames.saturating_add(1);
    }
}

/// The header of a frame.
struct FrameHeader {
    /// Its own size in bytes.
    size: usize,
    /// The bytes of content, where that is known.
    content: Option<u64>,
    /// Whether a checksum follows the last block.
    checksum: bool,
}

impl FrameHeader {
    /// The size of the largest header, in bytes.
    const MAX: usize = 18;

    /// Reads the header at the beginning of `bytes`; `None` if they are too few.
    fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let flags = *bytes.get(4)?;
        let single = flags & 0x20 != 0;
        let window = usize::from(!single);
        let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
        let length = [usize::from(single), 2, 4, 8][usize::from(flags >> 6)];
        let size = 5 + window + dictionary + length;
        let field = bytes.get(size - length..size)?;
        let mut wide = [0; 8];
        wide[..length].copy_from_slice(field);
        let content = match length {
            0 => None,
            2 => Some(u64::from_le_bytes(wide) + 256),
            _ => Some(u64::from_le_bytes(wide)),
        };
        Some(FrameHeader {
            size,
            content,
            checksum: flags & 4 != 0,
        })
    }

    /// The size of the content in bytes, if it is known and small enough for one block.
    fn block_content(&self) -> Option<u64> {
        self.content.filter(|content| *content <= MAX_CONTENT)
    }
}

/// The error of a block at byte `at` that can't be decompressed.
fn damaged_block(what: &str, at: u64) -> io::Error {
    damaged(format!(
        "zstd data is damaged: {what} in the block at byte {at}"
    ))
}

/// Appends the next `size` bytes of a frame to `block`. Returns the last three of them as a number,
/// which is the form of a block header.
fn append_to_frame<R: Read>(
    source: &mut ReadAhead<R>,
    block: &mut Block,
    size: usize,
) -> io::Result<u32> {
    if !source.append(&mut block.input, size)? {
        return Err(truncated("zstd", source.position()));
    }
    if block.input.len() > MAX_FRAME {
        return Err(damaged_block("absurd size", block.at));
    }
    let last = block.input.last_chunk::<3>();
    Ok(last.map_or(0, |&[a, b, c]| u32::from_le_bytes([a, b, c, 0])))
}

/// Reads a whole frame into `block`, going from block header to block header.
fn read_frame<R: Read>(
    source: &mut ReadAhead<R>,
    header: &FrameHeader,
    block: &mut Block,
) -> io::Result<()> {
    block.at = source.position();
    block.input.clear();
    append_to_frame(source, block, header.size)?;
    loop {
        let head = append_to_frame(source, block, 3)?;
        let size = match (head >> 1) & 3 {
            1 => 1,
            3 => return Err(damaged_block("invalid block", block.at)),
            _ => (head >> 3) as usize,
        };
        append_to_frame(source, block, size)?;
        if head & 1 == 1 {
            break;
        }
    }
    if header.checksum {
        append_to_frame(source, block, 4)?;
    }
    Ok(())
}

impl<R: Read> ZstdUnpacker<R> {
    /// An unpacker at the beginning of `source`.
    pub fn new(source: R) -> Self {
        ZstdUnpacker {
            state: ZstdState::Start(ReadAhead::new(source)),
        }
    }

    /// Reads the beginning of a stream of ours, or a frame of another program.
    fn read_any_frame(
        &mut self,
        mut source: ReadAhead<R>,
        block: &mut Block,
    ) -> io::Result<Option<NextBlock>> {
        let at = source.position();
        let head = source.peek(OPENING.len())?;
        if head == OPENING {
            source.consume(OPENING.len());
            let mut progress = FrameProgress {
                frames: 0,
                entries: crc32fast::Hasher::new(),
            };
            progress.add(OPENING.len(), 0);
            self.state = ZstdState::Ours(source, progress);
            return Ok(None);
        }
        if head.len() < 4 {
            return Err(truncated("zstd", at + head.len() as u64));
        }
        if head[1..4] == TABLE[1..] && head[0] & 0xf0 == 0x50 {
            skip_frame(&mut source)?;
            self.state = ZstdState::Between(source);
            return Ok(None);
        }
        if head[..4] != FRAME {
            return Err(match at {
                0 => damaged("this is not zstd data"),
                _ => damaged(format!(
                    "zstd data is damaged: no frame begins at byte {at}"
                )),
            });
        }
        let Some(header) = FrameHeader::parse(head) else {
            return Err(truncated("zstd", at + head.len() as u64));
        };
        if header.block_content().is_some() {
            read_frame(&mut source, &header, block)?;
            self.state = ZstdState::Between(source);
            return Ok(Some(NextBlock::Packed));
        }
        let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        self.state = ZstdState::Streaming(Box::new(decoder));
        Ok(None)
    }

    /// Reads the next frame of a stream of ours, or its seek table.
    fn read_own_frame(
        &mut self,
        mut source: ReadAhead<R>,
        mut progress: FrameProgress,
        block: &mut Block,
    ) -> io::Result<Option<NextBlock>> {
        let at = source.position();
        let head = source.peek(FrameHeader::MAX)?;
        if head.len() < 4 {
            return Err(truncated("zstd", at + head.len() as u64));
        }
        if head[..4] == TABLE {
            check_seek_table(&mut source, progress)?;
            self.state = ZstdState::Between(source);
            return Ok(None);
        }
        if head[..4] != FRAME {
            return Err(damaged(format!(
                "zstd data is damaged: no frame begins at byte {at}"
            )));
        }
        let Some(header) = FrameHeader::parse(head) else {
            return Err(truncated("zstd", at + head.len() as u64));
        };
        let Some(content) = header.block_content() else {
            return Err(damaged(format!(
                "zstd data is damaged: the block at byte {at} claims an absurd size"
            )));
        };
        read_frame(&mut source, &header, block)?;
        progress.add(block.input.len(), content);
        self.state = ZstdState::Ours(source, progress);
        Ok(Some(NextBlock::Packed))
    }

    /// Decompresses the next part of a stream into `block`.
    fn read_streamed(
        &mut self,
        mut decoder: Box<zstd::stream::read::Decoder<'static, ReadAhead<R>>>,
        block: &mut Block,
    ) -> io::Result<NextBlock> {
        let read = read_up_to(&mut decoder, &mut block.output, CHUNK).map_err(|error| {
            let source = decoder.get_ref();
            match error.kind() {
                _ if source.has_failed() => error,
                ErrorKind::UnexpectedEof => truncated("zstd", source.position()),
                _ => damaged(format!(
                    "zstd data is damaged: {}, before byte {}",
                    lowercase_message(&error),
                    source.position()
                )),
            }
        })?;
        if read == 0 {
            return Ok(NextBlock::End);
        }
        self.state = ZstdState::Streaming(decoder);
        Ok(NextBlock::Content)
    }
}

/// An error's message in lower case; libzstd's messages begin with a capital.
fn lowercase_message(error: &io::Error) -> String {
    error.to_string().to_lowercase()
}

/// Skips a skippable frame.
fn skip_frame<R: Read>(source: &mut ReadAhead<R>) -> io::Result<()> {
    let size = match source.peek(8)? {
        [_, _, _, _, a, b, c, d] => 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => u64::MAX,
    };
    if io::copy(&mut source.take(size), &mut io::sink())? < size {
        return Err(truncated("zstd", source.position()));
    }
    Ok(())
}

/// The error of a stream of ours that lacks blocks, or has others than its seek table.
fn differs_from_seek_table() -> io::Error {
    damaged("zstd data is damaged: its blocks are not those that its end lists")
}

/// Reads the seek table of a stream of ours, and compares it with the frames that were read.
fn check_seek_table<R: Read>(source: &mut ReadAhead<R>, progress: FrameProgress) -> io::Result<()> {
    let entries = u64::from(progress.frames) * 8;
    let at = source.position();
    let head = source.peek(8)?;
    if head.len() < 8 {
        return Err(truncated("zstd", at + head.len() as u64));
    }
    if u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]))
        != entries + TABLE_FOOTER as u64
    {
        return Err(differs_from_seek_table());
    }
    source.consume(8);
    let mut listed = crc32fast::Hasher::new();
    let mut left = entries;
    while left > 0 {
        let bytes = source.fill_buf()?;
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Err(truncated("zstd", source.position()));
        }
        listed.update(&bytes[..length]);
        source.consume(length);
        left -= length as u64;
    }
    let mut footer = progress.frames.to_le_bytes().to_vec();
    footer.push(0);
    footer.extend_from_slice(&TABLE_END);
    let at = source.position();
    let found = source.peek(TABLE_FOOTER)?;
    if found.len() < TABLE_FOOTER {
        return Err(truncated("zstd", at + found.len() as u64));
    }
    if found != footer || listed.finalize() != progress.entries.finalize() {
        return Err(differs_from_seek_table());
    }
    source.consume(TABLE_FOOTER);
    Ok(())
}

impl<R: Read + Send + 'static> BlockUnpacker for ZstdUnpacker<R> {
    fn new_worker(&self) -> io::Result<BlockWorker> {
        let mut decompressor = Decompressor::new()?;
        Ok(Box::new(move |block| {
            // `read_frame` refused larger ones.
            let content = get_frame_content_size(&block.input)
                .ok()
                .flatten()
                .filter(|size| *size <= MAX_CONTENT);
            let Some(content) = content else {
                return Err(damaged_block("invalid header", block.at));
            };
            block.output.clear();
            block.output.reserve_exact(content as usize);
            let read = decompressor
                .decompress_to_buffer(&block.input, &mut block.output)
                .map_err(|error| damaged_block(&lowercase_message(&error), block.at))?;
            if read as u64 != content {
                return Err(damaged_block("wrong length", block.at));
            }
            Ok(())
        }))
    }

    fn read_next(&mut self, block: &mut Block) -> io::Result<NextBlock> {
        loop {
            let next = match mem::replace(&mut self.state, ZstdState::Over) {
                ZstdState::Over => return Ok(NextBlock::End),
                ZstdState::Start(source) => self.read_any_frame(source, block)?,
                ZstdState::Between(mut source) => {
                    if source.peek(1)?.is_empty() {
                        return Ok(NextBlock::End);
                    }
                    self.read_any_frame(source, block)?
                }
                ZstdState::Ours(source, progress) => {
                    self.read_own_frame(source, progress, block)?
                }
                ZstdState::Streaming(decoder) => Some(self.read_streamed(decoder, block)?),
            };
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }
}
