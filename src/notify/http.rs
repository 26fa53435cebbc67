//! One request and its answer. Nothing goes to another host than the one that was named, nothing in
//! the clear to another machine, and no error shows more of a URL than its host: the rest is often
//! what lets people in.

use super::budget::EACH;
use crate::error::{Context, Error, Result};
use crate::secret::{Secret, SecretSource, mask_known};
use crate::units;
use rustls_native_certs::load_native_certs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{Method, Request, Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

/// How often a host may send somewhere else on itself.
const MOST_REDIRECTS: usize = 3;

/// The most bytes of an answer that are read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// The most letters of an answer that are shown.
const LONGEST_SHOWN: usize = 200;

/// The shortest part of a URL's path that is taken for a secret of its own.
const SHORTEST_TOKEN: usize = 16;

/// A request.
pub struct HttpRequest<'a> {
    /// `GET`, `POST` or `PUT`.
    pub method: Method,
    /// Where to.
    pub url: Secret,
    /// Headers, each with its name.
    pub headers: Vec<(&'static str, String)>,
    /// The body; a `GET` has none.
    pub body: Vec<u8>,
    /// Certificates that are trusted beside the system's.
    pub ca_file: Option<&'a Path>,
    /// Whether plain HTTP may go to another machine.
    pub allow_http: bool,
}

impl HttpRequest<'_> {
    /// Looks whether it could be sent, and says where to.
    pub fn check(&self) -> Result<String> {
        let uri = parsed(&self.url)?;
        self.check_scheme(&uri)?;
        let roots = root_certificates(self.ca_file);
        roots.map_err(|error| Error::usage(mask_known(&error.to_string())))?;
        Ok(format!("to `{}`", host_of(&uri)))
    }

    /// Sends it, and returns the answer in a few words. An answer that is no success is an error.
    pub fn send(&self, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut uri = parsed(&self.url)?;
        let method = &self.method;
        for _ in 0..=MOST_REDIRECTS {
            self.check_scheme(&uri)?;
            let left = end.saturating_duration_since(Instant::now());
            let host = host_of(&uri);
            let answer = self.exchange(&uri, method, left);
            let mut answer = answer.map_err(|error| explained(&error, &host, limit))?;
            let status = answer.status();
            if !status.is_redirection() {
                let text = text_of(&mut answer);
                let said = format!("{} {text}", status.as_u16());
                let said = said.trim_end().to_owned();
                return match status.is_success() {
                    true => Ok(said),
                    false => Err(refused(&host, status.as_u16(), &said)),
                };
            }
            // Only these two mean that the body is to be sent again.
            if !matches!(status.as_u16(), 307 | 308) && *method != Method::GET {
                return Err(Error::failed(format!(
                    "`{host}` answered {} and sends elsewhere, which a message does not follow",
                    status.as_u16()
                ))
                .with_hint("the URL is not quite right: look at it in a browser"));
            }
            uri = redirected(&uri, &answer)?;
        }
        Err(Error::failed(format!(
            "`{}` sends round in circles",
            host_of(&uri)
        )))
    }

    fn check_scheme(&self, uri: &Uri) -> Result<()> {
        let host = host_of(uri);
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_http || is_this_machine(&host) => Ok(()),
            Some("http") => Err(Error::usage(format!(
                "the URL of `{host}` is plain HTTP, which everybody on the way can read and change"
            ))
            .with_hint("write `https://`, or allow_http = true")),
            _ => Err(Error::usage("the URL does not begin with `https://`")),
        }
    }

    fn exchange(
        &self,
        uri: &Uri,
        method: &Method,
        limit: Duration,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let is_local = is_this_machine(&host_of(uri));
        let roots = root_certificates(self.ca_file)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(limit))
            .user_agent(concat!("dbbackup/", env!("CARGO_PKG_VERSION")))
            // What is meant for this machine is no proxy's business.
            .proxy(if is_local {
                None
            } else {
                Proxy::try_from_env()
            })
            .tls_config(tls)
            .build();
        let agent = Agent::new_with_config(config);
        let mut request = Request::builder().method(method.clone()).uri(uri.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_str());
        }
        if *method == Method::GET {
            return agent.run(request.body(())?);
        }
        agent.run(request.body(self.body.as_slice())?)
    }
}

