//! `dbbackup notify` as it is typed.

use clap::Args;

/// Send what waits to be told, or try whether messages arrive
#[derive(Debug, Args)]
#[command(
    long_about = "Send the messages that could not be delivered yet. With --test send a test \
                  message by each notifier of the configuration, or by one, and say what the other \
                  side answered.\n\n\
        Messages are sent by `backup` and the other commands themselves; what waits goes with the \
        next of them, too. More: `dbbackup help monitoring`.",
    after_help = help!(
        "dbbackup notify --test            a test message by each notifier",
        "dbbackup notify --test ops        by [notify.ops] alone",
        "dbbackup notify                   what waits, now",
    )
)]
pub struct NotifyArguments {
    /// Only this notifier
    #[arg(value_name = "NAME", requires = "test")]
    pub name: Option<String>,
    /// Send a test message
    #[arg(long)]
    pub test: bool,
}
