//! Proof that an object is stored as it was sent.
//!
//! The service is asked for size and tag. The tag is the MD5 of what was sent in one piece, and the
//! MD5 of the parts' MD5s, with their number behind it, of what was sent in parts: then the bytes
//! were whole when the service had them. A tag that is no such sum proves nothing (encryption with
//! a key of the service's, Azure, Google's parts, some services of S3); then, and with
//! `verify_upload = "read"`, everything is read back and compared by its SHA-256.

use super::Bucket;
use super::reader::Fetch;
use super::transport::AnswerHeaders;
use crate::error::{Error, Kind, Result};
use crate::store::UploadVerification;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::fmt::Write as _;
use std::sync::Arc;

/// What was sent.
#[derive(Debug, Clone)]
pub struct SentContent {
    /// Bytes.
    pub size: u64,
    /// The MD5 of all of it, or of each part.
    pub sums: Vec<[u8; 16]>,
    /// Whether it was sent in parts, be it one.
    pub in_parts: bool,
    /// The SHA-256 of all of it.
    pub sha256: [u8; 32],
}

impl SentContent {
    /// The tag that the service gives it, where its tags are sums.
    fn tag(&self) -> String {
        match (self.in_parts, self.sums.first()) {
            (false, Some(sum)) => hexadecimal(sum),
            _ => {
                let all = Md5::digest(self.sums.concat());
                format!("{}-{}", hexadecimal(&all), self.sums.len())
            }
        }
    }

    /// Whether a service's own tag or checksum of its bytes proves that it has these.
    fn is_proven_by(&self, tag: Option<&str>, headers: Option<&AnswerHeaders>) -> bool {
        let tag = tag.unwrap_or_default().trim_matches('"');
        if tag.eq_ignore_ascii_case(&self.tag()) {
            return true;
        }
        // Google's, where its tag is none.
        let sum = headers.into_iter().flat_map(|headers| {
            headers
                .0
                .get_all("x-goog-hash")
                .into_iter()
                .filter_map(|value| {
                    value
                        .to_str()
                        .ok()?
                        .split(',')
                        .find_map(|sum| sum.trim().strip_prefix("md5="))
                })
        });
        let one = self.sums.first().filter(|_| !self.in_parts);
        one.is_some_and(|one| { sum }.any(|sum| sum == base64(one)))
    }
}

/// Bytes as tags have them.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes as headers have them.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let padded = [
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let number = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(LETTERS[(number >> (18 - 6 * place)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

/// An error where an object is not what was sent.
pub async fn prove(bucket: &Arc<Bucket>, key: &str, sent: &SentContent) -> Result<()> {
    let damaged = |why: &str| {
        Error::damaged(format!(
            "`{}` is not stored as it was sent: {why}",
            bucket.shown(key)
        ))
    };
    let found = match bucket.head(key).await {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(damaged(
                "the server took all of it, and now says that it is not there",
            ));
        }
        other => other?,
    };
    if found.meta.size != sent.size {
        return Err(damaged(&format!(
            "it has {} bytes there, and {} were sent",
            found.meta.size, sent.size
        )));
    }
    let headers = found.extensions.get::<AnswerHeaders>();
    if bucket.verification == UploadVerification::Head
        && sent.is_proven_by(found.meta.e_tag.as_deref(), headers)
    {
        return Ok(());
    }
    let mut sum = Sha256::new();
    let mut size = 0;
    if let Some(mut fetch) = Fetch::begin(Arc::clone(bucket), key, 0..u64::MAX).await? {
        while let Some(piece) = fetch.next_piece().await? {
            sum.update(&piece);
            size += piece.len() as u64;
        }
    }
    let sum: [u8; 32] = sum.finalize().into();
    match size == sent.size && sum == sent.sha256 {
        true => Ok(()),
        false => Err(damaged("other bytes come back")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: &[&[u8]], in_parts: bool) -> SentContent {
        SentContent {
            size: bytes.concat().len() as u64,
            sums: bytes.iter().map(|part| Md5::digest(part).into()).collect(),
            in_parts,
            sha256: Sha256::digest(bytes.concat()).into(),
        }
    }

    #[test]
    fn tags_are_sums_as_s3_makes_them() {
        let one = sent(&[b"hello"], false);
        assert!(one.is_proven_by(Some("\"5d41402abc4b2a76b9719d911017c592\""), None));
        assert!(!one.is_proven_by(Some("\"5d41402abc4b2a76b9719d911017c593\""), None));
        assert!(!one.is_proven_by(None, None));
        let parts = sent(&[b"hello", b"world"], true);
        let tag = parts.tag();
        assert!(tag.ends_with("-2") && tag.len() == 34);
        assert!(parts.is_proven_by(Some(&tag), None));
        // A single part has its number, too.
        assert!(sent(&[b"hello"], true).tag().ends_with("-1"));
    }

    #[test]
    fn googles_checksum_counts() {
        let mut headers = http::HeaderMap::new();
        headers.append("x-goog-hash", "crc32c=AAAAAA==".parse().unwrap());
        headers.append(
            "x-goog-hash",
            "md5=XUFAKrxLKna5cZ2REBfFkg==".parse().unwrap(),
        );
        let headers = AnswerHeaders(headers);
        assert!(sent(&[b"hello"], false).is_proven_by(Some("\"x\""), Some(&headers)));
        assert!(!sent(&[b"hellp"], false).is_proven_by(Some("\"x\""), Some(&headers)));
        assert!(!sent(&[b"hello"], true).is_proven_by(Some("\"x\""), Some(&headers)));
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"a"), "YQ==");
    }
}
