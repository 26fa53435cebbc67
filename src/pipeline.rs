//! From content to stored bytes and back, in one pass, measuring both ends.
//!
//! Encoding is pushed: content → hash and count → compression on every core → encryption → hash and
//! count → sink. Decoding is pulled, the mirror image. The pipeline knows nothing of databases or
//! paths.

pub mod compress;
pub mod delta;
mod meter;

pub use compress::Codec;
pub use meter::{Gauge, Measurement, Meter};

use self::delta::{Alignment, DeltaWriter, MAX_COPY, Stretch};
use crate::encryption::{DecryptionKey, Recipients, Sealer, Unsealer};
use crate::error::{Error, Result};
use crate::{encryption, interrupt, stream};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of content that have gone through so far: read by whoever draws a progress bar.
pub type Progress = Arc<AtomicU64>;

/// Both ends of a pipeline, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurements {
    /// Before compression and encryption.
    pub content: Measurement,
    /// As stored.
    pub stored: Measurement,
}

/// How content becomes stored bytes: everything that a stage of the pipeline needs to know.
#[derive(Debug, Clone)]
pub struct Encoding {
    codec: Codec,
    threads: usize,
    recipients: Option<Arc<Recipients>>,
    progress: Progress,
    is_lean: bool,
}

impl Encoding {
    /// Compression by `codec` on one thread.
    pub fn new(codec: Codec) -> Self {
        Encoding {
            codec,
            threads: 1,
            recipients: None,
            progress: Progress::default(),
            is_lean: false,
        }
    }

    /// The same on `threads` threads, at least one.
    pub fn with_threads(self, threads: usize) -> Self {
        Encoding { threads, ..self }
    }

    /// The same in less memory: see [`compress::lean_encoder`].
    fn with_lean(self, is_lean: bool) -> Self {
        Encoding { is_lean, ..self }
    }

    /// The same, encrypted to these recipients; not encrypted where there are none.
    pub fn with_recipients(self, recipients: Option<&Arc<Recipients>>) -> Self {
        Encoding {
            recipients: recipients.cloned(),
            ..self
        }
    }

    /// The same with the bytes of content added to `progress` as they go through.
    pub fn with_progress(self, progress: &Progress) -> Self {
        Encoding {
            progress: Arc::clone(progress),
            ..self
        }
    }

    /// The compression.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The number of threads that compress.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Those to whom it is encrypted.
    pub fn recipients(&self) -> Option<&Arc<Recipients>> {
        self.recipients.as_ref()
    }

    /// The extensions of what it writes, after that of the content: `zst.age`.
    pub fn extensions(&self) -> Vec<&'static str> {
        let encryption = self.recipients.as_ref().map(|_| encryption::AGE);
        self.codec
            .extension()
            .into_iter()
            .chain(encryption)
            .collect()
    }

    /// The way back from what this encoding writes, as far as it needs no key.
    pub fn decoding(&self) -> Decoding {
        Decoding::new(self.codec)
            .with_threads(self.threads)
            .with_key(match self.recipients {
                None => DecryptionKey::NotNeeded,
                Some(_) => DecryptionKey::NotGiven,
            })
    }

    /// Begins a stream of the difference from `base`, laid beside the content as `alignment` says.
    pub fn start_delta<B: Read, W: Write + Send + 'static>(
        &self,
        sink: W,
        base: B,
        alignment: Alignment,
    ) -> Result<DeltaEncodeWriter<B, W>> {
        // The progress is that of the content. Rows are looked for far ahead in the base, and where
        // many are gone it is read twice at once.
        let encode = self
            .clone()
            .with_progress(&Progress::default())
            .with_lean(matches!(alignment, Alignment::Rows(_)))
            .start(sink)?;
        let delta = DeltaWriter::new(base, encode, alignment, self.threads);
        let (delta, content) = Meter::new(delta);
        Ok(DeltaEncodeWriter {
            delta,
            content,
            open_copy: Stretch::default(),
            progress: Arc::clone(&self.progress),
        })
    }

    /// Writes a delta whose content is all of that of its base, of which this was measured. Nothing
    /// is read.
    pub fn write_unread_copy<W: Write + Send + 'static>(
        &self,
        sink: W,
        content: Measurement,
    ) -> Result<(W, Measurements)> {
        let encode = self
            .clone()
            .with_progress(&Progress::default())
            .start(sink)?;
        let mut delta = DeltaWriter::new(io::empty(), encode, Alignment::None, 1);
        delta.copy_base(Stretch {
            offset: 0,
            length: content.size,
        })?;
        let (encode, _) = delta.finish()?;
        let (sink, measured) = encode.finish()?;
        self.progress.fetch_add(content.size, Ordering::Relaxed);
        Ok((
            sink,
            Measurements {
                content,
                ..measured
            },
        ))
    }

    /// Begins a stream that is written to `sink`. Where it can't be encrypted, nothing is written.
    pub fn start<W: Write + Send + 'static>(&self, sink: W) -> Result<EncodeWriter<W>> {
        let (sink, stored) = Meter::new(sink);
        let sealer = Sealer::new(self.recipients.as_ref(), sink)?;
        let encoder = match self.is_lean {
            true => compress::lean_encoder(self.codec, self.threads, sealer),
            false => compress::encoder(self.codec, self.threads, sealer),
        };
        let (encoder, content) = Meter::new(encoder);
        Ok(EncodeWriter {
            encoder,
            content,
            stored,
            progress: Arc::clone(&self.progress),
        })
    }
}

