//! What other commands than `backup` come to: a verification that finds damage, a copy that fails,
//! a cleanup that can't remove. No store remembers that, but the reminders do.

use super::NewsDesk;
use super::facts::StoreFacts;
use super::page::PageOccasion;
use super::watch::news_of_result;
use crate::error::{Error, Kind};
use crate::notify::{News, Occasion};
use crate::ops::run::{ErrorSummary, join_errors};
use crate::ops::{Observer, Session};
use std::collections::BTreeSet;

/// What a command is called that came to nothing at all.
pub const THE_COMMAND: &str = "(the command)";

/// What a command came to for one thing, mostly a source.
#[derive(Debug)]
pub struct VerbResult {
    /// What it is of; [`THE_COMMAND`] where it came to nothing at all.
    pub name: String,
    /// What went wrong.
    pub error: Option<ErrorSummary>,
}

impl VerbResult {
    /// What a command came to for this.
    pub fn new(name: impl Into<String>, error: Option<&Error>) -> VerbResult {
        VerbResult {
            name: name.into(),
            error: error.map(ErrorSummary::from),
        }
    }

    /// What the command as a whole came to, with all that went wrong.
    pub fn of_whole<'e>(errors: impl IntoIterator<Item = &'e Error>) -> VerbResult {
        let copies = errors
            .into_iter()
            .map(|error| Error::from(&ErrorSummary::from(error)));
        VerbResult::new(THE_COMMAND, join_errors(copies).as_ref())
    }
}

/// Tells what a command came to. What nobody wanted, or was asked for in a way that can't be meant,
/// is no news; nor is a mistyped name of a restore, before which somebody sits.
pub fn tell_verb(
    command: &str,
    results: &[VerbResult],
    session: &Session,
    observer: &dyn Observer,
) {
    let Some(desk) = NewsDesk::open(session, observer) else {
        return;
    };
    let mut reminders = desk.reminders();
    let mut news = News::default();
    let is_news = |result: &&VerbResult| {
        let kind = result.error.as_ref().map(|error| error.kind);
        let is_mistyped = command == "restore" && kind == Some(Kind::NotFound);
        !(is_mistyped || matches!(kind, Some(Kind::Usage | Kind::Interrupted | Kind::Locked)))
    };
    let mut known = BTreeSet::new();
    // Of several of the same name the one that failed counts.
    let (failed, fine): (Vec<&VerbResult>, Vec<&VerbResult>) = results
        .iter()
        .filter(is_news)
        .partition(|one| one.error.is_some());
    let whole = VerbResult::new(THE_COMMAND, None);
    // It came to results, so that its failure before is over.
    let is_whole = failed.iter().all(|one| one.name != THE_COMMAND);
    let all = failed
        .into_iter()
        .chain(fine)
        .chain(is_whole.then_some(&whole));
    let results: Vec<&VerbResult> = all.filter(|one| known.insert(one.name.as_str())).collect();
    for result in &results {
        let error = result.error.as_ref();
        let told = news_of_result(&desk, command, &result.name, error, &mut reminders);
        news.sources.extend(told);
    }
    let mut sources = StoreFacts::default().sources(&news);
    for source in &mut sources {
        let result = results.iter().find(|result| result.name == source.source);
        desk.add_error(source, result.and_then(|result| result.error.as_ref()));
    }
    let occasion = Occasion {
        total: results.iter().filter(|one| one.name != THE_COMMAND).count(),
        sources,
        ..desk.occasion(command)
    };
    desk.send(&news, &occasion, PageOccasion::default());
    desk.keep(reminders);
}
