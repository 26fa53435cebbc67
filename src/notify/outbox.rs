//! Messages go out: the new ones, then those that wait, the oldest first. What does not arrive
//! waits. Where one message to somebody failed, the others to the same wait at once.

use super::budget::Budget;
use super::notification::Notification;
use super::report_page::ReportPage;
use super::settings::{NotifierSettings, NotifySettings};
use super::spool::{MessageSpool, WaitingMessage};
use super::transport::transport_of;
use crate::error::{Error, Result};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

/// What sends messages.
pub struct Outbox<'a> {
    settings: &'a NotifySettings,
    spool: Option<&'a MessageSpool>,
    /// What is attached to new mails, where they are to have it.
    page: Option<&'a ReportPage>,
    budget: Budget,
    /// Whom nothing can be told now.
    silent: BTreeSet<String>,
}

/// A message that did not arrive.
#[derive(Debug)]
pub struct UndeliveredMessage {
    /// The notifier's name.
    pub notifier: String,
    /// Why.
    pub error: Error,
    /// Where it could not be kept for later: why that.
    pub lost: Option<Error>,
}

impl<'a> Outbox<'a> {
    /// The outbox of these settings; without a spool nothing waits.
    pub fn new(
        settings: &'a NotifySettings,
        spool: Option<&'a MessageSpool>,
        page: Option<&'a ReportPage>,
        budget: Budget,
    ) -> Self {
        Outbox {
            settings,
            spool,
            page,
            budget,
            silent: BTreeSet::new(),
        }
    }

    /// Sends what waits. Returns how much arrived, and why the first message to somebody did not.
    pub fn send_waiting(&mut self, now: DateTime<Utc>) -> (usize, Vec<UndeliveredMessage>) {
        let mut failed = Vec::new();
        let Some(spool) = self.spool else {
            return (0, failed);
        };
        // Another run may be at it.
        let Some(_lock) = spool.lock() else {
            return (0, failed);
        };
        // A page that a server does not take, or not in time, must not hold a message back again.
        let page = ReportPage::Missing("it goes only with a message that does not wait".to_owned());
        let mut arrived = 0;
        for (path, message) in spool.waiting(now) {
            let settings = self.settings;
            let notifier = settings
                .notifiers
                .iter()
                .find(|one| one.name == message.notifier);
            // It may be another configuration's, or one that has no address in this run: its age
            // removes it.
            let Some(notifier) = notifier else {
                continue;
            };
            // What has just failed is known, and so is why.
            if self.silent.contains(&notifier.name) {
                continue;
            }
            match self.try_to_send(notifier, &late(&message.notification), Some(&page)) {
                Ok(_) => {
                    _ = std::fs::remove_file(&path);
                    arrived += 1;
                }
                Err(error) if failed.iter().all(|one| one.notifier != message.notifier) => {
                    failed.push(UndeliveredMessage {
                        notifier: message.notifier,
                        error,
                        lost: None,
                    });
                }
                // No time is left, and that was said.
                Err(_) => {}
            }
        }
        (arrived, failed)
    }

    /// Sends a message; what does not arrive waits.
    pub fn send(
        &mut self,
        notifier: &NotifierSettings,
        notification: &Notification,
    ) -> std::result::Result<String, UndeliveredMessage> {
        let sent = self.try_to_send(notifier, notification, self.page);
        sent.map_err(|error| {
            let message = WaitingMessage {
                notifier: notifier.name.clone(),
                notification: notification.clone(),
            };
            let kept = match self.spool {
                Some(spool) => spool.add(&message),
                None => Err(Error::failed("this user has no home directory")),
            };
            UndeliveredMessage {
                notifier: notifier.name.clone(),
                error,
                lost: kept.err(),
            }
        })
    }

    fn try_to_send(
        &mut self,
        notifier: &NotifierSettings,
        notification: &Notification,
        page: Option<&ReportPage>,
    ) -> Result<String> {
        let Some(transport) = transport_of(&notifier.way, page) else {
            return Ok(String::new());
        };
        if self.silent.contains(&notifier.name) {
            return Err(Error::failed("a message before it did not arrive"));
        }
        let limit = self.budget.next();
        let limit = limit.ok_or_else(|| Error::failed("no time was left for it"))?;
        let sent = transport.send(notification, limit);
        if sent.is_err() {
            self.silent.insert(notifier.name.clone());
        }
        sent
    }
}

/// The message with a line that says when it was meant to arrive.
fn late(notification: &Notification) -> Notification {
    let at = crate::units::stamp(notification.at);
    Notification {
        text: format!(
            "(written at {at}, and not delivered then)\n{}",
            notification.text
        ),
        ..notification.clone()
    }
}
