//! The private keys with which backups are read.

use super::program::AgeProgram;
use super::recipients::{passphrase, shortened};
use super::{EncryptionSettings, FIRST_LINE, PASSPHRASE};
use crate::error::{Error, Hint, Kind, Result};
use crate::secret::Secret;
use age::secrecy::SecretString;
use age::{Callbacks, IdentityFile, scrypt, ssh};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Asks the user for a passphrase, with this question; `None` where nobody can be asked.
pub type AskPassphrase = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What an armored file of age begins with.
const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// Where private keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// A file, and the flag, variable or setting that names it.
    File(PathBuf, &'static str),
    /// A command that prints them.
    Command(String),
    /// The passphrase that encrypts, too.
    Passphrase,
}

impl IdentitySource {
    /// What the settings name; `None` where they name none.
    pub fn from_settings(settings: &EncryptionSettings) -> Option<IdentitySource> {
        if let Some(path) = &settings.identity_file {
            return Some(IdentitySource::File(path.clone(), "identity_file"));
        }
        if let Some(command) = &settings.identity_command {
            return Some(IdentitySource::Command(command.clone()));
        }
        settings
            .has_passphrase()
            .then_some(IdentitySource::Passphrase)
    }
}

/// Private keys, each of which is tried on what is to be read.
pub struct Identities {
    pub(super) all: Vec<Box<dyn age::Identity + Send + Sync>>,
    pub(super) fingerprints: Vec<String>,
    /// What decrypts in place of the library, which does not know all of them.
    pub(super) program: Option<AgeProgram>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fingerprints).finish()
    }
}

impl Identities {
    /// Reads private keys. A passphrase that protects them is asked for once.
    pub fn read(
        source: &IdentitySource,
        settings: &EncryptionSettings,
        ask: &AskPassphrase,
    ) -> Result<Identities> {
        match source {
            IdentitySource::File(path, setting) => {
                let text =
                    Secret::from_file(path, setting).map_err(|error| error.with_kind(Kind::Usage));
                // An encrypted file need not be text.
                let what = format!("`{setting}` `{}`", path.display());
                match text {
                    Ok(text) if has_unknown_keys(text.expose()) => Ok(Identities::of_program(path)),
                    Ok(text) => Identities::parse(text.expose().as_bytes(), &what, ask),
                    Err(error) => match std::fs::read(path) {
                        Ok(bytes) if bytes.starts_with(FIRST_LINE) => {
                            Identities::parse(&bytes, &what, ask)
                        }
                        _ => Err(error),
                    },
                }
            }
            IdentitySource::Command(line) => {
                let text = Secret::from_whole_output(line, "identity_command")?;
                Identities::parse(text.expose().as_bytes(), "`identity_command`", ask)
            }
            IdentitySource::Passphrase => {
                let passphrase = passphrase(settings)?
                    .ok_or_else(|| Error::usage("[encryption] has no passphrase"))?;
                let secret = SecretString::from(passphrase.expose().to_owned());
                Ok(Identities {
                    all: vec![Box::new(scrypt::Identity::new(secret))],
                    fingerprints: vec![PASSPHRASE.to_owned()],
                    program: None,
                })
            }
        }
    }

    /// Private keys as they are written; `what` names where.
    fn parse(bytes: &[u8], what: &str, ask: &AskPassphrase) -> Result<Identities> {
        if std::str::from_utf8(bytes).is_ok_and(has_unknown_keys) {
            return Err(Error::usage(format!(
                "{what} holds a key that only the program `age` knows"
            ))
            .with_hint("name a file with it: `--identity FILE`, or `identity_file`"));
        }
        if bytes.starts_with(FIRST_LINE) || bytes.starts_with(ARMOR.as_bytes()) {
            return Identities::parse_protected(bytes, what, ask);
        }
        if bytes.starts_with(b"-----BEGIN ") {
            return Identities::parse_ssh(bytes, what, ask);
        }
        let file = IdentityFile::from_buffer(bytes).map_err(|error| not_a_key(what, &error))?;
        Identities::of_file(file.with_callbacks(PluginQuestions(Arc::clone(ask))), what)
    }

