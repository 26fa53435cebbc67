//! `status`: each state that a source or a store can be in has its code and its sentence; and what
//! it tells to monitors.

use crate::support::{Ran, World, is_root, set_mode};
use crate::tools::lack;
use chrono::{TimeDelta, Utc};
use std::path::Path;
use std::process::Command;

/// A configuration of one source `app`, with more keys for it, and the database.
fn one(keys: &str) -> World {
    let world = World::new();
    world.shop("app.db");
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n{keys}"
    ));
    world
}

fn backed_up(keys: &str) -> World {
    let world = one(keys);
    world.dbbackup("backup").run().exits(0);
    world
}

/// As if the newest backup had been made that many hours before.
fn age(world: &World, hours: i64) -> String {
    let id = world.dbbackup("list --json").run().json()["backups"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let copy = world.copy_backup(&id, "manual", Utc::now() - TimeDelta::hours(hours));
    for path in world
        .stored("app", "")
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains(&id))
    {
        std::fs::remove_file(path).unwrap();
    }
    copy
}

fn status(world: &World, arguments: &str) -> Ran {
    world.dbbackup(&format!("status {arguments}")).run()
}

/// One line, and nothing on stderr.
fn lines(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().collect()
}

#[test]
fn well_is_one_line() {
    let world = backed_up("");
    let ran = status(&world, "")
        .exits(0)
        .prints("OK 1 source backed up just now; ")
        .prints(" free");
    assert_eq!((lines(&ran).len(), ran.stderr.as_str()), (1, ""));
    status(&world, "-q").exits(0).silent();
    status(&world, "app --expect-every 1h").exits(0);
    // With more said, a line a source.
    status(&world, "-v")
        .exits(0)
        .prints("OK  app  just now")
        .prints("never proven by a restore");
    // Without a configuration: every source of the store.
    world.shop("web.db");
    world.dbbackup("backup web.db").run().exits(0);
    world
        .dbbackup("-c /dev/null --store store status")
        .run()
        .exits(0)
        .prints("2 sources all backed up");
    // The configuration does not say what is expected of it; asked by name it is judged.
    status(&world, "-v")
        .exits(0)
        .says("not in the configuration, so not judged: web");
    status(&world, "web").exits(0).prints("1 source");
}

#[test]
fn no_backup() {
    let world = one("");
    std::fs::create_dir(world.path("store")).unwrap();
    world.file("store/dbbackup-store.json", "{\"format\": 1}");
    status(&world, "")
        .exits(2)
        .prints("CRITICAL  app  there is no good backup")
        .says("hint: app: `dbbackup backup app`");
    world
        .dbbackup("-c /dev/null --store store status")
        .run()
        .exits(2)
        .prints("CRITICAL the store")
        .prints("holds no backups");
}

#[test]
fn stale() {
    let world = backed_up("");
    age(&world, 27);
    let sentence =
        "CRITICAL  app  its newest good backup was made 27 h ago, one is expected every 26h";
    status(&world, "").exits(2).prints(sentence);
    status(&world, "--expect-every 2d").exits(0);
    let world = backed_up("expect_every = '8d'\n");
    age(&world, 7 * 24);
    status(&world, "").exits(0);
    status(&world, "--expect-every 1d")
        .exits(2)
        .prints("expected every 1d");
}

#[test]
fn last_attempt_failed() {
    let world = backed_up("");
    std::fs::rename(world.path("app.db"), world.path("away.db")).unwrap();
    world.dbbackup("backup").run().exits(1);
    let ran = status(&world, "")
        .exits(1)
        .prints("WARNING  app  the last attempt failed just now: ")
        .prints("app.db");
    assert_eq!(lines(&ran).len(), 1);
    std::fs::rename(world.path("away.db"), world.path("app.db")).unwrap();
    world.dbbackup("backup").run().exits(0);
    status(&world, "").exits(0);
}

#[test]
fn unproven() {
    let world = backed_up("prove_every = '7d'\n");
    let sentence = "WARNING  app  no backup was ever proven by a restore, one is to be every 7d";
    status(&world, "")
        .exits(1)
        .prints(sentence)
        .says("`dbbackup verify app --level restore`");
    // Looking inside is no restore.
    world.dbbackup("verify app --level content").run().exits(0);
    status(&world, "").exits(1).prints(sentence);
    world.dbbackup("verify app --level restore").run().exits(0);
    status(&world, "")
        .exits(0)
        .prints("proven by a restore just now");
}

