//! Telling people: what a run came to and what the store remembers become the news that `notify`
//! judges, and its messages go out. Nothing here changes what a run came to: what fails is a
//! warning.

mod facts;
mod lifesigns;
mod page;
#[cfg(test)]
mod tests;
mod trial;
mod verbs;
mod watch;

pub use trial::{
    NotifierTrial, check_notifier, kind_of, send_waiting, try_notifiers, waiting_count,
};
pub use verbs::{THE_COMMAND, VerbResult, tell_verb};
pub use watch::{tell_status, tell_unreadable_store};

use self::facts::{StoreFacts, pseudo_history};
use self::lifesigns::LifeSigns;
use self::page::{PageOccasion, make_page};
use super::run::{ErrorSummary, RunListener, RunOutcome, RunSummary, Shortfall, SourceSummary};
use super::secrets::{self, clean};
use super::{Observer, Session};
use crate::config::Config;
use crate::error::{Kind, Result};
use crate::notify::{
    AttemptEnd, AttemptResult, Budget, LastingState, MessageSpool, News, NewsTopic, Notification,
    NotifiedSource, NotifierSettings, NotifySettings, Occasion, Outbox, Reminders,
    UndeliveredMessage, compose, news_of_run, state_directory,
};
use crate::plan;
use crate::units;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// What the whole run is called beside its sources.
const THE_RUN: &str = "(the run)";

/// How long all signs of life at the end of a run may take together.
const SIGNS: Duration = Duration::from_secs(10);

/// Tells people when a run has ended, and the checks that wait for it also when it begins.
pub struct Messenger<'a> {
    session: &'a Session,
    observer: &'a dyn Observer,
    signs: LifeSigns<'a>,
}

impl<'a> Messenger<'a> {
    /// The messenger of the session's configuration.
    pub fn new(session: &'a Session, observer: &'a dyn Observer) -> Self {
        Messenger {
            session,
            observer,
            signs: LifeSigns::new(session, observer),
        }
    }

    /// Tells that a run over these sources begins.
    pub fn run_begins(&self, sources: &[String]) {
        self.signs.run_begins(sources);
    }
}

impl RunListener for Messenger<'_> {
    fn run_ended(&self, summary: &RunSummary) -> Result<()> {
        let Some(desk) = NewsDesk::open(self.session, self.observer) else {
            return Ok(());
        };
        // Who ends a run knows it, and what is missing then is overdue some day: only what failed
        // before the signal is told.
        desk.tell_run(summary);
        self.signs.run_ended(summary, Budget::new(SIGNS, SIGNS));
        Ok(())
    }
}

/// Where news are written down and messages leave.
struct NewsDesk<'a> {
    session: &'a Session,
    config: &'a Config,
    settings: &'a NotifySettings,
    observer: &'a dyn Observer,
    spool: Option<MessageSpool>,
    now: DateTime<Utc>,
}

