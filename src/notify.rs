//! People are told: what is news (`news`), the message about it (`notification`, with its words in
//! `words`), and the ways on which it gets to them: mail, webhooks, programs; and the signs of life
//! for those who wait for them (`ping`). What can't be delivered waits in the `spool`.
//!
//! This room knows no store, no run and no configuration file. It is given plain values, in which
//! secrets are masked already.

mod budget;
mod command;
mod http;
mod mail;
mod news;
mod notification;
mod outbox;
mod ping;
mod presets;
mod reminders;
mod report_page;
mod settings;
mod spool;
mod transport;
mod webhook;
mod words;

pub use budget::Budget;
pub use mail::check_mail;
pub use news::{
    AttemptEnd, AttemptResult, LastingState, News, PastAttempt, SourceHistory, SourceNews,
    bucket_of, news_of_look, news_of_run, overdue_since,
};
pub use notification::{
    DigestLine, Notification, NotificationSeverity, NotifiedSource, Occasion, compose,
};
pub use outbox::{Outbox, UndeliveredMessage};
pub use ping::{LifeSign, Pinger};
pub use reminders::Reminders;
pub use report_page::ReportPage;
pub use settings::{
    CommandSettings, DigestInterval, MailSettings, MailVia, NewsTopic, NotifierSettings,
    NotifierTopics, NotifierWay, NotifySettings, PingService, PingSettings, WebhookPreset,
    WebhookSettings,
};
pub use spool::{MessageSpool, state_directory};
pub use transport::{MessageTransport, transport_of};
