//! Requests that the library has no function for: what a bucket of S3 says of itself, and what can
//! be done to the versions of an object.

use super::failure::{RequestFailure, TryAgain, reason};
use super::transport::Connector;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpService};
use object_store::path::Path as ObjectPath;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::error::Error as StdError;

/// The longest answer that is read.
const LONGEST_SETTING: usize = 4 << 20;

/// What S3 wants encoded in the path of a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The same in a query.
const QUERY: &AsciiSet = &PATH.add(b'/');

/// A value as a query has it.
pub fn query_encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// A request to a bucket, or to one of its objects.
#[derive(Debug, Default)]
pub struct BucketRequest<'a> {
    /// What is asked for.
    pub method: Method,
    /// The object; none is the bucket itself.
    pub object: Option<&'a ObjectPath>,
    /// The query, encoded; may be empty.
    pub query: String,
    /// Further headers, all of which are signed.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent.
    pub body: Vec<u8>,
}

/// A success.
#[derive(Debug)]
pub struct BucketAnswer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Asks a bucket for what the library does not.
pub struct BucketInspector {
    /// Where the keys come from.
    pub credentials: AwsCredentialProvider,
    /// The region that requests are signed for.
    pub region: String,
    /// The URL of the bucket.
    pub bucket_url: String,
    /// The way there.
    pub connector: Connector,
}

impl BucketInspector {
    /// Asks for one of the bucket's settings, by the name that its query has: `versioning`. Tried
    /// once.
    pub async fn ask(&self, setting: &str) -> Result<Bytes, RequestFailure> {
        let request = BucketRequest {
            query: setting.to_owned(),
            ..BucketRequest::default()
        };
        Ok(self.send(request).await?.body)
    }

    /// Sends a request, signed, once.
    pub async fn send(&self, asked: BucketRequest<'_>) -> Result<BucketAnswer, RequestFailure> {
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| failure_of(&error))?;
        let object = asked.object.map(AsRef::as_ref).unwrap_or_default();
        let (path, query) = (utf8_percent_encode(object, PATH), &asked.query);
        let mut request = HttpRequest::new(asked.body.into());
        *request.method_mut() = asked.method;
        *request.uri_mut() = format!("{}/{path}?{query}", self.bucket_url)
            .parse()
            .map_err(|_| RequestFailure::transport("the URL is none", TryAgain::Never))?;
        request.headers_mut().extend(asked.headers);
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failure_of(&error))?;
        let answer = self.connector.call(request).await;
        let answer = answer.map_err(|error| failure_of(&error))?;
        let (head, body) = answer.into_parts();
        let mut pieces = body.bytes_stream();
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| failure_of(&error))?);
            if bytes.len() > LONGEST_SETTING {
                return Err(RequestFailure::transport(
                    "the answer has no end",
                    TryAgain::Never,
                ));
            }
        }
        Ok(BucketAnswer {
            headers: head.headers,
            body: bytes.freeze(),
        })
    }
}

fn failure_of(error: &(dyn StdError + 'static)) -> RequestFailure {
    let plain = || {
        RequestFailure::transport(
            crate::store::remote::server_text::bounded(&error.to_string()),
            TryAgain::Never,
        )
    };
    reason(error).cloned().unwrap_or_else(plain)
}
