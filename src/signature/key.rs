//! The two halves of a key pair of minisign: one signs, the other checks.

use super::{KeyId, PASSWORD_VARIABLE, SignedObject};
use crate::error::{Error, Hint, Result};
use crate::secret::Secret;
use crate::setting::{PathResolver, SettingType, WrittenValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use std::fmt;
use std::io::Cursor;
use zeroize::Zeroize;

/// A key that signs. Nothing shows the secret half, and its memory is wiped when it is dropped.
pub struct SigningKey {
    /// In a box, so that it is never moved, which would leave a copy.
    secret: Box<SecretKey>,
    verifying: VerifyingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying)
    }
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<SigningKey> {
        let pair = KeyPair::generate_unencrypted_keypair()
            .map_err(|error| Error::failed(format!("making a signing key: {error}")))?;
        Ok(SigningKey {
            secret: Box::new(pair.sk),
            verifying: VerifyingKey(pair.pk),
        })
    }

    /// Reads the text of a secret key as minisign writes it; `what` names its place. A key that a
    /// password protects is opened with this one.
    pub fn parse(text: &Secret, password: Option<Secret>, what: &str) -> Result<SigningKey> {
        let boxed = || SecretKeyBox::from(text.expose().to_owned());
        let malformed = |why: &str| {
            Error::usage(format!("{what} is no secret key of minisign: {why}")).with_hint(
                Hint::new()
                    .text("it is a file of two lines, as `minisign -G -W` makes it, or ")
                    .command(["key", "init", "DIR"]),
            )
        };
        let encoded = text.expose().lines().nth(1).unwrap_or_default().trim();
        // The algorithm is the first two bytes, the password's the next two: `Sc`, or none.
        let is_protected = match encoded.get(..6) {
            Some("RWRTY0") => true,
            Some("RWQAAE") => false,
            _ => return Err(malformed("its second line is something else")),
        };
        let secret = match (is_protected, password) {
            (false, _) => {
                read_unprotected(boxed(), encoded).ok_or_else(|| malformed("it is damaged"))?
            }
            (true, None) => {
                return Err(
                    Error::usage(format!("{what} is protected by a password")).with_hint(format!(
                        "set ${PASSWORD_VARIABLE}, or take it off: `minisign -C -W -s FILE`"
                    )),
                );
            }
            (true, Some(password)) => boxed()
                .into_secret_key(Some(password.expose().to_owned()))
                .map_err(|_| {
                    Error::usage(format!("{what} can't be opened with ${PASSWORD_VARIABLE}"))
                        .with_hint("the password is another one, or the file is damaged")
                })?,
        };
        let verifying =
            PublicKey::from_secret_key(&secret).map_err(|error| malformed(&error.to_string()))?;
        Ok(SigningKey {
            secret: Box::new(secret),
            verifying: VerifyingKey(verifying),
        })
    }

    /// The text of the secret key, as a file of minisign has it, without a password.
    pub fn to_text(&self) -> Result<Secret> {
        let boxed = self
            .secret
            .to_box(Some("secret key of dbbackup, for signing backups"))
            .map_err(|error| Error::failed(format!("writing a signing key: {error}")))?;
        Ok(Secret::new(boxed.into_string()))
    }

    /// The half that checks.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Signs an object: gives the text of its `.minisig`.
    pub fn sign(
        &self,
        object: SignedObject<'_>,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> Result<String> {
        let comment = object.trusted_comment(at);
        let signed = minisign::sign(
            Some(&self.verifying.0),
            &self.secret,
            Cursor::new(bytes),
            Some(&comment),
            Some("signed by dbbackup; `minisign -V` checks it"),
        );
        signed
            .map(minisign::SignatureBox::into_string)
            .map_err(|error| Error::failed(format!("signing `{}`: {error}", object.name)))
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        let key: *mut SecretKey = &mut *self.secret;
        // SAFETY: the pointer is to a whole key that nobody else has now. The type, which wipes
        // nothing itself, holds arrays of bytes alone, of which any value is valid.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(key.cast::<u8>(), std::mem::size_of::<SecretKey>())
        };
        bytes.zeroize();
    }
}

