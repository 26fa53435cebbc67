//! The key, and the two streams: content is sealed as it is pushed to a sink, and opened as it is
//! pulled.

use super::identities::in_one_line;
use super::program::{ProgramSealer, ProgramUnsealer};
use super::{FIRST_LINE, Identities, PASSPHRASE, Recipients};
use crate::error::{Error, Kind, Result};
use age::stream::{StreamReader, StreamWriter};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Writes to a sink what is written to it, encrypted where there are recipients.
pub enum Sealer<W: Write> {
    /// As it is.
    Plain(W),
    /// Encrypted.
    Sealed(Box<StreamWriter<FirstLineCheck<W>>>),
    /// Encrypted by the program `age`.
    SealedByProgram(ProgramSealer<FirstLineCheck<W>>),
}

impl<W: Write> Sealer<W> {
    /// Begins a stream. With recipients the header is written now.
    pub fn new(recipients: Option<&Arc<Recipients>>, sink: W) -> Result<Sealer<W>> {
        let Some(recipients) = recipients else {
            return Ok(Sealer::Plain(sink));
        };
        let checked = FirstLineCheck { sink, checked: 0 };
        if let Some(program) = recipients.program() {
            let sealer = ProgramSealer::new(program.start()?, checked);
            return Ok(Sealer::SealedByProgram(sealer));
        }
        let writer = recipients.encryptor()?.wrap_output(checked)?;
        Ok(Sealer::Sealed(Box::new(writer)))
    }

    /// Ends the stream. Without it what was encrypted can't be read.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Sealer::Plain(sink) => Ok(sink),
            Sealer::Sealed(writer) => writer.finish().map(|checked| checked.sink),
            Sealer::SealedByProgram(sealer) => sealer.finish().map(|checked| checked.sink),
        }
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sealer::Plain(sink) => sink.write(bytes),
            Sealer::Sealed(writer) => writer.write(bytes),
            Sealer::SealedByProgram(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sealer::Plain(sink) => sink.flush(),
            Sealer::Sealed(writer) => writer.flush(),
            Sealer::SealedByProgram(sealer) => sealer.flush(),
        }
    }
}

/// Lets nothing through that does not begin as an encrypted file does: the last look at what goes
/// out.
pub struct FirstLineCheck<W> {
    sink: W,
    /// How many bytes of the first line have been seen.
    checked: usize,
}

impl<W: Write> Write for FirstLineCheck<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let expected = &FIRST_LINE[self.checked..];
        let now = expected.len().min(bytes.len());
        if bytes[..now] != expected[..now] {
            return Err(io::Error::other(
                "what was to be encrypted is not: it is not stored",
            ));
        }
        let written = self.sink.write(bytes)?;
        self.checked += written.min(expected.len());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// What opens stored bytes.
#[derive(Debug, Clone)]
pub enum DecryptionKey {
    /// They are not encrypted.
    NotNeeded,
    /// They are, and no private key is given.
    NotGiven,
    /// They are, and none of the private keys that are given fits.
    Unfit,
    /// They are, and these private keys may fit.
    Given(Arc<Identities>),
}

impl DecryptionKey {
    /// The error, of the kind `Sealed`, of what has not the key that it needs; `what` names it, and
    /// the recipients are those that are known.
    pub fn missing(&self, what: &str, recipients: &[String]) -> Error {
        if recipients == [PASSPHRASE] {
            let why = match self {
                DecryptionKey::Unfit => "the passphrase that is given does not open it",
                _ => "no passphrase is given",
            };
            let text = format!("{what} is encrypted with a passphrase, and {why}");
            return Error::new(Kind::Sealed, text)
                .with_hint("look at `passphrase_file` or `passphrase_command` in [encryption]");
        }
        let to = match recipients {
            [] => String::new(),
            _ => format!(" to {}", recipients.join(", ")),
        };
        let why = match self {
            DecryptionKey::Unfit => "it is not encrypted to any of the private keys that are given",
            _ => "no private key is given",
        };
        let text = format!("{what} is encrypted{to}, and {why}");
        Error::new(Kind::Sealed, text).with_hint(match self {
            DecryptionKey::Unfit => {
                "this is another key; give the file of one of these recipients: `--identity FILE`"
            }
            _ => {
                "give the file with the private key: `--identity FILE`, $DBBACKUP_IDENTITY_FILE, \
                 or \
                 `identity_file` in [encryption]"
            }
        })
    }
}

