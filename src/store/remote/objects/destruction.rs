//! What the keys of this machine can destroy in a bucket of S3: an object that is made for it is
//! written over and removed, its lock shortened, its versions listed and removed.

use super::Bucket;
use super::failure::RequestFailure;
use super::inspector::{BucketAnswer, BucketInspector, BucketRequest, query_encoded};
use super::network::Network;
use super::transport::AnswerHeaders;
use crate::error::{Error, Result};
use crate::store::remote::probe::{Destruction, FIRST, SECOND, StoreProbe};
use crate::units;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::{HeaderName, HeaderValue, Method};
use object_store::path::Path as ObjectPath;

const PUT: &str = "put";
const LOCK: &str = "lock";
const OVERWRITE: &str = "overwrite";
const DELETE: &str = "delete";
const LIST_VERSIONS: &str = "list versions";
const SHORTEN_LOCK: &str = "shorten lock";
const REMOVE_VERSION: &str = "remove version";

/// The header by which a right to pass over a lock in governance mode is used.
const BYPASS: HeaderName = HeaderName::from_static("x-amz-bypass-governance-retention");

/// What came of a request that should be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Refused,
    Accepted,
    /// Neither is known.
    Unknown,
}

/// A lock as the service tells of it.
struct KnownLock {
    mode: String,
    until: DateTime<Utc>,
}

/// The trial of one object.
pub struct DestructionTrial<'a> {
    network: &'a Network,
    bucket: &'a Bucket,
    inspector: &'a BucketInspector,
    key: &'a str,
    path: ObjectPath,
    probe: &'a mut StoreProbe,
}

impl<'a> DestructionTrial<'a> {
    /// Prepares the trial of a key at which there is nothing yet.
    pub fn new(
        network: &'a Network,
        bucket: &'a Bucket,
        inspector: &'a BucketInspector,
        key: &'a str,
        probe: &'a mut StoreProbe,
    ) -> Result<Self> {
        Ok(DestructionTrial {
            network,
            bucket,
            inspector,
            key,
            path: bucket.path(key)?,
            probe,
        })
    }

    /// Tries everything, and removes what can be removed.
    pub fn run(mut self) -> Destruction {
        let first = match self.put(FIRST) {
            Ok(answer) => version_of(&answer),
            Err(failure) => return self.run_without_object(&failure),
        };
        let shown = self.bucket.shown(self.key);
        self.probe
            .pass(PUT, format!("`{shown}` was written for it"));
        let keeps_versions = first.is_some();
        let lock = self.find_lock();
        let mut others = Vec::new();
        let overwritten = self.overwrite(keeps_versions, &mut others);
        let deleted = self.delete(keeps_versions, &mut others);
        let Some(first) = first else {
            return match (overwritten, deleted) {
                (Attack::Accepted, _) | (_, Attack::Accepted) => Destruction::Everything,
                (Attack::Refused, Attack::Refused) => Destruction::Nothing,
                _ => Destruction::Unknown,
            };
        };
        self.list_versions();
        let shortened = lock.map(|lock| self.shorten_lock(&first, &lock));
        match self.remove_versions(&first, &others) {
            Attack::Accepted => Destruction::Everything,
            // In a minute it would be gone.
            Attack::Refused if shortened == Some(Attack::Accepted) => Destruction::Everything,
            Attack::Unknown => Destruction::Unknown,
            Attack::Refused => match (overwritten, deleted) {
                (Attack::Accepted, _) | (_, Attack::Accepted) => Destruction::Hides,
                (Attack::Refused, Attack::Refused) => Destruction::Nothing,
                _ => Destruction::Unknown,
            },
        }
    }

