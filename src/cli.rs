//! The command line as it is typed: clap's types, and the texts of its help. What the words mean is
//! decided elsewhere.

use crate::engine::EngineKind;
use crate::sidecar::Level;
use crate::units;
use clap::builder::{PossibleValuesParser, Styles, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

// The exit codes stand at the end of every help text; `error::Kind::exit_code` is the table.
macro_rules! help {
    ($($example:literal),+ $(,)?) => {
        concat!("Examples:\n", $("  ", $example, "\n",)+ "\n\
Exit codes:
  0    all done
  1    failed
  2    wrong usage or configuration, or refused for want of --yes
  3    partly done: some sources failed or were locked, some files unreadable
  4    a verified backup is damaged
  10   nothing matches the name given, or no such store
  11   another run holds the lock
  130  interrupted")
    };
}

// Below the macro, which they use.
mod cat;
mod doctor;
mod export;
mod guard;
mod help;
mod init;
mod policy;
mod stats;
mod status;
mod values;

pub use cat::CatArguments;
pub use doctor::DoctorArguments;
pub use export::ExportArguments;
pub use guard::GuardArguments;
pub use help::{HelpArguments, Topic};
pub use init::InitArguments;
pub use policy::PolicyArguments;
pub use stats::StatsArguments;
pub use status::StatusArguments;

/// Backups of databases and files that are proven to restore
#[derive(Debug, Parser)]
#[command(
    name = "dbbackup",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    styles = Styles::plain(),
    subcommand_required = false,
    arg_required_else_help = false,
    long_about = "Backups of databases and files that are proven to restore.\n\n\
        A backup is one file in a format that other tools read, with a JSON file beside it that \
        says everything about it. \
        There is no daemon: cron or a systemd timer runs `dbbackup backup`.",
    after_help = help_of_program()
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options that every command has, in any place.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml,
    /// /etc/dbbackup/config.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the
    /// configuration's]
    #[arg(long, global = true, value_name = "DIR-or-NAME")]
    pub store: Option<String>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing if all went well
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more (repeatable)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Draw no progress bar
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// How long to wait for another run's lock, as in 10m [default: do not wait]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub lock_wait: Option<Duration>,
    /// Print the version; with -v what is built in
    #[arg(short = 'V', long, global = true)]
    pub version: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Backup(BackupArguments),
    List(ListArguments),
    Show(ShowArguments),
    Verify(VerifyArguments),
    Restore(RestoreArguments),
    Cleanup(CleanupArguments),
    /// Keep backups from being removed by cleanup
    Pin(PinArguments),
    /// Let cleanup remove pinned backups again
    Unpin(PinArguments),
    Delete(DeleteArguments),
    Status(StatusArguments),
    Stats(StatsArguments),
    Guard(GuardArguments),
    Cat(CatArguments),
    Export(ExportArguments),
    Doctor(DoctorArguments),
    Init(InitArguments),
    Completions(CompletionsArguments),
    Help(HelpArguments),
}

/// Back up what is named, or every enabled source
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Back up what is named, or every enabled source of the configuration.\n\n\
        An argument is a configured source or group, else the path of a SQLite database or of a \
        directory, or a postgresql:// address, which \
        need no configuration; the source is then named after the file, the directory or the \
        database. One source's failure never stops the others. After each \
        success the retention policy is applied. The keys of the configuration: `dbbackup help \
        configuration`.",
    after_help = help!(
        "dbbackup backup",
        "dbbackup backup app --label pre-upgrade --description 'before v2.0' --pin",
        "dbbackup --store /mnt/usb/backups backup /srv/app/app.db",
        "dbbackup --store /mnt/usb/backups backup /srv/app/uploads",
        "dbbackup --store /mnt/usb/backups backup postgresql://backup@db.internal/shop",
    )
)]
pub struct BackupArguments {
    /// Configured sources or groups, paths of databases or directories, or postgresql:// addresses
    #[arg(value_name = "SOURCE|GROUP|PATH|URL")]
    pub what: Vec<String>,
    /// Every enabled source of the configuration, as without an argument
    #[arg(long, conflicts_with_all = ["what", "name", "kind"])]
    pub all: bool,
    /// How many sources at once [default: `jobs` in [backup], or 1]
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// Why this backup is made: manual, daily, pre-upgrade, any word
    #[arg(long, value_name = "LABEL", default_value = "manual")]
    pub label: String,
    /// Free text to keep with it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A key and value to keep with it (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Never let cleanup remove it
    #[arg(long)]
    pub pin: bool,
    /// The name of the source (with one path or address)
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// The kind of a source that the configuration does not know [default: recognized]
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<EngineKind>,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// List backups, newest first
#[derive(Debug, Args)]
#[command(after_help = help!(
    "dbbackup list",
    "dbbackup list app --since 7d --status all",
    "dbbackup list --json | jq -r '.backups[].id'",
))]
pub struct ListArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE|GROUP")]
    pub sources: Vec<String>,
    /// Only this label
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Only with this key and value (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// Which attempts
    #[arg(long, value_enum, default_value_t, value_name = "STATUS")]
    pub status: ListStatus,
    /// Only those made since then: 7d, 2026-11-20
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Which attempts are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListStatus {
    /// Good and partial backups
    #[default]
    Ok,
    /// Failed attempts and damaged backups
    Failed,
    /// Every attempt
    All,
}

/// Show everything about one backup
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup show app", "dbbackup show app@latest:daily --contents"))]
pub struct ShowArguments {
    /// An id, the beginning of one, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a
    /// dump or sidecar
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// List its tables with their rows, or its files
    #[arg(long)]
    pub contents: bool,
}

/// Prove that backups are what was written, and that they restore
#[derive(Debug, Args)]
#[command(
    long_about = "Prove that backups are what was written, and that they restore.\n\n\
        With no name: the newest good backup of each source. The result is kept with the backup, \
        unless the store is read-only. More: `dbbackup help monitoring`.",
    after_help = help!(
        "dbbackup verify",
        "dbbackup verify app --level restore",
        "dbbackup verify --all --level checksum",
    )
)]
pub struct VerifyArguments {
    /// Backups, sources or groups: an id, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or a path
    #[arg(value_name = "BACKUP|SOURCE|GROUP")]
    pub what: Vec<String>,
    /// Every backup of the named sources, or of all sources
    #[arg(long)]
    pub all: bool,
    /// checksum: the stored bytes are those written; content: it decodes, is sound inside, and
    /// equal to the manifest; restore: a trial restore
    #[arg(long, value_parser = levels(), default_value = "content", value_name = "LEVEL")]
    pub level: Level,
}