#[test]
fn store_missing() {
    let world = one("");
    let ran = status(&world, "")
        .exits(2)
        .prints("CRITICAL opening the store")
        .prints("no such file or directory")
        .says("hint:");
    assert_eq!(lines(&ran).len(), 1);
    status(&world, "--nagios")
        .exits(2)
        .prints("DBBACKUP CRITICAL - opening the store");
    let json = status(&world, "--json").exits(2).json();
    assert_eq!(
        (&json["status"], &json["outcome"]),
        (&"CRITICAL".into(), &"failed".into())
    );
    // An unmounted disk leaves its empty directory.
    std::fs::create_dir(world.path("store")).unwrap();
    status(&world, "")
        .exits(2)
        .prints("CRITICAL")
        .prints("is not a store");
}

#[test]
fn store_that_must_be_mounted() {
    let world = backed_up("");
    // The tests' directory is on the root's file system, or on one of its own: both are answers.
    let text = "[store]\npath = 'store'\nrequire_mount = true\n[sources.app]\nkind = \
                'sqlite'\npath = 'app.db'\n";
    world.config(text);
    let mounted = world.dbbackup("backup --dry-run").run();
    let same = std::fs::metadata("/").map(|root| {
        use std::os::unix::fs::MetadataExt;
        root.dev() == std::fs::metadata(world.path("store")).unwrap().dev()
    });
    drop(mounted);
    if same.unwrap() {
        status(&world, "")
            .exits(2)
            .prints("CRITICAL nothing is mounted at the store");
    } else {
        status(&world, "").exits(0);
    }
}

#[test]
fn space_low() {
    let world = backed_up("");
    // A sparse dump, larger than any disk here.
    let id = world.ids("app").remove(0);
    let size = 8_000_000_000_000_u64;
    world.edit_sidecar(&id, |sidecar| sidecar["dump"]["size_bytes"] = size.into());
    std::fs::File::options()
        .write(true)
        .open(world.dump("app"))
        .unwrap()
        .set_len(size)
        .unwrap();
    let ran = status(&world, "")
        .exits(1)
        .prints("WARNING  (store)")
        .prints("free, the next backups will need about 7.3 TiB");
    ran.says("hint: (store): `dbbackup cleanup --dry-run`")
        .prints("OK       app      just now");
    status(&world, "--nagios")
        .exits(1)
        .prints("DBBACKUP WARNING - store: ");
}

