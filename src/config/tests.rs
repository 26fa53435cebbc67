//! The rules of the configuration, each with what is said to whoever breaks it.

use super::*;
use crate::engine::sqlite::Spool;
use crate::error::Kind;
use crate::pipeline::Codec;
use crate::retention::Age;
use crate::setting::SettingGroup;
use crate::sidecar::Level;
use crate::store::Location;
use crate::store::StoreSettings;
use crate::units::Span;
use std::path::Path;
use std::time::Duration;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/home/ada",
        "ON" => "yes",
        "N" => "12",
        "WORD" => "maybe",
        "EMPTY" => "",
        "DIR" => "/srv",
        "DB" => "from the environment",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(text: &str) -> crate::error::Result<Config> {
    parse(text, Path::new("/etc/dbbackup.toml"), &environment)
}

/// The message, shortened by the directory, and the hint.
fn complaint(text: &str) -> (String, String) {
    let error = read(text).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{error:?}");
    (
        error.message().replace("/etc/", ""),
        error.hint().map(ToString::to_string).unwrap_or_default(),
    )
}

/// A source `app` with more lines, the first of which is line 4.
fn app(more: &str) -> String {
    format!("[sources.app]\nkind = \"sqlite\"\npath = \"app.db\"\n{more}\n")
}

fn only_source(config: &Config) -> &ConfiguredSource {
    config.source("app").unwrap()
}

fn span(text: &str) -> Span {
    Span::parse(text).unwrap()
}

fn age(text: &str) -> Age {
    Age::parse(text).unwrap()
}

#[test]
fn the_whole_example() {
    let text = r#"
[store]
path = "/var/backups/dbbackup"
require_mount = false
[stores.usb]
path = "~/usb"
require_mount = true

[backup]
compression = "gzip"
threads = 0
verify_after = "checksum"
cleanup_after = true
scratch_dir = "/var/tmp"
spool = "auto"
lock_timeout = "30s"

[retention]
keep_last = 3
keep_daily = 7
keep_weekly = 4
keep_monthly = 12
[retention.label.daily]
max_age = "7d"

[sources.shop]
kind = "sqlite"
path = "../srv/./shop.db"
compression = "zstd:9"
enabled = false
start = "2026-12-01T00:00:00Z"
end = 2026-12-02T00:00:00+01:00
expect_every = "26h"
prove_every = "7d"

[sources.app]
kind = "sqlite"
path = "/srv/app/app.db"

[sources.app.retention]
keep_last = 144
max_size = "20 GiB"

[sources."app.2"]
kind = "sqlite"
path = "/srv/app/2.db"

[groups]
full = ["app", "shop"]
all = ["shop"]
"#;
    let config = read(text).unwrap();
    assert_eq!(
        config.store,
        Some(StoreSettings {
            location: Path::new("/var/backups/dbbackup").into(),
            ..StoreSettings::default()
        })
    );
    assert_eq!(
        config.stores["usb"].settings,
        StoreSettings {
            location: Path::new("/home/ada/usb").into(),
            require_mount: true,
            ..StoreSettings::default()
        }
    );
    assert_eq!(config.backup.verify_after, Some(Level::Checksum));
    assert_eq!(config.backup.lock_timeout.server, Duration::from_secs(30));
    assert_eq!(
        config
            .sources
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["shop", "app", "app.2"]
    );
    assert_eq!(
        config.groups[0],
        ("full".to_owned(), vec!["app".to_owned(), "shop".to_owned()])
    );
    assert_eq!(config.group("all").unwrap(), ["shop"]);
    assert!(config.warnings.is_empty());

    let shop = config.source("shop").unwrap();
    assert_eq!(
        shop.kind,
        KindSettings::Sqlite(SqliteSettings {
            path: "/etc/../srv/shop.db".into()
        })
    );
    assert!(!shop.common.enabled);
    assert_eq!(
        shop.common.start.unwrap().to_rfc3339(),
        "2026-12-01T00:00:00+00:00"
    );
    assert_eq!(
        shop.common.end.unwrap().to_rfc3339(),
        "2026-12-01T23:00:00+00:00"
    );
    assert_eq!(
        (shop.backup.compression, shop.backup.spool),
        (Codec::parse("zstd:9").unwrap(), Spool::Auto)
    );
    let app = &only_source(&config).backup;
    assert_eq!(app.compression, Codec::default());
    assert_eq!(app.lock_timeout.file, Duration::from_secs(30));
    assert!(shop.fault.is_none());
}

