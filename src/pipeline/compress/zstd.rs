//! zstd in independent frames, one for each block, that every `zstd -d` reads.
//!
//! Each frame knows the size of its content and has a checksum. The stream ends with the seek table
//! of zstd's "seekable format": a skippable frame that lists the frames, for other tools to use and
//! for us to know that none is missing. The stream begins with a frame without content whose size
//! is written in eight bytes, which no encoder does: by this we know a stream of which a seek table
//! must be the end. (Streams put one after the other are one stream.)
//!
//! Data that others made is read too: in parallel where all frames know their sizes and are small,
//! else on one thread.

use super::blocks::{Block, Next, Pack, Unpack, Work};
use super::source::{ReadAhead, damaged, fill, truncated};
use std::io::{self, BufRead, ErrorKind, Read};
use std::mem;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

/// Content of a frame, in bytes. Against one frame this costs 0.04 to 0.7 % in size, depending on
/// how far apart the data repeat; 1 MiB costs 3 %; 8 MiB would need twice the memory for 0.3 %.
pub const BLOCK: usize = 4 << 20;

/// Frames with more content are decompressed as a stream.
const MAX_CONTENT: u64 = 8 << 20;
/// A frame of no more than `MAX_CONTENT` that is larger is damaged.
const MAX_FRAME: usize = 16 << 20;

/// What others may have used as window, as a power of two; memory is taken only as far as it is
/// filled.
const WINDOW_LOG_MAX: u32 = if cfg!(target_pointer_width = "64") {
    31
} else {
    30
};

const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The skippable frame that the seekable format uses.
const TABLE: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// What a seek table ends with.
const TABLE_END: [u8; 4] = 0x8F92_EAB1_u32.to_le_bytes();
/// Number of frames, flags, `TABLE_END`.
const TABLE_FOOTER: usize = 9;

/// How our streams begin: frame, one segment with size in eight bytes and checksum, 0, the last
/// block is raw and empty, the checksum of nothing.
const OPENING: [u8; 20] = [
    0x28, 0xb5, 0x2f, 0xfd, 0xe4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51,
];

/// Decompressed bytes that go to the reader at once, where it is done as a stream.
const CHUNK: usize = 256 << 10;

/// A frame's entry in the seek table.
fn entry(packed: u32, content: u32) -> [u8; 8] {
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
    /// `level` as zstd has them, 1 to 19.
    pub fn new(level: i8, block_bytes: usize) -> Self {
        ZstdPacker {
            level: i32::from(level),
            block_bytes,
            table: Vec::new(),
        }
    }
}

impl Pack for ZstdPacker {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn worker(&self) -> io::Result<Work> {
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
            .extend_from_slice(&entry(OPENING.len() as u32, 0));
        OPENING.to_vec()
    }

    fn written(&mut self, block: &Block) -> io::Result<()> {
        self.table
            .extend_from_slice(&entry(block.output.len() as u32, block.input.len() as u32));
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
    place: ZstdState<R>,
}

/// Where in the source the splitter stands.
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
    entries: crc32fast::Hasher,
}

impl FrameProgress {
    fn add(&mut self, packed: usize, content: u64) {
        // Both are below 16 MiB, or `frame` would not have taken the frame.
        self.entries.update(&entry(packed as u32, content as u32));
        self.frames = self.frames.saturating_add(1);
    }
}

/// What a frame's header says.
struct FrameHeader {
    /// Its own size in bytes.
    size: usize,
    /// Bytes of content, where it is known.
    content: Option<u64>,
    checksum: bool,
}

impl FrameHeader {
    /// Bytes that the largest header has.
    const MAX: usize = 18;

