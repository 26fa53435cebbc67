//! Small objects: written whole and read back, read whole and compared with their tags.

use super::Bucket;
use super::failure::{RequestFailure, ServiceAction, TryAgain, answer};
use super::proof::hexadecimal;
use crate::error::{Error, Kind, Result};
use crate::store::remote::medium::Creation;
use crate::units;
use futures_util::StreamExt;
use md5::{Digest as _, Md5};
use object_store::{GetOptions, PutMode, PutOptions, PutPayload};
use std::sync::atomic::Ordering;

/// The bytes of an object, and what the service tells them by.
struct SmallObject {
    bytes: Vec<u8>,
    tag: Option<String>,
}

impl SmallObject {
    /// Whether the tag is the sum of the bytes.
    fn is_proven(&self) -> bool {
        let tag = self.tag.as_deref().unwrap_or_default().trim_matches('"');
        tag.eq_ignore_ascii_case(&hexadecimal(&Md5::digest(&self.bytes)))
    }
}

impl Bucket {
    /// Reads a small object whole. One that its tag does not fit is read once more: an error in
    /// place of the object, or a byte that came over wrong, is another one the second time. Where
    /// the tags of a service are no sums both are the same, and the tags are not looked at again.
    /// An empty one is read once more as well, as hardly anything that is written is empty, and
    /// the tag of an answer without a body fits it.
    pub(super) async fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        let first = self.read_once(key, limit).await?;
        let is_provable = self.tags_are_sums.load(Ordering::Relaxed);
        if !first.bytes.is_empty() && (first.is_proven() || !is_provable) {
            return Ok(first.bytes);
        }
        let second = self.read_once(key, limit).await?;
        if second.is_proven() {
            return Ok(second.bytes);
        }
        if second.bytes != first.bytes {
            return Err(Error::failed(format!(
                "reading `{}`: it is another one each time",
                self.shown(key)
            )));
        }
        if !second.bytes.is_empty() {
            self.tags_are_sums.store(false, Ordering::Relaxed);
        }
        Ok(second.bytes)
    }

    async fn read_once(&self, key: &str, limit: u64) -> Result<SmallObject> {
        let path = self.path(key)?;
        self.persist(ServiceAction::Read, key, || async {
            let found = self
                .client
                .objects
                .get_opts(&path, GetOptions::new())
                .await?;
            let too_long = || object_store::Error::Generic {
                store: "store",
                source: format!("it is longer than {}", units::size(limit)).into(),
            };
            let (size, tag) = (found.meta.size, found.meta.e_tag.clone());
            if size > limit {
                return Err(too_long());
            }
            let mut bytes = Vec::with_capacity(size.min(1 << 20) as usize);
            let mut stream = found.into_stream();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
                if bytes.len() as u64 > limit {
                    return Err(too_long());
                }
            }
            match bytes.len() as u64 == size {
                true => Ok(SmallObject { bytes, tag }),
                false => Err(object_store::Error::Generic {
                    store: "store",
                    source: Box::new(RequestFailure::transport(
                        format!("{} of {size} bytes came", bytes.len()),
                        TryAgain::Patiently,
                    )),
                }),
            }
        })
        .await
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<()> {
        let path = self.path(key)?;
        self.persist(ServiceAction::Write, key, || async {
            let (bytes, options) = (bytes.clone(), options.clone());
            self.client.objects.put_opts(&path, bytes, options).await
        })
        .await
        .map(drop)
    }

    /// A small object that counts as stored is read back: an answer alone is no proof.
    async fn check_stored(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let limit = bytes.len() as u64;
        let stored = match self.read_once(key, limit).await {
            Err(error) if error.kind() == Kind::NotFound => None,
            other => Some(other?.bytes),
        };
        match stored {
            Some(stored) if stored == bytes => Ok(()),
            Some(_) => Err(Error::damaged(format!(
                "`{}` was stored, and is another one when it is read back",
                self.shown(key)
            ))),
            None => Err(Error::failed(format!(
                "`{}` was stored, as the server said, and is not there",
                self.shown(key)
            ))),
        }
    }

    pub(super) async fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation> {
        let payload = || PutPayload::from(bytes.to_vec());
        match self
            .put(key, payload(), PutOptions::from(PutMode::Create))
            .await
        {
            Ok(()) => {}
            Err(error) => match answer(&error) {
                Some(answer) if matches!(answer.status, 304 | 409 | 412) => {
                    return Ok(Creation::AlreadyThere);
                }
                // Some services don't know the condition.
                Some(answer) if answer.status == 501 || answer.code == "NotImplemented" => {
                    match self.size(key).await {
                        Ok(_) => return Ok(Creation::AlreadyThere),
                        Err(error) if error.kind() == Kind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                    self.put(key, payload(), PutOptions::default()).await?;
                }
                _ => return Err(error),
            },
        }
        self.check_stored(key, bytes).await?;
        Ok(Creation::Created)
    }

    pub(super) async fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let payload = PutPayload::from(bytes.to_vec());
        self.put(key, payload, PutOptions::default()).await?;
        self.check_stored(key, bytes).await
    }
}