    /// What can be told where this machine may not even write the object: S3 answers whether it
    /// would remove one that is not there.
    fn run_without_object(mut self, failure: &RequestFailure) -> Destruction {
        if !is_refusal(failure) {
            self.fail(PUT, failure);
            return Destruction::Unknown;
        }
        let text = format!("refused, so it can write over nothing: {failure}");
        self.probe.pass(PUT, text);
        let answer = self.remove(None, Vec::new());
        let mark = answer.as_ref().ok().and_then(version_of);
        let deleted = match mark {
            // Nothing is known of the bucket, as nothing could be written.
            None => self.judge(DELETE, &answer, |probe| {
                probe.pass(
                    DELETE,
                    "accepted; the server does not say whether it keeps versions",
                );
            }),
            Some(_) => self.judge_delete(&answer, true),
        };
        match (deleted, mark) {
            (Attack::Refused, _) => Destruction::Nothing,
            (Attack::Unknown, _) | (Attack::Accepted, None) => Destruction::Unknown,
            (Attack::Accepted, Some(mark)) => match self.remove_versions(&mark, &[]) {
                Attack::Refused => Destruction::Hides,
                // Whether it passes over locks is not known without an object that has one.
                Attack::Accepted | Attack::Unknown => Destruction::Unknown,
            },
        }
    }

    fn send(&self, request: BucketRequest<'_>) -> Result<BucketAnswer, RequestFailure> {
        // A failure of the runtime is told like one of the way there.
        let sent = self
            .network
            .run(async { Ok(self.inspector.send(request).await) });
        sent.unwrap_or_else(|error| {
            let again = super::failure::TryAgain::Never;
            Err(RequestFailure::transport(error.message(), again))
        })
    }

    fn put(&self, bytes: &[u8]) -> Result<BucketAnswer, RequestFailure> {
        self.send(BucketRequest {
            method: Method::PUT,
            object: Some(&self.path),
            body: bytes.to_vec(),
            ..BucketRequest::default()
        })
    }

    fn fail(&mut self, step: &'static str, failure: &RequestFailure) {
        self.probe.fail(step, Error::failed(failure.to_string()));
    }

    /// Tells of a request that should be refused; `accepted` says what it means that it was not.
    fn judge(
        &mut self,
        step: &'static str,
        answer: &Result<BucketAnswer, RequestFailure>,
        accepted: impl FnOnce(&mut StoreProbe),
    ) -> Attack {
        match answer {
            Ok(_) => {
                accepted(self.probe);
                Attack::Accepted
            }
            Err(failure) if is_refusal(failure) => {
                self.probe.pass(step, format!("refused: {failure}"));
                Attack::Refused
            }
            Err(failure) => {
                self.fail(step, failure);
                Attack::Unknown
            }
        }
    }

    fn find_lock(&mut self) -> Option<KnownLock> {
        let headers = match self.network.run(self.bucket.head(self.key)) {
            Ok(found) => found.extensions.get::<AnswerHeaders>().cloned()?,
            Err(error) => {
                let why = error.message();
                self.probe.pass(LOCK, format!("not known: {why}"));
                return None;
            }
        };
        let until = headers.lock(Utc::now()).and_then(|lock| lock.until);
        let mode = headers.0.get("x-amz-object-lock-mode");
        let mode = mode.and_then(|mode| mode.to_str().ok()).unwrap_or_default();
        let lock = until.map(|until| KnownLock {
            mode: crate::store::remote::server_text::bounded(mode),
            until,
        });
        match &lock {
            Some(KnownLock { mode, until }) => {
                let until = units::stamp(*until);
                let text = format!("the bucket locks what is written: {mode}, until {until}");
                self.probe.pass(LOCK, text);
            }
            None => self.probe.pass(LOCK, "the bucket does not lock it"),
        }
        lock
    }

    fn overwrite(&mut self, keeps_versions: bool, versions: &mut Vec<String>) -> Attack {
        let answer = self.put(SECOND);
        versions.extend(answer.as_ref().ok().and_then(version_of));
        self.judge(OVERWRITE, &answer, |probe| {
            if keeps_versions {
                probe.pass(OVERWRITE, "accepted; the version before stays");
            } else {
                probe.doubt(
                    OVERWRITE,
                    "this machine can write over what is stored, and the bucket keeps no versions",
                    "turn on versioning, and object lock with a default retention",
                );
            }
        })
    }

