//! Signatures of sidecars and events, in minisign's format: the key that signs, the keys that are
//! trusted, and what a signature is worth. Plain values and texts; which objects are signed, and
//! where signatures are kept, is the store's business.
//!
//! A signature covers the object's bytes and, in its trusted comment, the object's name and source:
//! one that was made for another backup is worth nothing here.

mod key;
mod settings;
mod trust;

pub use key::{SigningKey, VerifyingKey};
pub use settings::Signer;
pub use trust::{KeyId, SignatureStatus, TrustedKeys};

use chrono::{DateTime, Utc};
use minisign::SignatureBox;

/// The environment variable with the password of a signing key.
pub const PASSWORD_VARIABLE: &str = "DBBACKUP_SIGN_PASSWORD";

/// An object that is signed: where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedObject<'a> {
    /// The source that it is of.
    pub source: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl SignedObject<'_> {
    /// What the trusted comment says of the object; neither part can hold a tab.
    fn trusted_comment(&self, at: DateTime<Utc>) -> String {
        format!(
            "timestamp:{}\tfile:{}\thashed\tsource:{}",
            at.timestamp(),
            self.name,
            self.source
        )
    }

    /// Whether a trusted comment is about this object.
    fn is_meant_by(&self, comment: &str) -> bool {
        let value_of = |key: &str| {
            let mut fields = comment.split('\t');
            fields.find_map(|field| field.strip_prefix(key))
        };
        value_of("file:") == Some(self.name) && value_of("source:") == Some(self.source)
    }
}

/// Reads the text of a signature; `None` where it is none. The crate takes the last line as it
/// is, and looks at 64 bytes of it.
fn parse_signature(bytes: &[u8]) -> Option<SignatureBox> {
    const LONGEST: usize = 64 << 10;
    const ENCODED_SIGNATURE: usize = 88;
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() <= LONGEST)?;
    let last = text.lines().nth(3)?.trim();
    if last.len() != ENCODED_SIGNATURE || !last.ends_with("==") {
        return None;
    }
    SignatureBox::from_string(text).ok()
}