#[test]
fn the_most_specific_retention_counts() {
    let config = read(&format!(
        "[retention]\nkeep_last = 1\n[retention.label.daily]\nkeep_last = \
         2\n[sources.b]\nkind=\"sqlite\"\npath=\"b\"\n{}",
        app(
            "[sources.app.retention]\nkeep_last = 3\n[sources.app.retention.label.daily]\nmax_age \
             = 4"
        )
    ))
    .unwrap();
    let (app, other) = (config.source("app"), config.source("b"));
    let last = |source, label| config.retention_for(source, label).unwrap().keep_last;
    assert_eq!(
        (
            last(app, "manual"),
            last(other, "daily"),
            last(other, "manual")
        ),
        (Some(3), Some(2), Some(1))
    );
    assert_eq!((last(None, "daily"), last(None, "x")), (Some(2), Some(1)));
    let most_specific = config.retention_for(app, "daily").unwrap();
    assert_eq!(
        *most_specific,
        RetentionPolicy {
            max_age: Some(age("4d")),
            ..RetentionPolicy::default()
        }
    );
}

#[test]
fn labels_alone_make_no_table_and_an_empty_table_is_one() {
    let config = read("[retention.label.daily]\nkeep_last = 2").unwrap();
    assert_eq!((config.retention, config.retention_labels.len()), (None, 1));
    assert_eq!(
        read("[retention]").unwrap().retention,
        Some(RetentionPolicy::default())
    );
    let config = read("[retention.label.pre-restore]\nkeep_last = 2").unwrap();
    assert!(
        config.warnings[0]
            .starts_with("/etc/dbbackup.toml:1: [retention.label.pre-restore] has no effect")
    );
}

#[test]
fn unknown_keys() {
    let said = |text: &str, message: &str, hint: &str| {
        assert_eq!(
            complaint(text),
            (format!("dbbackup.toml:{message}"), hint.to_owned()),
            "{text}"
        );
    };
    said(
        "[sources.app]\nkind = \"sqlite\"\npth = \"a\"",
        "3: unknown key `pth` in [sources.app]",
        "did you mean `path`?",
    );
    said(
        "[sources.app]\nknd = \"sqlite\"",
        "2: unknown key `knd` in [sources.app]",
        "did you mean `kind`?",
    );
    said(
        "[source.app]",
        "1: unknown key `source`",
        "did you mean `sources`?",
    );
    said(
        "\n[store]\npath = \"/x\"\nrequire_mnt = true",
        "4: unknown key `require_mnt` in [store]",
        "did you mean `require_mount`?",
    );
    said(
        "[store]\nxyz = 1",
        "2: unknown key `xyz` in [store]",
        "the valid keys are path, url, require_mount, encrypt, trust, endpoint, region, \
         path_style, access_key, \
         access_key_file, access_key_command, secret_key, secret_key_file, secret_key_command, \
         profile, ca_file, allow_http, storage_class, ssh_command, upload_limit, download_limit, \
         retry_for, deadline, verify_upload, delete, max_removals",
    );
    said(
        "[retention.label.x]\nkeep_dayly = 1",
        "2: unknown key `keep_dayly` in [retention.label.x]",
        "did you mean `keep_daily`?",
    );
    said(
        "[retention]\nlabels = 1",
        "2: unknown key `labels` in [retention]",
        "did you mean `label`?",
    );
    said(
        &app("keep_last = 3"),
        "4: unknown key `keep_last` in [sources.app]",
        "it belongs in [sources.app.retention]",
    );
    said(
        "threads = 3",
        "1: unknown key `threads`",
        "it belongs in [backup]",
    );
    said(
        "[backup]\ncompresion = 3",
        "2: unknown key `compresion` in [backup]",
        "did you mean `compression`?",
    );
}

