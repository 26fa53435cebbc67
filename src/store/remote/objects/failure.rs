//! What a failed request means: whether it is tried again, what kind of error it is, and which
//! right or setting is missing.
//!
//! Texts of servers are a stranger's: they come onto one line, are bounded in length, and lose the
//! queries of URLs, which may hold signatures.

use super::target::ServiceTarget;
use crate::error::{Error, Kind};
use crate::store::location::ObjectService;
use crate::store::remote::medium::missing;
use crate::store::remote::server_text::bounded;
use crate::units;
use chrono::{DateTime, Utc};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFailure {
    /// The server answered, and said no.
    Answer(ServerAnswer),
    /// No whole answer was received.
    Transport {
        /// What happened.
        text: String,
        /// What may come of another try.
        again: TryAgain,
    },
}

/// What may come of another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAgain {
    /// Nothing else.
    Never,
    /// It may have been a whim; more likely what answers is no such service.
    Briefly,
    /// It may take a while to pass.
    Patiently,
}

/// How many tries there are where it is [`TryAgain::Briefly`].
const FEW_TRIES: u32 = 4;

/// A server's refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAnswer {
    /// The HTTP status; 200 where the error is in the body of a success.
    pub status: u16,
    /// The service's own name of the error, as `NoSuchKey`; empty where it gave none.
    pub code: String,
    /// The service's sentence; may be empty.
    pub message: String,
    /// The region of the bucket, where the server says that it is another one.
    pub region: Option<String>,
    /// The server's clock.
    pub date: Option<DateTime<Utc>>,
}

impl ServerAnswer {
    /// Reads an answer's body: XML of S3, Google and Azure, or anything else.
    pub fn parse(status: u16, body: &[u8]) -> ServerAnswer {
        let text = String::from_utf8_lossy(body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (inner, _) = rest.split_once(&format!("</{name}>"))?;
            let unescaped = quick_xml::escape::unescape(inner).map(|text| text.into_owned());
            Some(unescaped.unwrap_or_else(|_| inner.to_owned()))
        };
        let code = element("Code").unwrap_or_default();
        let is_code = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric());
        ServerAnswer {
            status,
            code: if is_code { code } else { String::new() },
            message: bounded(&element("Message").unwrap_or_default()),
            region: element("Region").filter(|region| is_region(region)),
            date: None,
        }
    }

    /// Whether the service said that there is no such object, and not merely no such page.
    pub fn is_missing_object(&self) -> bool {
        self.status == 404 && matches!(self.code.as_str(), "NoSuchKey" | "BlobNotFound")
    }

    /// Whether there is no such upload, or not any more.
    pub fn is_missing_upload(&self) -> bool {
        self.code == "NoSuchUpload"
    }

    /// Whether the same request may succeed later.
    fn may_pass(&self) -> bool {
        const PASSING: &[&str] = &[
            "",
            "InternalError",
            "OperationAborted",
            "RequestTimeout",
            "ServiceUnavailable",
            "SlowDown",
        ];
        match self.status {
            408 | 429 => true,
            409 => matches!(
                self.code.as_str(),
                "ConditionalRequestConflict" | "OperationAborted"
            ),
            501 => false,
            200 => PASSING.contains(&self.code.as_str()),
            500.. => true,
            // Some say so with 400 when a body came too slowly.
            _ => self.code == "RequestTimeout",
        }
    }
}

fn is_region(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl RequestFailure {
    /// A failure of the transport.
    pub fn transport(text: impl Into<String>, again: TryAgain) -> RequestFailure {
        RequestFailure::Transport {
            text: text.into(),
            again,
        }
    }

    /// Whether the same request may succeed later, after so many tries.
    pub fn may_pass(&self, tries: u32) -> bool {
        match self {
            RequestFailure::Answer(answer) => answer.may_pass(),
            RequestFailure::Transport { again, .. } => match again {
                TryAgain::Never => false,
                TryAgain::Briefly => tries < FEW_TRIES,
                TryAgain::Patiently => true,
            },
        }
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestFailure::Transport { text, .. } => f.write_str(text),
            RequestFailure::Answer(answer) => answer.fmt(f),
        }
    }
}

impl fmt::Display for ServerAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl StdError for RequestFailure {}

