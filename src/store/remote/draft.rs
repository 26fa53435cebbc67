//! A backup that is being written to another machine: its objects have their names from the start,
//! and a reservation says whose they are until the sidecar is there.

use super::medium::{Creation, Upload};
use super::record::{
    DraftRecord, UploadRecord, draft_name, has_ended, new_upload_name, tombstone_name,
};
use super::{
    LONGEST_RECORD, LONGEST_SIDECAR, Medium, RemoteObjects, RemoteStore, create_once,
    ignore_missing, is_surely_missing, key,
};
use crate::error::{Error, Kind, Result};
use crate::failpoint::fail_point;
use crate::store::names::sidecar_name;
use crate::store::{Draft, Location, Objects, PendingObject, check_name};
use crate::units;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What came of asking for an id.
pub enum Reservation {
    /// It is this run's.
    Granted(Box<RemoteDraft>),
    /// Another run has it, or had it when it was killed.
    Taken,
    /// A backup has it.
    Listed,
    /// A backup has it, and is being removed.
    BeingRemoved,
}

/// See the head of this file.
pub struct RemoteDraft {
    location: Location,
    removes: bool,
    id: String,
    /// The reservation's bytes.
    record: Vec<u8>,
    objects: ReservedObjects,
    /// The names of the records of its uploads.
    uploads: Arc<Mutex<Vec<String>>>,
    /// Set before the sidecar is sent: from then on only a sweep can tell whether it is there.
    may_be_listed: bool,
}

/// Makes a reservation that is there already this run's: it is, after all, or its run has ended.
fn take_over(medium: &dyn Medium, reservation: &str, record: &[u8]) -> Result<bool> {
    let found = medium.read(reservation, LONGEST_RECORD)?;
    if found == record {
        return Ok(true);
    }
    if !has_ended(&found) {
        return Ok(false);
    }
    medium.replace(reservation, record)?;
    // Another run may have had the same idea.
    Ok(medium.read(reservation, LONGEST_RECORD)? == record)
}

/// The objects of a draft.
struct ReservedObjects {
    all: RemoteObjects,
    names: Vec<String>,
}

impl RemoteDraft {
    /// Reserves an id for this run. The reservation of a run of this machine that was killed is
    /// taken over.
    pub fn reserve(store: &RemoteStore, source: &str, id: &str) -> Result<Reservation> {
        let record = DraftRecord::new(store.process.clone()).to_bytes();
        let reservation = key(source, &draft_name(id));
        if store.medium.create(&reservation, &record)? == Creation::AlreadyThere
            && !take_over(&*store.medium, &reservation, &record)?
        {
            return Ok(Reservation::Taken);
        }
        // A list may be short, and this run would write over the objects of a backup, or remove
        // them when it is given up. Of one that is being removed the rest goes later, whatever has
        // its names then.
        let is_gone = |name: &str| is_surely_missing(&*store.medium, &key(source, name));
        let refused = if !is_gone(&sidecar_name(id))? {
            Some(Reservation::Listed)
        } else if !is_gone(&tombstone_name(id))? && store.tombstone(source, id)?.is_some() {
            Some(Reservation::BeingRemoved)
        } else {
            None
        };
        if let Some(refused) = refused {
            if store.removes() {
                ignore_missing(store.medium.remove(&reservation))?;
            }
            return Ok(refused);
        }
        Ok(Reservation::Granted(Box::new(RemoteDraft {
            location: store.location.clone(),
            removes: store.removes(),
            id: id.to_owned(),
            record,
            objects: ReservedObjects {
                all: RemoteObjects::new(Arc::clone(&store.medium), source),
                names: Vec::new(),
            },
            uploads: Arc::default(),
            may_be_listed: false,
        })))
    }

    fn medium(&self) -> &dyn Medium {
        &*self.objects.all.medium
    }

    fn key(&self, name: &str) -> String {
        self.objects.all.key(name)
    }

