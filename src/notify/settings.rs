//! `[notify]` and `[notify.NAME]`: what people are told, and how it gets to them.

use crate::secret::SecretSource;
use crate::setting::{UserCommand, WordChoice, settings};
use std::path::PathBuf;

settings! {
    /// The settings of `[notify]`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct NotifySettings {
        /// What is told: `"failure"` (a run or another command failed, and once a day that it still
        /// does), `"recovery"` (it is well again), `"partial"` (a backup lacks something, or
        /// something failed after it), `"stale"` (the newest good backup is older than
        /// `expect_every`), `"proof"` (the last drill is longer ago than `prove_every`), `"digest"`
        /// (how all sources are, good or bad).
        pub on: Vec<NewsTopic> = vec![NewsTopic::Failure, NewsTopic::Recovery, NewsTopic::Stale],
        /// How often there is a digest: `"daily"`, `"weekly"` (from Monday on), `"monthly"`. The
        /// first run of each day, week or month sends it. Set, `"digest"` need not stand in `on`;
        /// not set, it is weekly where that does.
        pub digest: Option<DigestInterval> = None,
        /// The directory in which messages wait that could not be delivered. Not set, it is
        /// `notify` in systemd's `$STATE_DIRECTORY`, else in `/var/lib/dbbackup` for root and in
        /// `$XDG_STATE_HOME/dbbackup` or `~/.local/state/dbbackup` for others.
        pub spool: Option<PathBuf> = None,
    }
    beside {
        /// `[notify.NAME]`, in the order of the file.
        pub notifiers: Vec<NotifierSettings>,
    }
}

impl NotifySettings {
    /// How often there is a digest; `None` where nobody gets one.
    pub fn digest_interval(&self) -> Option<DigestInterval> {
        let gets_one = |one: &NotifierSettings| one.topics.contains(&NewsTopic::Digest);
        let interval = self.digest.unwrap_or(DigestInterval::Weekly);
        self.notifiers.iter().any(gets_one).then_some(interval)
    }
}

/// One `[notify.NAME]`.
#[derive(Clone, PartialEq)]
pub struct NotifierSettings {
    /// Its name.
    pub name: String,
    /// What is told there.
    pub topics: Vec<NewsTopic>,
    /// How it gets there.
    pub way: NotifierWay,
}

/// Addresses and tokens are nobody's business.
impl std::fmt::Debug for NotifierSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifierSettings")
            .field("name", &self.name)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl NotifierSettings {
    /// Whether the page of `dbbackup report` goes with what is told there.
    pub fn attaches_report(&self) -> bool {
        matches!(&self.way, NotifierWay::Mail(own) if own.attach_report)
    }
}

/// How messages get to somebody, by `type`.
#[derive(Clone, PartialEq)]
pub enum NotifierWay {
    /// `type = "mail"`.
    Mail(Box<MailSettings>),
    /// `type = "webhook"`.
    Webhook(Box<WebhookSettings>),
    /// `type = "ping"`.
    Ping(Box<PingSettings>),
    /// `type = "command"`.
    Command(CommandSettings),
}

impl NotifierWay {
    /// Where its secrets come from, which no message may show.
    pub fn secret_sources(&self) -> Vec<SecretSource> {
        match self {
            NotifierWay::Mail(own) => vec![own.password_source()],
            NotifierWay::Webhook(own) => {
                vec![own.url_source(), own.token_source(), own.secret_source()]
            }
            NotifierWay::Ping(own) => vec![own.url_source()],
            NotifierWay::Command(_) => Vec::new(),
        }
    }
}

settings! {
    /// What every notifier may say.
    #[derive(Debug, Clone, PartialEq)]
    pub struct NotifierTopics {
        /// What is told there, in place of what `[notify]` says. A ping tells every run.
        pub on: Option<Vec<NewsTopic>> = None,
    }
}

