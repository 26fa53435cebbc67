//! What is tried of a bucket besides what all media have: the way to it, and its own rules.

use super::destruction::DestructionTrial;
use super::endpoint::is_amazon;
use super::failure::{RequestFailure, ServerAnswer, ServiceAction, answer, lacks_right};
use super::network::Network;
use super::rights::smallest_policy;
use super::transport::AnswerHeaders;
use super::{Bucket, rules};
use crate::error::{Error, Result};
use crate::store::DeletePermission;
use crate::store::location::{ObjectAddress, ObjectService};
use crate::store::remote::probe::{Destruction, MediumProbe, StoreProbe};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::PutPayload;
use object_store::list::PaginatedListOptions;
use object_store::{PutMode, PutOptions};
use std::sync::Arc;

/// How far apart the clocks may be. Servers refuse a signature that is 15 minutes old.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// Where a proxy may be named, behind which names are not resolved here.
const PROXIES: &[&str] = &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The trial of a bucket.
pub struct BucketProbe<'a> {
    network: &'a Network,
    bucket: &'a Arc<Bucket>,
}

impl<'a> BucketProbe<'a> {
    /// The trial of this bucket.
    pub fn new(network: &'a Network, bucket: &'a Arc<Bucket>) -> Self {
        BucketProbe { network, bucket }
    }