#[test]
fn wrong_values() {
    let said = |text: &str, message: &str| {
        assert_eq!(
            complaint(text).0,
            format!("dbbackup.toml:{message}"),
            "{text}"
        )
    };
    said(
        "[backup]\n\nthreads = \"many\"",
        "3: `threads` in [backup]: expected a whole number, found `many`",
    );
    said(
        "[backup]\nthreads = -3",
        "2: `threads` in [backup]: expected a whole number of 0 or more, found -3",
    );
    said(
        "[backup]\nthreads = 300",
        "2: `threads` in [backup]: expected at most 256, found 300",
    );
    said(
        "[backup]\nthreads = [1]",
        "2: `threads` in [backup]: expected a whole number, found an array",
    );
    said(
        "[backup]\nthreads = 1.5",
        "2: `threads` in [backup]: expected a whole number, found 1.5",
    );
    said(
        "[backup]\nspool = {a = 1}",
        "2: `spool` in [backup]: expected one of \"auto\", \"always\", \"never\", found a table",
    );
    said(
        "[backup]\ncompression = 5",
        "2: `compression` in [backup]: expected a string, found a number",
    );
    said(
        "[retention]\nmin_keep = -1",
        "2: `min_keep` in [retention]: expected a whole number of 0 or more, found -1",
    );
    said(
        "[retention]\nmax_size = \"5 parsecs\"",
        "2: `max_size` in [retention]: `5 parsecs` is not a size: write a number and a unit, as in \
         `20 GiB` or `500 MB`",
    );
    said(
        "[retention]\nkeep_within = 5",
        "2: `keep_within` in [retention]: expected a duration such as \"48h\" or \"30d\", found 5",
    );
    said(
        &app("enabled = 3"),
        "4: `enabled` in [sources.app]: expected true or false, found 3",
    );
    said(
        &app("start = \"soon\""),
        "4: `start` in [sources.app]: expected a time such as \"2026-12-01T00:00:00Z\", found \
         `soon`",
    );
    said(
        &app("start = 2026-12-02\nend = 2026-12-01"),
        "5: `end` in [sources.app]: expected a time after `start`",
    );
    said(
        &app("scratch_dir = \"\""),
        "4: `scratch_dir` in [sources.app]: expected a path, found an empty string",
    );
    said(
        "[store]\npath = true",
        "2: `path` in [store]: expected a path (a string), found a boolean",
    );
    said(
        "[store]\npath = \"s3://bucket\"",
        "2: `path` in [store]: an address is written as `url`, not as `path`",
    );
    said("\n[store]", "2: [store] has no `path` and no `url`");
    said(
        "[sources.app]\nkind = \"sqlite\"",
        "1: [sources.app] has no `path`",
    );
    said(
        "[sources.app]\npath = \"x\"",
        "1: [sources.app] has no `kind`",
    );
    said("store = \"/x\"", "1: `store` must be a table: [store]");
    said(
        "[[sources]]\nkind = \"sqlite\"",
        "1: `sources` must be a table: [sources]",
    );

    let (message, hint) = complaint("[backup]\nverify_after = \"chekcsum\"");
    assert_eq!(
        message,
        "dbbackup.toml:2: `verify_after` in [backup]: expected one of \"none\", \"checksum\", \
         \"content\", \"restore\", found `chekcsum`"
    );
    assert_eq!(hint, "did you mean `checksum`?");
    let (message, hint) = complaint("[sources.app]\nkind = \"mongo\"\nurl = \"x\"");
    assert_eq!(
        message,
        "dbbackup.toml:2: `kind` in [sources.app]: this version knows only \"sqlite\", \
         \"postgres\" or \"files\", not `mongo`"
    );
    assert_eq!(hint, "the valid kinds are sqlite, postgres, files");
    assert_eq!(
        complaint("[sources.app]\nkind = \"sqllite\"").1,
        "did you mean `sqlite`?"
    );
}