#[test]
fn newest_damaged() {
    let world = backed_up("");
    age(&world, 2);
    world.dbbackup("backup").run().exits(0);
    let newest = world.ids("app").remove(0);
    let dump = world.dump_of(&newest);
    std::fs::write(&dump, "shorter").unwrap();
    let sentence =
        "CRITICAL  app  its newest backup, made just now, is damaged: the dump has 7 bytes";
    status(&world, "")
        .exits(2)
        .prints(sentence)
        .says("take a new one: `dbbackup backup app`");
    std::fs::remove_file(&dump).unwrap();
    status(&world, "")
        .exits(2)
        .prints("is damaged: the dump is not there");
    // An older one that is not there may be on a disk that is away, until somebody has looked.
    world.dbbackup("backup").run().exits(0);
    status(&world, "")
        .exits(1)
        .prints(&format!("the dump of {newest} is not there"));
    world.dbbackup(&format!("verify {newest}")).run().exits(4);
    // Found by `verify`, too; its message says what to do.
    status(&world, "").exits(0);
    let newest = world.ids("app").remove(0);
    let mut bytes = std::fs::read(world.dump_of(&newest)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(world.dump_of(&newest), bytes).unwrap();
    status(&world, "").exits(0);
    let ran = world
        .dbbackup("verify app")
        .run()
        .exits(4)
        .says(&format!("error: {newest} is damaged: "));
    ran.says("hint: take a new one now: `dbbackup backup app`")
        .never_says("warning:");
    status(&world, "").exits(2).prints("is damaged: ");
    // So is a sidecar that is none.
    world.dbbackup("backup").run().exits(0);
    std::fs::write(world.sidecar_path(&world.ids("app").remove(0)), "{").unwrap();
    status(&world, "")
        .exits(2)
        .prints("is damaged: the sidecar is damaged");
}

#[test]
fn broken_configuration_and_wrong_usage_are_unknown() {
    let world = backed_up("");
    world.config("[store]\npath = 'store'\nfrobnicate = 1\n");
    status(&world, "")
        .exits(3)
        .prints("dbbackup.toml:3: unknown key `frobnicate`");
    status(&world, "--nagios")
        .exits(3)
        .prints("DBBACKUP UNKNOWN - ");
    assert_eq!(
        status(&world, "--json").exits(3).json()["status"],
        "UNKNOWN"
    );
    world.config("[store\n");
    status(&world, "").exits(3);
    // The other commands keep their codes.
    world.dbbackup("list").run().exits(2);

    let world = backed_up("");
    for wrong in [
        "--frob",
        "--expect-every soon",
        "--expect-every",
        "--prometheus",
        "--color pink",
    ] {
        status(&world, wrong).exits(3);
        world
            .dbbackup(&format!("--store store status {wrong}"))
            .run()
            .exits(3);
    }
    world.dbbackup("--frob status").run().exits(3);
    status(&world, "--nagios --expect-every soon")
        .exits(3)
        .prints("DBBACKUP UNKNOWN - invalid value 'soon'");
    status(&world, "appp")
        .exits(3)
        .prints("UNKNOWN neither the configuration nor the store knows a source `appp`")
        .says("did you mean `app`?");
    world.dbbackup("backup --frob").run().exits(2);
    world.dbbackup("backup status --frob").run().exits(2);
    World::new()
        .dbbackup("status")
        .run()
        .exits(3)
        .prints("UNKNOWN no store is given");
    status(&world, "--help").exits(0).prints("UNKNOWN");
    if !is_root() {
        set_mode(&world.path("store/app"), 0);
        status(&world, "").exits(3);
        set_mode(&world.path("store/app"), 0o700);
    }
}

#[test]
fn what_is_not_expected_does_not_alarm() {
    for keys in [
        "enabled = false\n",
        "start = '2999-01-01T00:00:00Z'\n",
        "end = '2020-01-01T00:00:00Z'\n",
    ] {
        let world = one(keys);
        world.dbbackup("backup app").run();
        std::fs::create_dir_all(world.path("store")).unwrap();
        world.file("store/dbbackup-store.json", "{\"format\": 1}");
        status(&world, "")
            .exits(0)
            .prints("OK no backups are expected now");
        status(&world, "app").exits(0);
    }
}

#[test]
fn worst_comes_first() {
    let world = World::new();
    let mut text = "[store]\npath = 'store'\n".to_owned();
    for name in ["fine", "late", "unproven"] {
        world.shop(&format!("{name}.db"));
        text += &format!("[sources.{name}]\nkind = 'sqlite'\npath = '{name}.db'\n");
    }
    world.config(&(text + "prove_every = '1d'\n[groups]\npair = ['fine', 'unproven']\n"));
    world.dbbackup("backup").run().exits(0);
    std::fs::remove_dir_all(world.path("store/late")).unwrap();
    let ran = status(&world, "").exits(2);
    let words: Vec<&str> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(words, ["late", "unproven", "fine"], "{ran}");
    status(&world, "pair").exits(1).never_says("late");
    status(&world, "fine").exits(0);
    let nagios = status(&world, "--nagios").exits(2);
    assert!(
        nagios.stdout.starts_with(
            "DBBACKUP CRITICAL - late: there is no good backup; unproven: no backup was ever"
        ),
        "{nagios}"
    );
}

#[test]
fn restores_leave_things_that_are_listed() {
    let world = backed_up("");
    world.dbbackup("restore app --yes").run().exits(0);
    std::fs::write(world.path("app.db.before-20261120T031500Z"), "old").unwrap();
    std::fs::write(world.path("app.db.before-lunch"), "mine").unwrap();
    let ran = status(&world, "")
        .exits(0)
        .prints("left by a restore of app: app_pre-restore_")
        .prints("delete app_pre-restore_");
    ran.prints("app.db.before-20261120T031500Z")
        .never_says("lunch");
    let json = status(&world, "--json").exits(0).json();
    assert_eq!(json["sources"][0]["leftovers"].as_array().unwrap().len(), 2);
    // Unpinned it is left to cleanup.
    let id = world.ids("--label pre-restore").remove(0);
    world.dbbackup(&format!("unpin {id}")).run().exits(0);
    status(&world, "").exits(0).never_says("pre-restore");
}

#[test]
fn nagios_line_has_performance_data() {
    let world = backed_up("prove_every = '7d'\n");
    world.dbbackup("verify app --level restore").run().exits(0);
    let ran = status(&world, "--nagios").exits(0);
    assert_eq!(lines(&ran).len(), 1, "{ran}");
    let (text, data) = ran.stdout.trim_end().split_once(" | ").unwrap();
    assert!(
        text.starts_with("DBBACKUP OK - 1 source backed up"),
        "{ran}"
    );
    // 'label'=value[unit];[warning];[critical];[least]
    let mut labels = Vec::new();
    for datum in data.split(' ') {
        let (label, value) = datum.split_once('=').unwrap();
        let fields: Vec<&str> = value.split(';').collect();
        assert!(
            fields.len() == 4 && fields[0].ends_with(['s', 'B']),
            "{datum}"
        );
        fields[0][..fields[0].len() - 1].parse::<u64>().unwrap();
        labels.push(label.trim_matches('\''));
    }
    assert_eq!(
        labels,
        ["app_age", "app_size", "app_proof_age", "store_free"]
    );
    assert!(
        data.contains("s;;93600;0") && data.contains("s;604800;;0"),
        "{data}"
    );
}

/// The samples of a metrics file, by name and labels; every line is looked at strictly.
pub fn samples(text: &str) -> Vec<(String, String, f64)> {
    let mut found: Vec<(String, String, f64)> = Vec::new();
    let mut family = String::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(
                !help.is_empty()
                    && !text[..text.find(line).unwrap()].contains(&format!("# HELP {name} ")),
                "{line}"
            );
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest
                .strip_suffix(" gauge")
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned();
            assert_eq!(helped, family, "HELP goes before TYPE");
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(
                family.starts_with("dbbackup_")
                    && family.chars().all(plain)
                    && !family.ends_with("_total"),
                "{family}"
            );
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap();
            let labels = labels.strip_suffix('}').unwrap();
            assert_eq!(name, family, "{line}");
            assert!(
                !found
                    .iter()
                    .any(|known| known.0 == name && known.1 == labels),
                "twice: {line}"
            );
            found.push((name.into(), labels.into(), value.parse().unwrap()));
        }
    }
    assert!(text.ends_with('\n') && !found.is_empty());
    found
}

