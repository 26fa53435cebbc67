//! One backup goes: its objects as they are stored, or encrypted on the way, then its sidecar.

use super::copier::Copier;
use crate::catalog::ListedBackup;
use crate::encryption::AGE;
use crate::error::{Error, Kind, Result};
use crate::ops::BackupEncryption;
use crate::ops::content::{copy_encrypted, copy_stored, measure_bytes};
use crate::ops::events::new_event;
use crate::ops::seal::seal_sidecar;
use crate::pipeline::{Measurement, Progress};
use crate::sidecar::{Change, Dump, Sidecar};
use crate::store::{Draft, names};
use std::io::{self, Write};
use std::time::Instant;

impl Copier<'_> {
    /// Sends the objects of a backup, then its sidecar, encrypted where the store wants it and they
    /// are not. Returns the bytes of the objects, and the SHA-256 of the sidecar there.
    pub(super) fn send(
        &self,
        source: &str,
        backup: &ListedBackup,
        sidecar_bytes: &[u8],
    ) -> Result<(u64, String)> {
        let sidecar = Sidecar::parse(sidecar_bytes)
            .map_err(|why| Error::damaged(format!("its sidecar can't be used: {why}")))?;
        let is_encrypted = |dump: &Dump| dump.encryption.is_some();
        let encryption = self
            .encryption
            .filter(|_| !sidecar.dump.as_ref().is_some_and(is_encrypted));
        let mut draft = self.to.begin_copy(source, backup.id())?;
        if let Some(flattener) = self.flattener.as_ref().filter(|_| backup.needs().is_some()) {
            return self.send_flattened(draft, source, backup, flattener);
        }
        if let Some(encryption) = encryption {
            return self.send_encrypted(draft, source, backup, sidecar, encryption);
        }
        let mut sent = 0;
        let dump = sidecar
            .dump
            .iter()
            .map(|dump| (dump.file.as_str(), dump.sha256.as_str(), dump.size_bytes));
        let contents = sidecar.contents().into_iter();
        let contents =
            contents.map(|list| (list.file.as_str(), list.sha256.as_str(), list.size_bytes));
        for (file, sha256, size) in dump.chain(contents) {
            self.send_object(&mut *draft, source, (file, sha256, size), None)?;
            sent += size;
        }
        if let Some(part) = &sidecar.sealed {
            let (file, sha256, size) = (&part.file, &part.sha256, part.size_bytes);
            self.send_object(&mut *draft, source, (file, sha256, size), None)?;
            sent += size;
        }
        self.send_signature(&mut *draft, source, &names::sidecar_name(backup.id()))?;
        send_pin(&mut *draft, backup)?;
        draft.commit(sidecar_bytes)?;
        Ok((sent, measure_bytes(sidecar_bytes)?.sha256))
    }

    /// Sends the signature of the sidecar, where there is one.
    fn send_signature(&self, draft: &mut dyn Draft, source: &str, signed: &str) -> Result<()> {
        let name = names::signature_name(signed);
        let bytes = match self.from.read(source, &name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut pending = draft.create(&name)?;
        pending.write_all(&bytes)?;
        pending.finish()
    }

    /// Sends a plain backup encrypted: its objects get other names and hashes, and so its sidecar
    /// is another one.
    fn send_encrypted(
        &self,
        mut draft: Box<dyn Draft>,
        source: &str,
        backup: &ListedBackup,
        mut sidecar: Sidecar,
        encryption: &BackupEncryption,
    ) -> Result<(u64, String)> {
        let mut sent = 0;
        if let Some(dump) = &mut sidecar.dump {
            let stored = (dump.file.as_str(), dump.sha256.as_str(), dump.size_bytes);
            let found = self.send_object(&mut *draft, source, stored, Some(encryption))?;
            sent += found.size;
            dump.file = format!("{}.{AGE}", dump.file);
            (dump.size_bytes, dump.sha256) = (found.size, found.sha256);
            dump.encryption = Some(AGE.to_owned());
            dump.recipients = encryption.recipients.fingerprints().to_vec();
        }
        sent += self.send_list(&mut *draft, source, &mut sidecar)?;
        send_pin(&mut *draft, backup)?;
        // The one before it has another sidecar there, too, and may not be there at all.
        sidecar.previous = None;
        if self.is_signed_for_there(source, backup)? {
            draft.sign_copy();
        }
        let open = seal_sidecar(&mut *draft, &mut sidecar, Some(encryption))?.to_bytes();
        draft.commit(&open)?;
        Ok((sent, measure_bytes(&open)?.sha256))
    }

    /// Sends the list of contents, where there is one, encrypted where the store wants it and it is
    /// not; returns the bytes that were sent.
    pub(super) fn send_list(
        &self,
        draft: &mut dyn Draft,
        source: &str,
        sidecar: &mut Sidecar,
    ) -> Result<u64> {
        let tree = sidecar.manifest.as_mut().and_then(|all| all.tree.as_mut());
        let Some(list) = tree.and_then(|tree| tree.contents.as_mut()) else {
            return Ok(0);
        };
        let encryption = self.encryption.filter(|_| !list.file.ends_with(AGE));
        let stored = (list.file.as_str(), list.sha256.as_str(), list.size_bytes);
        let found = self.send_object(draft, source, stored, encryption)?;
        if encryption.is_some() {
            list.file = format!("{}.{AGE}", list.file);
        }
        (list.size_bytes, list.sha256) = (found.size, found.sha256.clone());
        Ok(found.size)
    }

    /// Writes until the time for all copies is over.
    pub(super) fn bounded<W: Write>(&self, inner: W) -> BoundedSink<W> {
        BoundedSink {
            inner,
            deadline: self.deadline,
        }
    }

    /// Sends one object, encrypted where that is wanted; returns what was sent. What is not what
    /// the sidecar says is not sent to its end.
    fn send_object(
        &self,
        draft: &mut dyn Draft,
        source: &str,
        (file, sha256, size): (&str, &str, u64),
        encryption: Option<&BackupEncryption>,
    ) -> Result<Measurement> {
        let progress = Progress::default();
        let title = format!("copying {source}");
        let _bar = self.observer.follow(&title, size, &progress);
        let mut pending = match encryption {
            None => draft.create(file)?,
            Some(_) => draft.create(&format!("{file}.{AGE}"))?,
        };
        let objects = self.from.objects(source);
        let mut sink = self.bounded(&mut *pending);
        let (found, sent) = match encryption {
            None => {
                let found = copy_stored(&*objects, file, &mut sink, &progress)?;
                (found.clone(), found)
            }
            Some(how) => copy_encrypted(&*objects, file, &how.recipients, &mut sink, &progress)?,
        };
        if found.size != size || found.sha256 != sha256 {
            return Err(Error::damaged(format!(
                "`{}` is not what was written, so it was not copied",
                self.from.location().object(source, file)
            )));
        }
        pending.finish()?;
        Ok(sent)
    }
}

/// Puts the pin of a pinned backup into the draft of its copy.
pub(super) fn send_pin(draft: &mut dyn Draft, backup: &ListedBackup) -> Result<()> {
    if !backup.state.pinned {
        return Ok(());
    }
    let (name, event) = new_event(backup.id(), Change::Pinned, None);
    let mut pending = draft.create(&name)?;
    pending.write_all(&event.to_bytes())?;
    pending.finish()
}

/// Writes until a moment, and fails after it.
pub(super) struct BoundedSink<W> {
    inner: W,
    deadline: Option<Instant>,
}

impl<W> BoundedSink<W> {
    pub(super) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for BoundedSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            let error = Error::failed("it took longer than the store's `deadline`")
                .with_hint("raise `deadline`, or look at the line: `upload_limit` may be low");
            return Err(error.into());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
