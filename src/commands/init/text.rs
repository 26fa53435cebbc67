//! The texts that `init` writes: the configuration, and the lines for cron and systemd.

use crate::engine::postgres::discover::DiscoveredServer;
use crate::ops::discovery::{DiscoveredKind, DiscoveredSource};
use crate::units;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# A configuration for dbbackup, made by `dbbackup init`. `dbbackup help configuration` explains every \
key.
# It must belong to root or to the user that runs dbbackup, and nobody else may write to it.

";

const DEFAULTS: &str = "
# Defaults of every source; each of these keys may stand in a source, too.
[backup]
#compression = \"gzip\"               # \"zstd\" is smaller and faster, but needs `zstd` for a \
                        recovery by hand
#verify_after = \"checksum\"          # how a new backup is verified before it is listed: also \
                        \"content\", \"restore\"
#scratch_dir = \"/var/tmp\"           # for copies and trial restores

# How much of the past is kept, by runs of one label. A backup stays if any rule takes it.
[retention]
keep_last = 3
keep_daily = 7
keep_weekly = 4
keep_monthly = 12
";

/// The whole file.
pub fn configuration(found: &[DiscoveredSource], store: &Path) -> String {
    let mut text = format!(
        "{HEAD}[store]\npath = {}\n",
        string(&store.to_string_lossy())
    );
    text.push_str(
        "#require_mount = true               # for a disk that may be unplugged: refuse \
                   unless it is mounted there\n",
    );
    text.push_str(DEFAULTS);
    for one in found {
        source(one, &mut text);
    }
    text
}

fn source(one: &DiscoveredSource, text: &mut String) {
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    line(String::new());
    line(format!("[sources.{}]", key(&one.name)));
    if let Some(why) = &one.obstacle {
        line(format!("# {}", why.replace(['\n', '\r'], " ")));
        line("enabled = false                     # until that is mended".to_owned());
    }
    match &one.kind {
        DiscoveredKind::Sqlite(path) => {
            line("kind = \"sqlite\"".to_owned());
            line(format!("path = {}", string(&path.to_string_lossy())));
        }
        DiscoveredKind::Url { shown: Some(url) } => {
            line("kind = \"postgres\"".to_owned());
            line(format!("url = {}", string(url)));
        }
        DiscoveredKind::Url { shown: None } => {
            line("kind = \"postgres\"".to_owned());
            line(
                "url = \"${DATABASE_URL}\"             # it holds a password, so it is not copied \
                  here"
                    .to_owned(),
            );
            line(
                "#env_file = \"/srv/app/.env\"         # cron and systemd don't know it: a file \
                 with a line DATABASE_URL=…"
                    .to_owned(),
            );
        }
        DiscoveredKind::Database(answer) => {
            line("kind = \"postgres\"".to_owned());
            place(answer, &mut line);
            line(format!("dbname = {}", string(&answer.database)));
        }
        DiscoveredKind::Server(answer) => {
            line("kind = \"postgres\"".to_owned());
            place(answer, &mut line);
            line(
                "databases = [\"*\"]                   # each becomes a source of its own, as \
                  cluster.NAME"
                    .to_owned(),
            );
            line("#exclude_databases = [\"scratch_*\"]".to_owned());
            line(format!(
                "globals = {}{}",
                answer.superuser,
                if answer.superuser {
                    "                      # roles and tablespaces, too"
                } else {
                    ""
                }
            ));
        }
    }
}

fn place(answer: &DiscoveredServer, line: &mut dyn FnMut(String)) {
    line(format!("host = {}", string(&answer.host)));
    line(format!("port = {}", answer.port));
    line(format!("user = {}", string(&answer.user)));
    if !answer.host.starts_with('/') {
        line(
            "#password_file = \"/etc/dbbackup/cluster.pass\"   # or a line in ~/.pgpass".to_owned(),
        );
    }
}

/// A string of TOML, in which `${` is no variable.
fn string(text: &str) -> String {
    let quoted = serde_json::Value::from(text.replace("${", "$${")).to_string();
    // The one character that JSON lets stand and TOML does not.
    quoted.replace('\u{7f}', "\\u007F")
}

fn key(name: &str) -> String {
    let bare = name
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    if bare { name.to_owned() } else { string(name) }
}

/// ` --config FILE`, unless it is found without.
pub fn option_for(path: &Path) -> String {
    let found = path == Path::new("/etc/dbbackup/config.toml");
    if found {
        String::new()
    } else {
        format!(" --config {}", shell_word(path))
    }
}

/// Lines for a crontab.
pub fn crontab(path: &Path) -> Vec<String> {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/dbbackup".into());
    // There a `%` is a line break.
    let call = format!("{}{}", shell_word(&program), option_for(path)).replace('%', "\\%");
    vec![
        format!("15 2 * * *  {call} -q --lock-wait 1h backup --label nightly"),
        format!("30 5 * * 6  {call} -q verify --level restore"),
    ]
}

/// A path as a shell needs it.
fn shell_word(path: &Path) -> String {
    units::shell_word(&path.to_string_lossy())
}
