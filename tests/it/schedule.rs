//! `schedule`: what it writes is what systemd and cron take, twice is no change, and nothing of
//! anybody else is touched. Root's own units and crontab are never the machine's: each call sees
//! directories of the test in their places.

use crate::support::{Call, World, is_root, set_mode};
use crate::tools::{have, have_terminal, skip};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A `systemctl` that notes how it is called, and remembers what is enabled.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> "$0.calls"
[ "$1" = --user ] && shift
verb=$1; shift
state=$0.state; mkdir -p "$state"
case $verb in
    enable) shift; for unit; do touch "$state/$unit"; done ;;
    disable) shift; for unit; do rm -f "$state/$unit"; done ;;
    show)
        for unit; do
            case $unit in --*) continue ;; esac
            [ -e "$state/$unit" ] && words='enabled active' || words='disabled inactive'
            set -- $words
            printf 'UnitFileState=%s\nActiveState=%s\nResult=success\nExecMainStatus=0\nId=%s\n\n' \
                "$1" "$2" "$unit"
        done ;;
    list-timers)
        for unit; do :; done
        echo "[{\"next\":4070908800000000,\"left\":1,\"last\":0,\"unit\":\"$unit\"}]" ;;
esac
"#;

/// A configuration with a database, and places for units and crontabs.
struct Machine {
    world: World,
}

impl Machine {
    /// `None` where this user can't be given places of its own.
    fn new() -> Option<Machine> {
        let world = World::new();
        let path = world.shop("app.db");
        world.config(&format!(
            "[store]\npath = \"store\"\n[sources.app]\nkind = \"sqlite\"\npath = {path:?}\n"
        ));
        std::fs::create_dir(world.path("units")).unwrap();
        std::fs::create_dir(world.path("crontabs")).unwrap();
        let hidden = || Command::new("unshare").args(["-m", "true"]).status();
        if is_root() && !hidden().is_ok_and(|status| status.success()) {
            skip("this needs unshare");
            return None;
        }
        Some(Machine { world })
    }

    fn with_systemctl(self) -> Machine {
        self.world.script("bin/systemctl", SYSTEMCTL);
        self
    }

    fn call(&self, arguments: &str) -> Call {
        let mut call = self.world.dbbackup(arguments);
        let path = std::env::var("PATH").unwrap();
        let own = self.world.path("bin");
        call = call.env("PATH", &format!("{}:{path}", own.display()));
        if !is_root() {
            return call;
        }
        let mounts = format!(
            "mount --bind {} /etc/systemd/system && {{ [ ! -d {CRONTABS} ] || mount --bind {} \
             {CRONTABS}; }} && exec \"$@\"",
            self.world.path("units").display(),
            self.world.path("crontabs").display()
        );
        call.by(&["unshare", "-m", "sh", "-c", &mounts, "sh"])
    }

    /// Where the units are.
    fn units(&self) -> PathBuf {
        if is_root() {
            self.world.path("units")
        } else {
            self.world.path(".config/systemd/user")
        }
    }

    fn unit_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.units())
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The calls of `systemctl` since the last time, without those that only look.
    fn systemctl_calls(&self) -> Vec<String> {
        let path = self.world.path("bin/systemctl.calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        let calls = text
            .lines()
            .map(|line| line.trim_start_matches("--user ").to_owned());
        calls
            .filter(|line| !line.starts_with("show") && !line.starts_with("list-timers"))
            .collect()
    }
}

const CRONTABS: &str = "/var/spool/cron/crontabs";