/// Reads the file with the parser of the PyPI package prometheus-client, where that is installed;
/// its count of samples.
fn parsed_by_others(path: &Path) -> Option<usize> {
    let program = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families \
                   as parse\n\
                   print(sum(len(f.samples) for f in parse(open(sys.argv[1]).read())))";
    // Debian's package is for its own python3, which need not be the first one.
    for python in ["python3", "/usr/bin/python3"] {
        let Ok(output) = Command::new(python)
            .args(["-c", program])
            .arg(path)
            .output()
        else {
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains("No module named 'prometheus_client'") {
            assert!(output.status.success(), "{said}");
            return Some(
                String::from_utf8(output.stdout)
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap(),
            );
        }
    }
    lack("python3's prometheus_client");
    None
}

#[test]
fn metrics_are_written_as_prometheus_reads_them() {
    let world = backed_up("prove_every = '7d'\n");
    world.dbbackup("verify app --level restore").run().exits(0);
    world.dbbackup("backup --label daily").run().exits(0);
    let ran = status(&world, "--prometheus app.prom")
        .exits(0)
        .prints("OK");
    assert_eq!(lines(&ran).len(), 1);
    let path = world.path("app.prom");
    let text = std::fs::read_to_string(&path).unwrap();
    let found = samples(&text);
    let store = world.path("store").display().to_string();
    let value = |name: &str, more: &str| {
        let labels = format!("store=\"{store}\",source=\"app\"{more}");
        found
            .iter()
            .find(|sample| sample.0 == name && sample.1 == labels)
            .unwrap_or_else(|| panic!("{name} {labels}\n{text}"))
            .2
    };
    let now = Utc::now().timestamp() as f64;
    for name in ["success", "attempt", "proof"] {
        let at = value(&format!("dbbackup_last_{name}_timestamp_seconds"), "");
        assert!(at <= now && at > now - 60.0, "{name}: {at}");
    }
    let sidecar = world.sidecar(&world.ids("app").remove(0));
    assert_eq!(
        Some(value("dbbackup_last_success_size_bytes", "")),
        sidecar["dump"]["size_bytes"].as_f64()
    );
    assert_eq!(value("dbbackup_last_success_rows", ""), 1100.0);
    assert_eq!(
        (
            value("dbbackup_backups", ",label=\"daily\""),
            value("dbbackup_backups", ",label=\"manual\"")
        ),
        (1.0, 1.0)
    );
    assert_eq!(
        (
            value("dbbackup_last_attempt_success", ""),
            value("dbbackup_failed_attempts", "")
        ),
        (1.0, 0.0)
    );
    assert_eq!(
        (
            value("dbbackup_expected_interval_seconds", ""),
            value("dbbackup_proof_interval_seconds", "")
        ),
        (93600.0, 604_800.0)
    );
    assert_eq!(value("dbbackup_status", ""), 0.0);
    if let Some(count) = parsed_by_others(&path) {
        assert_eq!(count, found.len());
    }
    // For the collector, which is another user; nothing else is left in its directory.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    // What can't be written is no OK.
    status(&world, "--prometheus none/app.prom")
        .exits(3)
        .says("the directory of")
        .says("is not there");
}

#[test]
fn alert_rules_speak_of_metrics_that_there_are() {
    let world = backed_up("prove_every = '7d'\n");
    world.dbbackup("verify app --level restore").run().exits(0);
    status(&world, "--prometheus app.prom").exits(0);
    let text = std::fs::read_to_string(world.path("app.prom")).unwrap();
    let written: Vec<String> = samples(&text).into_iter().map(|sample| sample.0).collect();
    let rules = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus-alerts.yml"),
    )
    .unwrap();
    let expressions: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "))
        .collect();
    assert_eq!(
        (expressions.len(), rules.matches("- alert: ").count()),
        (8, 8)
    );
    let mut named = 0;
    for expression in expressions {
        for word in expression
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.contains('_'))
        {
            assert!(
                written.iter().any(|name| name == word),
                "`{word}` is no metric: {expression}"
            );
            named += 1;
        }
    }
    assert!(named > 7);
}

