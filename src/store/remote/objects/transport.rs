//! How requests reach a service: connections, TLS, limits, and the end of patience. The library
//! signs requests and reads answers; it does not get to see refusals, lists or redirects raw.

use super::body::{Progress, ReceivedBody, SentBody, http_error, silence};
use super::endpoint::{ServiceEndpoint, is_this_machine};
use super::failure::{RequestFailure, ServerAnswer, TryAgain};
use super::listing::ListPage;
use super::proof::base64;
use crate::error::{Context, Error, Result};
use crate::failpoint::lowered;
use crate::store::ConnectionSettings;
use crate::store::ObjectLock;
use crate::store::remote::limit::RateLimit;
use crate::store::remote::server_text::bounded;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, Uri};
use md5::{Digest as _, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::error::Error as StdError;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);

/// The same for the machine's own metadata service, which is near or not there.
const CONNECT_NEAR: Duration = Duration::from_secs(2);

/// How long a connection may be silent, in milliseconds.
const SILENCE: u64 = 60_000;

/// The longest answer that is no object.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The longest refusal that is read.
const LONGEST_REFUSAL: u64 = 256 << 10;

/// Where a machine in a cloud asks for its own keys.
const METADATA_HOSTS: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::23]",
    "metadata.google.internal",
    "metadata",
];

/// How long a connection may be silent.
pub fn patience() -> Duration {
    Duration::from_millis(lowered("DBBACKUP_TEST_SILENCE", SILENCE))
}

/// The headers of an answer, for what the library does not read.
#[derive(Debug, Clone)]
pub struct AnswerHeaders(pub HeaderMap);

impl AnswerHeaders {
    /// The server's clock.
    pub fn date(&self) -> Option<DateTime<Utc>> {
        let text = self.0.get(http::header::DATE)?.to_str().ok()?;
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        Some(date.to_utc())
    }

    /// The lock of the object that is described, where one holds now.
    pub fn lock(&self, now: DateTime<Utc>) -> Option<ObjectLock> {
        let text = |name: &str| self.0.get(name)?.to_str().ok();
        let is_held = text("x-amz-object-lock-legal-hold").is_some_and(|hold| hold == "ON")
            || text("x-ms-legal-hold").is_some_and(|hold| hold == "true");
        if is_held {
            return Some(ObjectLock { until: None });
        }
        let s3 = text("x-amz-object-lock-retain-until-date");
        let s3 = s3.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let azure = text("x-ms-immutability-policy-until-date");
        let azure = azure.and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        let until = s3.or(azure)?.to_utc();
        (until > now).then_some(ObjectLock { until: Some(until) })
    }
}

/// The way to a service, and to whoever gives keys for it.
#[derive(Debug)]
pub struct Transport {
    /// With the proxies of the environment.
    far: reqwest::Client,
    /// For this machine, and for what is next to it.
    near: reqwest::Client,
    /// The host of the objects, with its port.
    host: String,
    allow_http: bool,
    upload: Option<Arc<RateLimit>>,
    download: Option<Arc<RateLimit>>,
    patience: Duration,
}

impl Transport {
    /// Prepares the way to a service; nothing is connected yet.
    /// `patience` is how long a connection may be silent.
    pub fn new(
        endpoint: &ServiceEndpoint,
        settings: &ConnectionSettings,
        patience: Duration,
    ) -> Result<Transport> {
        let tls = tls(settings.ca_file.as_deref())?;
        Ok(Transport {
            far: client(&tls, CONNECT, true)?,
            near: client(&tls, CONNECT_NEAR, false)?,
            host: endpoint.host.clone(),
            allow_http: settings.allow_http,
            upload: settings
                .upload_limit
                .map(|rate| Arc::new(RateLimit::new(rate))),
            download: settings
                .download_limit
                .map(|rate| Arc::new(RateLimit::new(rate))),
            patience,
        })
    }

    /// The client for a host. What may go over plain HTTP goes through no proxy, where it would be
    /// read.
    fn client(&self, uri: &Uri) -> Result<&reqwest::Client, RequestFailure> {
        let host = uri.host().unwrap_or_default();
        let is_near = is_this_machine(host) || METADATA_HOSTS.contains(&host);
        let is_allowed = self.allow_http && self.is_service(uri);
        if uri.scheme_str() != Some("https") && !is_near && !is_allowed {
            return Err(RequestFailure::transport(
                format!("plain HTTP to `{}` is not allowed", bounded(host)),
                TryAgain::Never,
            ));
        }
        Ok(if is_near { &self.near } else { &self.far })
    }

