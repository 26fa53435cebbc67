//! `type = "ping"`: signs of life for those who wait for them, and call where none comes.

use super::http::{HttpRequest, demand_url};
use super::settings::{PingService, PingSettings};
use super::words::shortened;
use crate::error::Result;
use crate::secret::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use ureq::http::Method;

/// What is told to who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifeSign {
    /// The work begins.
    Start,
    /// It is done, and all is well.
    Success,
    /// It went wrong, with this exit code and for this reason.
    Failure(u8, String),
    /// Somebody tries whether signs arrive.
    Trial,
}

impl LifeSign {
    fn text(&self) -> &str {
        match self {
            LifeSign::Start => "",
            LifeSign::Success => "OK",
            LifeSign::Failure(_, why) => why,
            LifeSign::Trial => "a test",
        }
    }
}

/// What stands for a source's name in a URL.
const SOURCE: &str = "{source}";

/// The most bytes of a reason that go into a URL.
const LONGEST_REASON: usize = 200;

/// A check that waits for signs of life.
pub struct Pinger<'a> {
    settings: &'a PingSettings,
    url: Secret,
}

impl<'a> Pinger<'a> {
    /// The check of these settings, whose URL is read.
    pub fn new(settings: &'a PingSettings) -> Result<Self> {
        let url = demand_url(&settings.url_source())?;
        Ok(Pinger { settings, url })
    }

    /// Whether each source has a check of its own.
    pub fn is_per_source(&self) -> bool {
        self.url.expose().contains(SOURCE)
    }

    /// Looks whether a sign could be sent, and says where to.
    pub fn check(&self) -> Result<String> {
        self.request(Method::GET, &self.url, &LifeSign::Trial)
            .check()
    }

    fn request(&self, method: Method, url: &Secret, sign: &LifeSign) -> HttpRequest<'a> {
        HttpRequest {
            method,
            url: url.clone(),
            headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
            body: sign.text().as_bytes().to_vec(),
            ca_file: self.settings.ca_file.as_deref(),
            allow_http: self.settings.allow_http,
        }
    }

    /// Sends a sign of life of a source, or of a whole run, which `run` tells from others (a UUID).
    /// Returns what the other side answered; `None` where its service knows no such sign.
    pub fn send(
        &self,
        source: Option<&str>,
        run: &str,
        sign: &LifeSign,
        limit: Duration,
    ) -> Result<Option<String>> {
        let name = utf8_percent_encode(source.unwrap_or("test"), NAME_LETTERS).to_string();
        let url = Secret::new(self.url.expose().trim().replace(SOURCE, &name));
        let service = self.settings.service.unwrap_or_else(|| service_of(&url));
        let Some((method, url)) = address_of(service, &url, run, sign) else {
            return Ok(None);
        };
        self.request(method, &url, sign).send(limit).map(Some)
    }
}

/// The letters of names stay as they are.
const NAME_LETTERS: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// The service that a URL is of.
fn service_of(url: &Secret) -> PingService {
    let text = url.expose();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_of = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    if path.contains("api/push/") {
        PingService::UptimeKuma
    } else if ["cronitor.link", "cronitor.io"].into_iter().any(is_of) {
        PingService::Cronitor
    } else if ["betterstack.com", "betteruptime.com"]
        .into_iter()
        .any(is_of)
    {
        PingService::BetterStack
    } else {
        PingService::Healthchecks
    }
}