fn texts(json: &Value) -> Vec<(String, String)> {
    let files = json["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let place = Path::new(file["place"].as_str().unwrap());
            let name = place.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), file["text"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn must_succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

/// The parts of systemd itself that read units and times, for names that are nasty.
#[test]
fn systemd_takes_what_is_written() {
    if !have("systemd-analyze") {
        return;
    }
    let Some(machine) = Machine::new() else {
        return;
    };
    let nasty = "a dir's 50% $HOME \"q\"";
    let path = machine.world.path("app.db");
    let config = machine.world.file(
        &format!("{nasty}/c.toml"),
        &format!(
            "[store]\npath = \"store\"\n[sources.app]\nkind = \"sqlite\"\npath = {path:?}\n\
             [sources.tree]\nkind = \"files\"\npaths = [{:?}]\n[report]\nhtml = {:?}\n",
            machine.world.path(nasty),
            machine.world.path(nasty).join("page.html")
        ),
    );
    set_mode(&config, 0o600);
    for options in [
        "",
        "--every 1w --verify monthly --status hourly",
        "--every 20m --at 00:07",
    ] {
        let mut arguments = vec!["--config", config.to_str().unwrap()];
        arguments.extend("schedule install --dry-run --systemd --json".split(' '));
        arguments.extend(options.split_whitespace());
        let json = machine
            .world
            .dbbackup_with(&arguments)
            .run()
            .exits(0)
            .json();
        let there = tempfile::tempdir().unwrap();
        let texts = texts(&json);
        assert!(texts.len() >= 8, "{texts:?}");
        for (name, text) in &texts {
            std::fs::write(there.path().join(name), text).unwrap();
        }
        for (name, text) in &texts {
            let mut verify = Command::new("systemd-analyze");
            if !is_root() {
                verify.arg("--user");
            }
            verify
                .args(["verify", "--man=no"])
                .arg(there.path().join(name));
            assert_eq!(must_succeed(&mut verify), "", "{text}");
            for time in text
                .lines()
                .filter_map(|line| line.strip_prefix("OnCalendar="))
            {
                let mut calendar = Command::new("systemd-analyze");
                let answer = must_succeed(calendar.args(["calendar", time]));
                // It is written as systemd itself would write it.
                let normal = answer
                    .lines()
                    .find_map(|line| line.split_once("Normalized form: "));
                assert_eq!(normal.map_or(time, |(_, normal)| normal), time, "{answer}");
            }
        }
        let service = texts
            .iter()
            .find(|(name, _)| name.ends_with("-backup.service"))
            .unwrap();
        let text = &service.1;
        assert!(
            text.contains("a dir's 50%% $$HOME \\\"q\\\"/c.toml\" --quiet"),
            "{text}"
        );
        if is_root() {
            assert!(text.contains("\nReadWritePaths=-/"), "{text}");
        }
    }
    // Nothing was written.
    assert_eq!(machine.unit_names(), [] as [&str; 0]);
}

#[test]
fn an_install_is_obeyed_once_and_removed_whole() {
    let Some(machine) = Machine::new().map(Machine::with_systemctl) else {
        return;
    };
    let json = machine
        .call("schedule install --systemd --json")
        .run()
        .exits(0)
        .json();
    assert_eq!(json["scheduler"], "systemd");
    let names = machine.unit_names();
    let timers: Vec<&String> = names
        .iter()
        .filter(|name| name.ends_with(".timer"))
        .collect();
    assert_eq!(timers.len(), 3, "{names:?}");
    let calls = machine.systemctl_calls();
    assert_eq!(calls[0], "daemon-reload");
    for timer in &timers {
        assert!(
            calls[1].starts_with("enable --now ") && calls[1].contains(*timer),
            "{calls:?}"
        );
    }
    // The store is there before the units, which may write nowhere else.
    assert!(machine.world.path("store/dbbackup-store.json").is_file());
    // Twice is no change.
    let again = machine.call("schedule install").run().exits(0);
    again
        .prints("nothing to change")
        .prints("backup: daily at 0");
    assert_eq!(machine.systemctl_calls(), [] as [&str; 0]);
    let shown = machine.call("schedule show --json").run().exits(0).json();
    assert_eq!(shown["differs"], false, "{shown}");
    assert_eq!(
        shown["jobs"][0]["next_at"], "2099-01-01T00:00:00Z",
        "{shown}"
    );
    machine
        .call("doctor")
        .run()
        .exits(0)
        .prints("timers of systemd are installed");
    // What was said before counts until something else is said.
    machine
        .call("schedule install --at 02:30 --label nightly")
        .run()
        .exits(0);
    let changed = machine.systemctl_calls();
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed[1].starts_with("restart ") && changed[1].contains("-backup.timer"));
    let ran = machine
        .call("schedule install --verify never")
        .run()
        .exits(0);
    ran.prints("backup: daily at 02:30").prints("removed ");
    let backup = machine
        .unit_names()
        .into_iter()
        .find(|name| name.ends_with("backup.service"));
    let backup = machine.units().join(backup.unwrap());
    let text = std::fs::read_to_string(&backup).unwrap();
    assert!(text.contains(" backup --label nightly\n"), "{text}");
    assert_eq!(
        machine
            .unit_names()
            .iter()
            .filter(|name| name.contains("verify"))
            .count(),
        0
    );
    machine
        .call("schedule show")
        .run()
        .exits(0)
        .prints("daily at 02:30")
        .never_says("verify");
    // A new database is a difference: the unit must be allowed to read it.
    std::fs::create_dir(machine.world.path("other")).unwrap();
    let other = machine.world.shop("other/other.db");
    let config = std::fs::read_to_string(machine.world.path("dbbackup.toml")).unwrap();
    let with_other = format!("{config}[sources.other]\nkind = \"sqlite\"\npath = {other:?}\n");
    if is_root() {
        let elsewhere = with_other.replace(machine.world.path("other").to_str().unwrap(), "/srv");
        machine.world.config(&elsewhere);
        let shown = machine.call("schedule show").run().exits(0);
        shown.prints("-backup.service is not what an install would write now");
        machine.world.config(&config);
    }
    machine.systemctl_calls();
    machine
        .call("schedule remove --dry-run")
        .run()
        .exits(0)
        .prints("would be removed");
    assert!(backup.exists());
    std::fs::write(
        machine.units().join("dbbackup-other-backup.timer"),
        "[Timer]\n",
    )
    .unwrap();
    machine
        .call("schedule remove")
        .run()
        .exits(0)
        .prints("removed ");
    assert_eq!(machine.unit_names(), ["dbbackup-other-backup.timer"]);
    let calls = machine.systemctl_calls();
    assert!(calls[0].starts_with("disable --now dbbackup-"), "{calls:?}");
    machine
        .call("schedule remove")
        .run()
        .exits(0)
        .prints("nothing is removed");
    machine
        .call("schedule show")
        .run()
        .exits(10)
        .says("dbbackup schedule install");
    machine
        .call("doctor")
        .run()
        .exits(0)
        .prints("none is installed");
}

#[test]
fn what_somebody_changed_is_kept() {
    let Some(machine) = Machine::new().map(Machine::with_systemctl) else {
        return;
    };
    machine.call("schedule install --systemd").run().exits(0);
    let name = machine
        .unit_names()
        .into_iter()
        .find(|name| name.ends_with("-backup.timer"));
    let timer = machine.units().join(name.unwrap());
    let text = std::fs::read_to_string(&timer).unwrap();
    let edited = text.replace("Persistent=true", "Persistent=false");
    std::fs::write(&timer, &edited).unwrap();
    machine
        .call("schedule show")
        .run()
        .exits(0)
        .prints("-backup.timer was changed by somebody");
    for verb in ["install", "remove"] {
        let ran = machine.call(&format!("schedule {verb}")).run().exits(0);
        ran.says("was changed by somebody since, and stays as it is")
            .says("--force");
        assert_eq!(std::fs::read_to_string(&timer).unwrap(), edited);
    }
    assert_eq!(machine.unit_names().len(), 1);
    machine.call("schedule install --force").run().exits(0);
    assert_eq!(std::fs::read_to_string(&timer).unwrap(), text);
    std::fs::write(&timer, &edited).unwrap();
    machine.call("schedule remove --force").run().exits(0);
    assert_eq!(machine.unit_names(), [] as [&str; 0]);
    // A file of that name that was never ours stops it before anything is written.
    std::fs::write(&timer, "[Timer]\nOnCalendar=daily\n").unwrap();
    let ran = machine
        .call("schedule install --systemd --force")
        .run()
        .exits(2);
    ran.says("is not of this configuration's schedule")
        .says("nothing was changed");
    assert_eq!(machine.unit_names().len(), 1);
}

#[test]
fn configurations_have_schedules_of_their_own() {
    let Some(machine) = Machine::new().map(Machine::with_systemctl) else {
        return;
    };
    let config = std::fs::read_to_string(machine.world.path("dbbackup.toml")).unwrap();
    for name in ["one", "two"] {
        let path = machine.world.file(&format!("{name}.toml"), &config);
        set_mode(&path, 0o600);
        machine
            .call(&format!("-c {name}.toml schedule install --systemd"))
            .run()
            .exits(0);
    }
    let names = machine.unit_names();
    let of = |word: &str| names.iter().filter(|name| name.contains(word)).count();
    assert_eq!(
        (of("dbbackup-one-"), of("dbbackup-two-")),
        (of("-two-"), of("-one-")),
        "{names:?}"
    );
    assert!(of("-one-") >= 6);
    machine.call("-c one.toml schedule remove").run().exits(0);
    assert!(
        machine
            .unit_names()
            .iter()
            .all(|name| name.contains("-two-"))
    );
    machine.call("-c two.toml schedule show").run().exits(0);
    machine.call("-c one.toml schedule show").run().exits(10);
}

#[test]
fn a_systemctl_that_fails_is_named_with_a_remedy() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.world.script(
        "bin/systemctl",
        "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n",
    );
    let ran = machine.call("schedule install --systemd").run().exits(1);
    ran.says("the units are written, but systemd does not know of them yet")
        .says("Failed to connect to bus")
        .says("schedule install --cron");
    // The next one goes on from there.
    machine.world.script("bin/systemctl", SYSTEMCTL);
    machine.call("schedule install --systemd").run().exits(0);
    assert!(
        machine
            .systemctl_calls()
            .iter()
            .any(|call| call.starts_with("enable --now"))
    );
}