impl<'a> NewsDesk<'a> {
    /// The desk of a configuration that tells anybody; `None` where it does not.
    fn open(session: &'a Session, observer: &'a dyn Observer) -> Option<NewsDesk<'a>> {
        let config = session.config.as_ref()?;
        let settings = &config.notify;
        if settings.notifiers.is_empty() {
            return None;
        }
        secrets::remember(config);
        Some(NewsDesk {
            session,
            config,
            settings,
            observer,
            spool: spool_of(settings),
            // The work took its time.
            now: session.now.max(crate::engine::whole_second(Utc::now())),
        })
    }

    /// Tells what a run came to.
    fn tell_run(&self, summary: &RunSummary) {
        let session = self.session.at(self.now);
        let (mut facts, unreadable) = match StoreFacts::read(&session) {
            Ok(facts) => (facts, None),
            Err(error) => {
                self.observer
                    .detail(format!("what was told before can't be read: {error}"));
                (StoreFacts::default(), Some(error))
            }
        };
        facts.leave_out(&own_ids(summary));
        let mut reminders = self.reminders();
        let attempts = attempts_of(summary);
        let results: Vec<AttemptResult> = attempts
            .iter()
            .filter_map(|attempt| self.result_of(attempt, &facts, &mut reminders))
            .collect();
        for result in &results {
            if !facts
                .histories
                .iter()
                .any(|known| known.source == result.source)
            {
                facts.histories.push(pseudo_history(&result.source));
            }
        }
        let digest = self.settings.digest_interval();
        // Who could not read the store has not looked at it.
        let told_at = (unreadable.is_none())
            .then(|| reminders.note(&self.run_key(), self.now))
            .and_then(|state| state.looked_at);
        let news = news_of_run(&facts.histories, &results, digest, told_at, self.now);
        let mut sources = facts.sources(&news);
        for source in &mut sources {
            let attempt = attempts.iter().find(|one| one.source == source.source);
            let error = attempt.and_then(|attempt| attempt.error.as_ref());
            self.add_error(source, error);
        }
        let occasion = Occasion {
            run: Some(summary.run.clone()),
            total: attempts.iter().filter(|one| one.source != THE_RUN).count(),
            sources,
            digest: facts.digest(digest, self.now),
            digest_since: facts.digest_since(digest),
            ..self.occasion("backup")
        };
        let of_page = PageOccasion {
            run: Some(summary),
            unreadable: unreadable.as_ref(),
        };
        self.send(&news, &occasion, of_page);
        self.keep(reminders);
    }

    /// How an attempt ended, with what is known of it that the store does not remember; `None`
    /// where it is no news: another run was at it, or nobody wanted it.
    fn result_of(
        &self,
        attempt: &SourceSummary,
        facts: &StoreFacts,
        reminders: &mut Reminders,
    ) -> Option<AttemptResult> {
        let kind = attempt.error.as_ref().map(|error| error.kind);
        if matches!(kind, Some(Kind::Locked | Kind::Interrupted)) {
            return None;
        }
        let failure = self.key("failure", &attempt.source);
        let partial = self.key("partial", &attempt.source);
        let history = facts.histories.iter();
        let history = history.into_iter().find(|one| one.source == attempt.source);
        let before = history.and_then(|history| history.attempts.first());
        let was_noted = before.is_some_and(|past| past.end == AttemptEnd::Failed);
        let (end, lasting) = match attempt.outcome {
            RunOutcome::Ok | RunOutcome::Skipped => {
                let failed = named(NewsTopic::Failure, reminders.forget(&failure));
                let lacked = named(NewsTopic::Partial, reminders.forget(&partial));
                (AttemptEnd::Good, failed.or(lacked))
            }
            RunOutcome::Partial => {
                let is_noted = attempt.shortfall == Some(Shortfall::Incomplete);
                let state = (!is_noted).then(|| reminders.note(&partial, self.now));
                (AttemptEnd::Partial, named(NewsTopic::Partial, state))
            }
            RunOutcome::Failed | RunOutcome::Interrupted => {
                let state = match (&attempt.failed_id, was_noted) {
                    // What was told before the store could note it is not told again.
                    (Some(_), false) => reminders.forget(&failure),
                    (Some(_), true) => None,
                    (None, _) => Some(reminders.note(&failure, self.now)),
                };
                (AttemptEnd::Failed, named(NewsTopic::Failure, state))
            }
        };
        Some(AttemptResult {
            source: attempt.source.clone(),
            end,
            lasting,
        })
    }

    /// Puts an error and what to do about it to what is told of a source.
    fn add_error(&self, source: &mut NotifiedSource, error: Option<&ErrorSummary>) {
        if let Some(error) = error {
            source.error = Some(error.message.clone());
            source.hint = error.hint.as_ref().map(|hint| self.session.lasting(hint));
        } else if let Some(hint) = facts::remedy(source) {
            source.hint = Some(self.session.lasting(&hint));
        }
    }

    /// What every message of this machine has.
    fn occasion(&self, command: &str) -> Occasion {
        let log = self.config.log.as_ref();
        Occasion {
            host: self.session.host.clone(),
            command: command.to_owned(),
            log: log.map(|log| log.file.display().to_string()),
            ..Occasion::default()
        }
    }

    /// What something is called among the reminders: a machine may have several stores.
    fn key(&self, what: &str, name: &str) -> String {
        let store = self.session.store_plan();
        let store = store.map_or_else(|_| String::new(), |store| store.location().to_string());
        format!("{store} {what} {name}")
    }

    /// What the runs of this configuration are called among the reminders: another one looks at
    /// other sources.
    fn run_key(&self) -> String {
        let path = plan::absolute(&self.session.cwd, &self.config.path);
        self.key("run", &path.display().to_string())
    }

    fn reminders(&self) -> Reminders {
        let directory = self.spool.as_ref().map(MessageSpool::directory);
        Reminders::load(directory.unwrap_or(std::path::Path::new("/nonexistent")))
    }

    fn keep(&self, reminders: Reminders) {
        let Some(spool) = &self.spool else {
            return;
        };
        let kept = spool.create().and_then(|()| reminders.save(self.now));
        if let Err(error) = kept {
            self.observer.detail(format!(
                "what was told is not remembered, and may be told again: {error}"
            ));
        }
    }

    /// Sends to everybody what is for them, after what still waits.
    fn send(&self, news: &News, occasion: &Occasion, of_page: PageOccasion<'_>) {
        let (settings, spool) = (self.settings, self.spool.as_ref());
        let messages: Vec<(&NotifierSettings, Notification)> = settings
            .notifiers
            .iter()
            .filter_map(|notifier| {
                let message = compose(news, &notifier.topics, occasion, self.now, &clean);
                Some((notifier, message?))
            })
            .collect();
        let has_page = messages.iter().any(|(one, _)| one.attaches_report());
        let page = has_page.then(|| make_page(of_page, &self.session.at(self.now)));
        // It begins here: a store that was slow to tell its history must not take the time in which
        // that is told.
        let mut outbox = Outbox::new(settings, spool, page.as_ref(), Budget::default());
        for (notifier, message) in messages {
            match outbox.send(notifier, &message) {
                Ok(_) => self
                    .observer
                    .step(format!("told {}: {}", notifier.name, message.subject)),
                Err(failed) => {
                    let lost = match failed.lost {
                        None => "the message waits and goes with the next run".to_owned(),
                        Some(why) => format!("the message is lost: {why}"),
                    };
                    let (name, error) = (failed.notifier, failed.error);
                    self.observer
                        .warn(format!("nobody was told by `{name}`: {error}; {lost}"));
                }
            }
        }
        let (arrived, failed) = outbox.send_waiting(self.now);
        for UndeliveredMessage {
            notifier, error, ..
        } in failed
        {
            self.observer.warn(format!(
                "what waits for `{notifier}` could not be delivered: {error}"
            ));
        }
        if arrived > 0 {
            let count = units::count(arrived as u64, "message");
            self.observer
                .detail(format!("told now what had waited: {count}"));
        }
    }
}

