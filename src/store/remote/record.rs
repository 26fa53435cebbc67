//! The small objects that say what is going on in a store without locks: who writes a backup, which
//! uploads it has begun, and which backup is being removed.

use crate::error::Result;
use crate::signature::{SignedObject, Signer, TrustedKeys};
use crate::store::names;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// A reservation of which it can't be told whether its run is alive is taken for a killed run's
/// after this time. The longest upload must be shorter.
const LONGEST_RUN: TimeDelta = TimeDelta::days(7);

const DRAFT: &str = ".draft.json";
const UPLOAD: &str = ".upload.json";
// Not the sidecar's own name with a dot: in a directory that is written as a local store, too, that
// is a backup that is just being published.
const TOMBSTONE: &str = ".retired.json";

/// The name of a record, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordName {
    /// Reserves an id.
    Draft { id: String },
    /// Names an upload of a draft.
    Upload { id: String },
    /// Marks a backup that is being removed.
    Tombstone { id: String },
}

impl RecordName {
    /// Takes a name apart; `None` for what is no record.
    pub fn parse(name: &str) -> Option<RecordName> {
        let rest = name.strip_prefix('.')?;
        let id = names::id_of(name)?;
        let end = rest.strip_prefix(id)?;
        let id = id.to_owned();
        match end {
            TOMBSTONE => Some(RecordName::Tombstone { id }),
            DRAFT => Some(RecordName::Draft { id }),
            _ if end.ends_with(UPLOAD) => Some(RecordName::Upload { id }),
            _ => None,
        }
    }

    /// The id of the backup that it is about.
    pub fn id(&self) -> &str {
        match self {
            RecordName::Draft { id } | RecordName::Upload { id } | RecordName::Tombstone { id } => {
                id
            }
        }
    }
}

/// The name of a tombstone.
pub fn tombstone_name(id: &str) -> String {
    format!(".{id}{TOMBSTONE}")
}

/// The name of a reservation.
pub fn draft_name(id: &str) -> String {
    format!(".{id}{DRAFT}")
}

/// A new name for the record of an upload.
pub fn new_upload_name(id: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!(".{id}.{}{UPLOAD}", &random[..8])
}

/// A tombstone: what is to be removed of a backup, and who says so.
#[derive(Debug, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The names of its objects, the sidecar aside.
    pub objects: Vec<String>,
    /// The signature of these names, as minisign writes it, where backups are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl TombstoneRecord {
    /// The tombstone of a backup of `source`, signed where there is a key for that.
    pub fn new(
        source: &str,
        id: &str,
        objects: &[String],
        signer: Option<&Signer>,
    ) -> Result<TombstoneRecord> {
        let mut record = TombstoneRecord {
            objects: objects.to_vec(),
            signature: None,
        };
        if let Some(signer) = signer {
            let name = tombstone_name(id);
            let object = SignedObject {
                source,
                name: &name,
            };
            let signed = signer
                .key()?
                .sign(object, &record.signed_bytes(), Utc::now())?;
            record.signature = Some(signed);
        }
        Ok(record)
    }

    /// Reads a tombstone; `None` for what is none.
    pub fn parse(bytes: &[u8]) -> Option<TombstoneRecord> {
        serde_json::from_slice(bytes).ok()
    }

    /// The tombstone as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether one of these keys has signed it; where no key is asked for, whoever may write.
    pub fn is_accepted(&self, source: &str, id: &str, keys: &TrustedKeys) -> bool {
        let name = tombstone_name(id);
        let object = SignedObject {
            source,
            name: &name,
        };
        let signature = self.signature.as_deref().map(str::as_bytes);
        keys.judge(object, &self.signed_bytes(), signature)
            .is_accepted()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        self.objects.join("\n").into_bytes()
    }
}

/// What the record of an upload says.
#[derive(Debug, Serialize, Deserialize)]
pub struct UploadRecord {
    /// The object's name.
    pub name: String,
    /// What the medium finds it by.
    pub token: String,
}

