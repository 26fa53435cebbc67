//! The documents of the commands around the program itself.

use chrono::{DateTime, Utc};
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

/// `adopt`.
#[derive(JsonSchema)]
pub struct Adopt {
    /// Each dump that was found, the oldest of a source first.
    adoptions: Option<Vec<AdoptedDump>>,
    /// Dumps that can't be read.
    unreadable: Option<Vec<UnreadableDump>>,
    /// How many other files there are.
    others: Option<u64>,
}

/// A dump that another tool left.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AdoptedDump {
    /// Where it is.
    path: String,
    /// The source that it belongs to.
    source: String,
    /// When it was made.
    made_at: DateTime<Utc>,
    /// What told that: `name`, the file's name; `day`, the name its day and the file's time the
    /// rest; `file`, when the file was written.
    time_from: String,
    /// `adopted`, `present` (it is a backup already), `damaged` or `left_out`.
    result: String,
    /// The backup's id; null where it is none.
    id: Option<String>,
    /// Why it is none, or could not be proven; null where all is well.
    detail: Option<String>,
}

/// A dump that can't be read.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct UnreadableDump {
    /// Where it is.
    path: String,
    /// Why.
    reason: String,
}

/// `schedule`: what was installed or removed, or what there is.
#[derive(JsonSchema)]
#[schemars(rename = "Schedule")]
pub struct ScheduleDocument {
    /// The configuration.
    config: Option<String>,
    /// Who starts the jobs: `systemd` or `cron`.
    scheduler: Option<String>,
    /// The jobs.
    jobs: Option<Vec<ScheduledJobDocument>>,
    /// The units, or the block in the crontab.
    files: Option<Vec<ScheduledFileDocument>>,
    /// The commands that were run to have it obeyed.
    commands: Option<Vec<String>>,
    /// For `show`: whether an install would change something.
    differs: Option<bool>,
}

/// A job of a schedule.
#[derive(JsonSchema)]
#[schemars(rename = "ScheduledJob", deny_unknown_fields)]
struct ScheduledJobDocument {
    /// `backup`, `verify`, `status` or `report`.
    job: String,
    /// When it runs, for people, in the machine's time.
    when: String,
    /// What is run, as a shell takes it.
    command: String,
    /// For `show`: whether it is waited for.
    active: Option<bool>,
    /// For `show`: when it runs next; null where that is not known.
    next_at: Option<DateTime<Utc>>,
    /// For `show`: when it ran last; null where it never did, or cron does not tell.
    last_at: Option<DateTime<Utc>>,
    /// For `show`: how that ended: `ok`, `exit code 1`, `running`, or systemd's own word.
    last_result: Option<String>,
}

/// A unit, or the block in the crontab.
#[derive(JsonSchema)]
#[schemars(rename = "ScheduledFile", deny_unknown_fields)]
struct ScheduledFileDocument {
    /// Its path, or whose crontab it is.
    place: String,
    /// What was done with it: `written`, `removed`, `unchanged`, or `kept` where somebody changed
    /// it.
    action: Option<String>,
    /// For `show`: `current`, `missing`, `outdated`, `edited`, `remnant` or `foreign`.
    state: Option<String>,
    /// What an install has written there; null where nothing should be there.
    text: Option<String>,
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
