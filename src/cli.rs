//! The command line as it is typed: clap's types, and the texts of its help. What the words mean is
//! decided elsewhere.

use self::values::duration;
use clap::builder::Styles;
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
mod adopt;
mod backup;
mod cat;
mod cleanup;
mod doctor;
mod export;
mod guard;
mod help;
mod init;
mod key;
mod list;
mod notify;
mod policy;
mod report;
mod restore;
mod schedule;
mod show;
mod stats;
mod status;
mod values;
mod verify;

pub use adopt::AdoptArguments;
pub use backup::BackupArguments;
pub use cat::CatArguments;
pub use cleanup::CleanupArguments;
pub use doctor::DoctorArguments;
pub use export::ExportArguments;
pub use guard::GuardArguments;
pub use help::{HelpArguments, Topic};
pub use init::InitArguments;
pub use key::{KeyArguments, KeyCommand, KeyInitArguments, KeyProveArguments, KeySheetArguments};
pub use list::{ListArguments, ListStatus};
pub use notify::NotifyArguments;
pub use policy::PolicyArguments;
pub use report::ReportArguments;
pub use restore::RestoreArguments;
pub use schedule::{
    ScheduleArguments, ScheduleCommand, ScheduleInstallArguments, ScheduleRemoveArguments,
    ScheduleShowArguments, SchedulerArguments, StatusFrequency, VerifyFrequency,
};
pub use show::ShowArguments;
pub use stats::StatsArguments;
pub use status::StatusArguments;
pub use verify::VerifyArguments;

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
    /// File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or
    /// the configuration's]
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
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
    Copy(CopyArguments),
    Restore(RestoreArguments),
    Cleanup(CleanupArguments),
    /// Keep backups from being removed by cleanup
    Pin(PinArguments),
    /// Let cleanup remove pinned backups again
    Unpin(PinArguments),
    Delete(DeleteArguments),
    Status(StatusArguments),
    Stats(StatsArguments),
    Report(ReportArguments),
    Guard(GuardArguments),
    Cat(CatArguments),
    Export(ExportArguments),
    Doctor(DoctorArguments),
    Init(InitArguments),
    Notify(NotifyArguments),
    Schedule(ScheduleArguments),
    Adopt(AdoptArguments),
    Key(KeyArguments),
    Completions(CompletionsArguments),
    Help(HelpArguments),
}

/// Copy backups to another store
#[derive(Debug, Args)]
#[command(after_help = help!(
    "dbbackup copy --to offsite                  the newest backup of each source",
    "dbbackup copy --to offsite --missing        every backup that is not there yet",
    "dbbackup copy app --from offsite --to ./usb",
    "dbbackup copy app --to ./usb --full         one that needs no other",
))]
pub struct CopyArguments {
    /// Sources, groups or backups [default: every source]
    #[arg(value_name = "SOURCE|BACKUP")]
    pub what: Vec<String>,
    /// The store that gets them: a name from the configuration, an address, or a directory
    #[arg(long, value_name = "STORE", required = true)]
    pub to: String,
    /// The store that has them [default: the one in use]
    #[arg(long, value_name = "STORE")]
    pub from: Option<String>,
    /// Every backup that is not there yet, not the newest alone
    #[arg(long)]
    pub missing: bool,
    /// Make fulls of deltas, so that none there needs another
    #[arg(long)]
    pub full: bool,
    /// Allow plain backups in a store that holds encrypted ones alone
    #[arg(long)]
    pub plain: bool,
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
    /// The deltas that are built on them, too
    #[arg(long)]
    pub with_dependents: bool,
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
            Some(Command::Copy(_)) => "copy",
            Some(Command::Restore(_)) => "restore",
            Some(Command::Cleanup(_)) => "cleanup",
            Some(Command::Pin(_)) => "pin",
            Some(Command::Unpin(_)) => "unpin",
            Some(Command::Delete(_)) => "delete",
            Some(Command::Status(_)) => "status",
            Some(Command::Stats(_)) => "stats",
            Some(Command::Report(_)) => "report",
            Some(Command::Cat(_)) => "cat",
            Some(Command::Doctor(_)) => "doctor",
            Some(Command::Export(_)) => "export",
            Some(Command::Init(_)) => "init",
            Some(Command::Notify(_)) => "notify",
            Some(Command::Schedule(_)) => "schedule",
            Some(Command::Adopt(_)) => "adopt",
            Some(Command::Key(_)) => "key",
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