#[test]
fn what_makes_no_schedule_is_refused() {
    let Some(machine) = Machine::new().map(Machine::with_systemctl) else {
        return;
    };
    for (arguments, reason) in [
        (
            "--store other schedule install",
            "uses the store of the configuration",
        ),
        ("-c /dev/null schedule install", "needs a configuration"),
        ("schedule install --systemd --every 5h", "divides neither"),
        (
            "schedule install --systemd --at 25:00",
            "is not a time of the day",
        ),
        ("schedule install --systemd --label a_b", "is no label"),
        ("schedule install --systemd --cron", "cannot be used with"),
    ] {
        machine.call(arguments).run().exits(2).says(reason);
    }
    assert_eq!(machine.unit_names(), [] as [&str; 0]);
    let ran = machine
        .call("schedule install --systemd --every 1w")
        .run()
        .exits(0);
    ran.says("`expect_every` of app is shorter than that");
    let both = machine.call("schedule install --cron").run().exits(2);
    both.says("a schedule of systemd is installed already")
        .says("schedule remove");
    if !Path::new("/run/systemd/system").exists() {
        machine.call("schedule remove").run().exits(0);
        let nowhere = machine
            .world
            .dbbackup("schedule install")
            .env("PATH", "/nonexistent");
        nowhere
            .run()
            .exits(1)
            .says("systemd does not run here, and there is no program `crontab`");
    }
}

