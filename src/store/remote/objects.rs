//! Buckets of S3, Google and Azure as a medium.
//!
//! `network` runs the requests on threads of its own, `transport` moves their bytes and ends what
//! is silent, and the library `object_store` signs them. Every request is tried once by the
//! library; [`Bucket`] tries again with a new signature, until `retry_for` has passed. So a request
//! whose answer was lost is repeated, and each is written so that it may be: what is created is
//! compared, what is removed may be gone, a part replaces itself, and an upload that was completed
//! already is asked for.
//!
//! Nothing counts as stored because the service says so: small objects are read back, large ones
//! are proven by size and checksum, or read back (`proof`).

mod body;
mod credentials;
mod destruction;
mod endpoint;
mod failure;
mod inspector;
mod listing;
mod network;
mod parts;
mod probe;
mod profile;
mod proof;
mod reader;
mod rights;
mod rules;
mod service;
mod small;
mod target;
#[cfg(test)]
pub mod tests;
mod transport;
mod upload;

use super::medium::{Announcement, Creation, FoundObject, Medium, Upload};
use super::probe::{MediumProbe, is_trial_key};
use super::retry::RetryTime;
use crate::error::{Error, Kind, Result};
use crate::store::location::ObjectAddress;
use crate::store::{ConnectionSettings, DeletePermission, ObjectLock, UploadVerification, names};
use crate::units;
use chrono::Utc;
pub use failure::lacks_right;
use failure::{ServiceAction, answer, explain, reason};
use listing::{EndlessList, ListPage, PageWalk, is_plain};
use network::Network;
use object_store::list::PaginatedListOptions;
use object_store::path::Path as ObjectPath;
use object_store::{Attribute, Attributes, GetOptions, GetRange, GetResult, ObjectStoreExt};
use probe::BucketProbe;
use reader::ObjectReader;
use service::ServiceClient;
use std::future::Future;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use transport::AnswerHeaders;
use upload::ObjectUpload;

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The most objects that a list is believed to hold.
const MOST_OBJECTS: usize = 5_000_000;

/// The most bytes that the keys of a list may have together.
const LONGEST_LIST: usize = 512 << 20;

/// A bucket, or what is below a prefix in it.
pub struct ObjectMedium {
    network: Arc<Network>,
    bucket: Arc<Bucket>,
}

/// The requests to a bucket, without the threads that run them.
pub struct Bucket {
    client: ServiceClient,
    /// What all keys begin with: empty, or with a slash at its end.
    prefix: String,
    retry_time: RetryTime,
    storage_class: Option<String>,
    verification: UploadVerification,
    removes: bool,
    /// Whether the service's tags are sums of the bytes, as far as is known.
    tags_are_sums: AtomicBool,
}

/// Prepares the way to a bucket; nothing is asked of it yet.
pub fn connect(address: &ObjectAddress, settings: &ConnectionSettings) -> Result<Arc<dyn Medium>> {
    Ok(Arc::new(ObjectMedium::connect(address, settings)?))
}

impl ObjectMedium {
    /// Prepares the way to a bucket; nothing is asked of it yet.
    pub fn connect(address: &ObjectAddress, settings: &ConnectionSettings) -> Result<ObjectMedium> {
        ObjectMedium::with_patience(address, settings, transport::patience())
    }

    /// The same with another limit on silence.
    fn with_patience(
        address: &ObjectAddress,
        settings: &ConnectionSettings,
        patience: Duration,
    ) -> Result<ObjectMedium> {
        let client = ServiceClient::new(address, settings, patience)?;
        let prefix = match address.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(ObjectMedium {
            network: Arc::new(Network::start()?),
            bucket: Arc::new(Bucket {
                client,
                prefix,
                retry_time: RetryTime::new(settings.retry_for),
                storage_class: settings.storage_class.clone(),
                verification: settings.verify_upload,
                removes: settings.delete == DeletePermission::Allowed,
                tags_are_sums: AtomicBool::new(true),
            }),
        })
    }
}

/// A pause of about this length: many clients that failed together must not return together.
fn with_jitter(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_bytes()[0];
    pause.mul_f64(0.5 + f64::from(random) / 255.0)
}

impl Bucket {
    /// As messages name an object.
    fn shown(&self, key: &str) -> String {
        match key {
            "" => self.client.target.shown.clone(),
            key => format!("{}/{key}", self.client.target.shown),
        }
    }

    /// The whole key of an object.
    fn path(&self, key: &str) -> Result<ObjectPath> {
        ObjectPath::parse(format!("{}{key}", self.prefix))
            .map_err(|_| Error::failed(format!("`{}` is no name for an object", self.shown(key))))
    }

