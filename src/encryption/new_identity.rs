//! A new identity of age.

use crate::secret::Secret;
use age::secrecy::ExposeSecret;

/// An identity that was just made: nothing is encrypted to it yet.
pub struct NewIdentity {
    /// The text of its file, as `age-keygen` writes it.
    pub file_text: Secret,
    /// Its public half, `age1…`.
    pub recipient: String,
}

impl NewIdentity {
    /// Makes one.
    pub fn generate() -> NewIdentity {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let secret = identity.to_string();
        NewIdentity {
            file_text: Secret::new(format!(
                "# public key: {recipient}\n{}\n",
                secret.expose_secret()
            )),
            recipient,
        }
    }
}
