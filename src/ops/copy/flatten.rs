//! A copy of a delta that stands alone: its content, decoded by its way and encoded anew as a full.
//! The content is the same, to the byte; the dump and the sidecar are other ones.

use super::copier::Copier;
use super::sending::send_pin;
use crate::catalog::ListedBackup;
use crate::encryption::AGE;
use crate::engine::Contents;
use crate::error::{Error, Hint, Kind, Result};
use crate::ops::content::{
    LIST_CODEC, codec_of, dump_extension, measure_bytes, open_content, open_list_content,
};
use crate::ops::examine::damage_error;
use crate::ops::find::ResolvedBackup;
use crate::ops::seal::seal_sidecar;
use crate::ops::{BackupEncryption, Session};
use crate::pipeline::{Encoding, Measurements};
use crate::sidecar::{DELTA_FEATURE, Dump, Sidecar};
use crate::store::{Draft, Store, names};
use crate::stream;
use std::sync::Arc;

/// What a delta is decoded with.
pub struct Flattener<'a> {
    /// The store that has its way.
    pub from: &'a Arc<dyn Store>,
    /// Its keys, and how a source's dumps are packed.
    pub session: &'a Session,
}

impl Flattener<'_> {
    /// The backup, with its way and the key for both.
    fn resolve(&self, backup: &ListedBackup) -> Result<ResolvedBackup> {
        let found = ResolvedBackup::in_store(self.from, backup, self.session)?;
        match found.stored().missing_key() {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// The encoding of a full: that of the configuration, where it has the codec of the delta.
    fn encoding(&self, source: &str, dump: &Dump) -> Result<Encoding> {
        let configured = self.session.settings_of(source).encoding();
        let codec = codec_of(dump)?;
        Ok(match configured.codec().name() == codec.name() {
            true => configured,
            false => Encoding::new(codec).with_threads(configured.threads()),
        })
    }
}

impl Copier<'_> {
    /// Sends a delta as a full. Returns the bytes that were sent, and the SHA-256 of the sidecar
    /// there.
    pub(super) fn send_flattened(
        &self,
        mut draft: Box<dyn Draft>,
        source: &str,
        backup: &ListedBackup,
        flattener: &Flattener<'_>,
    ) -> Result<(u64, String)> {
        let found = flattener.resolve(backup)?;
        let whole = found.backup.as_ref().map(|backup| &backup.sidecar);
        let (Some(mut sidecar), Some(dump)) = (whole.cloned(), found.stored().dump.cloned()) else {
            return Err(Error::failed("it has no dump"));
        };
        if dump.encryption.is_some() && self.encryption.is_none() {
            return Err(self.would_be_plain());
        }
        let recipients = self.encryption.map(|how| &how.recipients);
        let encoding = flattener
            .encoding(source, &dump)?
            .with_recipients(recipients);
        let extension = dump_extension(found.format, false, &encoding);
        let file = format!("{}.{extension}", backup.id());
        let measured = self.write_full(&mut *draft, &file, &found, &encoding)?;
        let mut sent = measured.stored.size;
        sidecar.dump = Some(full_dump(dump, file, &encoding, measured, self.encryption));
        sidecar.requires.retain(|feature| feature != DELTA_FEATURE);
        sent += self.send_whole_list(&mut *draft, source, &found, &mut sidecar)?;
        send_pin(&mut *draft, backup)?;
        // The one before it has another sidecar there, too, and may not be there at all.
        sidecar.previous = None;
        sidecar.sealed = None;
        if self.is_signed_for_there(source, backup)? {
            draft.sign_copy();
        }
        let open = seal_sidecar(&mut *draft, &mut sidecar, self.encryption)?.to_bytes();
        draft.commit(&open)?;
        Ok((sent, measure_bytes(&open)?.sha256))
    }

    /// Sends the list of contents, which stands alone there, too.
    fn send_whole_list(
        &self,
        draft: &mut dyn Draft,
        source: &str,
        found: &ResolvedBackup,
        sidecar: &mut Sidecar,
    ) -> Result<u64> {
        if !sidecar.contents().is_some_and(|list| list.is_delta) {
            return self.send_list(draft, source, sidecar);
        }
        let recipients = self.encryption.map(|how| &how.recipients);
        let mut file = names::contents_name(&sidecar.id, false);
        if recipients.is_some() {
            file = format!("{file}.{AGE}");
        }
        let mut content = open_list_content(&found.stored())?
            .ok_or_else(|| Error::damaged("its list of contents is not what was written"))?;
        let encoding = Encoding::new(LIST_CODEC).with_recipients(recipients);
        let mut encode = encoding.start(self.bounded(draft.create(&file)?))?;
        stream::copy(&mut content, &mut encode)?;
        let (sink, measured) = encode.finish()?;
        sink.into_inner().finish()?;
        let tree = sidecar.manifest.as_mut().and_then(|all| all.tree.as_mut());
        if let Some(list) = tree.and_then(|tree| tree.contents.as_mut()) {
            *list = Contents {
                file,
                size_bytes: measured.stored.size,
                sha256: measured.stored.sha256,
                is_delta: false,
            };
        }
        Ok(measured.stored.size)
    }

    /// Decodes the content, and encodes it into the draft. What does not decode to what was saved
    /// is not sent to its end.
    fn write_full(
        &self,
        draft: &mut dyn Draft,
        file: &str,
        found: &ResolvedBackup,
        encoding: &Encoding,
    ) -> Result<Measurements> {
        let mut content = open_content(&found.stored(), encoding.threads(), self.observer)?;
        let mut encode = encoding.start(self.bounded(draft.create(file)?))?;
        stream::copy(&mut content, &mut encode)?;
        if let Some(error) = damage_error(&found.name(), &content.finish()?) {
            return Err(error);
        }
        let (sink, measured) = encode.finish()?;
        sink.into_inner().finish()?;
        Ok(measured)
    }

    fn would_be_plain(&self) -> Error {
        let text = format!(
            "it is encrypted, and as a full it would not be in the store `{}`",
            self.name
        );
        Error::new(Kind::Usage, text).with_hint(
            Hint::new().text("say `encrypt = true` of that store, or copy it with its way"),
        )
    }
}

/// What the sidecar says of a dump that stands alone.
fn full_dump(
    delta: Dump,
    file: String,
    encoding: &Encoding,
    measured: Measurements,
    encryption: Option<&BackupEncryption>,
) -> Dump {
    Dump {
        file,
        size_bytes: measured.stored.size,
        sha256: measured.stored.sha256,
        content_size_bytes: measured.content.size,
        content_sha256: Some(measured.content.sha256),
        compression: encoding.codec().name().to_owned(),
        encryption: encryption.map(|_| AGE.to_owned()),
        recipients: encryption.map_or_else(Vec::new, |how| how.recipients.fingerprints().to_vec()),
        base: None,
        delta: None,
        format: delta.format,
    }
}