#[test]
fn metrics_hold_odd_names_too() {
    let world = World::new();
    world.shop("app.db");
    let odd = "st\"o\\re";
    world
        .dbbackup_with(&["--store", odd, "backup", "app.db"])
        .run()
        .exits(0);
    world
        .dbbackup_with(&["--store", odd, "status", "--prometheus", "odd.prom"])
        .run()
        .exits(0);
    let path = world.path("odd.prom");
    let found = samples(&std::fs::read_to_string(&path).unwrap());
    assert!(found[0].1.contains(r#"st\"o\\re""#), "{:?}", found[0]);
    if let Some(count) = parsed_by_others(&path) {
        assert_eq!(count, found.len());
    }
}

#[test]
fn a_run_writes_the_metrics_and_a_failure_to_loses_nothing() {
    let world = one("[metrics]\ntextfile = 'metrics/dbbackup.prom'\n");
    let path = world.path("metrics/dbbackup.prom");
    world
        .dbbackup("backup")
        .run()
        .exits(0)
        .says("warning: the metrics were not written: the directory of");
    assert_eq!(world.ids("app").len(), 1);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    world.dbbackup("backup --dry-run").run().exits(0);
    assert!(!path.exists());
    world.dbbackup("-q backup").run().exits(0).silent();
    let success = |text: &str| {
        samples(text)
            .iter()
            .find(|sample| sample.0 == "dbbackup_last_attempt_success")
            .unwrap()
            .2
    };
    assert_eq!(success(&std::fs::read_to_string(&path).unwrap()), 1.0);
    // After a failed run, too.
    std::fs::remove_file(world.path("app.db")).unwrap();
    world.dbbackup("-q backup").run().exits(1);
    assert_eq!(success(&std::fs::read_to_string(&path).unwrap()), 0.0);
    // Another store's are not put in their place.
    world.shop("app.db");
    let before = std::fs::read(&path).unwrap();
    world
        .dbbackup("--store usb -v backup")
        .run()
        .exits(0)
        .says("is about the store in [store]");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1
    );
}

/// A sidecar of a cluster's database, as a run leaves it.
fn member(world: &World, source: &str, hours: i64, members: &[&str]) {
    let template = world.ids("app").remove(0);
    let at = Utc::now() - TimeDelta::hours(hours);
    let copy = world.copy_backup(&template, "manual", at);
    world.edit_sidecar(&copy, |sidecar| {
        sidecar["database"]["cluster"] = "big".into();
        sidecar["run_members"] = members.into();
        sidecar["source"] = source.into();
        sidecar["kind"] = "postgres".into();
        let id = copy.replace("app_", &format!("{source}_"));
        let file = sidecar["dump"]["file"]
            .as_str()
            .unwrap()
            .replace(&copy, &id);
        sidecar["id"] = id.into();
        sidecar["dump"]["file"] = file.into();
    });
    std::fs::create_dir_all(world.path("store").join(source)).unwrap();
    for path in world
        .stored("app", "")
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains(&copy))
    {
        let name = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace("app_", &format!("{source}_"));
        std::fs::rename(&path, world.path("store").join(source).join(name)).unwrap();
    }
}

