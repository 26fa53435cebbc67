//! A password or key, which no message and no `Debug` output shows, and its two sources outside of
//! the configuration: a file and a command. Both are named by the setting that gives them.

use crate::error::{Context, Error, Result};
use crate::process::captured::{self, Limits};
use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a command for a secret may take. It may have to ask a server, but must not hang a
/// nightly run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A password or key. Its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        let text = Zeroizing::new(text.into());
        remember(&text);
        Secret(text)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads the whole of a file, without the line end that editors and `echo` add.
    /// `setting` is the name of the setting that names the file.
    pub fn from_file(path: &Path, setting: &str) -> Result<Secret> {
        let what = || format!("`{setting}` `{}`", path.display());
        let readable = "it must be there, and readable for the user that dbbackup runs as";
        let facts = fs::metadata(path).with_context(what).with_hint(readable)?;
        if facts.permissions().mode() & 0o007 != 0 {
            return Err(Error::usage(format!(
                "{} can be read by everybody on this machine",
                what()
            ))
            .with_hint(format!("run `chmod 0600 {}`", path.display())));
        }
        let bytes = fs::read(path).with_context(what).with_hint(readable)?;
        Secret::from_bytes(bytes, &what())
    }

    /// Reads the first line that a shell command prints. Processes that it leaves in the background
    /// are not waited for. `setting` is the name of the setting that holds the command.
    pub fn from_command(line: &str, setting: &str) -> Result<Secret> {
        Secret::first_line(line, setting, PATIENCE)
    }

    fn first_line(line: &str, setting: &str, patience: Duration) -> Result<Secret> {
        let mut bytes = output_of(line, setting, patience)?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        bytes.truncate(end.unwrap_or(bytes.len()));
        Secret::from_bytes(bytes, &format!("`{setting}`"))
    }

    /// Reads all that a shell command prints, for keys that have several lines.
    pub fn from_whole_output(line: &str, setting: &str) -> Result<Secret> {
        Secret::from_bytes(output_of(line, setting, PATIENCE)?, &format!("`{setting}`"))
    }

    fn from_bytes(bytes: Vec<u8>, what: &str) -> Result<Secret> {
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::usage(format!("{what} gives a secret that is not UTF-8")))?;
        let text = Zeroizing::new(text);
        let trimmed = text.strip_suffix('\n').unwrap_or(&text);
        let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(Error::usage(format!("{what} gives no secret: it is empty")));
        }
        Ok(Secret::new(trimmed))
    }
}

/// A secret that is not read yet: the value itself, or the file or command that gives it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretSource {
    /// The value.
    pub value: Option<String>,
    /// A file that holds it and nothing else.
    pub file: Option<PathBuf>,
    /// A shell line that prints it.
    pub command: Option<String>,
}

impl SecretSource {
    /// How many of the three are given; more than one is a mistake.
    pub fn count(&self) -> usize {
        let given = [
            self.value.is_some(),
            self.file.is_some(),
            self.command.is_some(),
        ];
        given.into_iter().filter(|is_given| *is_given).count()
    }

    /// Reads the secret; `None` where there is none. `setting` is the name of the setting that
    /// gives the value, to which `_file` and `_command` are added.
    pub fn read(&self, setting: &str) -> Result<Option<Secret>> {
        self.read_within(setting, PATIENCE)
    }

    /// The same, with a command that may take so long.
    pub fn read_within(&self, setting: &str, patience: Duration) -> Result<Option<Secret>> {
        match (&self.value, &self.file, &self.command) {
            (Some(value), _, _) => Ok(Some(Secret::new(value.as_str()))),
            (None, Some(file), _) => Secret::from_file(file, &format!("{setting}_file")).map(Some),
            (None, None, Some(line)) => {
                Secret::first_line(line, &format!("{setting}_command"), patience).map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }
}

/// What stands for a secret in a text.
pub const MASK: &str = "***";

/// The shortest secret that is looked for in texts: a shorter one would mask half of every word.
const SHORTEST: usize = 4;

/// Secrets by their lengths and hashes, with the salt of these.
type SecretMarks = (RandomState, Mutex<BTreeSet<(usize, u64)>>);

/// The lengths and salted hashes of all secrets that this process has had, by which they are found
/// in a text after they were wiped.
static KNOWN: LazyLock<SecretMarks> = LazyLock::new(SecretMarks::default);

fn remember(text: &str) {
    if text.len() >= SHORTEST {
        let (salt, known) = &*KNOWN;
        let mark = (text.len(), salt.hash_one(text.as_bytes()));
        known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(mark);
    }
}

/// The text with every secret masked that this process has had.
pub fn mask_known(text: &str) -> String {
    let (salt, known) = &*KNOWN;
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let lengths: BTreeSet<usize> = known.iter().map(|(length, _)| *length).collect();
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        // The longest one: a secret may begin with another one.
        let found = lengths.iter().rev().find(|length| {
            rest.as_bytes()
                .get(..**length)
                .is_some_and(|piece| known.contains(&(**length, salt.hash_one(piece))))
        });
        match found {
            Some(length) => {
                masked.push_str(MASK);
                // A secret is text, so that it ends where a letter does.
                rest = rest.get(*length..).unwrap_or_default();
            }
            None => {
                masked.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    masked
}

/// What a shell command prints.
fn output_of(line: &str, setting: &str, patience: Duration) -> Result<Vec<u8>> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]);
    let remedy = "look what it waits for: it may need an agent that this user's jobs do not have";
    let limits = Limits {
        timeout: patience,
        interruptible: true,
        hint: remedy,
    };
    captured::read_output(command, &format!("`{setting}`"), limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(
            Secret::from_command("echo 'p$w d'; echo more", "password_command")
                .unwrap()
                .expose(),
            "p$w d"
        );
        let error =
            Secret::from_command("echo s3cret; echo locked >&2; exit 3", "password_command")
                .unwrap_err();
        assert!(
            error.message().contains("(exit status 3): locked")
                && !format!("{error:?}").contains("s3cret"),
            "{error:?}"
        );
        assert!(
            Secret::from_command("true", "password_command")
                .unwrap_err()
                .message()
                .contains("empty")
        );
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "***");
        // It is the first line, however much follows, and whatever goes on.
        assert_eq!(
            Secret::from_command("echo first; yes | head -c 3000000", "password_command")
                .unwrap()
                .expose(),
            "first"
        );
        let started = std::time::Instant::now();
        assert_eq!(
            Secret::from_command("echo x; sleep 100 &", "password_command")
                .unwrap()
                .expose(),
            "x"
        );
        assert!(started.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn every_secret_is_masked_in_every_text() {
        let secret = Secret::new("hünter/2-mask-test");
        drop(secret);
        let text = "a hünter/2-mask-test b hünter/2-mask-tesT hünter/2-mask-testhünter/2-mask-test";
        assert_eq!(mask_known(text), "a *** b hünter/2-mask-tesT ******");
        drop(Secret::new("hünter/2-mask-test-longer"));
        assert_eq!(mask_known("hünter/2-mask-test-longer"), "***");
        drop(Secret::new("q7"));
        assert_eq!(mask_known("q7"), "q7");
        assert_eq!(mask_known(""), "");
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        fs::write(&path, "two\nlines$\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            Secret::from_file(&path, "password_file").unwrap().expose(),
            "two\nlines$"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(
            Secret::from_file(&path, "password_file")
                .unwrap_err()
                .hint()
                .unwrap()
                .to_string()
                .contains("chmod 0600")
        );
        assert!(Secret::from_file(&dir.path().join("none"), "password_file").is_err());
    }
}