/// Where a sign goes, and how; `None` where the service knows no such sign.
fn address_of(
    service: PingService,
    url: &Secret,
    run: &str,
    sign: &LifeSign,
) -> Option<(Method, Secret)> {
    let text = url.expose();
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let base = base.trim_end_matches('/');
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let reason = encoded(&shortened(sign.text(), LONGEST_REASON));
    let with = |path: &str, more: &str| {
        let and = if query.is_empty() || more.is_empty() {
            ""
        } else {
            "&"
        };
        let mark = if query.is_empty() && more.is_empty() {
            ""
        } else {
            "?"
        };
        Secret::new(format!("{base}{path}{mark}{query}{and}{more}"))
    };
    Some(match service {
        PingService::Healthchecks => {
            let path = match sign {
                LifeSign::Start => "/start".to_owned(),
                LifeSign::Success => String::new(),
                // Its exit codes above 0 are failures.
                LifeSign::Failure(code, _) => format!("/{}", (*code).max(1)),
                LifeSign::Trial => "/log".to_owned(),
            };
            (Method::POST, with(&path, &format!("rid={run}")))
        }
        PingService::UptimeKuma => {
            let status = match sign {
                LifeSign::Start => return None,
                LifeSign::Success | LifeSign::Trial => "up",
                LifeSign::Failure(..) => "down",
            };
            // The query that its page shows is an example.
            let address = format!("{base}?status={status}&msg={reason}&ping=");
            (Method::GET, Secret::new(address))
        }
        PingService::Cronitor => {
            let state = match sign {
                LifeSign::Start => "run",
                LifeSign::Success => "complete",
                LifeSign::Failure(..) => "fail",
                LifeSign::Trial => "ok",
            };
            let code = match sign {
                LifeSign::Failure(code, _) => format!("&status_code={code}"),
                _ => String::new(),
            };
            let more = format!("state={state}&series={run}{code}&message={reason}");
            (Method::GET, with("", &more))
        }
        PingService::BetterStack => match sign {
            LifeSign::Start => return None,
            LifeSign::Success | LifeSign::Trial => (Method::POST, with("", "")),
            LifeSign::Failure(code, _) => (Method::POST, with(&format!("/{}", (*code).max(1)), "")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str, sign: &LifeSign) -> String {
        let url = Secret::new(url);
        match address_of(service_of(&url), &url, "RID", sign) {
            Some((method, url)) => format!("{method} {}", url.expose()),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn each_service_is_told_as_it_takes_it() {
        let failed = LifeSign::Failure(3, "shop: no & never".to_owned());
        for (url, start, success, failure) in [
            (
                "https://hc-ping.com/9e5f",
                "POST https://hc-ping.com/9e5f/start?rid=RID",
                "POST https://hc-ping.com/9e5f?rid=RID",
                "POST https://hc-ping.com/9e5f/3?rid=RID",
            ),
            (
                "https://hc.example.org/ping/key/app?create=1",
                "POST https://hc.example.org/ping/key/app/start?create=1&rid=RID",
                "POST https://hc.example.org/ping/key/app?create=1&rid=RID",
                "POST https://hc.example.org/ping/key/app/3?create=1&rid=RID",
            ),
            (
                "https://kuma.example.org/api/push/abc?status=up&msg=OK&ping=",
                "nothing",
                "GET https://kuma.example.org/api/push/abc?status=up&msg=OK&ping=",
                "GET https://kuma.example.org/api/push/abc?status=down&msg=shop%3A%20no%20%26%20\
                 never&ping=",
            ),
            (
                "https://cronitor.link/p/key/job",
                "GET https://cronitor.link/p/key/job?state=run&series=RID&message=",
                "GET https://cronitor.link/p/key/job?state=complete&series=RID&message=OK",
                "GET https://cronitor.link/p/key/job?state=fail&series=RID&status_code=3&message=\
                 shop%3A%20no%20%26%20never",
            ),
            (
                "https://uptime.betterstack.com/api/v1/heartbeat/abc",
                "nothing",
                "POST https://uptime.betterstack.com/api/v1/heartbeat/abc",
                "POST https://uptime.betterstack.com/api/v1/heartbeat/abc/3",
            ),
        ] {
            assert_eq!(shown(url, &LifeSign::Start), start);
            assert_eq!(shown(url, &LifeSign::Success), success);
            assert_eq!(shown(url, &failed), failure);
        }
    }
}
