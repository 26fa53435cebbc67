//! The services that take messages in a shape of their own.

use super::notification::{Notification, NotificationSeverity};
use super::settings::WebhookPreset;
use super::webhook::bearer;
use super::words::shortened;
use crate::error::{Error, Result};
use crate::secret::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use ureq::http::Method;

/// A message as a service takes it.
pub struct PresetMessage {
    /// `POST`, or what the service wants.
    pub method: Method,
    /// Where to.
    pub url: Secret,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Value,
}

impl WebhookPreset {
    /// The URL of a service that has but one.
    pub fn default_url(self) -> Option<&'static str> {
        match self {
            WebhookPreset::Pushover => Some("https://api.pushover.net/1/messages.json"),
            _ => None,
        }
    }

    /// Whether it must be told whom a message is for.
    pub fn needs_addressee(self) -> bool {
        matches!(
            self,
            WebhookPreset::Telegram | WebhookPreset::Matrix | WebhookPreset::Pushover
        )
    }

    /// Whether nothing goes without a token.
    pub fn needs_token(self) -> bool {
        matches!(
            self,
            WebhookPreset::Gotify | WebhookPreset::Matrix | WebhookPreset::Pushover
        )
    }

    /// Whether it knows what to do with a token.
    pub fn takes_token(self) -> bool {
        self.needs_token() || matches!(self, WebhookPreset::Json | WebhookPreset::Ntfy)
    }
}

/// The message as the service takes it.
pub fn shape(
    preset: WebhookPreset,
    notification: &Notification,
    url: Secret,
    token: Option<Secret>,
    to: Option<&str>,
) -> Result<PresetMessage> {
    let (subject, text) = (&notification.subject, &notification.text);
    let both = format!("{subject}\n\n{text}");
    let severity = notification.severity;
    let to = to.unwrap_or_default();
    let post = |url: Secret, headers: Vec<(&'static str, String)>, body: Value| PresetMessage {
        method: Method::POST,
        url,
        headers,
        body,
    };
    Ok(match preset {
        WebhookPreset::Json => post(url, bearer(token.as_ref()), json!(notification)),
        WebhookPreset::Ntfy => {
            let (server, topic) = split_topic(&url)?;
            let body = json!({
                "topic": topic, "title": subject, "message": text,
                "priority": by_severity(severity, [3, 4, 5]),
                "tags": [by_severity(severity, ["white_check_mark", "warning", "rotating_light"])],
            });
            post(server, bearer(token.as_ref()), body)
        }
        WebhookPreset::Gotify => {
            let body = json!({
                "title": subject, "message": text,
                "priority": by_severity(severity, [2, 5, 8]),
            });
            let key = token.map(|token| ("x-gotify-key", token.expose().to_owned()));
            post(with_path(&url, "/message"), key.into_iter().collect(), body)
        }
        WebhookPreset::Slack => post(url, Vec::new(), json!({"text": escaped_for_slack(&both)})),
        WebhookPreset::Discord => {
            // No text of anybody's calls everybody.
            let body = json!({
                "content": shortened_letters(&both, 2000),
                "allowed_mentions": {"parse": []},
            });
            post(url, Vec::new(), body)
        }
        WebhookPreset::Telegram => {
            let body = json!({
                "chat_id": to, "text": both,
                "link_preview_options": {"is_disabled": true},
            });
            post(url, Vec::new(), body)
        }
        WebhookPreset::Teams => post(url, Vec::new(), card_of(subject, text)),
        WebhookPreset::Matrix => PresetMessage {
            method: Method::PUT,
            url: with_path(
                &url,
                &format!(
                    "/_matrix/client/v3/rooms/{}/send/m.room.message/{}",
                    utf8_percent_encode(to, NON_ALPHANUMERIC),
                    notification.id
                ),
            ),
            headers: bearer(token.as_ref()),
            body: json!({"msgtype": "m.text", "body": both}),
        },
        WebhookPreset::Pushover => {
            let token = token.as_ref().map(Secret::expose);
            let body = json!({
                "token": token, "user": to,
                "title": shortened_letters(subject, 250), "message": shortened_letters(text, 1024),
                "priority": by_severity(severity, [-1, 0, 1]),
            });
            post(url, Vec::new(), body)
        }
    })
}

/// The first for what is well, the second for what deserves a look, the third for what is bad.
fn by_severity<T: Copy>(severity: NotificationSeverity, choices: [T; 3]) -> T {
    match severity {
        NotificationSeverity::Info => choices[0],
        NotificationSeverity::Warning => choices[1],
        NotificationSeverity::Critical => choices[2],
    }
}

/// The server of ntfy, and the topic that a URL of it ends with: a title in a header could not have
/// every letter, so that the document goes to the server itself.
fn split_topic(url: &Secret) -> Result<(Secret, String)> {
    let text = url.expose().trim().trim_end_matches('/');
    match text.rsplit_once('/') {
        Some((server, topic)) if !server.ends_with('/') && !topic.is_empty() => {
            Ok((Secret::new(format!("{server}/")), topic.to_owned()))
        }
        _ => Err(Error::usage("the URL has no topic").with_hint("as in https://ntfy.sh/TOPIC")),
    }
}

/// The URL of a server with this path behind it.
fn with_path(url: &Secret, path: &str) -> Secret {
    let server = url.expose().trim().trim_end_matches('/');
    let server = server.strip_suffix(path).unwrap_or(server);
    Secret::new(format!("{server}{path}"))
}

/// Slack's three signs; what they begin can call people or hide a link.
fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The text with at most so many letters.
fn shortened_letters(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        // Room for the sign that it was cut.
        Some((at, _)) => shortened(text, at.saturating_sub(3)),
        None => text.to_owned(),
    }
}

/// An adaptive card, in which a text is never a link or a picture.
fn card_of(subject: &str, text: &str) -> Value {
    let block =
        |text: &str, weight: &str| json!({"type": "TextRun", "text": text, "weight": weight});
    let rich = |inlines: Value| json!({"type": "RichTextBlock", "inlines": inlines});
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard", "version": "1.4",
                "body": [
                    rich(json!([block(subject, "Bolder")])),
                    rich(json!([block(text, "Default")])),
                ],
            },
        }],
    })
}