    fn delete(&mut self, keeps_versions: bool, versions: &mut Vec<String>) -> Attack {
        let answer = self.remove(None, Vec::new());
        // It is that of the mark that now hides the object.
        versions.extend(answer.as_ref().ok().and_then(version_of));
        self.judge_delete(&answer, keeps_versions)
    }

    fn judge_delete(
        &mut self,
        answer: &Result<BucketAnswer, RequestFailure>,
        keeps_versions: bool,
    ) -> Attack {
        self.judge(DELETE, answer, |probe| {
            if keeps_versions {
                probe.pass(DELETE, "accepted; it is hidden, the versions stay");
            } else {
                probe.doubt(
                    DELETE,
                    "this machine can remove what is stored, and the bucket keeps no versions",
                    "take `s3:DeleteObject` away from this machine's key, let another machine \
                     clean up, and set `delete = \"never\"` here",
                );
            }
        })
    }

    fn list_versions(&mut self) {
        let prefix = query_encoded(self.path.as_ref());
        let answer = self.send(BucketRequest {
            query: format!("prefix={prefix}&versions"),
            ..BucketRequest::default()
        });
        self.judge(LIST_VERSIONS, &answer, |probe| {
            probe.pass(LIST_VERSIONS, "accepted; who attacks can find them");
        });
    }

    /// Asks for a lock that ends in a minute.
    fn shorten_lock(&mut self, version: &str, lock: &KnownLock) -> Attack {
        let soon = Utc::now() + TimeDelta::minutes(1);
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock.mode,
            soon.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        let answer = self.send(BucketRequest {
            method: Method::PUT,
            object: Some(&self.path),
            query: format!("retention&versionId={}", query_encoded(version)),
            headers: vec![(BYPASS, HeaderValue::from_static("true"))],
            body: body.into_bytes(),
        });
        self.judge(SHORTEN_LOCK, &answer, |probe| {
            probe.doubt(
                SHORTEN_LOCK,
                "this machine can shorten the locks of what is stored",
                "take `s3:PutObjectRetention` and `s3:BypassGovernanceRetention` away from this \
                 machine's key, or lock in COMPLIANCE mode",
            );
        })
    }

    /// Removes the first version with all rights that this machine has, and then what is left.
    fn remove_versions(&mut self, first: &str, others: &[String]) -> Attack {
        let mut answer = self.remove(Some(first), Vec::new());
        if answer.is_err() {
            let bypass = vec![(BYPASS, HeaderValue::from_static("true"))];
            answer = self.remove(Some(first), bypass);
        }
        if answer.is_ok() {
            for version in others {
                // What is left is told by a list, and harms nobody.
                let _ = self.remove(Some(version), Vec::new());
            }
        }
        self.judge(REMOVE_VERSION, &answer, |probe| {
            probe.doubt(
                REMOVE_VERSION,
                "this machine can remove the versions of what is stored",
                "take `s3:DeleteObjectVersion` and `s3:BypassGovernanceRetention` away from this \
                 machine's key, or lock in COMPLIANCE mode",
            );
        })
    }

    /// Removes the object, or one version of it.
    fn remove(
        &self,
        version: Option<&str>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<BucketAnswer, RequestFailure> {
        let version = version.map(|version| format!("versionId={}", query_encoded(version)));
        self.send(BucketRequest {
            method: Method::DELETE,
            object: Some(&self.path),
            query: version.unwrap_or_default(),
            headers,
            body: Vec::new(),
        })
    }
}

/// Whether the server understood, and said no: for want of a right, or because of a lock. Another
/// answer, as that it has too much to do, says nothing of what it would let happen.
fn is_refusal(failure: &RequestFailure) -> bool {
    matches!(failure, RequestFailure::Answer(answer) if matches!(answer.status, 401 | 403))
}

/// The version that an answer names; none where the bucket keeps no versions.
fn version_of(answer: &BucketAnswer) -> Option<String> {
    let version = answer.headers.get("x-amz-version-id")?.to_str().ok()?;
    (version != "null").then(|| version.to_owned())
}
