//! What all ways have in common: a message goes, and the other side answers.

use super::command::ProgramTransport;
use super::mail::MailTransport;
use super::notification::Notification;
use super::report_page::ReportPage;
use super::settings::NotifierWay;
use super::webhook::WebhookTransport;
use crate::error::Result;
use std::time::Duration;

/// A way on which messages get to somebody.
pub trait MessageTransport {
    /// Looks whether a message could be sent, without sending any, and says where it would go.
    /// Secrets are read for it.
    fn check(&self) -> Result<String>;

    /// Sends the message, within this time, and returns what the other side answered, in a few
    /// words. An error means that it may not have arrived; nothing in it is a secret.
    fn send(&self, notification: &Notification, limit: Duration) -> Result<String>;
}

/// The way of these settings; `None` for a ping, which takes no messages. The page goes where it is
/// to be attached.
pub fn transport_of<'a>(
    way: &'a NotifierWay,
    page: Option<&'a ReportPage>,
) -> Option<Box<dyn MessageTransport + 'a>> {
    match way {
        NotifierWay::Mail(settings) => Some(Box::new(MailTransport::new(settings, page))),
        NotifierWay::Webhook(settings) => Some(Box::new(WebhookTransport::new(settings))),
        NotifierWay::Command(settings) => Some(Box::new(ProgramTransport::new(settings))),
        NotifierWay::Ping(_) => None,
    }
}