#[test]
fn a_postgres_source() {
    let text = r#"
[sources.cluster]
kind = "postgres"
host = "db.internal"
port = "5433"
password_file = "shop.pass"
databases = "*"
exclude_databases = ["scratch_*"]
globals = true
exclude_table_data = ["public.sessions"]
manifest = "off"
stall_timeout = "10m"
"#;
    let config = read(text).unwrap();
    let KindSettings::Postgres(keys) = &config.source("cluster").unwrap().kind else {
        panic!()
    };
    assert_eq!(
        (keys.port, keys.databases.as_slice(), keys.globals),
        (Some(5433), &["*".to_owned()][..], true)
    );
    assert_eq!(
        keys.password_file.as_deref(),
        Some(Path::new("/etc/shop.pass"))
    );
    assert_eq!(
        (keys.manifest, keys.stall_timeout),
        (CountRows::Off, Duration::from_secs(600))
    );
    // Its databases are its own, and nothing else whose name begins alike.
    let owner = |name: &str| config.owner_of(name).map(|(owner, _)| owner.to_owned());
    assert_eq!(owner("cluster.shop").as_deref(), Some("cluster"));
    assert_eq!(owner("cluster-globals").as_deref(), Some("cluster"));
    assert_eq!(
        (owner("cluster2"), owner("cluster."), owner("cluster-other")),
        (None, None, None)
    );
    let pg = |more: &str| complaint(&format!("[sources.app]\nkind = \"postgres\"\n{more}"));
    assert!(pg("globals = true").0.contains("needs `databases`"));
    assert!(
        pg("password = \"a\"\npassword_command = \"b\"")
            .0
            .contains("more than one way")
    );
    assert!(
        pg("prefix_url = \"postgresql://h/d\"")
            .0
            .contains("needs `command_prefix`")
    );
    assert!(pg("databases = [1]").0.contains("`databases`"));
    assert!(pg("path = \"x\"").0.contains("unknown key `path`"));
}

#[test]
fn values_with_units() {
    let table = |line: &str| {
        read(&format!("[retention]\n{line}"))
            .unwrap()
            .retention
            .unwrap()
    };
    assert_eq!(table("max_age = 30").max_age, Some(age("30d")));
    assert_eq!(table("max_age = \"30\"").max_age, Some(age("30d")));
    assert_eq!(table("max_age = \"2w\"").max_age, Some(age("14d")));
    assert_eq!(table("max_size = 4096").max_size, Some(4096));
    assert_eq!(table("max_size = \"1 MiB\"").max_size, Some(1 << 20));
    for (text, expected) in [
        ("2026-12-01T01:00:00", "2026-12-01T01:00:00+00:00"),
        ("2026-12-01 01:00", "2026-12-01T01:00:00+00:00"),
        ("2026-12-01", "2026-12-01T00:00:00+00:00"),
        (
            "2026-12-01T01:00:00.5+02:00",
            "2026-11-30T23:00:00.500+00:00",
        ),
    ] {
        let config = read(&app(&format!("start = \"{text}\""))).unwrap();
        assert_eq!(
            only_source(&config).common.start.unwrap().to_rfc3339(),
            expected
        );
    }
    let config = read(&app("start = 2026-12-01T01:00:00")).unwrap();
    assert_eq!(
        only_source(&config).common.start.unwrap().to_rfc3339(),
        "2026-12-01T01:00:00+00:00"
    );
}

#[test]
fn what_is_not_toml() {
    let (message, _) = complaint("[store]\npath = /srv/app.db");
    assert!(message.starts_with("dbbackup.toml:2:8: "), "{message}");
    assert!(message.ends_with("in `path = /srv/app.db`"), "{message}");
    let (message, _) = complaint("[sources.é");
    assert!(message.starts_with("dbbackup.toml:1:"), "{message}");
    assert!(!complaint("password = hunter2").0.contains("hunter2"));
    assert!(
        complaint("[store]\npath = \"a\"\npath = \"b\"")
            .0
            .starts_with("dbbackup.toml:3:1: duplicate key")
    );
    assert!(
        complaint("\u{1F600} = ")
            .0
            .starts_with("dbbackup.toml:1:1: ")
    );
}

#[test]
fn the_environment_serves_every_type() {
    let config = read(&app(
        "enabled = \"${ON}\"\nthreads = \"${N}\"\nexpect_every = \"${N}h\"\nscratch_dir \
                   = \"${DIR}/x\"",
    ))
    .unwrap();
    let source = only_source(&config);
    assert_eq!((source.common.enabled, source.backup.threads), (true, 12));
    assert_eq!(
        (
            source.common.expect_every,
            source.backup.scratch_dir.as_path()
        ),
        (span("12h"), Path::new("/srv/x"))
    );
    let host = read("[store]\npath = \"/b/${HOSTNAME}\"")
        .unwrap()
        .store
        .unwrap();
    assert_eq!(
        host.location,
        Location::from(Path::new("/b").join(hostname()))
    );
    let literal = read("[store]\npath = \"/b/$${HOSTNAME}\"")
        .unwrap()
        .store
        .unwrap();
    assert_eq!(
        literal.location,
        Location::from(Path::new("/b/${HOSTNAME}"))
    );
    let grouped = read(&format!("{}[groups]\nall = [\"${{DB}}\"]", app(""))).unwrap_err();
    assert!(
        grouped
            .message()
            .ends_with("there is no source `from the environment`")
    );
}

