//! The documents of the commands around the program itself.

use schemars::JsonSchema;

/// `init`.
#[derive(JsonSchema)]
pub struct Init {
    /// The configuration that was written.
    config: Option<String>,
    /// The store that it names.
    store: Option<String>,
    /// The databases that were found.
    sources: Option<Vec<FoundSource>>,
    /// Lines for a crontab.
    crontab: Option<Vec<String>>,
}

/// A database that was found.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FoundSource {
    /// The name that it got.
    name: String,
    /// `sqlite` or `postgres`.
    kind: String,
    /// Its path or address, without a password.
    place: String,
    /// Whether it could be read, and is enabled.
    enabled: bool,
}

/// `notify`: with `--test` the notifiers, else what was sent.
#[derive(JsonSchema)]
pub struct Notify {
    /// The notifiers that were tried.
    notifiers: Option<Vec<TriedNotifier>>,
    /// Messages that had waited and were delivered.
    delivered: Option<u64>,
    /// Messages that still wait.
    waiting: Option<u64>,
}

/// A notifier on trial.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TriedNotifier {
    /// Its name.
    name: String,
    /// Its type.
    r#type: String,
    /// Whether the other side took the message.
    ok: bool,
    /// What it answered; null where it did not.
    answer: Option<String>,
    /// Why it did not; null where it did.
    error: Option<String>,
    /// What to do about that.
    hint: Option<String>,
}

/// `completions`.
#[derive(JsonSchema)]
pub struct Completions {
    /// The script for the shell.
    script: Option<String>,
}

/// `help`.
#[derive(JsonSchema)]
pub struct HelpDocument {
    /// The text, as it is printed without `--json`.
    text: Option<String>,
}

/// `--version`.
#[derive(JsonSchema)]
pub struct Version {
    /// Of dbbackup.
    version: Option<String>,
    /// Of the SQLite that is built in.
    sqlite: Option<String>,
    /// Whether live databases are streamed without a copy on disk.
    page_streaming: Option<bool>,
}

/// `key`: of `key init` what was made, of `key sheet` what the page says.
#[derive(JsonSchema)]
pub struct Key {
    /// The file with the new identity.
    identity_file: Option<String>,
    /// The recipient that it is the identity of: `age1…`.
    recipient: Option<String>,
    /// The file with the new signing key.
    sign_key_file: Option<String>,
    /// Its public key, for `trust`: `RW…`.
    public_key: Option<String>,
    /// The stores, each with its name and where it is.
    stores: Option<Vec<String>>,
    /// Who can read what is encrypted.
    recipients: Option<Vec<String>>,
    /// The public keys whose signatures count.
    public_keys: Option<Vec<String>>,
    /// What restores a backup without this program.
    commands: Option<Vec<String>>,
    /// With `--with-secret`: the identity itself.
    identity: Option<String>,
}