/// How stored bytes become content again: the mirror image of an [`Encoding`].
#[derive(Debug, Clone)]
pub struct Decoding {
    codec: Codec,
    threads: usize,
    key: DecryptionKey,
    progress: Progress,
}

impl Decoding {
    /// Decompression of what `codec` wrote, at whatever level, on one thread.
    pub fn new(codec: Codec) -> Self {
        Decoding {
            codec,
            threads: 1,
            key: DecryptionKey::NotNeeded,
            progress: Progress::default(),
        }
    }

    /// The same of bytes that need this key.
    pub fn with_key(self, key: DecryptionKey) -> Self {
        Decoding { key, ..self }
    }

    /// The same of what another codec wrote.
    pub fn with_codec(self, codec: Codec) -> Self {
        Decoding { codec, ..self }
    }

    /// The same on `threads` threads, at least one, where the format allows it.
    pub fn with_threads(self, threads: usize) -> Self {
        Decoding { threads, ..self }
    }

    /// The same with the bytes of content added to `progress` as they go through.
    pub fn with_progress(self, progress: &Progress) -> Self {
        Decoding {
            progress: Arc::clone(progress),
            ..self
        }
    }

    /// Whether the stored bytes are the content itself.
    pub fn is_identity(&self) -> bool {
        self.codec == Codec::None && !self.is_encrypted()
    }

    /// Whether the stored bytes are encrypted.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self.key, DecryptionKey::NotNeeded)
    }

    /// The key for the stored bytes.
    pub fn key(&self) -> &DecryptionKey {
        &self.key
    }

    /// Reads the content of the stored bytes that `source` gives, and measures both. Without a key
    /// for them it is an error of the kind `Sealed`; one that does not fit is, with the first byte.
    pub fn open<R: Read + Send + 'static>(&self, source: R) -> Result<DecodeReader> {
        let reader = self.open_stored(source)?;
        let stored = reader.stored_gauge();
        let (reader, content) = Meter::new(reader);
        Ok(DecodeReader {
            reader,
            content,
            stored,
        })
    }

    /// The same, which measures the stored bytes alone: hashing takes longer than decoding, and
    /// these say whether the content is what was written.
    pub fn open_stored<R: Read + Send + 'static>(&self, source: R) -> Result<StoredReader> {
        let (source, stored) = Meter::new(source);
        let source = Unsealer::new(&self.key, source)?;
        Ok(StoredReader {
            decoder: compress::decoder(self.codec, self.threads, source),
            stored,
            progress: Arc::clone(&self.progress),
        })
    }
}

/// The pushing side. Dropped without [`EncodeWriter::finish`] the stream is incomplete.
pub struct EncodeWriter<W: Write + Send + 'static> {
    encoder: Meter<compress::Encoder<Sealer<Meter<W>>>>,
    content: Gauge,
    stored: Gauge,
    progress: Progress,
}

impl<W: Write + Send + 'static> EncodeWriter<W> {
    /// Ends the stream; gives the sink back, which holds every byte but need not be durable yet,
    /// and what was measured.
    pub fn finish(self) -> Result<(W, Measurements)> {
        let sink = self.encoder.into_inner().finish()?.finish()?;
        let measurements = Measurements {
            content: self.content.reset(),
            stored: self.stored.reset(),
        };
        Ok((sink.into_inner(), measurements))
    }
}

impl<W: Write + Send + 'static> Write for EncodeWriter<W> {
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

/// The pushing side of a delta. Dropped without [`DeltaEncodeWriter::finish`] it is incomplete.
pub struct DeltaEncodeWriter<B: Read, W: Write + Send + 'static> {
    delta: Meter<DeltaWriter<B, EncodeWriter<W>>>,
    content: Gauge,
    /// A stretch of the base to be copied, which may still grow.
    open_copy: Stretch,
    progress: Progress,
}

impl<B: Read, W: Write + Send + 'static> DeltaEncodeWriter<B, W> {
    /// Reads the base to its end, and ends the stream; gives back what [`EncodeWriter::finish`]
    /// does, measured of the content itself.
    pub fn finish(mut self) -> Result<(W, Measurements)> {
        self.close_copy()?;
        let mut delta = self.delta.into_inner();
        delta.drain_base()?;
        let (encode, _) = delta.finish()?;
        let (sink, measured) = encode.finish()?;
        let content = self.content.reset();
        Ok((
            sink,
            Measurements {
                content,
                ..measured
            },
        ))
    }
}