/// Reads what a source gives, decrypted where there are identities. The header is read with the
/// first byte.
pub struct Unsealer<R: Read> {
    state: UnsealerState<R>,
}

enum UnsealerState<R: Read> {
    Plain(R),
    Closed(R, Arc<Identities>),
    Open(Box<StreamReader<R>>),
    OpenByProgram(ProgramUnsealer<R>),
    /// The header could not be used.
    Failed,
}

impl<R: Read> Unsealer<R> {
    /// Reads `source` with this key. None that is needed and not here is an error of the kind
    /// `Sealed`; one that does not fit is, with the first byte.
    pub fn new(key: &DecryptionKey, source: R) -> Result<Unsealer<R>> {
        let state = match key {
            DecryptionKey::NotNeeded => UnsealerState::Plain(source),
            DecryptionKey::Given(identities) => {
                UnsealerState::Closed(source, Arc::clone(identities))
            }
            DecryptionKey::NotGiven | DecryptionKey::Unfit => return Err(key.missing("it", &[])),
        };
        Ok(Unsealer { state })
    }

    fn open(&mut self) -> io::Result<()> {
        let state = std::mem::replace(&mut self.state, UnsealerState::Failed);
        let UnsealerState::Closed(source, identities) = state else {
            self.state = state;
            return Ok(());
        };
        if let Some(program) = &identities.program {
            let opened = ProgramUnsealer::new(program.start()?, source);
            self.state = UnsealerState::OpenByProgram(opened);
            return Ok(());
        }
        let decryptor = age::Decryptor::new(source).map_err(failure)?;
        let all = identities
            .all
            .iter()
            .map(|one| &**one as &dyn age::Identity);
        self.state = UnsealerState::Open(Box::new(decryptor.decrypt(all).map_err(failure)?));
        Ok(())
    }
}

/// What keeps a file from being opened: another key than is needed, damage, or a source that fails.
fn failure(error: age::DecryptError) -> io::Error {
    use age::DecryptError::{
        DecryptionFailed, InvalidHeader, InvalidMac, Io, KeyDecryptionFailed, UnknownFormat,
    };
    match error {
        Io(error) => error,
        error @ (InvalidHeader | InvalidMac | UnknownFormat) => {
            io::Error::new(io::ErrorKind::InvalidData, in_one_line(&error))
        }
        // Only the header has been read, so it is the key in it that did not open: a passphrase
        // that was changed must not make every backup a damaged one.
        DecryptionFailed => other_key("the passphrase does not open it"),
        KeyDecryptionFailed => other_key("the passphrase of the private key is wrong"),
        age::DecryptError::NoMatchingKeys => DecryptionKey::Unfit.missing("it", &[]).into(),
        error => other_key(&in_one_line(&error)),
    }
}

pub(super) fn other_key(why: &str) -> io::Error {
    Error::new(Kind::Sealed, why)
        .with_hint("`show` names the recipients; give the private key of one: `--identity FILE`")
        .into()
}

impl<R: Read> Read for Unsealer<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, UnsealerState::Closed(..)) {
            self.open()?;
        }
        match &mut self.state {
            UnsealerState::Plain(source) => source.read(bytes),
            UnsealerState::Open(stream) => stream.read(bytes),
            UnsealerState::OpenByProgram(opened) => opened.read(bytes),
            UnsealerState::Closed(..) | UnsealerState::Failed => {
                Err(io::Error::other("the encrypted file could not be opened"))
            }
        }
    }
}
