//! The words of a message: a subject that says all that a telephone shows, and a text with what is
//! needed to act.

use super::notification::{DigestLine, Notification, NotifiedSource};
use crate::units;
use chrono::{DateTime, TimeDelta, Utc};

/// The most bytes of a text.
const LONGEST_TEXT: usize = 2048;

/// The most letters of a subject.
const LONGEST_SUBJECT: usize = 160;

/// The most bytes of one error or hint in it: one that is long must not push the others out.
const LONGEST_LINE: usize = 500;

/// `[web1] backup FAILED: shop (1 of 4), last good 26 h ago`.
pub fn subject_of(notification: &Notification, total: usize) -> String {
    let now = notification.at;
    let command = &notification.command;
    let of_topic = |topic: &str| -> Vec<&NotifiedSource> {
        let sources = notification.sources.iter();
        sources.filter(|source| source.topic == topic).collect()
    };
    let failures = of_topic("failure");
    let (new, old): (Vec<_>, Vec<_>) = failures.into_iter().partition(|one| one.day == 1);
    let mut parts = Vec::new();
    if !new.is_empty() {
        parts.push(format!(
            "{command} FAILED: {}",
            named(&new, notification, total)
        ));
    }
    if let Some(longest) = old.iter().map(|one| one.day).max() {
        let names = named(&old, notification, total);
        parts.push(format!("{command} still failing, day {longest}: {names}"));
    }
    let stale = of_topic("stale");
    if !stale.is_empty() {
        parts.push(format!(
            "backup overdue: {}",
            named(&stale, notification, total)
        ));
    }
    let partial = of_topic("partial");
    if !partial.is_empty() {
        let names = names_of(&partial, total);
        parts.push(format!("{command} incomplete: {names}"));
    }
    let recovered = of_topic("recovery");
    if let Some(since) = recovered.iter().map(|one| one.since).min() {
        let after = lasted(now - since);
        let names = names_of(&recovered, recovered.len());
        parts.push(format!("{command} recovered: {names} after {after}"));
    }
    let unproven = of_topic("proof");
    if let Some(first) = unproven.first() {
        let ago = match first.proven_at {
            Some(at) => format!("last proven {}", units::age(at, now)),
            None => "never proven".to_owned(),
        };
        let names = names_of(&unproven, unproven.len());
        parts.push(format!("no proof: {names}, {ago}"));
    }
    if notification.topics.iter().any(|topic| topic == "digest") {
        parts.push(digest_in_brief(&notification.digest));
    }
    let text = format!("[{}] {}", notification.host, parts.join("; "));
    shortened(&text, LONGEST_SUBJECT)
}

/// `shop (1 of 4), last good 26 h ago`; of several the oldest one counts.
fn named(sources: &[&NotifiedSource], notification: &Notification, total: usize) -> String {
    let names = names_of(sources, total);
    let now = notification.at;
    // Other commands do not look at the age of backups.
    if !["backup", "status"].contains(&notification.command.as_str()) {
        return names;
    }
    let never = sources.iter().any(|one| one.last_good_at.is_none());
    let oldest = sources.iter().filter_map(|one| one.last_good_at).min();
    match oldest.filter(|_| !never) {
        Some(at) => format!("{names}, last good {}", units::age(at, now)),
        None => format!("{names}, no good backup"),
    }
}

/// `app, shop (2 of 4)`; three by name.
fn names_of(sources: &[&NotifiedSource], total: usize) -> String {
    let names = sources.iter().take(3).map(|one| one.source.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let more = match sources.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match total > sources.len() {
        true => format!("{names}{more} ({} of {total})", sources.len()),
        false => format!("{names}{more}"),
    }
}

/// `digest: 3 of 4 sources well, 28 backups, 1 failure`.
fn digest_in_brief(digest: &[DigestLine]) -> String {
    let well = digest.iter().filter(|line| line.well).count();
    let backups = units::total(digest.iter().map(|line| line.backups));
    let failures = units::total(digest.iter().map(|line| line.failures));
    format!(
        "digest: {well} of {} well, {}, {}",
        units::count(digest.len() as u64, "source"),
        units::count(backups, "backup"),
        units::count(failures, "failure")
    )
}

/// The text, at most 2 kB: what is wrong with each source, what to do, when its last good backup
/// was, and the log.
pub fn text_of(notification: &Notification, digest_since: Option<DateTime<Utc>>) -> String {
    let now = notification.at;
    let mut lines = Vec::new();
    for source in &notification.sources {
        lines.push(sentence(source, now));
        let hint = source.hint.as_deref();
        lines.extend(hint.map(|hint| format!("  hint: {}", shortened(hint, LONGEST_LINE))));
        if let Some(at) = source.last_good_at.filter(|_| source.topic != "recovery") {
            let id = source.last_good_id.as_deref().unwrap_or_default();
            let (stamp, age) = (units::stamp(at), units::age(at, now));
            lines.push(
                format!("  last good backup: {stamp} ({age}) {id}")
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    lines.extend(notification.log.iter().map(|log| format!("log: {log}")));
    if !notification.digest.is_empty() {
        let since = digest_since.map(|at| format!(" since {}", at.format("%Y-%m-%d")));
        lines.push(format!("All sources{}:", since.unwrap_or_default()));
        for line in &notification.digest {
            let word = if line.well { "ok" } else { "LOOK" };
            let text = shortened(&line.text, LONGEST_LINE);
            lines.push(format!("  {word} {}: {text}", line.source));
        }
    }
    shortened(&lines.join("\n"), LONGEST_TEXT)
}

/// What there is to tell of a source.
fn sentence(source: &NotifiedSource, now: DateTime<Utc>) -> String {
    let name = &source.source;
    let error = shortened(
        source.error.as_deref().unwrap_or("no reason is known"),
        LONGEST_LINE,
    );
    match source.topic.as_str() {
        "failure" if source.day > 1 => {
            format!("{name}: still failing, day {}: {error}", source.day)
        }
        "partial" if source.day > 1 => {
            format!("{name}: still incomplete, day {}: {error}", source.day)
        }
        "stale" => match source.last_good_at {
            Some(_) => format!(
                "{name}: no good backup for {} longer than expected",
                lasted(now - source.since)
            ),
            None => format!("{name}: there is no good backup"),
        },
        "proof" => match source.proven_at {
            Some(at) => format!("{name}: a restore was last proven {}", units::age(at, now)),
            None => format!("{name}: no backup was ever proven by a restore"),
        },
        "recovery" => format!("{name}: well again after {}", lasted(now - source.since)),
        _ => format!("{name}: {error}"),
    }
}

/// `2 d 4 h`, `3 h 10 min`, `5 min`.
fn lasted(time: TimeDelta) -> String {
    let minutes = time.num_minutes().max(1);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The text, cut where it would be longer than so many bytes.
pub fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let room = bytes.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)])
}