/// cron's own program, with a crontab that has lines of somebody's.
#[test]
fn a_crontab_keeps_the_lines_of_others() {
    if !have("crontab") {
        return;
    }
    let Some(machine) = Machine::new() else {
        return;
    };
    if !is_root() || !Path::new(CRONTABS).is_dir() {
        return skip("a crontab of the test's own needs root and Debian's cron");
    }
    let before = "MAILTO=me\n# mine\n1 2 3 4 5 /bin/true 50\\% done\n";
    let crontab = machine.world.path("crontabs/root");
    std::fs::write(&crontab, before).unwrap();
    set_mode(&crontab, 0o600);
    let read = || std::fs::read_to_string(&crontab).unwrap_or_default();
    // cron's program puts lines of its own before all others.
    let without_head = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("# DO NOT EDIT") && !line.starts_with("# ("));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let dry = machine
        .call("schedule install --cron --dry-run")
        .run()
        .exits(0);
    dry.prints(" --quiet --lock-wait 1h backup --label scheduled");
    assert_eq!(read(), before);
    machine
        .call("schedule install --cron")
        .run()
        .exits(0)
        .prints("cron: installed");
    let installed = read();
    assert!(without_head(&installed).starts_with(before), "{installed}");
    machine
        .call("schedule install")
        .run()
        .exits(0)
        .prints("nothing to change");
    assert_eq!(read(), installed);
    // The line runs, whatever cron's surroundings are.
    let text = without_head(&installed);
    let line = text
        .lines()
        .find(|line| line.contains(" backup --label scheduled"))
        .unwrap();
    let command = line.splitn(6, ' ').nth(5).unwrap().replace("\\%", "%");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).env_clear().current_dir("/");
    assert_eq!(must_succeed(&mut shell), "");
    assert!(machine.world.ids("app")[0].starts_with("app_scheduled_"));
    let shown = machine.call("schedule show --json").run().exits(0).json();
    assert_eq!(
        (&shown["scheduler"], &shown["differs"]),
        (&"cron".into(), &false.into())
    );
    assert!(shown["jobs"][0]["next_at"].is_string(), "{shown}");
    // An edit is kept; the lines of others, whatever is done.
    std::fs::write(&crontab, installed.replace("scheduled", "mine")).unwrap();
    machine
        .call("schedule remove")
        .run()
        .exits(0)
        .says("was changed by somebody since");
    assert!(read().contains("--label mine"));
    machine
        .call("schedule install --at 02:30 --force")
        .run()
        .exits(0);
    assert!(
        read().contains("\n30 2 * * * /usr/bin/env PATH="),
        "{}",
        read()
    );
    machine
        .call("schedule remove")
        .run()
        .exits(0)
        .prints("removed crontab of root");
    assert_eq!(without_head(&read()), before);
    // A block that lost its end is nobody's to guess.
    let first = format!(
        "# dbbackup schedule: {}\n",
        machine.world.path("dbbackup.toml").display()
    );
    std::fs::write(&crontab, format!("{before}{first}")).unwrap();
    machine
        .call("schedule install --cron")
        .run()
        .exits(1)
        .says("not the one that ends its block");
    std::fs::remove_file(&crontab).unwrap();
    machine.call("schedule install --cron").run().exits(0);
    machine.call("schedule remove").run().exits(0);
    assert!(!crontab.exists());
}