    /// Tries a request until it succeeds, fails for good, or `retry_for` has passed.
    async fn persist<T, F>(
        &self,
        action: ServiceAction,
        key: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let began = Instant::now();
        let (mut pause, longest) = PAUSES;
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match request().await {
                Ok(done) => {
                    self.retry_time.note_answer();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let wait = with_jitter(pause);
            let may_pass = reason(&error).is_some_and(|failure| failure.may_pass(tries));
            if !may_pass || began.elapsed() + wait > self.retry_time.limit() {
                let spent = (tries, began.elapsed());
                let shown = self.shown(key);
                return Err(explain(
                    &error,
                    (action, &shown),
                    &self.client.target,
                    spent,
                ));
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn page(
        &self,
        prefix: &str,
        delimiter: bool,
        most: Option<usize>,
        token: Option<&str>,
    ) -> Result<ListPage> {
        let whole = format!("{}{prefix}", self.prefix);
        self.persist(ServiceAction::List, "", || async {
            let options = PaginatedListOptions {
                delimiter: delimiter.then_some("/".into()),
                max_keys: most,
                page_token: token.map(str::to_owned),
                ..PaginatedListOptions::default()
            };
            let prefix = Some(whole.as_str()).filter(|prefix| !prefix.is_empty());
            let mut answer = self.client.lists.list_paginated(prefix, options).await?;
            // The transport has read it, and always puts it there.
            Ok(answer.result.extensions.remove().unwrap_or_default())
        })
        .await
    }

    /// All pages of a list; the keys in it are without the store's prefix.
    async fn pages(&self, prefix: &str, delimiter: bool) -> Result<ListPage> {
        let mut whole = ListPage::default();
        let mut walk = PageWalk::default();
        let mut token: Option<String> = None;
        let mut length = 0;
        loop {
            let page = self.page(prefix, delimiter, None, token.as_deref()).await?;
            let next = walk
                .next(&page)
                .map_err(|EndlessList| self.endless_list())?;
            let keys = page.objects.iter().map(|object| &object.key);
            length += keys.chain(&page.prefixes).map(String::len).sum::<usize>();
            whole.objects.extend(page.objects);
            whole.prefixes.extend(page.prefixes);
            if whole.objects.len() + whole.prefixes.len() > MOST_OBJECTS || length > LONGEST_LIST {
                return Err(self.endless_list());
            }
            token = next;
            if token.is_none() {
                break;
            }
        }
        let begin = format!("{}{prefix}", self.prefix);
        let relative = |key: &str| {
            let is_ours = key.starts_with(&begin) && is_plain(key);
            is_ours.then(|| key[self.prefix.len()..].to_owned())
        };
        whole
            .objects
            .retain_mut(|object| match relative(&object.key) {
                Some(key) => {
                    object.key = key;
                    true
                }
                None => false,
            });
        whole.prefixes = whole
            .prefixes
            .iter()
            .filter_map(|key| relative(key))
            .collect();
        Ok(whole)
    }

    fn endless_list(&self) -> Error {
        Error::failed(format!(
            "listing `{}`: the list has no end",
            self.client.target.shown
        ))
        .with_hint("give the store a prefix of its own")
    }

    async fn list(&self, prefix: &str) -> Result<Vec<FoundObject>> {
        let found = self.pages(prefix, false).await?.objects.into_iter();
        let found = found.map(|object| FoundObject {
            key: object.key,
            size: object.size,
            modified: object.modified,
        });
        Ok(found.collect())
    }

    async fn top_directories(&self) -> Result<Vec<String>> {
        let prefixes = self.pages("", true).await?.prefixes.into_iter();
        let names = prefixes.map(|prefix| prefix.trim_end_matches('/').to_owned());
        Ok(names.filter(|name| !name.is_empty()).collect())
    }

    async fn first_key(&self) -> Result<Option<String>> {
        let mut walk = PageWalk::default();
        let mut token: Option<String> = None;
        loop {
            let page = self.page("", false, Some(100), token.as_deref()).await?;
            let next = walk
                .next(&page)
                .map_err(|EndlessList| self.endless_list())?;
            let keys = page.objects.iter().filter_map(|object| {
                let key = object.key.strip_prefix(&self.prefix)?;
                // Some tools make an object of this name when they make a directory.
                let is_others = !key.is_empty() && !is_trial_key(key);
                is_others.then(|| units::printable(key).into_owned())
            });
            if let Some(key) = { keys }.next() {
                return Ok(Some(key));
            }
            token = next;
            if token.is_none() {
                return Ok(None);
            }
        }
    }

    /// Asks for an object, or for what is said of it. A refusal of a `HEAD` has no body, and does
    /// not say whether it is the object or the bucket that is missing: so the object is asked for.
    async fn get(&self, key: &str, options: GetOptions) -> Result<GetResult> {
        let path = &self.path(key)?;
        let action = match options.head {
            true => ServiceAction::Look,
            false => ServiceAction::Read,
        };
        let get = |options: GetOptions| {
            self.persist(action, key, move || {
                let options = options.clone();
                async move { self.client.objects.get_opts(path, options).await }
            })
        };
        let is_head = options.head;
        let error = match get(options).await {
            Err(error) if is_head && answer(&error).is_some_and(|told| told.code.is_empty()) => {
                error
            }
            other => return other,
        };
        let first_byte = GetOptions::new().with_range(Some(GetRange::Bounded(0..1)));
        Err(match get(first_byte).await {
            Err(told) if told.kind() == Kind::NotFound => told,
            Err(told) if answer(&told).is_some_and(|told| told.status != 416) => told,
            _ => error,
        })
    }

    async fn head(&self, key: &str) -> Result<GetResult> {
        self.get(key, GetOptions::new().with_head(true)).await
    }

    async fn size(&self, key: &str) -> Result<u64> {
        Ok(self.head(key).await?.meta.size)
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let removed = self
            .persist(ServiceAction::Remove, key, || {
                self.client.objects.delete(&path)
            })
            .await;
        match removed {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    async fn discard_upload(&self, key: &str, token: &str) -> Result<()> {
        let path = self.path(key)?;
        let id = token.to_owned();
        let discarded = self
            .persist(ServiceAction::GiveUp, key, || async {
                self.client.parts.abort_multipart(&path, &id).await
            })
            .await;
        match discarded {
            Err(error) if answer(&error).is_some_and(|answer| answer.is_missing_upload()) => Ok(()),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What a large object is stored with.
    /// What an object of this key is sent with. Only dumps have the storage class: whatever is read
    /// to list, prove or open a backup must be at hand.
    fn attributes(&self, key: &str) -> Attributes {
        let mut attributes = Attributes::new();
        let name = key.rsplit('/').next().unwrap_or(key);
        let is_dump = !names::is_beside_dump(name) && names::companion_id(name).is_none();
        if let Some(class) = self.storage_class.as_ref().filter(|_| is_dump) {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        attributes
    }
}

impl Medium for ObjectMedium {
    fn list(&self, prefix: &str) -> Result<Vec<FoundObject>> {
        self.network.run(self.bucket.list(prefix))
    }

    fn list_beginning(&self, beginning: &str) -> Result<Vec<FoundObject>> {
        self.network.run(self.bucket.list(beginning))
    }

    fn top_directories(&self) -> Result<Vec<String>> {
        self.network.run(self.bucket.top_directories())
    }

    fn first_key(&self) -> Result<Option<String>> {
        self.network.run(self.bucket.first_key())
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.network.run(self.bucket.size(key))
    }

    fn read(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        self.network.run(self.bucket.read(key, limit))
    }

    fn open(&self, key: &str, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        let reader = ObjectReader::open(&self.network, &self.bucket, key, range)?;
        Ok(Box::new(reader))
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation> {
        self.network.run(self.bucket.create(key, bytes))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.network.run(self.bucket.replace(key, bytes))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.network.run_cleanup(self.bucket.remove(key))
    }

    fn begin_upload(&self, key: &str, announce: Announcement) -> Result<Box<dyn Upload>> {
        let (network, bucket) = (Arc::clone(&self.network), Arc::clone(&self.bucket));
        Ok(Box::new(ObjectUpload::begin(
            network, bucket, key, announce,
        )))
    }

    fn discard_upload(&self, key: &str, token: &str) -> Result<()> {
        self.network
            .run_cleanup(self.bucket.discard_upload(key, token))
    }

    fn lock_of(&self, key: &str) -> Result<Option<ObjectLock>> {
        let found = self.network.run_cleanup(self.bucket.head(key))?;
        let headers = found.extensions.get::<AnswerHeaders>();
        Ok(headers.and_then(|headers| headers.lock(Utc::now())))
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn tells_time(&self) -> bool {
        true
    }

    fn parallelism(&self) -> usize {
        32
    }

    fn own_probe(&self) -> Box<dyn MediumProbe + '_> {
        Box::new(BucketProbe::new(&self.network, &self.bucket))
    }
}