impl<B: Read, W: Write + Send + 'static> DeltaEncodeWriter<B, W> {
    /// The next bytes of the content are this stretch of the base. It is read, and measured as if
    /// it had been written. Stretches that follow one another become one.
    pub fn copy_base(&mut self, stretch: Stretch) -> io::Result<()> {
        interrupt::check()?;
        if self.open_copy.length > 0 && self.open_copy.end() == stretch.offset {
            self.open_copy.length += stretch.length;
        } else {
            self.close_copy()?;
            self.open_copy = stretch;
        }
        while self.open_copy.length >= MAX_COPY {
            self.copy_start(MAX_COPY)?;
        }
        Ok(())
    }

    /// Lays what is written from now on beside this stretch of the base.
    pub fn align(&mut self, alignment: Alignment, stretch: Stretch) -> io::Result<()> {
        self.close_copy()?;
        self.delta.inner_mut().align(alignment, stretch)
    }

    /// Copies what is to be copied and does not grow any more.
    fn close_copy(&mut self) -> io::Result<()> {
        match self.open_copy.length {
            0 => Ok(()),
            length => self.copy_start(length),
        }
    }

    /// Copies so many bytes of the open stretch.
    fn copy_start(&mut self, length: u64) -> io::Result<()> {
        interrupt::check()?;
        let Stretch { offset, .. } = self.open_copy;
        self.delta
            .count_shown(|delta, show| delta.copy_read_base(Stretch { offset, length }, show))?;
        self.progress.fetch_add(length, Ordering::Relaxed);
        self.open_copy = Stretch {
            offset: offset + length,
            length: self.open_copy.length - length,
        };
        Ok(())
    }
}

impl<B: Read, W: Write + Send + 'static> Write for DeltaEncodeWriter<B, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        interrupt::check()?;
        self.close_copy()?;
        let count = self.delta.write(bytes)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pulling side of stored bytes whose content nobody needs to measure.
pub struct StoredReader {
    decoder: compress::Decoder,
    stored: Gauge,
    progress: Progress,
}

impl StoredReader {
    /// Tells what was read of the stored bytes, when the reader was given away.
    pub fn stored_gauge(&self) -> Gauge {
        self.stored.clone()
    }
}

impl Read for StoredReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        interrupt::check()?;
        let count = self.decoder.read(bytes).map_err(as_damage)?;
        self.progress.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The pulling side, measured at both ends.
pub struct DecodeReader {
    reader: Meter<StoredReader>,
    content: Gauge,
    stored: Gauge,
}

impl DecodeReader {
    /// What was measured; call it after the content was read to its end. What follows the content
    /// in the stored bytes, if anything, is read and measured too.
    pub fn finish(mut self) -> Result<Measurements> {
        let rest = io::copy(&mut self.reader, &mut io::sink())?;
        if rest > 0 {
            return Err(Error::damaged(format!(
                "{rest} bytes of content were left unread"
            )));
        }
        drop(self.reader);
        Ok(Measurements {
            content: self.content.reset(),
            stored: self.stored.reset(),
        })
    }
}

impl Read for DecodeReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.reader.read(bytes)
    }
}

/// What a decoder finds wrong with the data is damage; a source that can't be read is not.
pub fn as_damage(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::damaged(error).into(),
        _ => error,
    }
}

/// Hashes and counts what `source` gives.
pub fn measure(source: impl Read, progress: &Progress) -> Result<Measurement> {
    copy_measured(source, io::sink(), progress)
}

/// Writes what `source` gives as it is, and hashes and counts it on the way.
pub fn copy_measured(
    mut source: impl Read,
    sink: impl Write,
    progress: &Progress,
) -> Result<Measurement> {
    let (mut meter, gauge) = Meter::new(sink);
    stream::for_each_block(&mut source, |block| {
        meter.write_all(block)?;
        progress.fetch_add(block.len() as u64, Ordering::Relaxed);
        Ok(())
    })?;
    Ok(gauge.reset())
}

/// Encrypts what `source` gives on its way to `sink`; gives the sink back, and what was measured of
/// both.
pub fn copy_sealed<W: Write>(
    source: impl Read,
    recipients: &Arc<Recipients>,
    sink: W,
    progress: &Progress,
) -> Result<(W, Measurement, Measurement)> {
    let (sink, stored) = Meter::new(sink);
    let mut sealer = Sealer::new(Some(recipients), sink)?;
    let given = copy_measured(source, &mut sealer, progress)?;
    let sink = sealer.finish()?.into_inner();
    Ok((sink, given, stored.reset()))
}

/// How many threads a setting of 0, "every core", means here.
pub fn threads(setting: usize) -> usize {
    if setting > 0 {
        setting
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
