//! Compression: which codecs there are, and both directions of each.
//!
//! All work in blocks on several threads (`blocks`); what a block looks like is the matter of
//! `gzip` and `zstd`. What they write is read by the usual tools, and they read what the usual
//! tools write.

mod blocks;
mod gzip;
mod plain;
mod source;
mod zstd;

pub use blocks::{Decoder, Encoder};
use std::io::{Read, Write};

// The defaults were measured on a generated SQLite database of 604 MB (text, JSON, hexadecimal ids,
// random blobs, indexes) with two threads on two cores, SHA-256 of both sides included. Sizes are
// exact. Times are of one round each on a machine with other work, so good for comparing only: the
// first column together with `pigz -6 -p2` (251.4 MB, 14.7 s) and `zstd -3 -T0` (239.1 MB, 2.45 s),
// neither of which hashes; the second, user and system time, from another, quieter round.
//
//   gzip:1  263.1 MB (pigz -6 and 4.7 %)   3.9 s    6.4 s of processor time
//   gzip:2  259.9 MB (3.4 %)               4.7 s    6.9 s
//   gzip:3  258.1 MB (2.7 %)               4.8 s
//   gzip:4  257.1 MB (2.3 %)               5.3 s
//   gzip:6  251.2 MB (-0.1 %)              6.3 s
//   zstd:1  256.0 MB (zstd -3 and 7.1 %)   2.3 s
//   zstd:2  242.9 MB (1.6 %)               2.1 s
//   zstd:3  239.2 MB (0.04 %)              2.5 s    4.6 s (zstd itself 4.6 s)
//   none                                            1.6 s
//
// Peak memory of the process: gzip 12 MB, zstd 30 MB (38 MB for data that do not compress). Reading
// back, hashed: gzip 1.04 s, zstd 0.72 s; the best of five.

/// The level of `gzip` without one, as libdeflate has them: within 5 % of the size that `pigz -6`
/// makes at a third of its time (1.2 GB: 492.6 MB against 471.2). Level 1 is a fifth faster and
/// misses that (495.7 MB).
const GZIP_LEVEL: u8 = 2;

/// The level of `zstd` without one: the size of zstd's own default.
const ZSTD_LEVEL: i8 = 3;

/// How a stream is compressed. The levels count only for writing. High ones need more memory in
/// each thread: about 45 MB at `zstd:12`, 50 MB at `zstd:19`, 7 MB at `gzip:12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip; level 1 to 12.
    Gzip { level: u8 },
    /// zstd; level 1 to 19.
    Zstd { level: i8 },
}

impl Default for Codec {
    fn default() -> Self {
        Codec::Gzip { level: GZIP_LEVEL }
    }
}

impl Codec {
    /// Reads `none`, `gzip`, `gzip:LEVEL`, `zstd`, `zstd:LEVEL`.
    ///
    /// # Errors
    /// A sentence for the user that names the valid values.
    pub fn parse(text: &str) -> Result<Codec, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        match (name, level) {
            ("none", None) => Ok(Codec::None),
            ("gzip", _) => Ok(Codec::Gzip {
                level: parse_level(text, level, GZIP_LEVEL, 12)?,
            }),
            // Both fit: the largest is 19.
            ("zstd", _) => Ok(Codec::Zstd {
                level: parse_level(text, level, ZSTD_LEVEL as u8, 19)? as i8,
            }),
            _ => Err(format!(
                "`{text}` is not a compression: write `none`, `gzip`, `gzip:LEVEL`, `zstd` or \
                 `zstd:LEVEL`"
            )),
        }
    }

    /// The codec's name without its level.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip { .. } => "gzip",
            Codec::Zstd { .. } => "zstd",
        }
    }

    /// What a file's name gets at its end, without the dot.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Codec::None => None,
            Codec::Gzip { .. } => Some("gz"),
            Codec::Zstd { .. } => Some("zst"),
        }
    }

    /// The codec that an extension (without the dot) tells of.
    pub fn from_extension(extension: &str) -> Option<Codec> {
        match extension {
            "gz" => Some(Codec::Gzip { level: GZIP_LEVEL }),
            "zst" => Some(Codec::Zstd { level: ZSTD_LEVEL }),
            _ => None,
        }
    }
}

fn parse_level(text: &str, level: Option<&str>, default: u8, highest: u8) -> Result<u8, String> {
    let Some(level) = level else {
        return Ok(default);
    };
    let number = level
        .parse()
        .ok()
        .filter(|number| (1..=highest).contains(number));
    number.ok_or_else(|| format!("`{text}`: the level must be a whole number from 1 to {highest}"))
}

/// Compresses what is written to it into `sink`, in order, on `threads` threads (at least one)
/// beside one that writes.
///
/// Only [`Encoder::finish`] completes the stream; see [`Encoder`].
pub fn encoder<W: Write + Send + 'static>(codec: Codec, threads: usize, sink: W) -> Encoder<W> {
    match codec {
        Codec::None => Encoder::start(plain::PlainPacker, 1, sink),
        Codec::Gzip { level } => {
            Encoder::start(gzip::GzipPacker::new(level, gzip::BLOCK), threads, sink)
        }
        Codec::Zstd { level } => {
            Encoder::start(zstd::ZstdPacker::new(level, zstd::BLOCK), threads, sink)
        }
    }
}

/// The same in smaller blocks, for a stream beside which much else is in memory. It costs 3 % in
/// size.
pub fn lean_encoder<W: Write + Send + 'static>(
    codec: Codec,
    threads: usize,
    sink: W,
) -> Encoder<W> {
    match codec {
        Codec::Zstd { level } => {
            let packer = zstd::ZstdPacker::new(level, zstd::LEAN_BLOCK);
            Encoder::start(packer, threads, sink)
        }
        Codec::None | Codec::Gzip { .. } => encoder(codec, threads, sink),
    }
}

/// Reads the content of `source`, decompressed on `threads` threads (at least one) where the data
/// allow it.
///
/// Any valid gzip or zstd data will do; the level doesn't matter. See [`Decoder`] for the errors.
pub fn decoder<R: Read + Send + 'static>(codec: Codec, threads: usize, source: R) -> Decoder {
    match codec {
        Codec::None => Decoder::start(plain::PlainUnpacker(source), 1),
        Codec::Gzip { .. } => Decoder::start(gzip::GzipUnpacker::new(source), threads),
        Codec::Zstd { .. } => Decoder::start(zstd::ZstdUnpacker::new(source), threads),
    }
}

#[cfg(test)]
mod tests;