/// The reason of a failed call of the library, where it came from our transport.
pub fn reason<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a RequestFailure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<RequestFailure>() {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

/// The answer of the server that is an error's cause.
pub fn answer(error: &Error) -> Option<&ServerAnswer> {
    match error.cause::<RequestFailure>() {
        Some(RequestFailure::Answer(answer)) => Some(answer),
        _ => None,
    }
}

/// Whether an error is a refusal for want of a right, and not for a wrong key or a lock.
pub fn lacks_right(error: &Error) -> bool {
    answer(error).is_some_and(|answer| {
        answer.status == 403
            && !matches!(
                answer.code.as_str(),
                "SignatureDoesNotMatch"
                    | "InvalidAccessKeyId"
                    | "InvalidToken"
                    | "AuthenticationFailed"
                    | "RequestTimeTooSkewed"
            )
    })
}

/// What is asked of a server, and the right that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceAction {
    /// Size and checksum of an object.
    Look,
    /// An object's bytes.
    Read,
    /// A new object.
    Write,
    /// The beginning of an object that is sent in parts.
    BeginUpload,
    /// A part of such an object.
    SendPart,
    /// The end of such an object.
    CompleteUpload,
    /// The names of objects.
    List,
    /// An object's end.
    Remove,
    /// An unfinished upload's end.
    GiveUp,
}

impl ServiceAction {
    fn doing(self) -> &'static str {
        match self {
            ServiceAction::Look => "looking at",
            ServiceAction::Read => "reading",
            ServiceAction::Write => "writing",
            ServiceAction::BeginUpload => "beginning the upload of",
            ServiceAction::SendPart => "sending a part of",
            ServiceAction::CompleteUpload => "completing the upload of",
            ServiceAction::List => "listing",
            ServiceAction::Remove => "removing",
            ServiceAction::GiveUp => "giving up the upload of",
        }
    }

    /// The service's own name of the call.
    fn call(self, service: ObjectService) -> &'static str {
        let [s3, google, azure] = match self {
            ServiceAction::Look => ["HeadObject", "HEAD Object", "Get Blob Properties"],
            ServiceAction::Read => ["GetObject", "GET Object", "Get Blob"],
            ServiceAction::Write => ["PutObject", "PUT Object", "Put Blob"],
            ServiceAction::BeginUpload => {
                ["CreateMultipartUpload", "POST Object", "Put Block List"]
            }
            ServiceAction::SendPart => ["UploadPart", "PUT Object", "Put Block"],
            ServiceAction::CompleteUpload => {
                ["CompleteMultipartUpload", "POST Object", "Put Block List"]
            }
            ServiceAction::List => ["ListObjectsV2", "GET Bucket", "List Blobs"],
            ServiceAction::Remove => ["DeleteObject", "DELETE Object", "Delete Blob"],
            ServiceAction::GiveUp => ["AbortMultipartUpload", "DELETE Object", "Delete Blob"],
        };
        match service {
            ObjectService::S3 => s3,
            ObjectService::Google => google,
            ObjectService::Azure => azure,
        }
    }

    fn right(self, service: ObjectService) -> &'static str {
        match (service, self) {
            (ObjectService::S3, ServiceAction::Look | ServiceAction::Read) => {
                "`s3:GetObject`, and `s3:ListBucket`, without which what is missing is refused, too"
            }
            (
                ObjectService::S3,
                ServiceAction::Write
                | ServiceAction::BeginUpload
                | ServiceAction::SendPart
                | ServiceAction::CompleteUpload,
            ) => "`s3:PutObject`",
            (ObjectService::S3, ServiceAction::List) => "`s3:ListBucket`",
            (ObjectService::S3, ServiceAction::Remove) => {
                "`s3:DeleteObject`, unless the object is locked for a time"
            }
            (ObjectService::S3, ServiceAction::GiveUp) => "`s3:AbortMultipartUpload`",
            (ObjectService::Google, ServiceAction::Look | ServiceAction::Read) => {
                "`storage.objects.get`"
            }
            (
                ObjectService::Google,
                ServiceAction::Write
                | ServiceAction::BeginUpload
                | ServiceAction::SendPart
                | ServiceAction::CompleteUpload,
            ) => "`storage.objects.create`, and `storage.multipartUploads.create`",
            (ObjectService::Google, ServiceAction::List) => "`storage.objects.list`",
            (ObjectService::Google, ServiceAction::Remove) => {
                "`storage.objects.delete`, unless the object is held"
            }
            (ObjectService::Google, ServiceAction::GiveUp) => "`storage.multipartUploads.abort`",
            (ObjectService::Azure, _) => "`Storage Blob Data Contributor`",
        }
    }
}