    /// Reads the header at the beginning of `bytes`; `None` where they are too few.
    fn read(bytes: &[u8]) -> Option<FrameHeader> {
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

    /// The size of the content, where it is known and small enough for one block.
    fn block(&self) -> Option<u64> {
        self.content.filter(|content| *content <= MAX_CONTENT)
    }
}

/// Reads a whole frame into `block`, going from block header to block header.
fn frame<R: Read>(
    source: &mut ReadAhead<R>,
    header: &FrameHeader,
    block: &mut Block,
) -> io::Result<()> {
    block.at = source.at();
    block.input.clear();
    let wrong = |what: &str, at: u64| {
        damaged(format!(
            "zstd data is damaged: {what} in the block at byte {at}"
        ))
    };
    // Gives the last three bytes as a number, which is what a block header is.
    let mut take = |size: usize| match source.append(&mut block.input, size)? {
        false => Err(truncated("zstd", source.at())),
        true if block.input.len() > MAX_FRAME => Err(wrong("absurd size", block.at)),
        true => Ok(block
            .input
            .last_chunk::<3>()
            .map_or(0, |&[a, b, c]| u32::from_le_bytes([a, b, c, 0]))),
    };
    take(header.size)?;
    loop {
        let head = take(3)?;
        let size = match (head >> 1) & 3 {
            1 => 1,
            3 => return Err(wrong("invalid block", block.at)),
            _ => (head >> 3) as usize,
        };
        take(size)?;
        if head & 1 == 1 {
            break;
        }
    }
    if header.checksum {
        take(4)?;
    }
    Ok(())
}

impl<R: Read> ZstdUnpacker<R> {
    pub fn new(source: R) -> Self {
        ZstdUnpacker {
            place: ZstdState::Start(ReadAhead::new(source)),
        }
    }

    /// A frame where anybody's may stand.
    fn any(&mut self, mut source: ReadAhead<R>, block: &mut Block) -> io::Result<Option<Next>> {
        let at = source.at();
        let head = source.peek(OPENING.len())?;
        if head == OPENING {
            source.consume(OPENING.len());
            let mut seen = FrameProgress {
                frames: 0,
                entries: crc32fast::Hasher::new(),
            };
            seen.add(OPENING.len(), 0);
            self.place = ZstdState::Ours(source, seen);
            return Ok(None);
        }
        if head.len() < 4 {
            return Err(truncated("zstd", at + head.len() as u64));
        }
        if head[1..4] == TABLE[1..] && head[0] & 0xf0 == 0x50 {
            skip(&mut source)?;
            self.place = ZstdState::Between(source);
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
        let Some(header) = FrameHeader::read(head) else {
            return Err(truncated("zstd", at + head.len() as u64));
        };
        if header.block().is_some() {
            frame(&mut source, &header, block)?;
            self.place = ZstdState::Between(source);
            return Ok(Some(Next::Packed));
        }
        let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        self.place = ZstdState::Streaming(Box::new(decoder));
        Ok(None)
    }

    /// A frame in a stream of ours.
    fn ours(
        &mut self,
        mut source: ReadAhead<R>,
        mut seen: FrameProgress,
        block: &mut Block,
    ) -> io::Result<Option<Next>> {
        let at = source.at();
        let head = source.peek(FrameHeader::MAX)?;
        if head.len() < 4 {
            return Err(truncated("zstd", at + head.len() as u64));
        }
        if head[..4] == TABLE {
            table(&mut source, seen)?;
            self.place = ZstdState::Between(source);
            return Ok(None);
        }
        if head[..4] != FRAME {
            return Err(damaged(format!(
                "zstd data is damaged: no frame begins at byte {at}"
            )));
        }
        let Some(header) = FrameHeader::read(head) else {
            return Err(truncated("zstd", at + head.len() as u64));
        };
        let Some(content) = header.block() else {
            return Err(damaged(format!(
                "zstd data is damaged: the block at byte {at} claims an absurd size"
            )));
        };
        frame(&mut source, &header, block)?;
        seen.add(block.input.len(), content);
        self.place = ZstdState::Ours(source, seen);
        Ok(Some(Next::Packed))
    }

    /// The next part of what is decompressed as a stream, into `block`.
    fn stream(
        &mut self,
        mut decoder: Box<zstd::stream::read::Decoder<'static, ReadAhead<R>>>,
        block: &mut Block,
    ) -> io::Result<Next> {
        let read = fill(&mut decoder, &mut block.output, CHUNK).map_err(|error| {
            let source = decoder.get_ref();
            match error.kind() {
                _ if source.failed() => error,
                ErrorKind::UnexpectedEof => truncated("zstd", source.at()),
                _ => damaged(format!(
                    "zstd data is damaged: {}, before byte {}",
                    lower(&error),
                    source.at()
                )),
            }
        })?;
        if read == 0 {
            return Ok(Next::End);
        }
        self.place = ZstdState::Streaming(decoder);
        Ok(Next::Content)
    }
}

/// libzstd's messages begin with a capital.
fn lower(error: &io::Error) -> String {
    error.to_string().to_lowercase()
}

/// Skips a skippable frame.
fn skip<R: Read>(source: &mut ReadAhead<R>) -> io::Result<()> {
    let size = match source.peek(8)? {
        [_, _, _, _, a, b, c, d] => 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => u64::MAX,
    };
    if io::copy(&mut source.take(size), &mut io::sink())? < size {
        return Err(truncated("zstd", source.at()));
    }
    Ok(())
}

/// Reads the seek table of a stream of ours and compares it with the frames that were seen.
fn table<R: Read>(source: &mut ReadAhead<R>, seen: FrameProgress) -> io::Result<()> {
    let wrong = || damaged("zstd data is damaged: its blocks are not those that its end lists");
    let entries = u64::from(seen.frames) * 8;
    let at = source.at();
    let head = source.peek(8)?;
    if head.len() < 8 {
        return Err(truncated("zstd", at + head.len() as u64));
    }
    if u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]))
        != entries + TABLE_FOOTER as u64
    {
        return Err(wrong());
    }
    source.consume(8);
    let mut listed = crc32fast::Hasher::new();
    let mut left = entries;
    while left > 0 {
        let bytes = source.fill_buf()?;
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Err(truncated("zstd", source.at()));
        }
        listed.update(&bytes[..length]);
        source.consume(length);
        left -= length as u64;
    }
    let mut footer = seen.frames.to_le_bytes().to_vec();
    footer.push(0);
    footer.extend_from_slice(&TABLE_END);
    let at = source.at();
    let found = source.peek(TABLE_FOOTER)?;
    if found.len() < TABLE_FOOTER {
        return Err(truncated("zstd", at + found.len() as u64));
    }
    if found != footer || listed.finalize() != seen.entries.finalize() {
        return Err(wrong());
    }
    source.consume(TABLE_FOOTER);
    Ok(())
}