/// Reads a secret key that no password protects. `minisign -W` leaves its checksum empty, which the
/// crate takes for damage: such a key is good if what it signs is.
fn read_unprotected(boxed: SecretKeyBox, encoded: &str) -> Option<SecretKey> {
    const CHECKSUM: usize = 32;
    if let Ok(secret) = boxed.into_unencrypted_secret_key() {
        return Some(secret);
    }
    let bytes = STANDARD.decode(encoded).ok()?;
    let is_empty = bytes
        .rchunks(CHECKSUM)
        .next()?
        .iter()
        .all(|byte| *byte == 0);
    let secret = SecretKey::from_bytes(&bytes).ok().filter(|_| is_empty)?;
    let public = PublicKey::from_secret_key(&secret).ok()?;
    minisign::sign(Some(&public), &secret, Cursor::new(b""), None, None).ok()?;
    Some(secret)
}

/// A key that checks signatures: what minisign calls the public key, `RW…`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(PublicKey);

impl VerifyingKey {
    /// Reads a public key; the error is a sentence for the user.
    pub fn parse(text: &str) -> std::result::Result<VerifyingKey, String> {
        let wrong = || {
            format!(
                "expected a public key of minisign, `RW` and 54 more characters, found `{}`",
                text.escape_debug()
            )
        };
        let text = text.trim();
        let may_be = text.len() == 56 && text.starts_with("RW") && text.is_ascii();
        match PublicKey::from_base64(text) {
            Ok(key) if may_be => Ok(VerifyingKey(key)),
            _ => Err(wrong()),
        }
    }

    /// The number by which a signature names its key.
    pub fn id(&self) -> KeyId {
        KeyId::from_bytes(self.0.keynum())
    }

    /// The text of a file with this key, as `minisign -p` takes it.
    pub fn to_file_text(&self) -> String {
        format!(
            "untrusted comment: minisign public key {}\n{self}\n",
            self.id()
        )
    }

    /// Minisign's own form, to check with.
    pub(super) fn as_minisign(&self) -> &PublicKey {
        &self.0
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key of minisign.
impl SettingType for VerifyingKey {
    fn read(
        value: &WrittenValue<'_>,
        resolve: &PathResolver<'_>,
    ) -> std::result::Result<Self, String> {
        VerifyingKey::parse(&String::read(value, resolve)?)
    }

    fn as_written(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }

    fn type_name() -> String {
        "public key".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = SigningKey::generate().unwrap();
        let text = key.to_text().unwrap();
        let again = SigningKey::parse(&text, None, "`sign_key_file`").unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let shown = key.verifying_key().to_string();
        assert_eq!(VerifyingKey::parse(&shown).unwrap(), *key.verifying_key());
        let secret = text.expose().lines().nth(1).unwrap().to_owned();
        assert!(!format!("{key:?} {text:?}").contains(&secret));
    }

    /// Made by Debian's `minisign -G -W`: nothing was ever signed with it.
    #[test]
    fn a_key_of_minisign_is_read() {
        let text = "untrusted comment: minisign encrypted secret key\n\
            RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/qN6YQJ3ga\
            xaZX/+uAd12i12vAc+E9OEy9sevmgeqfi+F71sdyyAFs5w3vQEi9cO/jtgEk2DSfwv2SG1ncOcFCbJ\
            Y4LDbqREAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        let key = SigningKey::parse(&Secret::new(text), None, "`sign_key_file`").unwrap();
        assert_eq!(
            key.verifying_key().to_string(),
            "RWT+o3phAneBrM5w3vQEi9cO/jtgEk2DSfwv2SG1ncOcFCbJY4LDbqRE"
        );
        // A bit of the secret half.
        let damaged = text.replace("uAd12i", "uBd12i");
        assert!(SigningKey::parse(&Secret::new(damaged), None, "`sign_key_file`").is_err());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in [
            "",
            "one line",
            "a\nb",
            "untrusted comment: x\nRWQAAEIy",
            "x\nRWRTY0Iy",
        ] {
            let password = Some(Secret::new("s3cret"));
            let parsed = SigningKey::parse(&Secret::new(text), password, "`sign_key_file`");
            let error = parsed.unwrap_err();
            assert!(error.hint().is_some(), "{error:?}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        for text in ["", "RW", "age1x", &"RW".repeat(28), "RWé"] {
            assert!(
                VerifyingKey::parse(text).is_err() || text.len() == 56,
                "{text}"
            );
        }
    }
}
