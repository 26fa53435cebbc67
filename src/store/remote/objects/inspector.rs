//! Requests that the library has no function for: what a bucket of S3 says of itself.

use super::failure::{RequestFailure, TryAgain, reason};
use super::transport::Connector;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::Method;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService};
use std::error::Error as StdError;

/// The longest answer that is read.
const LONGEST_SETTING: usize = 4 << 20;

/// Asks a bucket for its own settings.
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
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| failure_of(&error))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = format!("{}/?{setting}", self.bucket_url)
            .parse()
            .map_err(|_| RequestFailure::transport("the URL is none", TryAgain::Never))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failure_of(&error))?;
        let answer = self.connector.call(request).await;
        let answer = answer.map_err(|error| failure_of(&error))?;
        let mut pieces = answer.into_body().bytes_stream();
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
        Ok(bytes.freeze())
    }
}

fn failure_of(error: &(dyn StdError + 'static)) -> RequestFailure {
    let plain =
        || RequestFailure::transport(super::failure::bounded(&error.to_string()), TryAgain::Never);
    reason(error).cloned().unwrap_or_else(plain)
}
