//! The message: a document with a version, which programs get as it is and people as a subject and
//! a text. It is put together once, with every secret masked, and then only carried.

use super::news::{News, SourceNews};
use super::settings::NewsTopic;
use super::words::{subject_of, text_of};
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The bytes of a document.
pub fn json_bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::from_cause(Kind::Failed, error).context("writing the message"))
}

/// The version of the document. It is raised where a field goes or changes its meaning, not where
/// one is added.
const VERSION: u32 = 1;

/// A message, as programs get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Notification {
    /// The version of this document: 1.
    pub version: u32,
    /// One of its own, the same where a message is sent again.
    pub id: String,
    /// The program and its version.
    pub program: String,
    /// The machine that tells.
    pub host: String,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The command that tells: `backup`, `status`, `verify`…
    pub command: String,
    /// The run's id; null where there was none.
    pub run: Option<String>,
    /// How bad it is.
    pub severity: NotificationSeverity,
    /// What it is about: `failure`, `recovery`, `partial`, `stale`, `proof`, `digest`; `test`.
    pub topics: Vec<String>,
    /// For people, one line.
    pub subject: String,
    /// For people, at most 2 kB.
    pub text: String,
    /// What there is to tell of each source.
    pub sources: Vec<NotifiedSource>,
    /// Every source, where this is a digest.
    pub digest: Vec<DigestLine>,
    /// The log file; null where there is none.
    pub log: Option<String>,
}

/// How bad a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NotificationSeverity {
    /// All is well, or well again.
    Info,
    /// Somebody should look.
    Warning,
    /// Something failed, or there may be nothing to restore.
    Critical,
}

impl NotificationSeverity {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            NotificationSeverity::Info => "info",
            NotificationSeverity::Warning => "warning",
            NotificationSeverity::Critical => "critical",
        }
    }
}

/// What there is to tell of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotifiedSource {
    /// Its name.
    pub source: String,
    /// What it is: `failure`, `recovery`, `partial`, `stale`, `proof`.
    pub topic: String,
    /// Since when it is so; of a recovery, since when it was not well.
    pub since: DateTime<Utc>,
    /// The how many-th day of it: 1 where it is new.
    pub day: u32,
    /// What went wrong, in one line; null where nothing did.
    pub error: Option<String>,
    /// What to do about it; null where nobody knows.
    pub hint: Option<String>,
    /// When its newest good backup ended; null where there is none.
    pub last_good_at: Option<DateTime<Utc>>,
    /// The id of that backup.
    pub last_good_id: Option<String>,
    /// When a backup was last proven by a restore; null where none was.
    pub proven_at: Option<DateTime<Utc>>,
}

/// How a source is, for a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DigestLine {
    /// Its name.
    pub source: String,
    /// Whether nothing is wrong with it.
    pub well: bool,
    /// For people, one line: what is wrong, or how old and large its newest backup is.
    pub text: String,
    /// Backups since the last digest was due.
    pub backups: u64,
    /// Failed attempts since then.
    pub failures: u64,
}

/// What a message is written about, beside the news themselves.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// The machine that tells.
    pub host: String,
    /// The command that tells.
    pub command: String,
    /// The run's id.
    pub run: Option<String>,
    /// How many sources were tried or looked at.
    pub total: usize,
    /// What is known of the sources that there are news of.
    pub sources: Vec<NotifiedSource>,
    /// Every source, where a digest is due.
    pub digest: Vec<DigestLine>,
    /// Since when a digest counts.
    pub digest_since: Option<DateTime<Utc>>,
    /// The log file.
    pub log: Option<String>,
}

impl Occasion {
    /// What is known of the source that the news are of.
    fn source_of(&self, news: &SourceNews) -> NotifiedSource {
        // There may be several news of one source, each with its own remedy.
        let topic = news.topic.as_str();
        let mut same = self
            .sources
            .iter()
            .filter(|known| known.source == news.source);
        let known = same.clone().find(|known| known.topic == topic);
        let known = known.or(same.next()).cloned();
        NotifiedSource {
            topic: topic.to_owned(),
            since: news.since,
            day: news.day,
            ..known.unwrap_or_else(|| NotifiedSource::new(&news.source))
        }
    }
}

