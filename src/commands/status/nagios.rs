//! The one line of a Nagios plug-in: `DBBACKUP OK - text | performance data`.

use super::summary;
use crate::health::{Expectation, HealthFinding, HealthLevel, Proof};
use crate::ops::status::StoreHealth;
use chrono::{DateTime, Utc};
use std::fmt::Write as _;

/// The line. A bar or a line break in the text would end it.
pub fn line(level: HealthLevel, text: &str, performance: &str) -> String {
    let text = text.replace('|', "/").replace('\n', " ");
    let bar = if performance.is_empty() { "" } else { " | " };
    format!("DBBACKUP {} - {text}{bar}{performance}", level.as_str())
}

/// The line of a status that could be judged.
pub fn status_line(status: &StoreHealth<'_>) -> String {
    let level = status.level();
    if level == HealthLevel::Ok || status.sources.is_empty() {
        return line(level, &summary(status), &performance(status));
    }
    let of_sources = status.sources.iter().flat_map(|(subject, health)| {
        health
            .findings
            .iter()
            .map(move |finding| (finding.level, format!("{}: {}", subject.name, finding.text)))
    });
    let of_store = status
        .space
        .iter()
        .map(|space| (space.level, format!("store: {}", space.text)));
    let of_copy_stores = status.copy_stores.iter().flat_map(|store| {
        let findings = store.findings.iter();
        let text =
            move |finding: &HealthFinding| format!("{}: {}", store.plan.title(), finding.text);
        findings.map(move |finding| (finding.level, text(finding)))
    });
    let texts = of_sources.chain(of_store).chain(of_copy_stores);
    let mut texts: Vec<(HealthLevel, String)> = texts.collect();
    // The worst first, and the sort keeps what else was the order.
    texts.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    line(level, &texts.join("; "), &performance(status))
}

/// `'label'=value[unit];warning;critical;least`, with ages in seconds. A range `N:` alarms below N.
fn performance(status: &StoreHealth<'_>) -> String {
    let mut text = String::new();
    for (subject, health) in status
        .sources
        .iter()
        .filter(|(subject, _)| !matches!(subject.expected, Expectation::No(_)))
    {
        let name = &subject.name;
        let seconds = |at: DateTime<Utc>| (status.now - at).num_seconds().max(0);
        if let Some(newest) = &health.newest {
            let critical = subject.expect_every.duration().as_secs();
            let _ = write!(
                text,
                "'{name}_age'={}s;;{critical};0 '{name}_size'={}B;;;0 ",
                seconds(newest.ended),
                newest.stored
            );
        }
        if let Some(Proof { at, .. }) = health.proof {
            let warning = subject.prove_every.map_or(String::new(), |every| {
                every.duration().as_secs().to_string()
            });
            let _ = write!(text, "'{name}_proof_age'={}s;{warning};;0 ", seconds(at));
        }
    }
    if let Some(free) = status.free {
        let _ = write!(text, "'store_free'={free}B;{}:;;0", status.needed);
    }
    text.trim_end().to_owned()
}
