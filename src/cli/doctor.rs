//! `dbbackup doctor` as it is typed.

use clap::Args;

/// Say whether a backup would succeed, and if not, why and what to do
#[derive(Debug, Args)]
#[command(
    long_about = "Say whether a backup would succeed, and if not, why and what to do.\n\n\
        It looks at the configuration, the clock, the files that hold secrets, the store, the \
        scratch directory and the space in both. It really tries whether the store's file system \
        syncs, renames and locks. It connects to every source and takes for a moment the locks \
        that a backup would take. It says whether a trial restore is possible here. It leaves \
        nothing behind. Warnings alone leave the exit code 0.\n\n\
        Every other store of the configuration is tried with one small object. A store that \
        `--store` names is tried with every kind of call that any command needs; what fails is \
        named with the right that is missing, and on S3 the smallest IAM policy that suffices is \
        printed (with -v always). Where `delete = \"never\"`, removing must be refused there: then \
        one small object of the trial is left, below `.dbbackup-doctor-`.\n\n\
        With `--ransomware` it tries, on an object made for it alone, to write over it, to remove \
        it, to shorten its lock, to list and to remove its older versions, and reports what was \
        refused. Exit code 0 where no backup can be destroyed with what this machine knows, 3 \
        where one can, or where it can't be told.",
    after_help = help!(
        "dbbackup doctor",
        "dbbackup doctor shop",
        "dbbackup doctor --store offsite -v",
        "dbbackup doctor --store offsite --ransomware",
        "dbbackup doctor --json | jq '.checks[] | select(.status != \"ok\")'",
    )
)]
pub struct DoctorArguments {
    /// Configured sources or groups, paths of databases, or postgresql:// addresses [default: every
    /// enabled source]
    #[arg(value_name = "SOURCE|GROUP|PATH|URL")]
    pub what: Vec<String>,

    /// Try only what somebody who has taken over this machine could destroy in the store that
    /// `--store` names, or in every store: with this machine's own keys, on an object made for it
    #[arg(long, conflicts_with = "what")]
    pub ransomware: bool,
}