impl UploadRecord {
    /// The record of an upload of the object `name`.
    pub fn new(name: &str, token: &str) -> UploadRecord {
        UploadRecord {
            name: name.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The record as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What a reservation says of the run that made it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftRecord {
    /// Tells this reservation from every other.
    pub nonce: String,
    /// When it was made, by the run's clock.
    pub at: DateTime<Utc>,
    /// The host's name, for people.
    pub host: String,
    /// The process that made it, where a process can be told from all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMark>,
}

/// Tells a process of a machine from all others that ever ran anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// The running kernel's id, which is made anew when the machine starts.
    boot: String,
    /// The name space of process ids: those of two containers are not the same.
    namespace: String,
    /// The process id.
    pid: u32,
    /// When the process began, in the kernel's ticks since it started.
    began: u64,
}

impl ProcessMark {
    /// The mark of this process; `None` where the system tells too little.
    pub fn of_this_process() -> Option<ProcessMark> {
        let (boot, namespace) = this_machine()?;
        let pid = std::process::id();
        Some(ProcessMark {
            boot,
            namespace,
            pid,
            began: began(pid)?,
        })
    }

    /// Whether the process is running; `None` where it was not one of this very system, or where
    /// the system does not show it to this user.
    fn is_running(&self) -> Option<bool> {
        let (boot, namespace) = this_machine()?;
        if self.boot != boot || self.namespace != namespace {
            return None;
        }
        match began(self.pid) {
            Some(began) => Some(began == self.began),
            None => has_no_process(self.pid).then_some(false),
        }
    }
}

#[cfg(test)]
impl ProcessMark {
    /// The mark of a process of the same id that is not there any more.
    pub fn made_older(self) -> ProcessMark {
        ProcessMark {
            began: self.began - 1,
            ..self
        }
    }
}

/// Whether there surely is no process of this id: other users' may be hidden in `/proc`.
fn has_no_process(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed());
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn this_machine() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some((
        boot.trim().to_owned(),
        namespace.to_string_lossy().into_owned(),
    ))
}

/// When a process began; `None` where there is none of this id.
fn began(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything. The time is the 22nd field, the
    // 20th after it.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

impl DraftRecord {
    /// A reservation by the process with this mark.
    pub fn new(process: Option<ProcessMark>) -> DraftRecord {
        DraftRecord {
            nonce: uuid::Uuid::new_v4().simple().to_string(),
            at: Utc::now(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            process,
        }
    }

    /// The record as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Whether the run of a reservation surely has ended: its process was one of this very system, and
/// is not there any more.
pub fn has_ended(bytes: &[u8]) -> bool {
    let record: Option<DraftRecord> = serde_json::from_slice(bytes).ok();
    let process = record.and_then(|record| record.process);
    process.and_then(|process| process.is_running()) == Some(false)
}

/// Whether the run of a reservation has ended: its process is not running any more, or can't be
/// asked for and the reservation is so old that no run takes as long.
/// `bytes` are the record's; `modified` is when it was written, by the medium's clock.
pub fn is_abandoned(bytes: &[u8], modified: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let record: Option<DraftRecord> = serde_json::from_slice(bytes).ok();
    let at = modified.or(record.as_ref().map(|record| record.at));
    let process = record.and_then(|record| record.process);
    match process.and_then(|process| process.is_running()) {
        Some(is_running) => !is_running,
        None => at.is_some_and(|at| now.signed_duration_since(at) > LONGEST_RUN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let id = "a.b_daily_20261120T020000Z-2";
        let parsed = |name: &str| RecordName::parse(name);
        let id_owned = || id.to_owned();
        assert_eq!(
            parsed(&tombstone_name(id)),
            Some(RecordName::Tombstone { id: id_owned() })
        );
        assert_eq!(
            parsed(&draft_name(id)),
            Some(RecordName::Draft { id: id_owned() })
        );
        assert_eq!(
            parsed(&new_upload_name(id)),
            Some(RecordName::Upload { id: id_owned() })
        );
        for name in [
            ".lock",
            "x",
            &names::sidecar_name(id),
            &format!(".{id}.json"),
            &format!(".{id}.sqlite3"),
        ] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_has_surely_ended_is_abandoned() {
        let now = Utc::now();
        let is_swept = |change: fn(&mut ProcessMark), days: i64| {
            let mut process = ProcessMark::of_this_process();
            process.iter_mut().for_each(change);
            let record = DraftRecord::new(process).to_bytes();
            is_abandoned(&record, Some(now - TimeDelta::days(days)), now)
        };
        if ProcessMark::of_this_process().is_some() {
            assert!(!is_swept(|_| (), 30), "it runs");
            assert!(is_swept(|mark| mark.began += 1, 0));
            assert!(is_swept(|mark| mark.pid = i32::MAX as u32, 0));
            // The process of another user may be hidden here.
            assert!(!has_no_process(1) && has_no_process(i32::MAX as u32));
        }
        for change in [
            (|mark| mark.boot.push('x')) as fn(&mut ProcessMark),
            |mark| mark.namespace.push('x'),
        ] {
            assert!(!is_swept(change, 6) && is_swept(change, 8));
        }
        assert!(!is_abandoned(b"nonsense", Some(now), now));
        assert!(!is_abandoned(b"nonsense", None, now));
    }
}