impl NotifiedSource {
    /// A source of which nothing is known yet.
    pub fn new(source: &str) -> NotifiedSource {
        NotifiedSource {
            source: source.to_owned(),
            topic: String::new(),
            since: DateTime::UNIX_EPOCH,
            day: 1,
            error: None,
            hint: None,
            last_good_at: None,
            last_good_id: None,
            proven_at: None,
        }
    }
}

/// Writes the message with what of the news is for who hears of these topics; `None` where there is
/// nothing. `clean` masks secrets, and is given every text that comes from elsewhere.
pub fn compose(
    news: &News,
    topics: &[NewsTopic],
    occasion: &Occasion,
    now: DateTime<Utc>,
    clean: &dyn Fn(&str) -> String,
) -> Option<Notification> {
    let wanted = news.sources.iter().filter(|one| one.is_for(topics));
    let sources: Vec<NotifiedSource> = wanted.map(|one| occasion.source_of(one)).collect();
    let has_digest = news.digest && topics.contains(&NewsTopic::Digest);
    if sources.is_empty() && !has_digest {
        return None;
    }
    let mut names: Vec<String> = sources.iter().map(|one| one.topic.clone()).collect();
    names.extend(has_digest.then(|| NewsTopic::Digest.as_str().to_owned()));
    names.sort();
    names.dedup();
    let cleaned = |text: &Option<String>| text.as_deref().map(clean);
    let mut notification = Notification {
        version: VERSION,
        id: uuid::Uuid::new_v4().to_string(),
        program: concat!("dbbackup ", env!("CARGO_PKG_VERSION")).to_owned(),
        host: clean(&occasion.host),
        at: now,
        command: occasion.command.clone(),
        run: occasion.run.clone(),
        severity: severity_of(&names),
        topics: names,
        subject: String::new(),
        text: String::new(),
        sources: sources
            .into_iter()
            .map(|one| NotifiedSource {
                error: cleaned(&one.error),
                hint: cleaned(&one.hint),
                ..one
            })
            .collect(),
        digest: match has_digest {
            true => occasion
                .digest
                .iter()
                .map(|line| cleaned_line(line, clean))
                .collect(),
            false => Vec::new(),
        },
        log: cleaned(&occasion.log),
    };
    notification.subject = subject_of(&notification, occasion.total);
    notification.text = text_of(&notification, occasion.digest_since);
    Some(notification)
}

fn cleaned_line(line: &DigestLine, clean: &dyn Fn(&str) -> String) -> DigestLine {
    DigestLine {
        text: clean(&line.text),
        ..line.clone()
    }
}

fn severity_of(topics: &[String]) -> NotificationSeverity {
    let is_any = |wanted: &[NewsTopic]| {
        let mut words = wanted.iter().map(|topic| topic.as_str());
        words.any(|word| topics.iter().any(|topic| topic == word))
    };
    if is_any(&[NewsTopic::Failure, NewsTopic::Stale]) {
        NotificationSeverity::Critical
    } else if is_any(&[NewsTopic::Partial, NewsTopic::Proof]) {
        NotificationSeverity::Warning
    } else {
        NotificationSeverity::Info
    }
}

impl Notification {
    /// A message on trial, which says that it is one.
    pub fn on_trial(host: &str, now: DateTime<Utc>) -> Notification {
        Notification {
            version: VERSION,
            id: uuid::Uuid::new_v4().to_string(),
            program: concat!("dbbackup ", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host.to_owned(),
            at: now,
            command: "notify".to_owned(),
            run: None,
            severity: NotificationSeverity::Info,
            topics: vec!["test".to_owned()],
            subject: format!("[{host}] dbbackup: a test message"),
            text: "Somebody tries whether messages of dbbackup arrive. This one did; nothing is \
                   wrong."
                .to_owned(),
            sources: Vec::new(),
            digest: Vec::new(),
            log: None,
        }
    }
}

#[cfg(test)]
mod tests;
