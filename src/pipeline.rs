//! From content to stored bytes and back, in one pass, measuring both ends.
//!
//! Encoding is pushed: content → hash and count → compression on every core → hash and count →
//! sink. Decoding is pulled, the mirror image. The pipeline knows nothing of databases or paths.

pub mod compress;
mod meter;

pub use compress::Codec;
pub use meter::{Gauge, Measure, Meter};

use crate::error::{Error, Result};
use crate::interrupt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of content that have gone through so far: read by whoever draws a progress bar.
pub type Progress = Arc<AtomicU64>;

/// Both ends of a pipeline, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Before compression and encryption.
    pub content: Measure,
    /// As stored.
    pub stored: Measure,
}

/// The pushing side. Dropped without [`Encode::finish`] the stream is incomplete.
pub struct Encode<W: Write + Send + 'static> {
    encoder: Meter<compress::Encoder<Meter<W>>>,
    content: Gauge,
    stored: Gauge,
    progress: Progress,
}

impl<W: Write + Send + 'static> Encode<W> {
    /// Writes encoded bytes to `sink`, compressing on `threads` threads.
    pub fn new(codec: Codec, threads: usize, sink: W, progress: Progress) -> Self {
        let (sink, stored) = Meter::new(sink);
        let (encoder, content) = Meter::new(compress::encoder(codec, threads, sink));
        Encode {
            encoder,
            content,
            stored,
            progress,
        }
    }

    /// Ends the stream; gives the sink back, which holds every byte but need not be durable yet,
    /// and what was measured.
    pub fn finish(self) -> Result<(W, Measured)> {
        let sink = self.encoder.into_inner().finish()?;
        let measured = Measured {
            content: self.content.take(),
            stored: self.stored.take(),
        };
        Ok((sink.into_inner(), measured))
    }
}

impl<W: Write + Send + 'static> Write for Encode<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        interrupt::check()?;
        let count = self.encoder.write(bytes)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pulling side.
pub struct Decode {
    decoder: Meter<compress::Decoder>,
    content: Gauge,
    stored: Gauge,
    progress: Progress,
}

impl Decode {
    /// Reads stored bytes from `source`, decoding on `threads` threads where the format allows it.
    pub fn new<R: Read + Send + 'static>(
        codec: Codec,
        threads: usize,
        source: R,
        progress: Progress,
    ) -> Self {
        let (source, stored) = Meter::new(source);
        let (decoder, content) = Meter::new(compress::decoder(codec, threads, source));
        Decode {
            decoder,
            content,
            stored,
            progress,
        }
    }

    /// What was measured; call it after the content was read to its end. What follows the content
    /// in the stored bytes, if anything, is read and measured too.
    pub fn finish(mut self) -> Result<Measured> {
        let rest = io::copy(&mut self.decoder, &mut io::sink()).map_err(damage)?;
        if rest > 0 {
            return Err(Error::damaged(format!(
                "{rest} bytes of content were left unread"
            )));
        }
        drop(self.decoder);
        Ok(Measured {
            content: self.content.take(),
            stored: self.stored.take(),
        })
    }
}

impl Read for Decode {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        interrupt::check()?;
        let count = self.decoder.read(bytes).map_err(damage)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// What a decoder finds wrong with the data is damage; a source that can't be read is not.
fn damage(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::damaged(error).into(),
        _ => error,
    }
}

/// Hashes and counts what `source` gives.
pub fn measure(mut source: impl Read, progress: &Progress) -> Result<Measure> {
    let mut meter = Meter::new(io::sink());
    let mut block = vec![0; 256 << 10];
    loop {
        interrupt::check()?;
        let count = source.read(&mut block)?;
        if count == 0 {
            return Ok(meter.1.take());
        }
        meter.0.write_all(&block[..count])?;
        progress.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// How many threads a setting of 0, "every core", means here.
pub fn threads(setting: usize) -> usize {
    if setting > 0 {
        setting
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
