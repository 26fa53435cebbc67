//! An object that is sent: in one piece where it is small, else in parts that grow (`parts`), some
//! of them in flight while the next one is filled.

use super::failure::{ServiceAction, answer};
use super::network::Network;
use super::proof::{SentContent, prove};
use super::{Announcement, Bucket, Upload};
use crate::error::{Error, Result};
use bytes::Bytes;
use md5::Md5;
use object_store::multipart::PartId;
use object_store::{PutMultipartOptions, PutOptions, PutPayload};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Parts are filled in pieces of this size, so that no part needs to be one piece of memory.
const PIECE: usize = 1 << 20;

/// A part that the service has.
struct SentPart {
    id: PartId,
    sum: [u8; 16],
}

/// A part that is being filled.
#[derive(Default)]
struct PartBuffer {
    full: Vec<Bytes>,
    last: Vec<u8>,
    length: u64,
}

impl PartBuffer {
    /// Takes as much of `bytes` as a part of `size` bytes has room for; returns how much.
    fn fill(&mut self, bytes: &[u8], size: u64) -> usize {
        let room = size.saturating_sub(self.length);
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            if self.last.capacity() == 0 {
                self.last = Vec::with_capacity(PIECE);
            }
            let (now, later) = rest.split_at(rest.len().min(PIECE - self.last.len()));
            self.last.extend_from_slice(now);
            if self.last.len() == PIECE {
                self.full.push(std::mem::take(&mut self.last).into());
            }
            rest = later;
        }
        self.length += taken as u64;
        taken
    }

    fn into_payload(mut self) -> PutPayload {
        if !self.last.is_empty() {
            self.full.push(self.last.into());
        }
        self.full.into_iter().collect()
    }
}

fn sum_of(payload: &PutPayload) -> [u8; 16] {
    let mut sum = Md5::new();
    for piece in payload {
        sum.update(piece);
    }
    sum.finalize().into()
}

/// See the head of this file.
pub struct ObjectUpload {
    network: Arc<Network>,
    bucket: Arc<Bucket>,
    key: String,
    announce: Option<Announcement>,
    /// The id of the upload, once there is one.
    id: Option<String>,
    buffer: PartBuffer,
    /// How many parts were begun to be sent.
    begun: usize,
    in_flight: VecDeque<JoinHandle<Result<SentPart>>>,
    sent: Vec<SentPart>,
    whole: Sha256,
    size: u64,
    /// Set by the first error: what was sent then is not known.
    has_failed: bool,
    is_finished: bool,
}

impl ObjectUpload {
    /// Begins an object; nothing is sent until there is more than one part of it.
    pub fn begin(
        network: Arc<Network>,
        bucket: Arc<Bucket>,
        key: &str,
        announce: Announcement,
    ) -> ObjectUpload {
        ObjectUpload {
            network,
            bucket,
            key: key.to_owned(),
            announce: Some(announce),
            id: None,
            buffer: PartBuffer::default(),
            begun: 0,
            in_flight: VecDeque::new(),
            sent: Vec::new(),
            whole: Sha256::new(),
            size: 0,
            has_failed: false,
            is_finished: false,
        }
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut size = self.part_size()?;
        if self.buffer.length == size {
            self.send_part()?;
            size = self.part_size()?;
        }
        let taken = self.buffer.fill(bytes, size);
        self.whole.update(&bytes[..taken]);
        self.size += taken as u64;
        Ok(taken)
    }

    /// Bytes of the part that is being filled.
    fn part_size(&self) -> Result<u64> {
        let schedule = self.bucket.client.schedule;
        schedule.size(self.begun).ok_or_else(|| {
            let longest = crate::units::size(schedule.longest_object());
            Error::failed(format!(
                "it is longer than {longest}, the most that fits there"
            ))
            .with_hint("back up parts of it as sources of their own")
        })
    }

