//! What a signature is worth to whoever trusts some keys.

use super::{SignedObject, VerifyingKey, parse_signature};
use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

/// The number by which a signature names its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// From a key's or a signature's bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> KeyId {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(bytes) {
            *to = *from;
        }
        KeyId(id)
    }
}

/// As minisign shows it.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// Who signed an object, as far as that matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SignatureStatus {
    /// Nobody asked: no key is trusted here, so everything counts.
    #[default]
    Unchecked,
    /// A trusted key signed exactly this.
    Trusted(Arc<VerifyingKey>),
    /// Somebody else's key signed it, or says so.
    Untrusted(KeyId),
    /// There is no signature.
    Missing,
    /// There is a signature, and it is not one of this object, or none at all.
    Wrong(&'static str),
}

impl SignatureStatus {
    /// Whether the object counts.
    pub fn is_accepted(&self) -> bool {
        matches!(
            self,
            SignatureStatus::Unchecked | SignatureStatus::Trusted(_)
        )
    }

    /// The word in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            SignatureStatus::Unchecked => "unchecked",
            SignatureStatus::Trusted(_) => "trusted",
            SignatureStatus::Untrusted(_) => "untrusted",
            SignatureStatus::Missing => "none",
            SignatureStatus::Wrong(_) => "wrong",
        }
    }

    /// The key that signed: as a whole where it is a trusted one, else its number.
    pub fn key(&self) -> Option<String> {
        match self {
            SignatureStatus::Trusted(key) => Some(key.to_string()),
            SignatureStatus::Untrusted(id) => Some(id.to_string()),
            SignatureStatus::Unchecked | SignatureStatus::Missing | SignatureStatus::Wrong(_) => {
                None
            }
        }
    }

    /// Why the object does not count; `None` where it does.
    pub fn objection(&self) -> Option<String> {
        match self {
            SignatureStatus::Unchecked | SignatureStatus::Trusted(_) => None,
            SignatureStatus::Untrusted(id) => Some(format!(
                "it is signed by the key {id}, which is not trusted"
            )),
            SignatureStatus::Missing => Some("it is not signed".to_owned()),
            SignatureStatus::Wrong(why) => Some(format!("its signature is wrong: {why}")),
        }
    }
}

/// The keys whose signatures count in a store. With none, everything counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<Arc<VerifyingKey>>);

impl From<&[VerifyingKey]> for TrustedKeys {
    fn from(keys: &[VerifyingKey]) -> Self {
        TrustedKeys(keys.iter().cloned().map(Arc::new).collect())
    }
}

impl TrustedKeys {
    /// No key: nothing is asked for.
    pub const NONE: &'static TrustedKeys = &TrustedKeys(Vec::new());

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a signature by this key is worth.
    pub fn status_of(&self, key: &VerifyingKey) -> SignatureStatus {
        if self.is_empty() {
            return SignatureStatus::Unchecked;
        }
        match self.0.iter().find(|trusted| ***trusted == *key) {
            Some(trusted) => SignatureStatus::Trusted(Arc::clone(trusted)),
            None => SignatureStatus::Untrusted(key.id()),
        }
    }

    /// Judges the signature of an object, if there is one.
    pub fn judge(
        &self,
        object: SignedObject<'_>,
        bytes: &[u8],
        signature: Option<&[u8]>,
    ) -> SignatureStatus {
        if self.is_empty() {
            return SignatureStatus::Unchecked;
        }
        let Some(signature) = signature else {
            return SignatureStatus::Missing;
        };
        let Some(signature) = parse_signature(signature) else {
            return SignatureStatus::Wrong("it is damaged, or no signature of minisign");
        };
        let id = KeyId::from_bytes(signature.keynum());
        let mut known = self.0.iter().filter(|key| key.id() == id).peekable();
        if known.peek().is_none() {
            return SignatureStatus::Untrusted(id);
        }
        // Two keys may have one number, if somebody means them to.
        let signed = known.find(|key| {
            let key = key.as_minisign();
            minisign::verify(key, &signature, Cursor::new(bytes), true, false, false).is_ok()
        });
        let Some(key) = signed else {
            return SignatureStatus::Wrong(
                "what it signs was changed, or it was made for something else",
            );
        };
        let comment = signature.trusted_comment().unwrap_or_default();
        if !object.is_meant_by(&comment) {
            return SignatureStatus::Wrong("it was made for another object");
        }
        SignatureStatus::Trusted(Arc::clone(key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SigningKey;
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;

    const OBJECT: SignedObject<'_> = SignedObject {
        source: "app",
        name: "app_daily_20261120T020000Z.json",
    };

    fn trust(key: &SigningKey) -> TrustedKeys {
        TrustedKeys::from(&[key.verifying_key().clone()][..])
    }

    #[test]
    fn only_what_a_trusted_key_signed_counts() {
        let (ours, theirs) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let trusted = trust(&ours);
        let at = DateTime::UNIX_EPOCH;
        let signature = ours.sign(OBJECT, b"{}", at).unwrap();
        let judge =
            |object, bytes: &[u8], text: &str| trusted.judge(object, bytes, Some(text.as_bytes()));
        assert_eq!(
            judge(OBJECT, b"{}", &signature).key(),
            Some(ours.verifying_key().to_string())
        );
        assert_eq!(judge(OBJECT, b"{} ", &signature).as_str(), "wrong");
        let moved = SignedObject {
            name: "app_daily_20261121T020000Z.json",
            ..OBJECT
        };
        assert_eq!(judge(moved, b"{}", &signature).as_str(), "wrong");
        let elsewhere = SignedObject {
            source: "shop",
            ..OBJECT
        };
        assert_eq!(judge(elsewhere, b"{}", &signature).as_str(), "wrong");
        let comment = signature.replace("source:app", "source:shop");
        assert_eq!(judge(elsewhere, b"{}", &comment).as_str(), "wrong");
        let foreign = theirs.sign(OBJECT, b"{}", at).unwrap();
        let found = judge(OBJECT, b"{}", &foreign);
        assert_eq!(
            (found.as_str(), found.key()),
            ("untrusted", Some(theirs.verifying_key().id().to_string()))
        );
        assert_eq!(trusted.judge(OBJECT, b"{}", None), SignatureStatus::Missing);
        let none = TrustedKeys::NONE.judge(OBJECT, b"{}", None);
        assert!(none.is_accepted() && none.objection().is_none());
    }

    proptest! {
        /// A signature with anything changed in what is signed of it counts no more, and nothing
        /// that somebody puts there brings the program down.
        #[test]
        fn a_changed_signature_is_worth_nothing(
            at in 0..400_usize,
            to in any::<u8>(),
            cut in 0..4_usize,
        ) {
            let key = SigningKey::generate().unwrap();
            let text = key.sign(OBJECT, b"{}", DateTime::UNIX_EPOCH).unwrap();
            let signed_from = text.find('\n').unwrap() + 1;
            let mut bytes = text.clone().into_bytes();
            let at = signed_from + at % (bytes.len() - signed_from);
            let is_space = bytes[at].is_ascii_whitespace() || to.is_ascii_whitespace();
            let is_same = bytes[at] == to || is_space;
            bytes[at] = to;
            if cut == 0 {
                bytes.truncate(at);
            }
            let found = trust(&key).judge(OBJECT, b"{}", Some(&bytes));
            prop_assert!(is_same || !found.is_accepted(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