/// The error of a failed call, after so many tries in so much time.
pub fn explain(
    error: &object_store::Error,
    (action, shown): (ServiceAction, &str),
    target: &ServiceTarget,
    (tries, elapsed): (u32, Duration),
) -> Error {
    let failure = reason(error)
        .cloned()
        .unwrap_or_else(|| RequestFailure::transport(plain_text(error), TryAgain::Never));
    let (kind, hint) = match &failure {
        RequestFailure::Answer(answer) if answer.is_missing_object() => return missing(shown),
        RequestFailure::Answer(answer) => (Kind::Failed, answer_hint(answer, action, target)),
        RequestFailure::Transport { .. } => {
            (Kind::Failed, transport_hint(&error.to_string(), target))
        }
    };
    let mut doing = format!("{} `{shown}`", action.doing());
    if let RequestFailure::Answer(_) = &failure {
        doing = format!("{doing} ({})", action.call(target.service));
    }
    if tries > 1 {
        let time = units::elapsed(elapsed.as_secs_f64());
        doing = format!("{doing} ({tries} tries in {time})");
    }
    let error = Error::from_cause(kind, failure).context(doing);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// What the library says where it was not the transport that failed.
fn plain_text(error: &object_store::Error) -> String {
    let mut deepest: &dyn StdError = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = bounded(&deepest.to_string());
    match is_about_keys(&error.to_string()) {
        true => format!("asking the cloud that this machine may be in for keys: {text}"),
        false => text,
    }
}

/// Whether a text is about the service that gives keys to a machine in a cloud.
fn is_about_keys(text: &str) -> bool {
    text.contains("169.254.") || text.contains("metadata")
}

fn answer_hint(
    answer: &ServerAnswer,
    action: ServiceAction,
    target: &ServiceTarget,
) -> Option<String> {
    let bucket = &target.bucket;
    let key_settings = "look at `access_key` and `secret_key`, or at what stands in for them";
    Some(match (answer.code.as_str(), answer.status) {
        ("NoSuchBucket", _) => {
            format!("make the bucket `{bucket}`, or mend the address or the `endpoint`")
        }
        ("ContainerNotFound", _) => {
            format!("make the container `{bucket}`, or mend the address or the `endpoint`")
        }
        ("RequestTimeTooSkewed", _) => {
            "set this machine's clock: it and the server's differ too much".to_owned()
        }
        ("SignatureDoesNotMatch", _) => {
            format!("{key_settings}; the clock, `region` and `endpoint` go into the signature, too")
        }
        ("InvalidAccessKeyId" | "InvalidToken" | "AuthenticationFailed", _) => {
            key_settings.to_owned()
        }
        ("ExpiredToken", _) => "the session has ended: log in again".to_owned(),
        ("KeyBasedAuthenticationNotPermitted", _) => {
            "the account takes no keys: use an identity".to_owned()
        }
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect", _)
        | (_, 301 | 307 | 308) => match &answer.region {
            Some(region) => format!("the bucket is in another region: set `region = \"{region}\"`"),
            None => "look at `region` and `endpoint`: the bucket is in another place".to_owned(),
        },
        ("QuotaExceeded" | "InsufficientStorage", _) | (_, 507) => {
            "free some space there, or ask for more".to_owned()
        }
        (_, 403) => format!("the right may be missing: {}", action.right(target.service)),
        (_, 401) => format!("{key_settings}; the clock must be right, too"),
        (_, 404) => format!(
            "look at the address and the `endpoint` of `{}`",
            target.shown
        ),
        _ => return None,
    })
}

/// How keys are given to a service.
pub fn key_hint(service: ObjectService) -> &'static str {
    match service {
        ObjectService::S3 => {
            "set `access_key` and `secret_key` (each also as …_file or …_command), or `profile`"
        }
        ObjectService::Google => "set `secret_key_file` to the JSON key of a service account",
        ObjectService::Azure => {
            "set `access_key` to the account and `secret_key` (also as …_file or …_command) to its \
             key or to a token of it"
        }
    }
}