impl<R: Read + Send + 'static> Unpack for ZstdUnpacker<R> {
    fn worker(&self) -> io::Result<Work> {
        let mut decompressor = Decompressor::new()?;
        Ok(Box::new(move |block| {
            let wrong = |what: &str| {
                damaged(format!(
                    "zstd data is damaged: {what} in the block at byte {}",
                    block.at
                ))
            };
            // `frame` took no larger ones.
            let content = get_frame_content_size(&block.input)
                .ok()
                .flatten()
                .filter(|size| *size <= MAX_CONTENT);
            let Some(content) = content else {
                return Err(wrong("invalid header"));
            };
            block.output.clear();
            block.output.reserve_exact(content as usize);
            let read = decompressor
                .decompress_to_buffer(&block.input, &mut block.output)
                .map_err(|error| wrong(&lower(&error)))?;
            if read as u64 != content {
                return Err(wrong("wrong length"));
            }
            Ok(())
        }))
    }

    fn next(&mut self, block: &mut Block) -> io::Result<Next> {
        loop {
            let next = match mem::replace(&mut self.place, ZstdState::Over) {
                ZstdState::Over => return Ok(Next::End),
                ZstdState::Start(source) => self.any(source, block)?,
                ZstdState::Between(mut source) => {
                    if source.peek(1)?.is_empty() {
                        return Ok(Next::End);
                    }
                    self.any(source, block)?
                }
                ZstdState::Ours(source, seen) => self.ours(source, seen, block)?,
                ZstdState::Streaming(decoder) => Some(self.stream(decoder, block)?),
            };
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }
}