settings! {
    /// The settings of `type = "mail"`.
    #[derive(Clone, PartialEq)]
    pub struct MailSettings {
        /// The addresses that get the mail.
        pub to: Vec<String> = Vec::new(),
        /// The sender's address. Not set, it is `dbbackup@` and this machine's name.
        pub from: Option<String> = None,
        /// How mail is handed over: `"smtp"` to `server`, `"sendmail"` to the program of that name.
        pub via: MailVia = MailVia::Smtp,
        /// The server: `smtps://USER@HOST:465` speaks TLS from the start, `smtp://USER@HOST:587`
        /// goes over to it (STARTTLS) before anything is said. A server on this machine that can't
        /// is spoken to without.
        pub server: Option<String> = None,
        /// The password of the user.
        pub password: Option<String> = None,
        /// A file that holds the password and nothing else.
        pub password_file: Option<PathBuf> = None,
        /// A shell line that prints the password.
        pub password_command: Option<String> = None,
        /// Certificates, as PEM, that are trusted beside the system's.
        pub ca_file: Option<PathBuf> = None,
        /// Attaches the page of `dbbackup report`, as `report.html`. What waited goes without it.
        pub attach_report: bool = false,
    }
}

settings! {
    /// The settings of `type = "webhook"`.
    #[derive(Clone, PartialEq)]
    pub struct WebhookSettings {
        /// The URL that messages are sent to. Plain HTTP is for this machine alone. Who knows a URL
        /// can often write there, so it is kept like a password.
        pub url: Option<String> = None,
        /// A file that holds the URL and nothing else.
        pub url_file: Option<PathBuf> = None,
        /// A shell line that prints the URL.
        pub url_command: Option<String> = None,
        /// The service, which gets messages as it takes them. `"json"` sends the document that
        /// dbbackup-json(5) describes.
        pub preset: WebhookPreset = WebhookPreset::Json,
        /// Whom it is for, where the service must be told: Telegram's chat, Matrix's room,
        /// Pushover's user key.
        pub to: Option<String> = None,
        /// A token that the service asks for.
        pub token: Option<String> = None,
        /// A file that holds the token and nothing else.
        pub token_file: Option<PathBuf> = None,
        /// A shell line that prints the token.
        pub token_command: Option<String> = None,
        /// A secret that both sides know, with which each message is signed: the header
        /// `X-Dbbackup-Signature` is `sha256=` and the HMAC of the body.
        pub secret: Option<String> = None,
        /// A file that holds the secret and nothing else.
        pub secret_file: Option<PathBuf> = None,
        /// A shell line that prints the secret.
        pub secret_command: Option<String> = None,
        /// Certificates, as PEM, that are trusted beside the system's.
        pub ca_file: Option<PathBuf> = None,
        /// Allows plain HTTP to another machine.
        pub allow_http: bool = false,
    }
}

impl WebhookSettings {
    /// Where the URL comes from.
    pub fn url_source(&self) -> SecretSource {
        source(&self.url, &self.url_file, &self.url_command)
    }

    /// Where the token comes from.
    pub fn token_source(&self) -> SecretSource {
        source(&self.token, &self.token_file, &self.token_command)
    }

    /// Where the secret that signs comes from.
    pub fn secret_source(&self) -> SecretSource {
        source(&self.secret, &self.secret_file, &self.secret_command)
    }
}

impl MailSettings {
    /// Where the password comes from.
    pub fn password_source(&self) -> SecretSource {
        source(&self.password, &self.password_file, &self.password_command)
    }
}

settings! {
    /// The settings of `type = "ping"`.
    #[derive(Clone, PartialEq)]
    pub struct PingSettings {
        /// The URL of a check that expects a sign of life. With `{source}` in it each source has
        /// its own check, else the run as a whole has one.
        pub url: Option<String> = None,
        /// A file that holds the URL and nothing else.
        pub url_file: Option<PathBuf> = None,
        /// A shell line that prints the URL.
        pub url_command: Option<String> = None,
        /// The service whose URL it is. Not set, the URL tells, and is taken for one of
        /// healthchecks.io where it does not.
        pub service: Option<PingService> = None,
        /// Certificates, as PEM, that are trusted beside the system's.
        pub ca_file: Option<PathBuf> = None,
        /// Allows plain HTTP to another machine.
        pub allow_http: bool = false,
    }
}

