//! Notifiers on trial: a message to each, and what the other side answers; and what waits.

use super::page::{PageOccasion, make_page};
use super::spool_of;
use crate::config::{Config, nearest};
use crate::error::{Error, Result};
use crate::notify::{
    Budget, LifeSign, Notification, NotifierSettings, NotifierWay, NotifySettings, Outbox, Pinger,
    transport_of,
};
use crate::ops::programs::check_program;
use crate::ops::{Observer, Session, secrets};
use chrono::Utc;
use std::time::Duration;

/// How long everything may take: somebody sits there and waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one notifier may take.
const EACH: Duration = Duration::from_secs(10);

/// A notifier that was tried.
#[derive(Debug)]
pub struct NotifierTrial {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// What the other side answered.
    pub answer: Result<String>,
}

/// Sends a test message by each notifier, or by the one of that name. Nothing of it waits.
pub fn try_notifiers(name: Option<&str>, session: &Session) -> Result<Vec<NotifierTrial>> {
    let settings = settings_of(session)?;
    let names: Vec<&str> = settings
        .notifiers
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let wanted = |one: &&NotifierSettings| name.is_none_or(|name| one.name == name);
    let chosen: Vec<&NotifierSettings> = settings.notifiers.iter().filter(wanted).collect();
    if let Some(name) = name.filter(|_| chosen.is_empty()) {
        let error = Error::not_found(format!("there is no [notify.{name}] in the configuration"));
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("there are: {}", names.join(", "))),
        });
    }
    let budget = Budget::new(EACH, PATIENCE);
    Ok(chosen
        .into_iter()
        .map(|notifier| NotifierTrial {
            name: notifier.name.clone(),
            kind: kind_of(&notifier.way),
            answer: try_notifier(notifier, budget, session),
        })
        .collect())
}

fn try_notifier(notifier: &NotifierSettings, budget: Budget, session: &Session) -> Result<String> {
    let limit = budget.next();
    let limit = limit.ok_or_else(|| Error::failed("no time was left for it"))?;
    if let NotifierWay::Ping(settings) = &notifier.way {
        let run = uuid::Uuid::new_v4().to_string();
        let answer = Pinger::new(settings)?.send(None, &run, &LifeSign::Trial, limit)?;
        return Ok(answer.unwrap_or_default());
    }
    let message = Notification::on_trial(&session.host, Utc::now());
    let page = notifier
        .attaches_report()
        .then(|| make_page(PageOccasion::default(), session));
    match transport_of(&notifier.way, page.as_ref()) {
        Some(transport) => transport.send(&message, limit),
        None => Ok(String::new()),
    }
}

/// Looks whether a notifier could send a message, without sending one, and says where to.
pub fn check_notifier(notifier: &NotifierSettings, config: &Config) -> Result<String> {
    secrets::remember(config);
    if let NotifierWay::Command(own) = &notifier.way
        && let Some(program) = own
            .command
            .as_ref()
            .and_then(|one| one.program(&own.directory))
    {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        let hint = "a list is one program and its arguments; write a shell line as a string";
        check_program(program.as_os_str(), &dirs).map_err(|error| error.with_new_hint(hint))?;
    }
    match (&notifier.way, transport_of(&notifier.way, None)) {
        (NotifierWay::Ping(settings), _) => Pinger::new(settings)?.check(),
        (_, Some(transport)) => transport.check(),
        (_, None) => Ok(String::new()),
    }
}

/// Sends what waits; the observer hears why something did not arrive. Returns how many messages
/// did, and how many still wait.
pub fn send_waiting(session: &Session, observer: &dyn Observer) -> Result<(usize, usize)> {
    let settings = settings_of(session)?;
    let spool = spool_of(settings);
    let budget = Budget::new(EACH, PATIENCE);
    let mut outbox = Outbox::new(settings, spool.as_ref(), None, budget);
    let (arrived, failed) = outbox.send_waiting(Utc::now());
    for one in failed {
        observer.warn(format!("`{}` was not told: {}", one.notifier, one.error));
    }
    Ok((arrived, spool.map_or(0, |spool| spool.count())))
}

/// How many messages wait.
pub fn waiting_count(session: &Session) -> usize {
    let settings = session.config.as_ref().map(|config| &config.notify);
    let settings = settings.filter(|settings| !settings.notifiers.is_empty());
    settings.and_then(spool_of).map_or(0, |spool| spool.count())
}

fn settings_of(session: &Session) -> Result<&NotifySettings> {
    let config = session.config.as_ref();
    let settings = config.map(|config| &config.notify);
    let settings = settings.filter(|settings| !settings.notifiers.is_empty());
    let Some(settings) = settings else {
        let error = Error::usage("the configuration has no [notify.NAME]: nobody is told anything");
        return Err(error.with_hint("dbbackup-monitoring(7) shows how to write one"));
    };
    config.into_iter().for_each(secrets::remember);
    Ok(settings)
}

/// The word for the type.
pub fn kind_of(way: &NotifierWay) -> &'static str {
    match way {
        NotifierWay::Mail(_) => "mail",
        NotifierWay::Webhook(_) => "webhook",
        NotifierWay::Ping(_) => "ping",
        NotifierWay::Command(_) => "command",
    }
}