#[test]
fn a_crontab_that_can_not_be_read_is_not_taken_for_none() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let refusal = "#!/bin/sh\ncat >/dev/null\n\
                   echo 'You (me) are not allowed to use this program' >&2\nexit 1\n";
    machine.world.script("bin/crontab", refusal);
    let ran = machine.call("schedule install --cron").run().exits(1);
    ran.says("You (me) are not allowed").says("/etc/cron.allow");
    // One that takes what it is given and forgets it.
    machine.world.script(
        "bin/crontab",
        "#!/bin/sh\n[ \"$1\" = - ] && cat >/dev/null && exit 0\n\
         echo no crontab for me >&2\nexit 1\n",
    );
    let ran = machine.call("schedule install --cron").run().exits(1);
    ran.says("the crontab is not what was just written");
}

/// `init` asks a person, and installs what is wanted.
#[test]
fn init_offers_a_schedule_on_a_terminal() {
    if !have_terminal() {
        return;
    }
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.world.script(
        "bin/crontab",
        "#!/bin/sh\nf=$0.text\ncase $1 in\n\
         -l) cat $f 2>/dev/null || { echo no crontab for me >&2; exit 1; } ;;\n\
         -) cat > $f ;;\nesac\n",
    );
    if Path::new("/run/systemd/system").exists() {
        return skip("systemd runs here, and would be asked");
    }
    let line = format!(
        "{} init srv --config new.toml --store store",
        crate::support::binary().display()
    );
    std::fs::create_dir(machine.world.path("srv")).unwrap();
    machine.world.shop("srv/app.db");
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(machine.world.path(""));
    let path = format!(
        "{}:{}",
        machine.world.path("bin").display(),
        std::env::var("PATH").unwrap()
    );
    command
        .env("PATH", path)
        .env("HOME", machine.world.path(""));
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"y\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("every night from now on? [y/N]"), "{said}");
    let crontab = std::fs::read_to_string(machine.world.path("bin/crontab.text")).unwrap();
    let config = machine.world.path("new.toml");
    assert!(crontab.starts_with(&format!("# dbbackup schedule: {}\n", config.display())));
}

