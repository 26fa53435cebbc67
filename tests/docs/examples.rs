//! The files of examples/: the configuration is accepted and complete, cron and systemd call what
//! there is.

use super::{calls, have, must_be_accepted, root, silently, text_of};
use dbbackup::config::{Config, parse};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Reads a configuration in which every variable is set.
pub fn configuration(text: &str, place: &str) -> Config {
    let config = parse(text, Path::new("/etc/dbbackup/config.toml"), &|_| {
        Some("1".to_owned())
    });
    let config = config.unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
    assert!(config.warnings.is_empty(), "{place}: {:?}", config.warnings);
    config
}

/// The keys that a table may have, asked of the parser: a wrong one is answered with all that there
/// are.
pub fn keys_of(header: &str) -> BTreeSet<String> {
    let text = format!("{header}\nqqqqq = 1\n");
    let error = parse(&text, Path::new("/x.toml"), &|_| None).expect_err("`qqqqq` is no key");
    let hint = error.hint().map(ToString::to_string).unwrap_or_default();
    let keys = hint
        .strip_prefix("the valid keys are ")
        .unwrap_or_else(|| panic!("{header}: {hint}"));
    keys.split(", ").map(str::to_owned).collect()
}

/// The file with its disabled keys: prose has a space after the `#`, a key or a table has none.
pub fn with_disabled_keys(text: &str) -> String {
    text.lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn configuration_is_accepted_with_and_without_its_disabled_keys() {
    let text = text_of("examples/dbbackup.toml");
    let config = configuration(&text, "examples/dbbackup.toml");
    assert!(
        config
            .sources
            .iter()
            .all(|(_, source)| source.fault.is_none())
    );
    configuration(
        &with_disabled_keys(&text),
        "examples/dbbackup.toml with its disabled keys",
    );
}

#[test]
fn configuration_shows_every_key() {
    let text = with_disabled_keys(&text_of("examples/dbbackup.toml"));
    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    let sources =
        ["sqlite", "postgres", "files"].map(|kind| format!("[sources.x]\nkind = \"{kind}\""));
    let notifiers = ["mail", "webhook", "ping", "command"];
    let notifiers = notifiers.map(|word| format!("[notify.x]\ntype = \"{word}\""));
    for header in [
        "[store]",
        "[backup]",
        "[hooks]",
        "[log]",
        "[metrics]",
        "[report]",
        "[notify]",
        "[encryption]",
        "[retention]",
    ]
    .into_iter()
    .chain(sources.iter().chain(&notifiers).map(String::as_str))
    {
        let tables = ["label", "retention", "hooks"];
        let missing: Vec<String> = keys_of(header)
            .into_iter()
            .filter(|key| !shown.contains(key.as_str()) && !tables.contains(&key.as_str()))
            // What excludes another key is named beside it.
            .filter(|key| !text.contains(&format!("`{key}`")))
            .collect();
        assert!(
            missing.is_empty(),
            "examples/dbbackup.toml shows no {} of {header}",
            missing.join(", ")
        );
    }
}

/// The examples of stores on other machines: all are accepted, each leads to a store of that name,
/// and the manual names each.
#[test]
fn stores_are_accepted_and_shown() {
    let page = text_of("man/dbbackup-stores.7.md");
    let mut found = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("store-") || !name.ends_with(".toml") {
            continue;
        }
        let place = format!("examples/{name}");
        let text = text_of(&place);
        for text in [text.clone(), with_disabled_keys(&text)] {
            let config = configuration(&text, &place);
            let store = config.stores.get("offsite");
            let store = store.unwrap_or_else(|| panic!("{place}: no `offsite`"));
            assert!(store.settings.location.local_path().is_none(), "{place}");
            assert!(store.retention.is_some(), "{place}");
        }
        assert!(page.contains(&format!("(../{place})")), "{place}");
        found += 1;
    }
    assert_eq!(found, 9);
}

/// The three machines of one bucket: all are accepted, their crontab lines call what there is, and
/// only one has a private key. What they do together is tried end to end (`three_machines`).
#[test]
fn three_machines_are_accepted_and_shown() {
    let page = text_of("man/dbbackup-keys.7.md");
    for (name, reads, writes) in [
        ("web1", false, true),
        ("vault1", true, false),
        ("cleanup1", false, false),
    ] {
        let place = format!("examples/three-machines-{name}.toml");
        let text = text_of(&place);
        let config = configuration(&text, &place);
        assert_eq!(config.encryption.identity_file.is_some(), reads, "{place}");
        assert_eq!(config.encryption.recipients.len() == 2, writes, "{place}");
        assert!(page.contains(&format!("(../{place})")), "{place}");
        let mut found = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.len() > 5 && is_schedule(&words[..5]) {
                must_be_accepted(&calls(&words[5..].join(" "))[0], &place);
                found += 1;
            }
        }
        assert!(found > 0, "{place}");
    }
}

fn is_schedule(fields: &[&str]) -> bool {
    fields.iter().all(|field| {
        !field.is_empty()
            && field
                .chars()
                .all(|c| c.is_ascii_digit() || "*/,-".contains(c))
    })
}

#[test]
fn crontab_calls_what_there_is() {
    let mut found = 0;
    for line in text_of("examples/crontab").lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 5 && is_schedule(&words[..5]) {
            let calls = calls(&words[5..].join(" "));
            assert_eq!(calls.len(), 1, "{line}");
            must_be_accepted(&calls[0], "examples/crontab");
            found += 1;
        }
    }
    assert_eq!(found, 6);
}