#[test]
fn an_unset_variable_outside_a_source_is_an_error() {
    let (message, hint) = complaint("\n[store]\npath = \"${NOWHERE}/x\"");
    assert_eq!(
        message,
        "dbbackup.toml:3: `path` in [store] needs ${NOWHERE}, which is not set"
    );
    assert_eq!(hint, "set NOWHERE in the environment");
    let (message, hint) = complaint(&app("scratch_dir = \"${A:-b}\""));
    assert_eq!(
        message,
        "dbbackup.toml:4: `scratch_dir` in [sources.app]: `${A:-b}` is not of the form `${NAME}`"
    );
    assert_eq!(
        hint,
        "a name is letters, digits and `_`; a literal `${` is written `$${`"
    );
}

#[test]
fn an_unset_variable_in_a_source_fails_only_that_source() {
    let text = format!(
        "[sources.bad]\nkind = \"sqlite\"\npath = \"${{NOWHERE}}\"\nthreads = 2\n{}",
        app("")
    );
    let config = read(&text).unwrap();
    assert!(only_source(&config).fault.is_none());
    let bad = config.source("bad").unwrap();
    let why = bad.fault.clone().unwrap();
    assert_eq!(
        why.message,
        "/etc/dbbackup.toml:3: `path` in [sources.bad] needs ${NOWHERE}, which is not set"
    );
    assert_eq!(
        why.hint.as_deref(),
        Some("set NOWHERE in the environment, or in a file that `env_file` names")
    );
    assert_eq!(Error::from(why).kind(), Kind::Usage);
    assert_eq!(
        bad.kind,
        KindSettings::Sqlite(SqliteSettings {
            path: "${NOWHERE}".into()
        })
    );
    assert_eq!(bad.backup.threads, 2);
    // All else about that table still has to be right.
    assert!(
        complaint(&app("scratch_dir = \"${NOWHERE}\"\nthread = 2"))
            .0
            .contains("unknown key `thread`")
    );
    assert!(
        complaint(&app("scratch = \"${NOWHERE}\""))
            .0
            .contains("unknown key `scratch`")
    );
    assert!(
        complaint(&app("scratch_dir = \"${NOWHERE}\"\nthreads = \"x\""))
            .0
            .contains("`threads`")
    );
    let (message, hint) = complaint("[sources.app]\nkind = \"${NOWHERE}\"");
    assert_eq!(
        message,
        "dbbackup.toml:2: `kind` in [sources.app]: depends on a variable that is not set"
    );
    assert_eq!(hint, "write kind = \"sqlite\", \"postgres\" or \"files\"");
}

#[test]
fn a_useless_value_from_the_environment_fails_only_that_source() {
    let config = read(&app(
        "enabled = \"${WORD}\"\nthreads = \"${WORD}\"\nscratch_dir = \"${EMPTY}\"",
    ))
    .unwrap();
    let source = only_source(&config);
    assert_eq!(
        (
            source.common.enabled,
            source.backup.threads,
            source.backup.scratch_dir.as_path()
        ),
        (true, 0, Path::new("/var/tmp"))
    );
    assert_eq!(
        source.fault.as_ref().unwrap().message,
        "/etc/dbbackup.toml:4: `enabled` in [sources.app]: expected true or false, found `maybe` \
         (from `${WORD}`)"
    );
    assert_eq!(
        complaint("[backup]\nthreads = \"${WORD}\"").0,
        "dbbackup.toml:2: `threads` in [backup]: expected a whole number, found `maybe`"
    );
}