/// A systemd of a user's own, in which a timer fires and its service makes a backup.
#[test]
fn a_timer_of_a_real_systemd_makes_a_backup() {
    if !have("systemd-analyze") {
        return;
    }
    let Some(machine) = Machine::new() else {
        return;
    };
    let manager = "/lib/systemd/systemd";
    let user = dbbackup::users::user_id("daemon");
    let (true, true, Some(user)) = (is_root(), Path::new(manager).is_file(), user) else {
        return skip("a systemd of its own needs root, systemd, and the user `daemon`");
    };
    let script = machine
        .world
        .script("start", &REAL_SYSTEMD.replace("@USER@", &user.to_string()));
    must_succeed(
        Command::new("chown")
            .args(["-R", "daemon"])
            .arg(machine.world.path("")),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "-p", "-f", "-C", "--kill-child", "--mount-proc"])
        .arg(script);
    command.current_dir(machine.world.path("")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
        .env("DBBACKUP", crate::support::binary())
        .env("WORLD", machine.world.path(""));
    let output = command.output().unwrap();
    remove_groups(&machine.world.path(""));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        return skip(&format!(
            "no systemd of its own can be started here: {errors}"
        ));
    }
    assert!(output.status.success(), "{said}{errors}");
    let documents: Vec<&str> = said.split("-----\n").collect();
    // The manager of a user is another one than that of the machine.
    let calls = documents[0]
        .lines()
        .filter(|line| line.contains("systemctl"));
    let calls: Vec<&str> = calls.collect();
    assert!(
        calls.len() == 2 && calls.iter().all(|line| line.contains("systemctl --user ")),
        "{said}"
    );
    let shown: Value = serde_json::from_str(documents[1]).unwrap_or_else(|_| panic!("{said}"));
    crate::schema::must_hold(&shown);
    assert_eq!(shown["jobs"][0]["active"], true, "{said}");
    assert_eq!(shown["jobs"][0]["last_result"], "ok", "{said}");
    assert!(shown["jobs"][0]["last_at"].is_string() && shown["jobs"][1]["next_at"].is_string());
    assert_eq!(shown["differs"], false, "{said}");
    // The configuration is another user's now.
    let is_scheduled = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("app_scheduled_")
    };
    assert!(
        machine
            .world
            .stored("app", ".json")
            .iter()
            .any(is_scheduled),
        "{said}"
    );
    // What the user put beside it stays; nothing else.
    let left = documents[2].trim();
    assert!(
        left.lines().all(|line| line.ends_with(".timer.d")) && !left.is_empty(),
        "{said}"
    );
}

/// Removes the control groups of a world whose processes have ended.
fn remove_groups(world: &Path) {
    let name = world.file_name().unwrap().to_str().unwrap();
    let pattern = format!("*/dbbackup-test-{name}*");
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &pattern]);
    let _ = find.args(["-exec", "rmdir", "{}", ";"]).output();
}

/// Starts a manager of an ordinary user in a world of its own, installs, and waits for the timer;
/// a drop-in of the user makes it fire at once. Exit code 77: not possible here.
const REAL_SYSTEMD: &str = r#"#!/bin/bash
set -u
mount -t tmpfs tmpfs /run || exit 77
mkdir -p /run/systemd/system /run/user/@USER@
chmod 700 /run/user/@USER@
chown daemon /run/user/@USER@
groups=()
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e $hierarchy/cgroup.procs ] || continue
    group=$hierarchy/dbbackup-test-$(basename "$WORLD")
    mkdir -p $group && echo $$ > $group/cgroup.procs && chown -R daemon $group && groups+=($group)
done
[ ${#groups[@]} -gt 0 ] || exit 77
cat > "$WORLD/inside" <<'END'
export XDG_RUNTIME_DIR=/run/user/@USER@ HOME=$WORLD
/lib/systemd/systemd --user --unit=basic.target > /dev/null 2>&1 < /dev/null &
for try in $(seq 300); do
    systemctl --user is-system-running >/dev/null 2>&1 && break
    sleep 0.1
done
systemctl --user is-system-running >/dev/null || exit 77
set -e
"$DBBACKUP" schedule install
timer=$(cd $HOME/.config/systemd/user && ls *-backup.timer)
systemctl --user is-enabled $timer >/dev/null
mkdir $HOME/.config/systemd/user/$timer.d
printf '[Timer]\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\nAccuracySec=1s\n' \
    > $HOME/.config/systemd/user/$timer.d/soon.conf
systemctl --user daemon-reload
for try in $(seq 1200); do ls store/app/*.json >/dev/null 2>&1 && break; sleep 0.1; done
rm $HOME/.config/systemd/user/$timer.d/soon.conf
systemctl --user daemon-reload
for try in $(seq 600); do
    state=$(systemctl --user show ${timer%.timer}.service -p ActiveState --value)
    [ "$state" = inactive ] && break
    sleep 0.1
done
echo -----
"$DBBACKUP" schedule show --json
"$DBBACKUP" schedule remove >/dev/null
echo -----
ls $HOME/.config/systemd/user | grep dbbackup
END
cd "$WORLD"
setpriv --reuid=daemon --regid=daemon --clear-groups bash "$WORLD/inside"
code=$?
for group in "${groups[@]}"; do
    echo $$ > $(dirname $group)/cgroup.procs
done
exit $code
"#;
