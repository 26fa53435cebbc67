//! What became of each source of a run, and the one outcome of them all.

use super::hooks::Told;
use crate::catalog::Backup as Entry;
use crate::commands::{outcome_of, set_error};
use crate::error::{Error, Kind, Result};
use crate::report::{Outcome, Report};

/// What became of one source: the backup, and an error where there is one, after the backup or in
/// its place.
pub struct Done {
    pub name: String,
    pub entry: Option<Box<Entry>>,
    pub error: Option<Error>,
    /// What the backup is that an error came after.
    pub short: Option<&'static str>,
    pub skipped: bool,
}

impl Done {
    /// There is no backup.
    pub fn failed(name: impl Into<String>, error: Error) -> Done {
        Done {
            name: name.into(),
            entry: None,
            error: Some(error),
            short: None,
            skipped: false,
        }
    }
}

/// What became of all of them, in the order of the plan.
#[derive(Default)]
pub struct Tally {
    ok: Vec<String>,
    skipped: usize,
    failed: Vec<(String, Kind)>,
    /// Those of the failed that have a backup all the same, and what it is.
    short: Vec<(String, &'static str)>,
    told: Vec<Error>,
    backups: Vec<Entry>,
    errors: Vec<serde_json::Value>,
    /// What went wrong after all sources.
    after: Option<Error>,
}

impl Tally {
    pub fn add(&mut self, done: Done) {
        self.count(&done);
        self.backups.extend(done.entry.map(|entry| *entry));
    }

    /// Its outcome alone, without its sidecar.
    pub fn count(&mut self, done: &Done) {
        self.skipped += usize::from(done.skipped);
        match &done.error {
            Some(error) => {
                self.failed.push((done.name.clone(), error.kind()));
                self.short
                    .extend(done.short.map(|short| (done.name.clone(), short)));
                self.told.push(named(&done.name, error));
                self.errors.push(
                    serde_json::json!({"source": done.name, "error": error.message(),
                    "hint": error.hint().map(ToString::to_string)}),
                );
            }
            None if !done.skipped => self.ok.push(done.name.clone()),
            None => {}
        }
    }

    /// The backups stay, and the run is no success.
    pub fn failed_after(&mut self, error: Error) {
        self.after = Some(error);
    }

    fn outcome(&self) -> Outcome {
        let kinds: Vec<Kind> = self.failed.iter().map(|(_, kind)| *kind).collect();
        let outcome = outcome_of(self.ok.len() + self.failed.len(), &kinds);
        outcome.or(self.after.is_some().then_some(Kind::Partial))
    }

    /// For the run's hooks.
    pub fn told(&self) -> Told {
        let messages: Vec<String> = self
            .told
            .iter()
            .chain(&self.after)
            .map(Error::message)
            .collect();
        Told {
            error: self.outcome().map(|kind| (kind, messages.join("; "))),
            failed: self.failed.iter().map(|(name, _)| name.clone()).collect(),
            ..Told::default()
        }
    }

    /// `app, shop ok`, `uploads made, retention held back`, `mail failed`.
    fn words(&self) -> Vec<String> {
        let short = |name: &String| {
            self.short
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, short)| *short)
        };
        let mut by_word: Vec<(&str, Vec<&str>)> =
            vec![("ok", self.ok.iter().map(String::as_str).collect())];
        for (name, kind) in &self.failed {
            let word = short(name).unwrap_or(if *kind == Kind::Partial {
                "partial"
            } else {
                "failed"
            });
            match by_word.iter_mut().find(|(known, _)| *known == word) {
                Some((_, names)) => names.push(name),
                None => by_word.push((word, vec![name])),
            }
        }
        let told = by_word.into_iter().filter(|(_, names)| !names.is_empty());
        told.map(|(word, names)| format!("{} {word}", names.join(", ")))
            .collect()
    }

    /// The summary, the document; what was made, and the outcome.
    pub fn conclude(mut self, report: &mut Report) -> (Vec<Entry>, Outcome) {
        let outcome = self.outcome();
        let tried = self.ok.len() + self.failed.len();
        if tried > 1 {
            if self.failed.is_empty() {
                report.line(format!("{tried} of {tried}: {} ok", self.ok.join(", ")));
            } else {
                report.warn(format!(
                    "{} of {tried}: {}",
                    self.ok.len(),
                    self.words().join("; ")
                ));
            }
        } else if tried == 0 && self.skipped == 0 {
            report.warn("no source is enabled: nothing was backed up");
        }
        if let Some(error) = self.after.take() {
            report.error(&error);
            self.told.push(error);
        }
        report.set(
            "backups",
            self.backups.iter().map(Entry::json).collect::<Vec<_>>(),
        );
        if !self.errors.is_empty() {
            for hint in self
                .errors
                .iter_mut()
                .filter_map(|error| error.get_mut("hint"))
            {
                if let Some(text) = hint.as_str() {
                    *hint = report.with_options(text).into();
                }
            }
            report.set("failed", self.errors);
        }
        set_error(&self.told, report);
        (self.backups, outcome)
    }
}

/// The error with the source's name before it.
pub fn named(name: &str, error: &Error) -> Error {
    let told = Error::new(error.kind(), format!("{name}: {error}"));
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}

/// Several errors of one thing as one: the kind of the first, unless a signal is among them.
pub fn joined(errors: impl IntoIterator<Item = Error>) -> Option<Error> {
    errors.into_iter().reduce(|first, next| {
        let kind = if next.kind() == Kind::Interrupted {
            next.kind()
        } else {
            first.kind()
        };
        let both = Error::new(kind, format!("{first}; {next}"));
        match first.hint().or(next.hint()) {
            Some(hint) => both.with_hint(hint),
            None => both,
        }
    })
}

/// For a function that must not lose either.
pub fn both<T>(result: Result<T>, after: Result<()>) -> Result<T> {
    match (result, after) {
        (Ok(value), Ok(())) => Ok(value),
        (result, after) => {
            Err(joined(result.err().into_iter().chain(after.err()))
                .unwrap_or_else(Error::interrupted))
        }
    }
}