#[test]
fn half_a_retention_table_is_none() {
    let config = read(&app(
        "[sources.app.retention]\nmax_count = 1\nkeep_last = \"${NOWHERE}\"",
    ))
    .unwrap();
    let source = only_source(&config);
    assert_eq!(source.retention, Some(RetentionPolicy::default()));
    assert!(
        source
            .fault
            .as_ref()
            .unwrap()
            .message
            .contains(":6: `keep_last` in [sources.app.retention] needs")
    );
    let config = read(&app(
        "[sources.app.retention.label.daily]\nmax_count = 1\nkeep_last = \"${WORD}\"",
    ))
    .unwrap();
    assert_eq!(
        only_source(&config).retention_labels["daily"],
        RetentionPolicy::default()
    );
    assert!(only_source(&config).fault.is_some());
}

#[test]
fn an_env_file_is_for_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dbbackup.toml");
    std::fs::write(
        directory.path().join(".env"),
        "# app\nexport DB='a b.db'\nKEEP=5\n",
    )
    .unwrap();
    let text = "[sources.one]\nkind = \"sqlite\"\npath = \"${DB}\"\nenv_file = \
                \".env\"\n[sources.one.retention]\nkeep_last = \"${KEEP}\"\n\
                [sources.two]\nkind = \"sqlite\"\npath = \"${DB}\"\nthreads = \"${KEEP}\"\n\
                [sources.three]\nkind = \"sqlite\"\npath = \"x\"\nenv_file = \"gone\"\n\
                [sources.four]\nkind = \"sqlite\"\npath = \"${NOT}\"\nenv_file = \".env\"\n";
    let config = parse(text, &path, &environment).unwrap();
    let [one, two, three, four] =
        ["one", "two", "three", "four"].map(|name| config.source(name).unwrap());
    // What the env_file says goes before the environment.
    assert_eq!(
        one.kind,
        KindSettings::Sqlite(SqliteSettings {
            path: directory.path().join("a b.db")
        })
    );
    assert_eq!(one.retention.as_ref().unwrap().keep_last, Some(5));
    assert_eq!(one.common.env_file, Some(directory.path().join(".env")));
    assert!(one.fault.is_none());
    assert_eq!(
        two.kind,
        KindSettings::Sqlite(SqliteSettings {
            path: directory.path().join("from the environment")
        })
    );
    assert!(
        two.fault
            .as_ref()
            .unwrap()
            .message
            .ends_with(":10: `threads` in [sources.two] needs ${KEEP}, which is not set")
    );
    let why = three.fault.as_ref().unwrap();
    let gone = directory.path().join("gone");
    let expected = format!(
        "{}:14: `env_file` in [sources.three]: reading `{}`: no such file or directory",
        path.display(),
        gone.display()
    );
    assert_eq!(why.message, expected);
    let hint = format!(
        "set NOT in the environment or in `{}`",
        directory.path().join(".env").display()
    );
    assert_eq!(four.fault.as_ref().unwrap().hint, Some(hint));
}

#[test]
fn names_and_groups() {
    let said = |text: &str, message: &str, hint: &str| {
        assert_eq!(
            complaint(text),
            (format!("dbbackup.toml:{message}"), hint.to_owned()),
            "{text}"
        );
    };
    let naming = "use letters, digits, `.`, `_` and `-`, a letter or digit first";
    said(
        "[sources.\"a b\"]",
        "1: `a b` can't be the name of a source",
        naming,
    );
    said(
        "[sources.\".lock\"]",
        "1: `.lock` can't be the name of a source",
        naming,
    );
    said(
        "[sources.-x]",
        "1: `-x` can't be the name of a source",
        naming,
    );
    said(
        "[stores.\"a/b\"]",
        "1: `a/b` can't be the name of a store",
        naming,
    );
    said(
        "[retention.label.a_b]",
        "1: `a_b` can't be a label",
        "use letters, digits, `.` and `-`, a letter or digit first",
    );
    let groups = |lines: &str| app(&format!("[groups]\n{lines}"));
    said(
        &groups("app = [\"app\"]"),
        "5: `app` in [groups] is also the name of a source",
        "rename one of them: commands take either by name",
    );
    said(
        &groups("all = [\n\"app\",\n\"ap\"]"),
        "7: `all` in [groups]: there is no source `ap`",
        "did you mean `app`?",
    );
    said(
        &groups("all = [\"zzz\"]"),
        "5: `all` in [groups]: there is no source `zzz`",
        "the sources are app",
    );
    said(
        &groups("all = [\"app\", \"app\"]"),
        "5: `all` in [groups]: `app` is listed twice",
        "",
    );
    said(
        &groups("all = [\"app\"]\nmore = [\"all\"]"),
        "6: `more` in [groups]: `all` is a group",
        "list its sources: a group holds sources only",
    );
    said(
        &groups("all = []"),
        "5: `all` in [groups]: the list is empty",
        "",
    );
    said(
        &groups("all = \"app\""),
        "5: `all` in [groups]: expected a list of sources, as in [\"app\", \"shop\"]",
        "",
    );
    said(
        "[groups]\nall = [\"app\"]",
        "2: `all` in [groups]: there is no source `app`",
        "there are no sources",
    );
}