    /// Whether a request is about objects, and not about keys.
    fn is_service(&self, uri: &Uri) -> bool {
        uri.authority()
            .is_some_and(|authority| authority.as_str() == self.host)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, RequestFailure> {
        let (parts, body) = request.into_parts();
        let client = self.client(&parts.uri)?;
        let is_service = self.is_service(&parts.uri);
        let url = parts.uri.to_string().parse().map_err(|_| {
            RequestFailure::transport("the request has no valid URL", TryAgain::Never)
        })?;
        let progress = Arc::new(Progress::begin());
        let mut request = reqwest::Request::new(parts.method.clone(), url);
        *request.headers_mut() = parts.headers;
        if is_service && parts.method == Method::PUT && body.content_length() > 0 {
            add_sum(request.headers_mut(), body.clone()).await;
        }
        *request.body_mut() = Some(match body.content_length() {
            0 => reqwest::Body::from(Bytes::new()),
            _ => {
                let throttle = self.upload.clone();
                reqwest::Body::wrap(SentBody::new(body, Arc::clone(&progress), throttle))
            }
        });
        let answer = until_silent(client.execute(request), &progress, self.patience)
            .await?
            .map_err(|error| {
                let host = parts.uri.host().unwrap_or_default();
                let failure = broken(error, &format!("asking `{}`", bounded(host)));
                match METADATA_HOSTS.contains(&host) {
                    // This machine is in no such cloud.
                    true => RequestFailure::transport(failure.to_string(), TryAgain::Never),
                    false => failure,
                }
            })?;
        let answer: http::Response<reqwest::Body> = answer.into();
        match is_service {
            true => self.read_answer(&parts.method, &parts.uri, answer).await,
            false => {
                let (head, body) = answer.into_parts();
                let body = self.receive(body, LONGEST_ANSWER);
                Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
            }
        }
    }

    fn receive(&self, body: reqwest::Body, limit: u64) -> ReceivedBody {
        ReceivedBody::new(body, self.patience, self.download.clone(), limit)
    }

    async fn read_answer(
        &self,
        method: &Method,
        uri: &Uri,
        answer: http::Response<reqwest::Body>,
    ) -> Result<HttpResponse, RequestFailure> {
        let (mut head, body) = answer.into_parts();
        if !head.status.is_success() {
            let refusal = collect(self.receive(body, LONGEST_REFUSAL))
                .await
                .unwrap_or_default();
            return Err(RequestFailure::Answer(refusal_of(&head, &refusal)));
        }
        let body = match RequestKind::of(method, uri) {
            RequestKind::Object => HttpResponseBody::new(self.receive(body, u64::MAX)),
            RequestKind::List => {
                let bytes = collect(self.receive(body, LONGEST_ANSWER)).await?;
                check_no_error(&bytes)?;
                head.extensions.insert(ListPage::parse(&bytes)?);
                HttpResponseBody::from(Bytes::from_static(ListPage::placeholder(&bytes).as_bytes()))
            }
            RequestKind::Other => {
                let bytes = collect(self.receive(body, LONGEST_ANSWER)).await?;
                check_no_error(&bytes)?;
                HttpResponseBody::from(bytes)
            }
        };
        let headers = AnswerHeaders(head.headers.clone());
        head.extensions.insert(headers);
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// Adds the MD5 of what is put to S3: a bucket that locks its objects by default takes nothing
/// without one. The signature does not cover it; Azure's would have to.
async fn add_sum(headers: &mut HeaderMap, body: HttpRequestBody) {
    if !headers.contains_key("x-amz-content-sha256") {
        return;
    }
    let mut body = pin!(body);
    let mut sum = Md5::new();
    while let Some(Ok(frame)) =
        std::future::poll_fn(|context| http_body::Body::poll_frame(body.as_mut(), context)).await
    {
        sum.update(frame.into_data().unwrap_or_default());
    }
    if let Ok(value) = HeaderValue::from_str(&base64(&sum.finalize())) {
        headers.insert("content-md5", value);
    }
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    /// The bytes of an object, of any length.
    Object,
    /// A page of a list.
    List,
    /// Anything else.
    Other,
}

impl RequestKind {
    fn of(method: &Method, uri: &Uri) -> RequestKind {
        let query = uri.query().unwrap_or_default();
        let has = |pair: &str| query.split('&').any(|known| known == pair);
        match *method {
            Method::GET if has("list-type=2") || has("comp=list") => RequestKind::List,
            Method::GET | Method::HEAD => RequestKind::Object,
            _ => RequestKind::Other,
        }
    }
}

/// A service may answer 200 before it is done, and then put an error into the body. Azure answers
/// so to a batch of removals, which is always one of ours.
fn check_no_error(body: &[u8]) -> Result<(), RequestFailure> {
    let text = String::from_utf8_lossy(body);
    if text.starts_with("--")
        && let Some((_, inner)) = text.split_once("HTTP/1.1 ")
    {
        let status = inner.get(..3).and_then(|digits| digits.parse().ok());
        return match status {
            Some(200..300) => Ok(()),
            status => {
                let answer = ServerAnswer::parse(status.unwrap_or_default(), body);
                Err(RequestFailure::Answer(answer))
            }
        };
    }
    let is_error = (text.split('<').skip(1))
        .find(|tag| tag.starts_with(|c: char| c.is_ascii_alphabetic()))
        .is_some_and(|root| root.starts_with("Error>") || root.starts_with("Error "));
    match is_error {
        true => Err(RequestFailure::Answer(ServerAnswer::parse(200, body))),
        false => Ok(()),
    }
}

fn refusal_of(head: &http::response::Parts, body: &[u8]) -> ServerAnswer {
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let mut answer = ServerAnswer::parse(head.status.as_u16(), body);
    if answer.code.is_empty()
        && let Some(code) = header("x-ms-error-code")
        && code.chars().all(|c| c.is_ascii_alphanumeric())
    {
        answer.code = code;
    }
    answer.region = answer.region.or_else(|| header("x-amz-bucket-region"));
    answer.date = AnswerHeaders(head.headers.clone()).date();
    answer
}

/// Waits for a request's answer until nothing is heard of it any more.
async fn until_silent<T>(
    work: impl Future<Output = T>,
    progress: &Progress,
    patience: Duration,
) -> Result<T, RequestFailure> {
    let mut work = pin!(work);
    loop {
        let deadline = progress.last() + patience;
        match timeout_at(deadline, work.as_mut()).await {
            Ok(done) => return Ok(done),
            Err(_) if progress.last() + patience > Instant::now() => {}
            Err(_) => return Err(silence(patience)),
        }
    }
}

/// Reads a bounded body whole.
async fn collect(body: ReceivedBody) -> Result<Bytes, RequestFailure> {
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    loop {
        let next =
            std::future::poll_fn(|context| http_body::Body::poll_frame(body.as_mut(), context));
        match next.await {
            None => return Ok(bytes.freeze()),
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => {
                return Err(super::failure::reason(&error).cloned().unwrap_or_else(|| {
                    RequestFailure::transport(bounded(&error.to_string()), TryAgain::Patiently)
                }));
            }
        }
    }
}

/// What became of a connection, from the deepest cause that is known.
pub fn broken(error: reqwest::Error, doing: &str) -> RequestFailure {
    let is_timeout = error.is_timeout();
    let error = error.without_url();
    let mut deepest: &dyn StdError = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let why = match is_timeout {
        true => "no connection in time".to_owned(),
        false => Error::failed(bounded(&deepest.to_string())).message(),
    };
    let lasting = [
        "peer certificate",
        "Name or service not known",
        "InvalidContentType",
    ];
    let again = match lasting.iter().any(|sign| why.contains(sign)) {
        true => TryAgain::Never,
        false => TryAgain::Patiently,
    };
    RequestFailure::transport(format!("{doing}: {why}"), again)
}

fn client(
    tls: &rustls::ClientConfig,
    connect: Duration,
    with_proxies: bool,
) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(connect)
        // A redirect would take signed headers to a place that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        // Many requests on one connection share its window, and end together.
        .http1_only()
        .user_agent(concat!("dbbackup/", env!("CARGO_PKG_VERSION")));
    let builder = match with_proxies {
        true => builder,
        false => builder.no_proxy(),
    };
    builder
        .build()
        .map_err(|error| Error::failed(bounded(&error.to_string())))
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let what = || format!("`ca_file` `{}`", path.display());
        let pem = std::fs::read(path).with_context(what)?;
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| {
                Error::usage(format!("{} holds no certificate in PEM format", what()))
            })?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| {
                Error::usage(format!("{}: {}", what(), bounded(&error.to_string())))
            })?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::failed(bounded(&error.to_string())))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Gives the library its clients, which all share one transport.
#[derive(Debug, Clone)]
pub struct Connector(pub Arc<Transport>);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.send(request).await.map_err(http_error)
    }
}