    /// Whether the service's name has an address; where a proxy is asked, it resolves the name.
    fn try_name(&self, probe: &mut StoreProbe) -> bool {
        const NAME: &str = "name";
        let host = &self.bucket.client.target.host;
        if PROXIES.iter().any(|name| std::env::var_os(name).is_some()) {
            probe.pass(
                NAME,
                format!("`{host}` is left to the proxy of the environment"),
            );
            return true;
        }
        let with_port = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.clone(),
            _ => format!("{host}:443"),
        };
        let found = self.network.run(async {
            let addresses = tokio::net::lookup_host(with_port).await;
            let first = addresses.map(|mut addresses| addresses.next());
            first.map_err(|error| Error::from(error).context(format!("resolving `{host}`")))
        });
        let wrong_name = "look at `endpoint`, `region` and the bucket's name, and at this \
                          machine's name service";
        match found {
            Ok(Some(address)) => {
                probe.pass(NAME, format!("`{host}` is {}", address.ip()));
                true
            }
            Ok(None) => {
                let error = Error::failed(format!("`{host}` has no address"));
                probe.fail(NAME, error.with_hint(wrong_name));
                false
            }
            Err(error) => {
                probe.fail(NAME, error.with_hint(wrong_name));
                false
            }
        }
    }

    /// Asks for the first name in the store; gives the server's clock, too, where it answered.
    fn ask(&self) -> (Result<()>, Option<DateTime<Utc>>) {
        let bucket = self.bucket;
        let prefix = Some(bucket.prefix.as_str()).filter(|prefix| !prefix.is_empty());
        let asked = self
            .network
            .run(bucket.persist(ServiceAction::List, "", || async {
                let options = PaginatedListOptions {
                    max_keys: Some(1),
                    ..PaginatedListOptions::default()
                };
                let page = bucket.client.lists.list_paginated(prefix, options).await?;
                let headers = page.result.extensions.get::<AnswerHeaders>();
                Ok(headers.and_then(AnswerHeaders::date))
            }));
        match asked {
            Ok(date) => (Ok(()), date),
            Err(error) => {
                let date = answer(&error).and_then(|answer| answer.date);
                (Err(error), date)
            }
        }
    }

    /// Asks the bucket for one of its own settings; what is not told is no fault.
    fn ask_bucket(&self, name: &'static str, probe: &mut StoreProbe) -> BucketSetting {
        let (setting, right) = match name {
            VERSIONING => ("versioning", "s3:GetBucketVersioning"),
            OBJECT_LOCK => ("object-lock", "s3:GetBucketObjectLockConfiguration"),
            _ => ("lifecycle", "s3:GetLifecycleConfiguration"),
        };
        let Some(inspector) = &self.bucket.client.inspector else {
            return BucketSetting::Unknown;
        };
        let asked = self.network.run(async { Ok(inspector.ask(setting).await) });
        let why = match asked {
            Ok(Ok(bytes)) => match String::from_utf8(bytes.into()) {
                Ok(text) => return BucketSetting::Known(text),
                Err(_) => "the answer can't be read".to_owned(),
            },
            Ok(Err(RequestFailure::Answer(answer))) if is_unset(&answer) => {
                return BucketSetting::Unset;
            }
            Ok(Err(RequestFailure::Answer(ServerAnswer { status: 403, .. }))) => {
                format!("this key has not the right `{right}`, which no backup needs")
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(error) => error.message(),
        };
        probe.pass(name, format!("not known: {why}"));
        BucketSetting::Unknown
    }

    fn inspect_lock(&self, probe: &mut StoreProbe) {
        let lock = match self.ask_bucket(OBJECT_LOCK, probe) {
            BucketSetting::Unknown => return,
            BucketSetting::Unset => Some(String::new()),
            BucketSetting::Known(text) => rules::default_lock(&text),
        };
        match lock.as_deref() {
            None => probe.pass(OBJECT_LOCK, NOT_READABLE),
            Some("") => probe.pass(OBJECT_LOCK, "new objects are not locked by default"),
            Some(lock) => probe.pass(
                OBJECT_LOCK,
                format!("every new object is locked: {lock}; until then its version stays"),
            ),
        }
    }

    fn inspect_versioning(&self, probe: &mut StoreProbe) {
        let kept = match self.ask_bucket(VERSIONING, probe) {
            BucketSetting::Unknown => return,
            BucketSetting::Unset => Some(false),
            BucketSetting::Known(text) => rules::versions_are_kept(&text),
        };
        match kept {
            None => probe.pass(VERSIONING, NOT_READABLE),
            Some(true) => probe.pass(
                VERSIONING,
                "on: what is removed or overwritten can be brought back",
            ),
            Some(false) if self.bucket.removes => {
                probe.pass(VERSIONING, "off: what is removed is gone");
            }
            // Who may put an object may put another one in its place.
            Some(false) => probe.doubt(
                VERSIONING,
                "off: this machine can't remove backups there, but whoever has its key can write \
                 over them",
                "turn on versioning, and object lock with a default retention",
            ),
        }
    }

    fn inspect_lifecycle(&self, probe: &mut StoreProbe) {
        let prefix = &self.bucket.prefix;
        let findings = match self.ask_bucket(LIFECYCLE, probe) {
            BucketSetting::Unknown => return,
            BucketSetting::Unset => Some(rules::LifecycleFindings::default()),
            BucketSetting::Known(text) => rules::lifecycle(&text, prefix),
        };
        let Some(findings) = findings else {
            return probe.pass(LIFECYCLE, NOT_READABLE);
        };
        let mut is_sound = true;
        if let Some(first) = findings.removals.first() {
            is_sound = false;
            let error = Error::failed(format!("the bucket removes backups by itself: {first}"));
            let hint = match prefix.as_str() {
                "" => "take the rule away: only `cleanup` knows which backups may go".to_owned(),
                prefix => format!(
                    "take `{prefix}` out of the rule: only `cleanup` knows which backups may go"
                ),
            };
            probe.fail(LIFECYCLE, error.with_hint(hint));
        }
        if let Some(first) = findings.freezes.first() {
            is_sound = false;
            probe.doubt(
                LIFECYCLE,
                format!("the bucket moves backups to where nothing reads them at once: {first}"),
                "take the rule away: lists, verify and restore would fail for hours",
            );
        }
        match findings.gives_up_after {
            None => probe.doubt(
                LIFECYCLE,
                "no rule gives up unfinished uploads: what a killed run has sent costs until a \
                 later run removes it",
                "add a lifecycle rule with `AbortIncompleteMultipartUpload`, of 8 days or more",
            ),
            Some(days) if is_sound => probe.pass(
                LIFECYCLE,
                format!(
                    "unfinished uploads are given up after {}",
                    units::count(days.into(), "day")
                ),
            ),
            Some(_) => {}
        }
    }
}

const VERSIONING: &str = "versioning";
const OBJECT_LOCK: &str = "object lock";
const LIFECYCLE: &str = "lifecycle";
const NOT_READABLE: &str = "not known: the answer can't be read";

/// What a bucket says of one of its settings.
enum BucketSetting {
    /// The setting, as XML.
    Known(String),
    /// There is no such setting.
    Unset,
    /// It does not say; the probe has been told why.
    Unknown,
}

fn is_unset(answer: &ServerAnswer) -> bool {
    matches!(
        answer.code.as_str(),
        "NoSuchLifecycleConfiguration" | "ObjectLockConfigurationNotFoundError"
    )
}

/// Says how far apart the clocks are.
fn judge_clock(date: Option<DateTime<Utc>>, probe: &mut StoreProbe) {
    let Some(date) = date else {
        return;
    };
    let apart = (Utc::now() - date).abs();
    let shown = units::elapsed(apart.num_seconds() as f64);
    if apart > SKEW {
        probe.doubt(
            "clock",
            format!("the server's clock and this machine's are {shown} apart"),
            "set this machine's: `timedatectl set-ntp true`; at 15 minutes the server refuses \
             everything",
        );
    } else {
        probe.pass("clock", "the server's and this machine's agree");
    }
}