/// Put a backup back, to where it came from or elsewhere
#[derive(Debug, Default, Args)]
#[command(
    long_about = "Put a backup back, to where it came from or to --to.\n\n\
        The new data is complete and checked before the old is touched. A SQLite database is first \
        saved in the store with the label \
        `pre-restore`, then replaced through SQLite, so that a running application sees the new \
        content; a file that is no valid database is \
        set aside as `….before-<time>`. A PostgreSQL database is restored into a new one, which \
        then takes the old one's name; the old one is \
        kept as `…_before_<time>`. Each path of a tree of files is exchanged for the new one, and \
        the old one is kept as `….before-<time>`. \
        The name of a group or of a cluster restores its newest complete run, roles first.\n\n\
        More: `dbbackup help sqlite`, `postgresql`, `files`; without dbbackup: `dbbackup help \
        recovery`.",
    after_help = help!(
        "dbbackup restore app                         the newest good backup, asking first",
        "dbbackup restore app@2h --yes                as it was two hours ago",
        "dbbackup restore app --to /tmp/look.db       beside it, touching nothing else",
        "dbbackup restore shop --to shop_yesterday    a PostgreSQL database, beside the one in \
         service",
        "dbbackup restore shop --table orders --to look",
        "dbbackup restore uploads --path 'img/*' --to /tmp/look",
        "dbbackup restore ./app.sqlite3.gz --to ./app.db",
    )
)]
pub struct RestoreArguments {
    /// An id, SOURCE, SOURCE@latest[:LABEL], SOURCE@WHEN, or the path of a dump or sidecar
    #[arg(value_name = "BACKUP", required = true)]
    pub backups: Vec<String>,
    /// Restore to this path, database (by name) or postgresql:// address instead
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Say what would be done and lost, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not back up what is replaced
    #[arg(long)]
    pub no_safety_backup: bool,
    /// PostgreSQL: empty and fill the database itself, in one transaction, instead of filling a new
    /// one that takes its name
    #[arg(long)]
    pub in_place: bool,
    /// PostgreSQL, files: give everything to the role or user that restores; the owners in the
    /// backup need not exist
    #[arg(long)]
    pub no_owner: bool,
    /// PostgreSQL: put everything into the database's own tablespace; those in the backup need not
    /// exist
    #[arg(long)]
    pub no_tablespaces: bool,
    /// PostgreSQL: only this table, with its indexes and constraints, to another database
    /// (repeatable)
    #[arg(long = "table", value_name = "TABLE", requires = "to")]
    pub tables: Vec<String>,
    /// Files: only what matches, and all below it, to another directory (repeatable); quote it:
    /// --path 'img/*.png'
    #[arg(long = "path", value_name = "GLOB", requires = "to")]
    pub paths: Vec<String>,
    /// PostgreSQL: how many jobs pg_restore may use [default: one for each core]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Remove what the retention policy does not keep
#[derive(Debug, Args)]
#[command(
    long_about = "Remove what the retention policy does not keep, and say why each backup is kept \
                  or removed.\n\n\
        Any --keep-… or --max-… flag replaces the configuration's whole policy. These always stay: \
        pinned backups, the newest good one and the newest proven one of each source, anything \
        whose sidecar or dump can't be read, and backups whose dump is missing but was never found \
        damaged. More: `dbbackup help retention`.",
    after_help = help!(
        "dbbackup cleanup --dry-run",
        "dbbackup cleanup app --keep-last 3 --keep-daily 7 --keep-weekly 4",
        "dbbackup cleanup --max-age 30d --max-size '20 GiB'",
    )
)]
pub struct CleanupArguments {
    /// Only these sources or groups
    #[arg(value_name = "SOURCE|GROUP")]
    pub sources: Vec<String>,
    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Even if the newest backup is far smaller than the one before
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub policy: PolicyArguments,
}