#[test]
fn databases_gone_from_the_server_do_not_alarm() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    member(&world, "big.shop", 50, &["big.shop", "big.gone"]);
    member(&world, "big.gone", 50, &["big.shop", "big.gone"]);
    world.config(
        "[store]\npath = 'store'\n[sources.big]\nkind = 'postgres'\nhost = \
                  '/nowhere'\ndatabases = ['*']\n",
    );
    let ran = status(&world, "")
        .exits(2)
        .prints("CRITICAL  big.gone")
        .prints("CRITICAL  big.shop");
    assert_eq!(lines(&ran).len(), 2);
    // The newest run had one of them no more, and one that has no backup yet.
    member(&world, "big.shop", 3, &["big.shop"]);
    status(&world, "").exits(0).prints("OK 1 source backed up");
    status(&world, "-v")
        .exits(0)
        .prints("OK  big.gone  not on the server any more");
    world
        .dbbackup("-c /dev/null --store store status")
        .run()
        .exits(0);
    member(&world, "big.shop", 2, &["big.shop", "big.new"]);
    status(&world, "")
        .exits(2)
        .prints("CRITICAL  big.new   there is no good backup");
    // A run that could not ask the server is the cluster's own failure.
    member(&world, "big.shop", 1, &["big.shop"]);
    world.dbbackup("backup").run().exits(1);
    status(&world, "big")
        .exits(1)
        .prints("WARNING  big ")
        .prints("OK       big.shop");
}

#[test]
fn a_cluster_that_can_not_be_asked_warns() {
    let world = World::new();
    world.shop("app.db");
    world.with_store("backup app.db").run().exits(0);
    member(&world, "big.shop", 2, &["big.shop"]);
    world.config(
        "[store]\npath = 'store'\n[sources.big]\nkind = 'postgres'\nhost = \
                  '/nowhere'\ndatabases = ['*']\n",
    );
    world.dbbackup("backup").run().exits(1);
    status(&world, "")
        .exits(1)
        .prints("WARNING  big       the last attempt failed just now")
        .prints("OK       big.shop  2 h ago");
    let none = World::new();
    none.config(
        "[store]\npath = 'store'\n[sources.big]\nkind = 'postgres'\nhost = \
                 '/nowhere'\ndatabases = ['*']\n",
    );
    none.dbbackup("backup").run().exits(1);
    status(&none, "")
        .exits(2)
        .prints("CRITICAL  big  there is no good backup; the last attempt failed just now");
}