fn transport_hint(text: &str, target: &ServiceTarget) -> Option<String> {
    let host = &target.host;
    if text.contains("certificate") {
        return Some(format!(
            "where `{host}` has a certificate of your own authority, name that in `ca_file`"
        ));
    }
    if text.contains("lookup") || text.contains("Name or service") {
        return Some("look at `endpoint` and at this machine's name service".to_owned());
    }
    if is_about_keys(text) {
        return Some(key_hint(target.service).to_owned());
    }
    if text.contains("corrupt message") {
        return Some(format!(
            "`{host}` does not speak TLS: is it another port, or is the `endpoint` `http://`?"
        ));
    }
    Some(format!(
        "is `{host}` up, and reachable from here? Look at the `endpoint` and its port, a proxy, a \
         firewall"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::client::{HttpError, HttpErrorKind};

    fn target() -> ServiceTarget {
        ServiceTarget {
            service: ObjectService::S3,
            bucket: "acme".to_owned(),
            host: "s3.example.com".to_owned(),
            shown: "s3://acme/web1".to_owned(),
        }
    }

    fn explained(failure: RequestFailure, action: ServiceAction) -> Error {
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(HttpErrorKind::Unknown, failure)),
        };
        explain(
            &error,
            (action, "s3://acme/web1/x"),
            &target(),
            (1, Duration::ZERO),
        )
    }

    fn answered(status: u16, body: &str, action: ServiceAction) -> Error {
        let answer = ServerAnswer::parse(status, body.as_bytes());
        explained(RequestFailure::Answer(answer), action)
    }

    fn document(code: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>No.</Message></Error>")
    }

    #[test]
    fn only_a_missing_object_is_not_found() {
        let kind =
            |status, code: &str| answered(status, &document(code), ServiceAction::Read).kind();
        assert_eq!(kind(404, "NoSuchKey"), Kind::NotFound);
        assert_eq!(kind(404, "BlobNotFound"), Kind::NotFound);
        for (status, code) in [
            (404, "NoSuchBucket"),
            (404, "ContainerNotFound"),
            (404, "NoSuchUpload"),
            (403, "NoSuchKey"),
            (200, "NoSuchKey"),
            (500, "InternalError"),
        ] {
            assert_eq!(kind(status, code), Kind::Failed, "{status} {code}");
        }
        assert_eq!(
            answered(404, "<html>no</html>", ServiceAction::Look).kind(),
            Kind::Failed
        );
        assert_eq!(answered(404, "", ServiceAction::Look).kind(), Kind::Failed);
    }

    #[test]
    fn hints_name_what_is_missing() {
        let hint = |status, code: &str, action| {
            let error = answered(status, &document(code), action);
            assert!(error.message().contains(code), "{error:?}");
            error.hint().map(ToString::to_string).unwrap_or_default()
        };
        assert!(hint(403, "AccessDenied", ServiceAction::Write).contains("s3:PutObject"));
        assert!(hint(403, "AccessDenied", ServiceAction::Remove).contains("s3:DeleteObject"));
        assert!(hint(403, "RequestTimeTooSkewed", ServiceAction::List).contains("clock"));
        assert!(hint(403, "SignatureDoesNotMatch", ServiceAction::List).contains("secret_key"));
        assert!(hint(404, "NoSuchBucket", ServiceAction::List).contains("`acme`"));
        let region = document("AuthorizationHeaderMalformed")
            .replace("</Error>", "<Region>eu-west-1</Region></Error>");
        let error = answered(400, &region, ServiceAction::List);
        assert!(error.hint().unwrap().to_string().contains("eu-west-1"));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let may_pass = |status, code: &str| {
            let body = document(code);
            RequestFailure::Answer(ServerAnswer::parse(status, body.as_bytes())).may_pass(9)
        };
        for (status, code) in [
            (500, "InternalError"),
            (503, "SlowDown"),
            (429, "TooManyRequests"),
            (408, "RequestTimeout"),
            (400, "RequestTimeout"),
            (200, "InternalError"),
            (409, "ConditionalRequestConflict"),
        ] {
            assert!(may_pass(status, code), "{status} {code}");
        }
        for (status, code) in [
            (501, "NotImplemented"),
            (403, "AccessDenied"),
            (404, "NoSuchKey"),
            (200, "AccessDenied"),
            (409, "BlobAlreadyExists"),
            (412, "PreconditionFailed"),
            (301, "PermanentRedirect"),
        ] {
            assert!(!may_pass(status, code), "{status} {code}");
        }
    }

    #[test]
    fn strangers_texts_are_tamed() {
        let long = "x".repeat(10_000);
        let text = format!("a\x1b[2Jb\nc https://h/p?X-Amz-Signature=s3cret&y {long}");
        let body = format!("<Error><Code>Bad</Code><Message>{text}</Message></Error>");
        let message = answered(400, &body, ServiceAction::Read).message();
        assert!(!message.contains('\x1b') && !message.contains('\n'));
        assert!(!message.contains("s3cret") && message.contains("https://h/p "));
        assert!(message.chars().count() < 500);
        let strange = "<Error><Code>a b\x1b</Code></Error>";
        assert_eq!(ServerAnswer::parse(400, strange.as_bytes()).code, "");
    }
}