#[test]
fn homeless_paths() {
    let error = parse("[store]\npath = \"~/b\"", Path::new("c.toml"), &|_| None).unwrap_err();
    assert_eq!(
        error.message(),
        "c.toml:2: `path` in [store]: begins with `~`, and HOME is not set"
    );
    let beside = parse("[store]\npath = \"b\"", Path::new("c.toml"), &|_| None)
        .unwrap()
        .store
        .unwrap();
    assert_eq!(
        beside.location,
        Location::from(std::env::current_dir().unwrap().join("b"))
    );
}

/// What the manual says is what the parser does: each key is one, each default changes nothing when
/// it is written, and what must be there must.
#[test]
fn the_reference_is_true() {
    let mut defaults = 0;
    for table in reference::tables() {
        for key in &table.keys {
            let is_kind = key.name == "kind";
            let written = match &key.default {
                Some(default) => format!("{}\n{} = {default}\n", table.header, key.name),
                None => format!("{}\n{} = {{}}\n", table.header, key.name),
            };
            let outcome = read(&written).map_err(|error| error.message());
            match (&key.default, outcome) {
                // A source without its own keys is no configuration; its defaults are read before.
                (Some(_), Ok(_)) => defaults += 1,
                (_, Err(message)) if message.contains("has no `") => defaults += 1,
                (None, Err(message)) if is_kind || message.contains(&format!("`{}`", key.name)) => {
                    assert!(!message.contains("unknown key"), "{message}");
                }
                (_, outcome) => panic!("{written}: {outcome:?}"),
            }
            assert!(!key.required || key.default.is_none(), "{}", key.name);
            assert!(
                key.meaning.ends_with('.') || key.meaning.ends_with(')'),
                "{}",
                key.meaning
            );
        }
    }
    assert!(defaults > 20, "{defaults}");
    let explicit = reference::tables()
        .iter()
        .find(|table| table.header == "[backup]")
        .map(|table| {
            let keys = table.keys.iter().filter_map(|key| {
                let default = key.default.as_ref()?;
                Some(format!("{} = {default}\n", key.name))
            });
            read(&format!("[backup]\n{}", keys.collect::<String>())).unwrap()
        })
        .unwrap();
    assert_eq!(explicit.backup, BackupSettings::default());
    assert_eq!(explicit.run, RunSettings::default());
}

#[test]
fn a_word_that_is_near_is_found() {
    assert_eq!(BackupSettings::key_names().len(), 14);
    assert_eq!(nearest("shp", ["app", "shop"]), Some("shop"));
    assert_eq!(nearest("x", ["app", "shop"]), None);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(
        parts in proptest::collection::vec(proptest::sample::select(&[
            "[sources.app]", "[groups]", "\n", "=", " ", "\"", "'", "#", "é", "😀", "password",
            "url", "${A}", "${", "$", "}",
            "://", "u:p@h", "[", "]", "{", ",", "5", "kind", "env_file", "\"sqlite\"", "path",
            "export ", "\\", "/",
        ][..]), 0..24)
    ) {
        let text = parts.concat();
        let _ = parse(&text, Path::new("c.toml"), &|_| None);
        let _ = expand::env_file(&text);
        proptest::prop_assert!(toml::de::DeTable::parse(&masked(&text)).is_ok());
        let secret = format!("password = {}", toml::Value::String(format!("{text}hunter2")));
        proptest::prop_assert!(!masked(&secret).contains("hunter2"));
    }
}