impl MediumProbe for BucketProbe<'_> {
    fn try_way(&self, probe: &mut StoreProbe) -> bool {
        if !self.try_name(probe) {
            return false;
        }
        let target = &self.bucket.client.target;
        let (asked, date) = self.ask();
        let has_answered = asked
            .as_ref()
            .map_or_else(|error| answer(error).is_some(), |()| true);
        if has_answered {
            probe.pass("connection", format!("`{}` answers", target.host));
            judge_clock(date, probe);
        }
        match asked {
            Ok(()) => {
                probe.pass("bucket", format!("`{}` is there", target.bucket));
                true
            }
            Err(error) if !has_answered => {
                probe.fail("connection", error);
                false
            }
            Err(error) => {
                // Another right may be there all the same.
                let goes_on = lacks_right(&error);
                probe.fail("bucket", error);
                goes_on
            }
        }
    }

    fn exclusion_gap(&self, key: &str) -> Result<Option<String>> {
        let bucket = self.bucket;
        let payload = PutPayload::from_static(b"dbbackup doctor\n");
        let options = PutOptions::from(PutMode::Create);
        match self.network.run(bucket.put(key, payload, options)) {
            Ok(()) => Ok(Some(
                "the server accepted a second object of one key".to_owned(),
            )),
            Err(error) => match answer(&error) {
                Some(answer) if matches!(answer.status, 304 | 409 | 412) => Ok(None),
                Some(answer) if answer.status == 501 || answer.code == "NotImplemented" => {
                    Ok(Some(
                        "the server knows no put that is done only if there is none: it is asked \
                         before, and two machines that ask at once both write"
                            .to_owned(),
                    ))
                }
                _ => Err(error),
            },
        }
    }

    fn largest_piece(&self) -> Option<u64> {
        self.bucket.client.schedule.size(0)
    }

    fn try_giving_up(&self, key: &str) -> Result<()> {
        let bucket = self.bucket;
        let path = bucket.path(key)?;
        self.network.run(async {
            let begin = || bucket.client.parts.create_multipart(&path);
            let id = bucket
                .persist(ServiceAction::BeginUpload, key, begin)
                .await?;
            let sent = bucket
                .persist(ServiceAction::SendPart, key, || {
                    let payload = PutPayload::from_static(b"dbbackup doctor\n");
                    bucket.client.parts.put_part(&path, &id, 0, payload)
                })
                .await;
            let given_up = bucket.discard_upload(key, &id).await;
            sent.map(drop).and(given_up)
        })
    }

    fn inspect(&self, _directory: &str, probe: &mut StoreProbe) {
        self.inspect_lock(probe);
        self.inspect_versioning(probe);
        self.inspect_lifecycle(probe);
    }

    fn try_destruction(&self, key: &str, probe: &mut StoreProbe) -> Option<Destruction> {
        let inspector = self.bucket.client.inspector.as_ref()?;
        let trial = DestructionTrial::new(self.network, self.bucket, inspector, key, probe);
        Some(match trial {
            Ok(trial) => trial.run(),
            Err(error) => {
                probe.fail("put", error);
                Destruction::Unknown
            }
        })
    }

    fn policy(&self, delete: DeletePermission) -> Option<String> {
        let target = &self.bucket.client.target;
        if target.service != ObjectService::S3 {
            return None;
        }
        let address = ObjectAddress {
            service: target.service,
            bucket: target.bucket.clone(),
            prefix: self.bucket.prefix.trim_end_matches('/').to_owned(),
        };
        let is_chinese = is_amazon(&target.host) && target.host.ends_with(".cn");
        let partition = if is_chinese { "aws-cn" } else { "aws" };
        Some(smallest_policy(&address, delete, partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told() {
        for (minutes, outcome) in [(0, "ok"), (4, "ok"), (6, "doubt"), (-20, "doubt")] {
            let mut probe = StoreProbe::default();
            judge_clock(Some(Utc::now() + TimeDelta::minutes(minutes)), &mut probe);
            assert_eq!(probe.find("clock").unwrap().0, outcome, "{minutes}");
        }
        let mut headers = http::HeaderMap::new();
        headers.insert("date", "Fri, 20 Nov 2026 02:00:00 GMT".parse().unwrap());
        let date = AnswerHeaders(headers).date().unwrap();
        assert_eq!(date.timestamp(), 1_795_140_000);
    }
}