#[test]
fn nagios_calls_what_there_is() {
    let text = text_of("examples/nagios.cfg");
    let lines = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("command[")
            .and_then(|rest| Some(rest.split_once("]=")?.1))
            .or_else(|| line.strip_prefix("command_line"))
    });
    let calls: Vec<Vec<String>> = lines.flat_map(calls).collect();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        must_be_accepted(call, "examples/nagios.cfg");
        assert!(call.contains(&"--nagios".to_owned()), "{call:?}");
    }
}

#[test]
fn systemd_calls_what_there_is() {
    let text = text_of("examples/dbbackup@.service").replace("%i", "daily");
    let starts: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .collect();
    assert_eq!(starts.len(), 1);
    must_be_accepted(&calls(starts[0])[0], "examples/dbbackup@.service");
}

#[test]
fn systemd_takes_the_units() {
    if !have("systemd-analyze") {
        return;
    }
    let there = tempfile::tempdir().unwrap();
    let mut timers = 0;
    for entry in std::fs::read_dir(root().join("examples"))
        .unwrap()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("dbbackup@") && !name.starts_with("dbbackup-failed@") {
            continue;
        }
        timers += usize::from(name.ends_with(".timer"));
        // systemd wants the program to be there.
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let text = text.replace(
            "=dbbackup ",
            concat!("=", env!("CARGO_BIN_EXE_dbbackup"), " "),
        );
        std::fs::write(there.path().join(&name), text).unwrap();
    }
    assert_eq!(timers, 4);
    let units = [
        "dbbackup-failed@.service",
        "dbbackup@.service",
        "dbbackup@hourly.timer",
        "dbbackup@daily.timer",
        "dbbackup@weekly.timer",
        "dbbackup@monthly.timer",
    ];
    for unit in units {
        silently(
            Command::new("systemd-analyze")
                .args(["verify", "--man=no"])
                .arg(there.path().join(unit)),
        );
    }
}

/// Every text in a YAML file, read by a parser that others wrote; `None` where there is none.
pub fn texts_of_yaml(name: &str) -> Option<Vec<String>> {
    let script = "import json, sys, yaml
def texts(value):
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [str(value)]
print(json.dumps(texts(yaml.safe_load(open(sys.argv[1])))))";
    let there = Command::new("python3")
        .args(["-c", "import yaml"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: python3 has no module yaml");
        return None;
    }
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(root().join(name))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn workflow_and_compose_call_what_there_is() {
    for (name, expected) in [("examples/ci.yml", 3), ("examples/compose.yml", 3)] {
        let Some(texts) = texts_of_yaml(name) else {
            return;
        };
        // Compose has a `$` doubled.
        let scripts = texts.iter().map(|text| text.replace("$$", "$"));
        let found: Vec<Vec<String>> = scripts.flat_map(|script| calls(&script)).collect();
        found.iter().for_each(|call| must_be_accepted(call, name));
        assert_eq!(found.len(), expected, "{name}: {found:?}");
    }
    // The commands in the comments, too.
    let compose = text_of("examples/compose.yml");
    let in_comments: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" exec backup "))
        .map(|(_, call)| call)
        .collect();
    assert_eq!(in_comments.len(), 1);
    must_be_accepted(&calls(in_comments[0])[0], "examples/compose.yml");
}

/// The script of the container sleeps, backs up, cleans up: run with programs that only say that
/// they were called.
#[test]
fn the_script_of_the_container_runs() {
    let Some(texts) = texts_of_yaml("examples/compose.yml") else {
        return;
    };
    let script = texts
        .iter()
        .find(|text| text.starts_with("while :;"))
        .unwrap()
        .replace("$$", "$");
    let there = tempfile::tempdir().unwrap();
    let stub = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = there.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    stub(
        "sleep",
        "[ \"$1\" -gt 0 ] && [ \"$1\" -le 172800 ] || echo wrong; echo sleep; [ ! -e again ] || \
         kill $PPID; touch again",
    );
    stub("dbbackup", "echo \"$*\"");
    let path = format!("{}:/usr/bin:/bin", there.path().display());
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("PATH", path)
        .current_dir(there.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with("-q verify"))
        .collect();
    assert_eq!(
        lines[..2],
        ["sleep", "-q backup --label nightly"],
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        lines[2].starts_with("-q cleanup ") && lines[3] == "sleep",
        "{said}"
    );
}

#[test]
fn logrotate_takes_its_file() {
    if !std::path::Path::new("/usr/sbin/logrotate").exists() {
        eprintln!("skipped: `logrotate` is not installed");
        return;
    }
    let there = tempfile::tempdir().unwrap();
    let path = there.path().join("dbbackup");
    std::fs::write(&path, text_of("examples/logrotate")).unwrap();
    let output = Command::new("/usr/sbin/logrotate")
        .arg("--debug")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success()
            && said.contains("/var/log/dbbackup.log")
            && !said.contains("error:"),
        "{said}"
    );
}

/// `COPY . .` takes what `.dockerignore` lets through: enough for a build, and nothing that a clone
/// has besides.
#[test]
fn an_image_is_made_of_what_a_build_needs_and_nothing_else() {
    let text = text_of(".dockerignore");
    let patterns: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(patterns[0], "*", "all is left out that is not named");
    let context = tempfile::tempdir().unwrap();
    for name in patterns[1..]
        .iter()
        .map(|pattern| pattern.strip_prefix('!').unwrap())
    {
        let directory = Path::new(name).parent().unwrap();
        std::fs::create_dir_all(context.path().join(directory)).unwrap();
        // The pattern is a shell's, too.
        let line = format!(
            "cp -a -- {name} '{}'/",
            context.path().join(directory).display()
        );
        silently(Command::new("sh").args(["-c", &line]).current_dir(root()));
    }
    for other in ["target", ".git", "dbbackup.toml", ".env"] {
        assert!(!context.path().join(other).exists(), "{other}");
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(context.path());
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