fn parsed(url: &Secret) -> Result<Uri> {
    let uri: Uri = url.expose().trim().parse().map_err(|_| {
        Error::usage("the URL is none").with_hint("its text is not shown, as it may be a secret")
    })?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(Error::usage("the URL names no host"));
    }
    Ok(uri)
}

/// The host of a URL, as it is shown.
fn host_of(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

/// Whether a host's name is this machine's own, whatever a server of names says.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().ok();
    address.map_or(bare.eq_ignore_ascii_case("localhost"), |address| {
        address.is_loopback()
    })
}

/// The system's certificates and those of a file.
fn root_certificates(ca_file: Option<&Path>) -> std::result::Result<RootCerts, ureq::Error> {
    let system = load_native_certs().certs;
    let mut certificates: Vec<Certificate<'static>> = system
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    if let Some(path) = ca_file {
        let text = std::fs::read(path).map_err(|error| named_file(path, &error))?;
        for item in parse_pem(&text) {
            if let PemItem::Certificate(one) = item? {
                certificates.push(one);
            }
        }
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn named_file(path: &Path, error: &std::io::Error) -> std::io::Error {
    let path: PathBuf = path.to_owned();
    std::io::Error::new(
        error.kind(),
        format!("`ca_file` `{}`: {error}", path.display()),
    )
}

/// Where an answer sends; another host, or one without TLS, is refused.
fn redirected(from: &Uri, answer: &Response<Body>) -> Result<Uri> {
    let host = host_of(from);
    let location = answer.headers().get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok());
    let nowhere = || Error::failed(format!("`{host}` sends elsewhere and does not say where"));
    let location = location.ok_or_else(nowhere)?;
    if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().map_err(|_| nowhere())?);
        return Uri::from_parts(parts).map_err(|_| nowhere());
    }
    let to: Uri = location.parse().map_err(|_| nowhere())?;
    let is_same = to.authority() == from.authority() && to.scheme() == from.scheme();
    match is_same {
        true => Ok(to),
        false => Err(Error::failed(format!(
            "`{host}` sends to `{}`, and nothing is sent to another host than the one that was \
             named",
            units::printable(&host_of(&to))
        ))
        .with_hint("write that URL into the configuration, if it is right")),
    }
}

/// The beginning of an answer's body on one line.
fn text_of(answer: &mut Response<Body>) -> String {
    let body = answer.body_mut().with_config().limit(LONGEST_ANSWER);
    let bytes = body.read_to_vec().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    let shown: String = mask_known(&words.join(" "))
        .chars()
        .take(LONGEST_SHOWN)
        .collect();
    units::printable(&shown).into_owned()
}

/// What is said of an answer that is no success.
fn refused(host: &str, status: u16, said: &str) -> Error {
    let error = Error::failed(format!("`{host}` answered {said}"));
    match status {
        401 | 403 => error.with_hint("look at the token, or at the URL where it holds one"),
        404 | 410 => error.with_hint("look at the URL: there is nothing there any more"),
        429 => error.with_hint("it got too many messages"),
        _ => error,
    }
}

/// A failure without the URL.
fn explained(error: &ureq::Error, host: &str, limit: Duration) -> Error {
    let why = match error {
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Timeout(_) => {
            format!(
                "no answer within {}",
                units::elapsed(limit.as_secs_f64().ceil())
            )
        }
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::BadUri(_) => "its URL is none".to_owned(),
        ureq::Error::Io(error) => {
            Error::from(std::io::Error::new(error.kind(), error.to_string())).message()
        }
        other => other.to_string(),
    };
    let error = Error::failed(format!("telling `{host}`: {}", mask_known(&why)));
    match why.contains("ertificate") {
        true => {
            error.with_hint("`ca_file` names certificates that are trusted beside the system's")
        }
        false => error,
    }
}

/// Reads a URL that must be there. The long parts of its path are keys, which must not be shown.
pub fn demand_url(source: &SecretSource) -> Result<Secret> {
    let url = source.read_within("url", EACH).context("its URL")?;
    let url = url.ok_or_else(|| Error::usage("it has no URL"))?;
    let rest = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    for part in rest.split(['/', '?', '&', '=']).skip(1) {
        // What is filled in later is no secret.
        if part.len() >= SHORTEST_TOKEN && !part.contains('{') {
            drop(Secret::new(part));
        }
    }
    Ok(url)
}