/// Keep backups from being removed, or allow it again
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup pin app@latest", "dbbackup unpin \
    app_manual_20261120T020000Z"))]
pub struct PinArguments {
    /// An id, SOURCE, SOURCE@latest[:LABEL] or SOURCE@WHEN
    #[arg(value_name = "BACKUP", required = true)]
    pub backups: Vec<String>,
}

/// Delete backups by their ids
#[derive(Debug, Args)]
#[command(after_help = help!("dbbackup delete app_manual_20261120T020000Z"))]
pub struct DeleteArguments {
    /// Whole ids
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// A pinned backup, or a source's last good one, too
    #[arg(long)]
    pub force: bool,
}

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = help!(
    "dbbackup completions bash > /etc/bash_completion.d/dbbackup",
    "dbbackup completions zsh > /usr/local/share/zsh/site-functions/_dbbackup",
    "dbbackup completions fish > ~/.config/fish/completions/dbbackup.fish",
))]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Whether these arguments, though they were refused, call this command.
pub fn calls(arguments: &[OsString], command: &str) -> bool {
    let matches = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .ok();
    match matches
        .as_ref()
        .and_then(|matches| matches.subcommand_name())
    {
        Some(called) => called == command,
        // A wrong option before it hides it from clap.
        None => {
            let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
            words
                .into_iter()
                .find(|word| Cli::command().find_subcommand(word).is_some())
                == Some(command)
        }
    }
}

impl Cli {
    /// The command's word, for JSON.
    pub fn command_name(&self) -> &'static str {
        match &self.command {
            None => "version",
            Some(Command::Backup(_)) => "backup",
            Some(Command::List(_)) => "list",
            Some(Command::Show(_)) => "show",
            Some(Command::Verify(_)) => "verify",
            Some(Command::Restore(_)) => "restore",
            Some(Command::Cleanup(_)) => "cleanup",
            Some(Command::Pin(_)) => "pin",
            Some(Command::Unpin(_)) => "unpin",
            Some(Command::Delete(_)) => "delete",
            Some(Command::Status(_)) => "status",
            Some(Command::Stats(_)) => "stats",
            Some(Command::Cat(_)) => "cat",
            Some(Command::Doctor(_)) => "doctor",
            Some(Command::Export(_)) => "export",
            Some(Command::Init(_)) => "init",
            Some(Command::Guard(_)) => "guard",
            Some(Command::Completions(_)) => "completions",
            Some(Command::Help(_)) => "help",
        }
    }
}

/// What stands below the options in the program's own help: examples, topics, exit codes.
fn help_of_program() -> String {
    let help = help!(
        "dbbackup --store ./backups backup ./app.db      back up a database, without any \
         configuration",
        "dbbackup backup                                 back up every source of the configuration",
        "dbbackup list                                   what there is",
        "dbbackup verify --level restore app             prove that the newest backup restores",
        "dbbackup restore app                            put the newest backup back",
        "dbbackup help recovery                          a topic of the manual",
    );
    let topics = format!("Topics, for `dbbackup help TOPIC`:\n{}\n", Topic::list());
    help.replacen("Exit codes:", &format!("{topics}Exit codes:"), 1)
}

/// Whether `guard` was meant by arguments that are refused.
pub fn is_guard(arguments: &[OsString]) -> bool {
    let lenient = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments);
    lenient.is_ok_and(|found| found.subcommand_name() == Some("guard"))
}

fn levels() -> impl TypedValueParser<Value = Level> {
    let word = |text: String| {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .unwrap_or(Level::Content)
    };
    PossibleValuesParser::new(Level::ALL.map(Level::as_str)).map(word)
}

fn duration(text: &str) -> Result<Duration, String> {
    // What the default is can be written, too.
    if text == "0" {
        Ok(Duration::ZERO)
    } else {
        units::Span::parse(text).map(|span| span.duration())
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|jobs| (1..=256).contains(jobs))
        .ok_or_else(|| "write a number from 1 to 256".into())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}