/// The directory in which messages wait, of these settings or of the environment; `None` where the
/// user has no home.
pub fn spool_of(settings: &NotifySettings) -> Option<MessageSpool> {
    let is_root = rustix::process::geteuid().is_root();
    let state = || state_directory(&|name| std::env::var_os(name), is_root);
    let directory = settings.spool.clone();
    let directory = directory.or_else(|| state().map(|state| state.join("notify")));
    directory.map(MessageSpool::new)
}

fn named(topic: NewsTopic, state: Option<LastingState>) -> Option<(NewsTopic, LastingState)> {
    state.map(|state| (topic, state))
}

/// The ids of what the run itself has left in the store.
fn own_ids(summary: &RunSummary) -> Vec<&str> {
    let sources = summary.sources.iter();
    sources
        .flat_map(|source| [&source.backup_id, &source.failed_id])
        .flatten()
        .map(String::as_str)
        .collect()
}

/// What the run came to for each source that was tried; and for itself, where something failed
/// around them.
fn attempts_of(summary: &RunSummary) -> Vec<SourceSummary> {
    let mut attempts = summary.attempts();
    let is_of_all = summary.failure().is_some() && !attempts.is_empty();
    if let Some(error) = summary.error.as_ref().filter(|_| !is_of_all) {
        attempts.push(SourceSummary {
            outcome: RunOutcome::from_kind(Some(error.kind)),
            error: Some(error.clone()),
            ..SourceSummary::new(THE_RUN)
        });
    } else if !is_of_all {
        // So that its failure before is known to be over.
        attempts.push(SourceSummary::new(THE_RUN));
    }
    attempts
}
