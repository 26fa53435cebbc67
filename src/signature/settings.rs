//! Where this machine's signing key is.

use super::{PASSWORD_VARIABLE, SigningKey};
use crate::error::Result;
use crate::secret::Secret;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// This machine's signing key: where it is, and the key itself once it was needed. Only who writes
/// to a store needs it, so a monitor that can't read it still reads the store.
#[derive(Clone, Default)]
pub struct Signer {
    /// A file with the secret key.
    file: Option<PathBuf>,
    /// A command that prints it.
    command: Option<String>,
    /// The key, for all clones.
    loaded: Arc<OnceLock<SigningKey>>,
}

impl Signer {
    /// The key in a file, or the one that a command prints; `None` where neither is given.
    pub fn new(file: Option<PathBuf>, command: Option<String>) -> Option<Signer> {
        (file.is_some() || command.is_some()).then(|| Signer {
            file,
            command,
            loaded: Arc::default(),
        })
    }

    /// The key. One that can't be had is an error of kind `Usage`: nothing is written unsigned.
    pub fn key(&self) -> Result<&SigningKey> {
        if let Some(key) = self.loaded.get() {
            return Ok(key);
        }
        let key = self.load().map_err(|error| {
            error
                .with_kind(crate::error::Kind::Usage)
                .context("backups are to be signed")
        })?;
        Ok(self.loaded.get_or_init(|| key))
    }

    fn load(&self) -> Result<SigningKey> {
        let (text, what) = match (&self.file, &self.command) {
            (Some(file), _) => (
                Secret::from_file(file, "sign_key_file")?,
                format!("`sign_key_file` `{}`", file.display()),
            ),
            (None, Some(command)) => (
                Secret::from_whole_output(command, "sign_key_command")?,
                "what `sign_key_command` prints".to_owned(),
            ),
            (None, None) => (Secret::new(""), "the signing key".to_owned()),
        };
        let password = std::env::var(PASSWORD_VARIABLE).ok().map(Secret::new);
        SigningKey::parse(&text, password, &what)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The same place: the key itself is not compared.
impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.command == other.command
    }
}

/// A signer whose key is at hand, for tests and for a key that was just made.
impl From<SigningKey> for Signer {
    fn from(key: SigningKey) -> Self {
        Signer {
            loaded: Arc::new(OnceLock::from(key)),
            ..Signer::default()
        }
    }
}
