//! Who can read what is encrypted.

use super::program::AgeProgram;
use super::{EncryptionSettings, PASSPHRASE};
use crate::error::{Context, Error, Kind, Result};
use crate::secret::Secret;
use age::secrecy::SecretString;
use age::{NoCallbacks, plugin, scrypt, ssh, tag, tagpq, x25519};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;

/// Where the name of a recipient is cut: what is left is enough to tell keys apart, and to find the
/// one that is meant in a file of `age-keygen`.
const SHOWN_HEAD: usize = 12;
const SHOWN_TAIL: usize = 6;

/// Those to whom backups are encrypted: any one of them can read them.
pub struct Recipients {
    all: Vec<Box<dyn age::Recipient + Send + Sync>>,
    fingerprints: Vec<String>,
    /// What encrypts in place of the library, which does not know all of them.
    program: Option<AgeProgram>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fingerprints).finish()
    }
}

impl Recipients {
    /// The recipients of the settings, and the key of this machine where there is one. Nobody at
    /// all, a line that is no recipient, a file that can't be read and a plugin that is not
    /// installed are errors: nothing is to be encrypted to fewer than were meant.
    pub fn from_settings(settings: &EncryptionSettings, host: Option<&str>) -> Result<Recipients> {
        // Whatever is wrong here is for the configuration to mend, before anything is read.
        let passphrase = passphrase(settings).map_err(|error| error.with_kind(Kind::Usage))?;
        if let Some(passphrase) = passphrase {
            return Ok(Recipients::from_passphrase(passphrase));
        }
        let mut lines: Vec<(String, String)> = settings
            .recipients
            .iter()
            .map(|line| ("`recipients` in [encryption]".to_owned(), line.clone()))
            .collect();
        if let Some(path) = &settings.recipients_file {
            let what = format!("`recipients_file` `{}`", path.display());
            let text = fs::read_to_string(path)
                .with_context(|| what.clone())
                .map_err(|error| error.with_kind(Kind::Usage))
                .with_hint("it must be there, and readable for the user that dbbackup runs as")?;
            for (number, line) in text.lines().enumerate() {
                lines.push((format!("line {} of {what}", number + 1), line.to_owned()));
            }
        }
        lines.retain(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
        if lines.is_empty() {
            return Err(
                Error::usage("encryption is wanted, and [encryption] names no recipient")
                    .with_hint("an empty `recipients_file` names nobody; add a public key to it"),
            );
        }
        lines.extend(host.map(|key| ("the key of this machine".to_owned(), key.to_owned())));
        Recipients::from_lines(&lines)
    }

    /// Recipients as they are written, each with where that is.
    fn from_lines(lines: &[(String, String)]) -> Result<Recipients> {
        let mut recipients = Recipients {
            all: Vec::new(),
            fingerprints: Vec::new(),
            program: None,
        };
        let mut of_plugins: BTreeMap<String, Vec<plugin::Recipient>> = BTreeMap::new();
        for (place, line) in lines {
            let line = line.trim();
            match parse_recipient(line).map_err(|error| error.context(place))? {
                Parsed::Key(key, fingerprint) => {
                    recipients.all.push(key);
                    recipients.fingerprints.push(fingerprint);
                }
                Parsed::OfPlugin(key) => {
                    recipients.fingerprints.push(shortened(line));
                    let name = key.plugin().to_owned();
                    of_plugins.entry(name).or_default().push(key);
                }
            }
        }
        for (name, keys) in of_plugins {
            let plugin = plugin::RecipientPluginV1::new(&name, &keys, &[], NoCallbacks);
            let Ok(plugin) = plugin else {
                // A newer `age` may know without a plugin what here looks like one's.
                let all: Vec<&str> = lines.iter().map(|(_, line)| line.trim()).collect();
                recipients.program = Some(AgeProgram::encrypting(&all, &keys[0].to_string())?);
                return Ok(recipients);
            };
            recipients.all.push(Box::new(plugin));
        }
        Ok(recipients)
    }

    /// Everybody who knows the passphrase.
    fn from_passphrase(passphrase: Secret) -> Recipients {
        let secret = SecretString::from(passphrase.expose().to_owned());
        Recipients {
            all: vec![Box::new(scrypt::Recipient::new(secret))],
            fingerprints: vec![PASSPHRASE.to_owned()],
            program: None,
        }
    }

    /// What tells the recipients apart, for sidecars and messages: `age1qyqszqgpq...l2f8mk`, or of
    /// a key of SSH what `ssh-keygen -l` prints.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// The program that encrypts to them, where the library can't.
    pub(super) fn program(&self) -> Option<&AgeProgram> {
        self.program.as_ref()
    }

    /// A new file key, encrypted to each of them.
    pub(super) fn encryptor(&self) -> Result<age::Encryptor> {
        let all = self.all.iter().map(|one| &**one as &dyn age::Recipient);
        age::Encryptor::with_recipients(all).map_err(|error| {
            Error::failed(format!(
                "encrypting to {}: {error}",
                self.fingerprints.join(", ")
            ))
            .with_hint("nothing is stored in the clear in its place; mend `recipients`")
        })
    }
}

/// The passphrase of the settings, where one stands in place of recipients.
pub(super) fn passphrase(settings: &EncryptionSettings) -> Result<Option<Secret>> {
    if let Some(path) = &settings.passphrase_file {
        return Secret::from_file(path, "passphrase_file").map(Some);
    }
    match &settings.passphrase_command {
        Some(command) => Secret::from_command(command, "passphrase_command").map(Some),
        None => Ok(None),
    }
}

/// A recipient as it was understood.
enum Parsed {
    Key(Box<dyn age::Recipient + Send + Sync>, String),
    /// All keys of one plugin go to one process of it.
    OfPlugin(plugin::Recipient),
}

fn parse_recipient(line: &str) -> Result<Parsed> {
    if line.starts_with("AGE-SECRET-KEY-") || line.contains("PRIVATE KEY") {
        // Its text must get into no message.
        return Err(
            Error::usage("this is a private key, and a public one is wanted").with_hint(
                "keep private keys off the machine that makes backups; `age-keygen -y FILE` prints \
             the public one",
            ),
        );
    }
    if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") {
        let key: ssh::Recipient = line.parse().map_err(|_| {
            Error::usage("a key of SSH that age can't encrypt to")
                .with_hint("age takes ssh-ed25519 and ssh-rsa keys, as in authorized_keys")
        })?;
        return Ok(Parsed::Key(Box::new(key), ssh_fingerprint(line)));
    }
    if let Ok(key) = line.parse::<x25519::Recipient>() {
        return Ok(Parsed::Key(Box::new(key), shortened(line)));
    }
    if let Ok(key) = line.parse::<tag::Recipient>() {
        return Ok(Parsed::Key(Box::new(key), shortened(line)));
    }
    if let Ok(key) = line.parse::<tagpq::Recipient>() {
        return Ok(Parsed::Key(Box::new(key), shortened(line)));
    }
    match line.parse::<plugin::Recipient>() {
        Ok(key) => Ok(Parsed::OfPlugin(key)),
        Err(_) => Err(
            Error::usage(format!("`{}` is no recipient", shortened(line))).with_hint(
                "a recipient is a public key: `age1…`, as age-keygen prints it, or a line of \
             ~/.ssh/id_ed25519.pub",
            ),
        ),
    }
}

/// Enough of a public key to know it by.
pub(super) fn shortened(key: &str) -> String {
    let (head, tail) = (key.get(..SHOWN_HEAD), key.len().checked_sub(SHOWN_TAIL));
    match (head, tail.and_then(|from| key.get(from..))) {
        (Some(head), Some(tail)) if key.len() > SHOWN_HEAD + SHOWN_TAIL => {
            format!("{head}...{tail}")
        }
        _ => key.to_owned(),
    }
}

/// What `ssh-keygen -l` prints of a public key: SHA-256 of its bytes, in base64 without padding.
pub(super) fn ssh_fingerprint(line: &str) -> String {
    let mut words = line.split_whitespace();
    let (kind, blob) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    match base64(blob) {
        Some(bytes) => format!("{kind} SHA256:{}", digest_in_base64(&bytes)),
        None => shortened(line),
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

fn digest_in_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(sha2::Sha256::digest(bytes))
}