    /// Removes the records, the reservation last. What can't be removed is left for a sweep.
    fn remove_records(&self) -> Result<()> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        for name in uploads.iter() {
            self.remove(name)?;
        }
        self.remove(&draft_name(&self.id))
    }

    /// Removes what there is of a draft that is given up, the reservation last.
    fn discard(&self) -> Result<()> {
        for name in &self.objects.names {
            self.remove(name)?;
        }
        self.remove_records()
    }

    /// Removes an object, if it is there: one that was not finished may never have been.
    fn remove(&self, name: &str) -> Result<()> {
        ignore_missing(self.medium().remove(&self.key(name)))
    }

    /// Whether the reservation is still this run's.
    fn is_reserved(&self) -> Result<bool> {
        let key = self.key(&draft_name(&self.id));
        match self.medium().read(&key, LONGEST_RECORD) {
            Ok(bytes) => Ok(bytes == self.record),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An error where the reservation is gone: somebody took this run for a dead one, and may have
    /// removed its objects, or written others of the same names.
    fn check_reservation(&self) -> Result<()> {
        if !self.is_reserved()? {
            return Err(Error::failed(format!(
                "the reservation of `{}` in `{}` was removed while it was written",
                self.id, self.location
            ))
            .with_hint("another machine took this run for a dead one; look at both clocks"));
        }
        Ok(())
    }
}

impl Draft for RemoteDraft {
    fn id(&self) -> &str {
        &self.id
    }

    fn create(&mut self, name: &str) -> Result<Box<dyn PendingObject>> {
        check_name(name, &self.id)?;
        if self.objects.names.iter().any(|known| known == name) {
            return Err(Error::failed(format!("`{name}` is there already")));
        }
        let (medium, uploads) = (
            Arc::clone(&self.objects.all.medium),
            Arc::clone(&self.uploads),
        );
        let record = new_upload_name(&self.id);
        let record_key = self.key(&record);
        let object = name.to_owned();
        let announce = move |token: &str| {
            let bytes = UploadRecord::new(&object, token).to_bytes();
            uploads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
            create_once(&*medium, &record_key, &bytes, || record_key.clone())
        };
        let upload = self
            .medium()
            .begin_upload(&self.key(name), Box::new(announce))?;
        self.objects.names.push(name.to_owned());
        Ok(Box::new(RemoteObject {
            upload: Some(upload),
            shown: self.location.object(&self.objects.all.source, name),
        }))
    }

    fn objects(&self) -> &dyn Objects {
        &self.objects
    }

    fn commit(mut self: Box<Self>, sidecar: &[u8]) -> Result<()> {
        self.check_reservation()?;
        for name in &self.objects.names {
            self.objects.size(name)?;
        }
        fail_point("store: sidecar drafted")?;
        let name = sidecar_name(&self.id);
        if sidecar.len() as u64 > LONGEST_SIDECAR {
            return Err(Error::failed(format!(
                "the sidecar of `{}` has {}, and one of more than {} is not read there",
                self.id,
                units::size(sidecar.len() as u64),
                units::size(LONGEST_SIDECAR)
            )));
        }
        self.may_be_listed = true;
        create_once(self.medium(), &self.key(&name), sidecar, || {
            self.location.object(&self.objects.all.source, &name)
        })?;
        fail_point("store: backup listed")?;
        if self.removes {
            let _ = self.remove_records();
        }
        Ok(())
    }
}

impl Drop for RemoteDraft {
    fn drop(&mut self) {
        if self.may_be_listed || !self.removes {
            return;
        }
        // Without the reservation the objects of these names may be another run's. After a signal
        // nothing can be asked any more: then it is taken for this run's still.
        let is_ours = self
            .is_reserved()
            .unwrap_or_else(|error| error.kind() == Kind::Interrupted);
        if is_ours {
            let _ = self.discard();
        }
    }
}

impl Objects for ReservedObjects {
    fn names(&self) -> Result<Vec<String>> {
        let there = self.all.names()?;
        let is_there = |name: &&String| there.contains(name);
        Ok(self.names.iter().filter(is_there).cloned().collect())
    }

    fn size(&self, name: &str) -> Result<u64> {
        self.all.size(name)
    }

    fn read_into(&self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        self.all.read_into(name, bytes)
    }

    fn open_range(&self, name: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        self.all.open_range(name, range)
    }

    fn path(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// An object that is being sent.
struct RemoteObject {
    /// `None` once it is finished.
    upload: Option<Box<dyn Upload>>,
    shown: String,
}

impl Write for RemoteObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.upload {
            Some(upload) => upload.write(bytes).map_err(|error| {
                Error::from(error)
                    .context(format!("writing `{}`", self.shown))
                    .into()
            }),
            None => Err(io::Error::other("written after its end")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PendingObject for RemoteObject {
    fn finish(mut self: Box<Self>) -> Result<()> {
        match self.upload.take() {
            Some(upload) => upload
                .finish()
                .map_err(|error| error.context(format!("writing `{}`", self.shown))),
            None => Ok(()),
        }
    }
}