    /// A file of age that a passphrase protects, with the keys in it.
    fn parse_protected(bytes: &[u8], what: &str, ask: &AskPassphrase) -> Result<Identities> {
        let reader = age::armor::ArmoredReader::new(bytes);
        let decryptor = age::Decryptor::new(reader).map_err(|error| not_a_key(what, &error))?;
        if !decryptor.is_scrypt() {
            return Err(Error::usage(format!("{what} is encrypted to another key"))
                .with_hint("decrypt it with that key first: `age -d -i KEY FILE`"));
        }
        let passphrase =
            ask(&format!("passphrase of {what}")).ok_or_else(|| nobody_to_ask(what))?;
        let identity = scrypt::Identity::new(SecretString::from(passphrase));
        let plain = decryptor
            .decrypt(std::iter::once(&identity as &dyn age::Identity))
            .map_err(|_| wrong_passphrase(what))?;
        let file = IdentityFile::from_buffer(std::io::BufReader::new(plain))
            .map_err(|error| not_a_key(what, &error))?;
        Identities::of_file(file.with_callbacks(PluginQuestions(Arc::clone(ask))), what)
    }

    fn parse_ssh(bytes: &[u8], what: &str, ask: &AskPassphrase) -> Result<Identities> {
        let identity =
            ssh::Identity::from_buffer(bytes, None).map_err(|error| not_a_key(what, &error))?;
        let key = match identity {
            ssh::Identity::Unencrypted(key) => key,
            ssh::Identity::Encrypted(key) => {
                let passphrase =
                    ask(&format!("passphrase of {what}")).ok_or_else(|| nobody_to_ask(what))?;
                key.decrypt(SecretString::from(passphrase))
                    .map_err(|_| wrong_passphrase(what))?
            }
            ssh::Identity::Unsupported(_) => {
                return Err(
                    Error::usage(format!("{what} is a key of SSH that age can't use")).with_hint(
                        "age takes ssh-ed25519 and ssh-rsa keys in OpenSSH's own format",
                    ),
                );
            }
        };
        let identity = ssh::Identity::from(key);
        let public = ssh::Recipient::try_from(identity.clone())
            .map(|key| super::recipients::ssh_fingerprint(&key.to_string()));
        Ok(Identities {
            all: vec![Box::new(identity)],
            fingerprints: public.into_iter().collect(),
            program: None,
        })
    }

    fn of_file(file: IdentityFile<PluginQuestions>, what: &str) -> Result<Identities> {
        let mut public = Vec::new();
        // One of a plugin has no public key that can be told without the plugin.
        let _ = file.write_recipients_file(&mut public);
        let fingerprints: Vec<String> = String::from_utf8_lossy(&public)
            .lines()
            .map(shortened)
            .collect();
        let all = file.into_identities().map_err(|error| {
            Error::usage(format!("{what}: {}", in_one_line(&error)))
                .with_hint("install the plugin that the key needs where dbbackup finds it (PATH)")
        })?;
        if all.is_empty() {
            return Err(
                Error::usage(format!("{what} holds no private key")).with_hint(
                    Hint::new()
                        .text("`age-keygen` makes one, and so does ")
                        .command(["key", "init", "DIR"]),
                ),
            );
        }
        Ok(Identities {
            all,
            fingerprints,
            program: None,
        })
    }

    /// The keys of a file that only the program `age` knows.
    fn of_program(path: &Path) -> Identities {
        Identities {
            all: Vec::new(),
            fingerprints: Vec::new(),
            program: Some(AgeProgram::decrypting(path)),
        }
    }

    /// What tells the public halves apart; see [`super::Recipients::fingerprints`]. Keys of plugins
    /// have none.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }
}

/// Whether there are private keys of a kind that the library does not know: `AGE-SECRET-KEY-PQ-1…`.
fn has_unknown_keys(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| line.starts_with("AGE-SECRET-KEY-") && !line.starts_with("AGE-SECRET-KEY-1"))
}

/// An error of the library as one line: its own have several.
pub(super) fn in_one_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn not_a_key(what: &str, error: &dyn fmt::Display) -> Error {
    Error::usage(format!(
        "{what} is no file of private keys: {}",
        in_one_line(error)
    ))
    .with_hint("it is a file as `age-keygen` or `ssh-keygen` writes it, and not the public half")
}

fn nobody_to_ask(what: &str) -> Error {
    Error::usage(format!(
        "{what} is protected by a passphrase, and there is no terminal to ask on"
    ))
    .with_hint("run it by hand, or let `identity_command` print the keys")
}

fn wrong_passphrase(what: &str) -> Error {
    Error::usage(format!("{what}: the passphrase is wrong"))
}

/// What plugins may ask: a PIN, mostly.
#[derive(Clone)]
struct PluginQuestions(AskPassphrase);

impl Callbacks for PluginQuestions {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        (self.0)(description).map(SecretString::from)
    }
}