impl PingSettings {
    /// Where the URL comes from.
    pub fn url_source(&self) -> SecretSource {
        source(&self.url, &self.url_file, &self.url_command)
    }
}

settings! {
    /// The settings of `type = "command"`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct CommandSettings {
        /// The program, a line for the shell or a list with its arguments. It gets the document
        /// that dbbackup-json(5) describes on its standard input. `${NAME}` in a line is the
        /// shell's business.
        pub command: Option<UserCommand> = None,
    }
    beside {
        /// The configuration's directory, in which the program runs.
        pub directory: PathBuf,
    }
}

fn source(
    value: &Option<String>,
    file: &Option<PathBuf>,
    command: &Option<String>,
) -> SecretSource {
    SecretSource {
        value: value.clone(),
        file: file.clone(),
        command: command.clone(),
    }
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewsTopic {
    /// Something failed.
    Failure,
    /// It is well again.
    Recovery,
    /// There is less than was asked for.
    Partial,
    /// The newest good backup is too old.
    Stale,
    /// The last proof is too old.
    Proof,
    /// How everything is.
    Digest,
}

impl NewsTopic {
    /// The word in the configuration and in documents.
    pub fn as_str(self) -> &'static str {
        let word = Self::ALL.iter().find(|(_, topic)| *topic == self);
        word.map_or("", |(word, _)| word)
    }
}

impl WordChoice for NewsTopic {
    const ALL: &'static [(&'static str, Self)] = &[
        ("failure", NewsTopic::Failure),
        ("recovery", NewsTopic::Recovery),
        ("partial", NewsTopic::Partial),
        ("stale", NewsTopic::Stale),
        ("proof", NewsTopic::Proof),
        ("digest", NewsTopic::Digest),
    ];
}

/// How often there is a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestInterval {
    /// Every day.
    Daily,
    /// Every week, which begins on Monday.
    Weekly,
    /// Every month.
    Monthly,
}

impl WordChoice for DigestInterval {
    const ALL: &'static [(&'static str, Self)] = &[
        ("daily", DigestInterval::Daily),
        ("weekly", DigestInterval::Weekly),
        ("monthly", DigestInterval::Monthly),
    ];
}

/// How mail is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailVia {
    /// To a server.
    Smtp,
    /// To a program.
    Sendmail,
}

impl WordChoice for MailVia {
    const ALL: &'static [(&'static str, Self)] =
        &[("smtp", MailVia::Smtp), ("sendmail", MailVia::Sendmail)];
}

/// The services that webhooks know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookPreset {
    /// A program of the user's own.
    Json,
    /// ntfy.
    Ntfy,
    /// Gotify.
    Gotify,
    /// Slack, and what takes the same (Mattermost, Rocket.Chat).
    Slack,
    /// Discord.
    Discord,
    /// Telegram.
    Telegram,
    /// Microsoft Teams.
    Teams,
    /// Matrix.
    Matrix,
    /// Pushover.
    Pushover,
}

impl WordChoice for WebhookPreset {
    const ALL: &'static [(&'static str, Self)] = &[
        ("json", WebhookPreset::Json),
        ("ntfy", WebhookPreset::Ntfy),
        ("gotify", WebhookPreset::Gotify),
        ("slack", WebhookPreset::Slack),
        ("discord", WebhookPreset::Discord),
        ("telegram", WebhookPreset::Telegram),
        ("teams", WebhookPreset::Teams),
        ("matrix", WebhookPreset::Matrix),
        ("pushover", WebhookPreset::Pushover),
    ];
}

/// The services that expect signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingService {
    /// healthchecks.io, or a server of one's own that runs it.
    Healthchecks,
    /// A push monitor of Uptime Kuma.
    UptimeKuma,
    /// Cronitor.
    Cronitor,
    /// Better Stack.
    BetterStack,
}

impl WordChoice for PingService {
    const ALL: &'static [(&'static str, Self)] = &[
        ("healthchecks", PingService::Healthchecks),
        ("uptime-kuma", PingService::UptimeKuma),
        ("cronitor", PingService::Cronitor),
        ("better-stack", PingService::BetterStack),
    ];
}
