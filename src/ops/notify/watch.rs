//! `status` tells what it sees: what is overdue or not proven, damaged, or can't be read.
//! Another machine that reads the same store does so when the one that makes the backups is dead.

use super::facts::{StoreFacts, pseudo_history};
use super::page::PageOccasion;
use super::{NewsDesk, named};
use crate::error::Error;
use crate::notify::{
    AttemptEnd, AttemptResult, LastingState, News, NewsTopic, Occasion, Reminders, SourceHistory,
    SourceNews, news_of_look, news_of_run, overdue_since,
};
use crate::ops::run::ErrorSummary;
use crate::ops::status::StoreHealth;
use crate::ops::{Observer, Session};

/// What the store itself is called.
const THE_STORE: &str = "(the store)";

/// Tells what a status has found. Nothing happens where nobody is to be told.
pub fn tell_status(status: &StoreHealth<'_>, session: &Session, observer: &dyn Observer) {
    let Some(desk) = NewsDesk::open(session, observer) else {
        return;
    };
    let facts = StoreFacts::new(status);
    let mut reminders = desk.reminders();
    let looked = reminders.note(&desk.key("status", ""), desk.now).looked_at;
    let mut news = News::default();
    for history in &facts.histories {
        news.sources.extend(news_of_look(history, looked, desk.now));
        news.sources
            .extend(freshness_again(&desk, history, &mut reminders));
    }
    let mut errors = Vec::new();
    for (source, damage) in facts.damages() {
        let is_told = |one: &SourceNews| one.source == source && one.topic == NewsTopic::Stale;
        let overdue = facts.histories.iter().find(|one| one.source == source);
        let overdue = overdue.and_then(overdue_since);
        // What is overdue is said already.
        let is_overdue = overdue.is_some_and(|since| since <= desk.now);
        if is_overdue || news.sources.iter().any(is_told) {
            continue;
        }
        let error = damage.map(|found| {
            let error = Error::failed(&found.text);
            match &found.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        });
        let error = error.as_ref().map(ErrorSummary::from);
        let told = news_of_result(&desk, "damage", source, error.as_ref(), &mut reminders);
        news.sources.extend(told);
        errors.extend(error.map(|error| (source.to_owned(), error)));
    }
    // It could be read.
    news.sources.extend(news_of_result(
        &desk,
        "store",
        THE_STORE,
        None,
        &mut reminders,
    ));
    let mut sources = facts.sources(&news);
    for source in &mut sources {
        let error = errors.iter().find(|(name, _)| *name == source.source);
        let error = error.filter(|_| source.topic == NewsTopic::Failure.as_str());
        desk.add_error(source, error.map(|(_, error)| error));
    }
    let occasion = Occasion {
        total: facts.histories.len(),
        sources,
        ..desk.occasion("status")
    };
    desk.send(&news, &occasion, PageOccasion::default());
    desk.keep(reminders);
}

/// Tells that a store could not be read.
pub fn tell_unreadable_store(unreadable: &Error, session: &Session, observer: &dyn Observer) {
    let Some(desk) = NewsDesk::open(session, observer) else {
        return;
    };
    let mut reminders = desk.reminders();
    let error = ErrorSummary::from(unreadable);
    let told = news_of_result(&desk, "store", THE_STORE, Some(&error), &mut reminders);
    let news = News {
        sources: told.into_iter().collect(),
        digest: false,
    };
    let mut sources = StoreFacts::default().sources(&news);
    for source in &mut sources {
        desk.add_error(source, Some(&error));
    }
    let occasion = Occasion {
        total: 1,
        sources,
        ..desk.occasion("status")
    };
    let of_page = PageOccasion {
        unreadable: Some(unreadable),
        run: None,
    };
    desk.send(&news, &occasion, of_page);
    desk.keep(reminders);
}

/// That a source which was overdue has a good backup again. The store alone would tell it, too, but
/// not whether anybody has looked meanwhile.
fn freshness_again(
    desk: &NewsDesk<'_>,
    history: &SourceHistory,
    reminders: &mut Reminders,
) -> Option<SourceNews> {
    let key = desk.key("stale", &history.source);
    if overdue_since(history).is_some_and(|since| since <= desk.now) {
        reminders.note(&key, desk.now);
        return None;
    }
    let known = reminders.forget(&key)?;
    Some(SourceNews {
        source: history.source.clone(),
        topic: NewsTopic::Recovery,
        over: Some(NewsTopic::Stale),
        since: known.since,
        day: 1,
    })
}

/// The news of something that only the reminders know, by how it is now.
pub(super) fn news_of_result(
    desk: &NewsDesk<'_>,
    what: &str,
    name: &str,
    error: Option<&ErrorSummary>,
    reminders: &mut Reminders,
) -> Option<SourceNews> {
    let key = desk.key(what, name);
    let (end, state): (AttemptEnd, Option<LastingState>) = match error {
        Some(_) => (AttemptEnd::Failed, Some(reminders.note(&key, desk.now))),
        None => (AttemptEnd::Good, reminders.forget(&key)),
    };
    let result = AttemptResult {
        source: name.to_owned(),
        end,
        lasting: named(NewsTopic::Failure, state),
    };
    let news = news_of_run(&[pseudo_history(name)], &[result], None, None, desk.now);
    news.sources.into_iter().next()
}