#[test]
fn retention_that_is_held_back_is_seen_until_it_is_let_go() {
    let world =
        one("[sources.uploads]\nkind = 'files'\npaths = ['uploads']\n[retention]\nkeep_last = 1\n");
    for name in ["a", "b", "c", "d"] {
        world.file(&format!("uploads/{name}"), "x");
    }
    world.sql(
        "app.db",
        "CREATE TABLE session(id); INSERT INTO session VALUES (1)",
    );
    world.dbbackup("backup").run().exits(0);
    status(&world, "").exits(0);
    world.sql("app.db", "DROP TABLE session");
    // The backup is made: only its retention is not.
    world
        .dbbackup("backup")
        .run()
        .exits(3)
        .says("1 of 2: uploads ok; app made, retention held back")
        .never_says("failed");
    let why = "retention is held back and removes nothing: app_manual_";
    let ran = status(&world, "")
        .exits(1)
        .prints("WARNING  app      ")
        .prints(why)
        .prints("no table `session` (1 row before)");
    let ran = ran.says("hint: app: if that is right: `dbbackup cleanup --force app`");
    assert!(!ran.stdout.contains("the one before held"), "{ran}");
    status(&world, "--nagios")
        .exits(1)
        .prints(&format!("DBBACKUP WARNING - app: {why}"));
    let json = status(&world, "--json").exits(1).json();
    let sources = json["sources"].as_array().unwrap();
    let of = |name: &str| {
        sources
            .iter()
            .find(|source| source["source"] == name)
            .unwrap()
    };
    assert!(
        of("app")["retention_held"]
            .as_str()
            .unwrap()
            .contains("`session`")
            && of("uploads")["retention_held"].is_null()
    );
    let metrics = || {
        status(&world, "--prometheus dbbackup.prom");
        std::fs::read_to_string(world.path("dbbackup.prom")).unwrap()
    };
    let line = |source: &str, held: u8| {
        let text = metrics();
        let found = text.lines().find(|line| {
            line.starts_with("dbbackup_retention_held")
                && line.contains(&format!("source=\"{source}\""))
        });
        assert!(
            found.is_some_and(|line| line.ends_with(&format!(" {held}"))),
            "{text}"
        );
    };
    line("app", 1);
    line("uploads", 0);
    // What is kept is counted, and the hint does it.
    world
        .dbbackup("cleanup app")
        .run()
        .exits(1)
        .prints("removed 0 backups, 2 kept")
        .prints("retention is held back");
    world.dbbackup("cleanup --force app").run().exits(0);
    status(&world, "").exits(0);
    line("app", 0);
    // Or what was missing is there again, or the policy does not mind.
    world.sql("app.db", "DELETE FROM orders");
    world.dbbackup("backup app").run().exits(3);
    status(&world, "").exits(1);
    let text = std::fs::read_to_string(world.path("dbbackup.toml")).unwrap();
    world.config(&format!("{text}brake = 'off'\n"));
    status(&world, "").never_says("held back");
}

#[test]
fn a_long_story_of_damage_is_cut_where_it_is_one_line_among_many() {
    let world = backed_up("");
    let id = world.ids("app").remove(0);
    let story: Vec<String> = (1..=40)
        .map(|number| format!("Page {number}: never used"))
        .collect();
    world.edit_sidecar(&id, |sidecar| {
        let detail = format!("integrity: {}", story.join("; "));
        sidecar["verifications"] =
            serde_json::json!([{"at": "2026-11-20T02:00:42Z", "level": "content",
                "status": "damaged", "duration_seconds": 1, "detail": detail}]);
    });
    for command in [
        "list --status all",
        "status",
        "status --nagios",
        "status --json",
    ] {
        let ran = world
            .dbbackup(command)
            .run()
            .prints("Page 3: never used; and 37 more")
            .never_says("Page 4:");
        assert!(ran.stdout.lines().all(|line| line.len() < 400), "{ran}");
    }
    world
        .dbbackup(&format!("show {id}"))
        .run()
        .exits(0)
        .prints("Page 40: never used");
}
