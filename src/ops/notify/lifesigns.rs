//! Signs of life around a run: that it begins, and how it ended, of the whole or of each source.

use crate::error::{Error, Kind};
use crate::notify::{Budget, LifeSign, NotifierWay, Pinger};
use crate::ops::run::{RunSummary, SourceSummary, outcome_of};
use crate::ops::secrets::{clean, remember};
use crate::ops::{Observer, Session};
use std::time::Duration;

/// How long a run waits before it begins: for one check, and for all.
const BEFORE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Tells the checks that wait for a run.
pub struct LifeSigns<'a> {
    /// Each with its notifier's name.
    pingers: Vec<(&'a str, Pinger<'a>)>,
    /// What tells this run from others.
    run: String,
    observer: &'a dyn Observer,
}

impl<'a> LifeSigns<'a> {
    /// The checks of the session's configuration.
    pub fn new(session: &'a Session, observer: &'a dyn Observer) -> Self {
        let mut pingers = Vec::new();
        let config = session.config.as_ref();
        let config = config.filter(|config| !config.notify.notifiers.is_empty());
        config.into_iter().for_each(remember);
        let notifiers = config
            .into_iter()
            .flat_map(|config| &config.notify.notifiers);
        for notifier in notifiers {
            let NotifierWay::Ping(settings) = &notifier.way else {
                continue;
            };
            match Pinger::new(settings) {
                Ok(pinger) => pingers.push((notifier.name.as_str(), pinger)),
                Err(error) => warn(&notifier.name, &error, observer),
            }
        }
        LifeSigns {
            pingers,
            run: uuid::Uuid::new_v4().to_string(),
            observer,
        }
    }

    /// Tells that a run over these sources begins.
    pub fn run_begins(&self, sources: &[String]) {
        let budget = Budget::new(BEFORE.0, BEFORE.1);
        for (name, pinger) in &self.pingers {
            let mut all = vec![None];
            if pinger.is_per_source() {
                all = sources.iter().map(|source| Some(source.as_str())).collect();
            }
            for source in all {
                self.send(name, pinger, source, &LifeSign::Start, budget);
            }
        }
    }

    /// Sends a sign. That one check is not there says nothing of the others.
    fn send(
        &self,
        name: &str,
        pinger: &Pinger<'_>,
        source: Option<&str>,
        sign: &LifeSign,
        budget: Budget,
    ) {
        let sent = match budget.next() {
            Some(limit) => pinger.send(source, &self.run, sign, limit),
            None => Err(Error::failed("no time was left for it")),
        };
        if let Err(error) = sent {
            warn(name, &error, self.observer);
        }
    }

    /// Tells how a run ended.
    pub fn run_ended(&self, summary: &RunSummary, budget: Budget) {
        for (name, pinger) in &self.pingers {
            let mut signs = vec![(None, sign_of_run(summary))];
            let attempts = summary.attempts();
            if pinger.is_per_source() {
                let of_all = attempts.iter();
                signs = of_all
                    .map(|one| (Some(one.source.as_str()), sign_of_source(one)))
                    .collect();
            }
            for (source, sign) in signs {
                self.send(name, pinger, source, &sign, budget);
            }
        }
    }
}

fn warn(name: &str, error: &Error, observer: &dyn Observer) {
    observer.warn(format!("no sign of life by `{name}`: {error}"));
}

fn sign_of_run(summary: &RunSummary) -> LifeSign {
    let Some(kind) = summary.kind() else {
        return LifeSign::Success;
    };
    let of_sources = summary
        .sources
        .iter()
        .filter_map(SourceSummary::named_error);
    let errors: Vec<String> = of_sources
        .map(|error| error.message())
        .chain(summary.error.iter().map(|error| error.message.clone()))
        .collect();
    failure(kind, &errors.join("; "))
}

fn sign_of_source(source: &SourceSummary) -> LifeSign {
    match &source.error {
        Some(error) => {
            let kind = outcome_of(1, &[error.kind]).unwrap_or(Kind::Failed);
            failure(kind, &error.message)
        }
        None => LifeSign::Success,
    }
}

fn failure(kind: Kind, why: &str) -> LifeSign {
    LifeSign::Failure(kind.exit_code(), clean(why))
}