    /// The id of the upload; the first call begins it and announces it.
    fn upload_id(&mut self) -> Result<String> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let bucket = &self.bucket;
        let path = bucket.path(&self.key)?;
        let id =
            self.network.run(
                bucket.persist(ServiceAction::BeginUpload, &self.key, || async {
                    let options = PutMultipartOptions::from(bucket.attributes(&self.key));
                    bucket
                        .client
                        .parts
                        .create_multipart_opts(&path, options)
                        .await
                }),
            )?;
        // From here on it is given up when this value is dropped.
        self.id = Some(id.clone());
        if let Some(announce) = self.announce.take() {
            announce(&id)?;
        }
        Ok(id)
    }

    /// Sends the part that was filled, and waits until the next one may be filled.
    fn send_part(&mut self) -> Result<()> {
        let id = self.upload_id()?;
        let index = self.begun;
        let payload = std::mem::take(&mut self.buffer).into_payload();
        let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
        self.begun += 1;
        self.in_flight
            .push_back(self.network.handle().spawn(async move {
                let path = bucket.path(&key)?;
                let sum = sum_of(&payload);
                let put = || {
                    let payload = payload.clone();
                    bucket.client.parts.put_part(&path, &id, index, payload)
                };
                let id = bucket.persist(ServiceAction::SendPart, &key, put).await?;
                Ok(SentPart { id, sum })
            }));
        while self.in_flight.len() > self.bucket.client.schedule.in_flight(self.begun) {
            self.await_part()?;
        }
        Ok(())
    }

    /// Waits for the oldest part in flight.
    fn await_part(&mut self) -> Result<()> {
        let Some(task) = self.in_flight.front_mut() else {
            return Ok(());
        };
        let part = self.network.run(async {
            let part = task.await;
            part.unwrap_or_else(|_| Err(Error::failed("the part's transfer ended by itself")))
        });
        // A task that has ended must not be asked again; one that was interrupted is dropped.
        self.in_flight.pop_front().as_ref().map(JoinHandle::abort);
        self.sent.push(part?);
        Ok(())
    }

    fn finish_all(&mut self) -> Result<()> {
        let proven = self.send_all().and_then(|sent| {
            let proof = prove(&self.bucket, &self.key, &sent);
            self.network.run(proof)
        });
        if proven.is_err() && self.bucket.removes {
            // The error is what is to be told, whatever comes of this.
            let removal = self.bucket.remove(&self.key);
            let _ = self.network.run_briefly(removal);
        }
        proven
    }

    fn send_all(&mut self) -> Result<SentContent> {
        match self.id.is_some() {
            true => self.complete(),
            false => self.put_whole(),
        }
    }

    /// Sends an object that is small enough for one piece.
    fn put_whole(&mut self) -> Result<SentContent> {
        let payload = std::mem::take(&mut self.buffer).into_payload();
        let sum = sum_of(&payload);
        let options = PutOptions::from(self.bucket.attributes(&self.key));
        self.network
            .run(self.bucket.put(&self.key, payload, options))?;
        Ok(self.content(vec![sum], false))
    }

    /// Sends what is left and makes the parts an object.
    fn complete(&mut self) -> Result<SentContent> {
        if self.buffer.length > 0 {
            self.send_part()?;
        }
        while !self.in_flight.is_empty() {
            self.await_part()?;
        }
        let id = self.upload_id()?;
        let bucket = &self.bucket;
        let path = bucket.path(&self.key)?;
        let ids: Vec<PartId> = self.sent.iter().map(|part| part.id.clone()).collect();
        let completed =
            self.network.run(
                bucket.persist(ServiceAction::CompleteUpload, &self.key, || {
                    bucket
                        .client
                        .parts
                        .complete_multipart(&path, &id, ids.clone())
                }),
            );
        match completed {
            Ok(_) => {}
            // An earlier try may have completed it, and its answer was lost; a later one is refused
            // then. Nobody else writes this key, and the proof will tell.
            Err(error) if answer(&error).is_some() => {
                let stored = self.network.run(bucket.size(&self.key));
                if !stored.is_ok_and(|stored| stored == self.size) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        // The id stays until the proof: a service that only said so has the parts still.
        let sums = self.sent.iter().map(|part| part.sum).collect();
        Ok(self.content(sums, true))
    }

    fn content(&self, sums: Vec<[u8; 16]>, in_parts: bool) -> SentContent {
        SentContent {
            size: self.size,
            sums,
            in_parts,
            sha256: self.whole.clone().finalize().into(),
        }
    }

    fn check(&self) -> Result<()> {
        match self.has_failed {
            true => Err(Error::failed("an earlier part of it could not be sent")),
            false => Ok(()),
        }
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.check()?;
        let taken = self.take_bytes(bytes);
        self.has_failed = taken.is_err();
        Ok(taken?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for ObjectUpload {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.check()?;
        self.finish_all()?;
        self.is_finished = true;
        Ok(())
    }
}

/// What was sent of an object that is given up is removed, as far as the service obeys.
impl Drop for ObjectUpload {
    fn drop(&mut self) {
        for task in &self.in_flight {
            task.abort();
        }
        if let (false, Some(id)) = (self.is_finished, &self.id) {
            let _ = self
                .network
                .run_briefly(self.bucket.discard_upload(&self.key, id));
        }
    }
}
