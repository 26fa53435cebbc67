//! `type = "webhook"`: the document by HTTP, signed where both sides know a secret, or shaped for a
//! service.

use super::budget::EACH;
use super::http::{HttpRequest, demand_url};
use super::notification::{Notification, json_bytes};
use super::presets::{PresetMessage, shape};
use super::settings::{WebhookPreset, WebhookSettings};
use super::transport::MessageTransport;
use crate::error::{Context, Result};
use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use std::time::Duration;
use ureq::http::Method;

/// Sends to one URL.
pub struct WebhookTransport<'a> {
    settings: &'a WebhookSettings,
}

impl<'a> WebhookTransport<'a> {
    /// The webhook of these settings.
    pub fn new(settings: &'a WebhookSettings) -> Self {
        WebhookTransport { settings }
    }
}

impl MessageTransport for WebhookTransport<'_> {
    fn check(&self) -> Result<String> {
        self.request(&Notification::on_trial("", chrono::Utc::now()))?
            .check()
    }

    fn send(&self, notification: &Notification, limit: Duration) -> Result<String> {
        self.request(notification)?.send(limit)
    }
}

impl WebhookTransport<'_> {
    /// The request that a message becomes.
    fn request(&self, notification: &Notification) -> Result<HttpRequest<'_>> {
        let settings = self.settings;
        let url = match (settings.url_source().count(), settings.preset.default_url()) {
            (0, Some(known)) => Secret::new(known),
            _ => demand_url(&settings.url_source())?,
        };
        let token = settings.token_source().read_within("token", EACH);
        let token = token.context("its token")?;
        let secret = settings.secret_source().read_within("secret", EACH);
        let secret = secret.context("its secret")?;
        let PresetMessage {
            method,
            url,
            mut headers,
            body,
        } = match settings.preset {
            WebhookPreset::Json => PresetMessage {
                method: Method::POST,
                url,
                headers: bearer(token.as_ref()),
                body: json!(notification),
            },
            preset => shape(preset, notification, url, token, settings.to.as_deref())?,
        };
        let body = json_bytes(&body)?;
        headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
        if let Some(secret) = secret {
            headers.push((SIGNATURE_HEADER, signature_of(&secret, &body)));
        }
        Ok(HttpRequest {
            method,
            url,
            headers,
            body,
            ca_file: settings.ca_file.as_deref(),
            allow_http: settings.allow_http,
        })
    }
}

/// The header that proves who wrote a message.
const SIGNATURE_HEADER: &str = "x-dbbackup-signature";

/// `sha256=` and the HMAC of the body, in hexadecimal digits.
fn signature_of(secret: &Secret, body: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = "sha256=".to_owned();
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// The header with which most services take a token.
pub fn bearer(token: Option<&Secret>) -> Vec<(&'static str, String)> {
    let header = token.map(|token| ("authorization", format!("Bearer {}", token.expose())));
    header.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_openssl() {
        // printf '{"version":1}' | openssl dgst -sha256 -hmac s3cret
        let expected = "sha256=37d836ceeac029e78ae7c1aea23d20f2c8b7e6f4ad4b2eea354086f1917a30a5";
        assert_eq!(
            signature_of(&Secret::new("s3cret"), br#"{"version":1}"#),
            expected
        );
    }
}
