//! The key of a machine, with which it reads its own backups again.

use super::recipients::shortened;
use super::{Identities, NewIdentity};
use crate::error::{Error, Result};
use crate::secret::Secret;
use age::x25519;
use std::sync::Arc;

/// A private key of age, with its public half.
pub struct HostIdentity {
    /// The text of its file, as `age-keygen` writes it.
    pub file_text: Secret,
    /// Its public half, `age1…`.
    pub recipient: String,
    /// What opens what is encrypted to it.
    pub identities: Arc<Identities>,
}

impl HostIdentity {
    /// Makes one.
    pub fn generate() -> Result<HostIdentity> {
        HostIdentity::parse(NewIdentity::generate().file_text, "the new key")
    }

    /// Reads the text of its file; `what` names where that is.
    pub fn parse(file_text: Secret, what: &str) -> Result<HostIdentity> {
        let lines = file_text.expose().lines().map(str::trim);
        let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = keys.next().and_then(|line| line.parse().ok());
        let Some(identity): Option<x25519::Identity> = key.filter(|_| keys.next().is_none()) else {
            return Err(
                Error::usage(format!("{what} is no file with one private key of age")).with_hint(
                    "move it away: the next run makes another one, and fulls of what it can't read",
                ),
            );
        };
        let recipient = identity.to_public().to_string();
        Ok(HostIdentity {
            identities: Arc::new(Identities {
                fingerprints: vec![shortened(&recipient)],
                all: vec![Box::new(identity)],
                program: None,
            }),
            recipient,
            file_text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_again_as_it_was_made() {
        let made = HostIdentity::generate().unwrap();
        let text = made.file_text.expose().to_owned();
        let read = HostIdentity::parse(Secret::new(text.clone()), "it").unwrap();
        assert_eq!(read.recipient, made.recipient);
        let fingerprints = [shortened(&made.recipient)];
        assert_eq!(read.identities.fingerprints(), fingerprints);
        for wrong in [String::new(), "no key".to_owned(), format!("{text}{text}")] {
            let error = HostIdentity::parse(Secret::new(wrong), "it");
            assert!(error.is_err_and(|error| error.hint().is_some()));
        }
    }
}
