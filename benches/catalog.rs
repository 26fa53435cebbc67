//! `list` and `cleanup --dry-run` of a store with very many backups, against reading the bytes of
//! its sidecars with one thread.
//!
//! `DBBACKUP_BENCH_BACKUPS` says how many (100,000 by default), `DBBACKUP_BENCH_TABLES` how many
//! tables each holds (4 by default). The files are in the page cache for all of them. Measured in
//! November 2026 on 2 cores: see the table that it prints.

mod common;

use common::measure::{self, Cost, cost};
use common::{Role, binary, number, part, role, workplace};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: u64 = 20;
const ROUNDS: usize = 5;

fn main() {
    match role() {
        Role::Benchmark => benchmark(),
        Role::Part(name, arguments) => match name.as_str() {
            "read" => read(Path::new(&arguments[0])),
            other => panic!("no part `{other}`"),
        },
        Role::None => {}
    }
}

/// A name and how it is run.
type Measured<'a> = (&'a str, Box<dyn Fn() -> Command + 'a>);

fn benchmark() {
    let (backups, tables) = (
        number("DBBACKUP_BENCH_BACKUPS", 100_000),
        number("DBBACKUP_BENCH_TABLES", 4),
    );
    common::describe_machine();
    let store = workplace().join(format!("catalog-events-{backups}-{tables}"));
    if !store.join("done").is_file() {
        common::remove(&store);
        make(&store, backups, tables);
        File::create(store.join("done")).unwrap();
    }
    println!("store:     {backups} backups of {SOURCES} sources, {tables} tables each\n");
    let dbbackup = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .arg("--store")
            .arg(&store)
            .args(arguments);
        command
    };
    let reader = || part("read", &[store.as_os_str()]);
    let commands: Vec<Measured> = vec![
        ("read the sidecars' bytes, one thread", Box::new(reader)),
        ("list", Box::new(|| dbbackup(&["list"]))),
        (
            "cleanup --dry-run",
            Box::new(|| {
                dbbackup(&[
                    "cleanup",
                    "--dry-run",
                    "--keep-daily",
                    "7",
                    "--keep-monthly",
                    "12",
                ])
            }),
        ),
        ("list --json", Box::new(|| dbbackup(&["list", "--json"]))),
        (
            "list --limit 10",
            Box::new(|| dbbackup(&["list", "--limit", "10"])),
        ),
        (
            "list of one source",
            Box::new(|| dbbackup(&["list", "source01"])),
        ),
        (
            "show of one backup",
            Box::new(|| dbbackup(&["show", "source01"])),
        ),
        (
            "status",
            Box::new(|| dbbackup(&["status", "--expect-every", "100y"])),
        ),
        ("stats", Box::new(|| dbbackup(&["stats"]))),
    ];
    // In turn, so that a busy minute of the machine meets all of them.
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); commands.len()];
    for round in 0..=ROUNDS {
        for (at, (_, command)) in commands.iter().enumerate() {
            let measured = cost(&mut command());
            if round > 0 {
                costs[at].push(measured);
            }
        }
    }
    println!(
        "{:<38} {:>8} {:>18} {:>7} {:>9} {:>10}",
        "", "seconds", "from to", "ratio", "CPU sec.", "peak MB"
    );
    let seconds =
        |costs: &[Cost]| measure::median(costs.iter().map(|cost| cost.wall.as_secs_f64()));
    let base = seconds(&costs[0]).0;
    for ((name, _), costs) in commands.iter().zip(&costs) {
        let (middle, least, most) = seconds(costs);
        let memory = costs.iter().map(|cost| cost.memory).max().unwrap_or(0);
        let busy = measure::median(costs.iter().map(|cost| cost.processor.as_secs_f64())).0;
        println!(
            "{name:<38} {middle:>8.3} {least:>9.3}{most:>9.3} {:>7.2} {busy:>9.3} {:>10.1}",
            middle / base,
            memory as f64 / 1e6
        );
    }
}

/// The measure: every sidecar is found and its bytes are read, and nothing is made of them.
fn read(store: &Path) {
    let mut bytes = 0;
    for source in std::fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        for entry in std::fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".json") && !name.ends_with(".event.json") {
                bytes += std::fs::read(&path).unwrap().len();
            }
        }
    }
    println!("{bytes} bytes");
}

fn make(store: &Path, backups: u64, tables: u64) {
    println!("making {}", store.display());
    std::fs::create_dir_all(store).unwrap();
    std::fs::write(store.join("dbbackup-store.json"), r#"{"format": 1}"#).unwrap();
    let newest = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    for number in 0..backups {
        let source = format!("source{:02}", number % SOURCES);
        let dir = store.join(&source);
        if number < SOURCES {
            std::fs::create_dir(&dir).unwrap();
        }
        let label = ["hourly", "hourly", "hourly", "daily"][(number / SOURCES % 4) as usize];
        let at = newest
            - chrono::TimeDelta::minutes((number / SOURCES * 20 + number % SOURCES).cast_signed());
        let id = format!("{source}_{label}_{}", at.format("%Y%m%dT%H%M%SZ"));
        backup(&dir, &source, label, &id, at, (number, tables));
    }
}

/// One backup as a run leaves it: two of a hundred failed, some were verified later or pinned.
fn backup(
    dir: &Path,
    source: &str,
    label: &str,
    id: &str,
    at: chrono::DateTime<chrono::Utc>,
    (number, tables): (u64, u64),
) {
    let failed = number % 50 == 37;
    let postgres = number % SOURCES % 2 == 1;
    let (kind, extension, format) = if postgres {
        ("postgres", "dump.gz", "pg_dump-custom")
    } else {
        ("sqlite", "sqlite3.gz", "sqlite3")
    };
    let (started, size) = (
        at.format("%Y-%m-%dT%H:%M:%SZ"),
        10_000_000 + number % 1000 * 977,
    );
    let mut text = format!(
        r#"{{
  "schema": 1,
  "requires": [],
  "id": "{id}",
  "run": "{}-7f3a",
  "source": "{source}",
  "kind": "{kind}",
  "label": "{label}",
  "status": "{}",
  "warnings": [],
  "tags": {{}},
  "started_at": "{started}",
  "finished_at": "{started}",
  "duration_seconds": 3.217,
"#,
        at.format("%Y%m%dT%H%M%SZ"),
        if failed { "failed" } else { "ok" }
    );
    if failed {
        text.push_str(
            "  \"error\": {\n    \"message\": \"connecting to `db.internal:5432`: \
                       connection refused\",\n    \"hint\": \"is the server running?\"\n  },\n",
        );
    } else {
        let (a, b) = (format!("{number:064x}"), format!("{:064x}", number * 7));
        let file = format!("{id}.{extension}");
        File::create(dir.join(&file))
            .unwrap()
            .set_len(size)
            .unwrap();
        write!(
            text,
            r#"  "dump": {{
    "file": "{file}",
    "format": "{format}",
    "size_bytes": {size},
    "sha256": "{a}",
    "content_size_bytes": {},
    "content_sha256": "{b}",
    "compression": "gzip",
    "encryption": null,
    "base": null
  }},
  "database": {},
  "manifest": {{
    "tables": ["#,
            size * 3,
            database(source, postgres)
        )
        .unwrap();
        for table in 0..tables {
            let comma = if table == 0 { "" } else { "," };
            write!(
                text,
                "{comma}\n      {{\n        \"name\": \"public.table_{table}\",\n        \"kind\": \
                 \"table\",\n        \"rows\": {}\n      }}",
                1_000_000 - number + table
            )
            .unwrap();
        }
        write!(
            text,
            "\n    ],\n    \"rows_total\": {}\n  }},\n",
            (1_000_000 - number) * tables + tables * tables.saturating_sub(1) / 2
        )
        .unwrap();
    }
    write!(
        text,
        r#"  "producer": {{
    "dbbackup": "0.1.0",
    "host": "web1"
  }},
  "verifications": [
    {{
      "at": "{started}",
      "level": "checksum",
      "status": "ok",
      "duration_seconds": 0.041
    }}
  ]
}}
"#
    )
    .unwrap();
    std::fs::write(dir.join(format!("{id}.json")), text).unwrap();
    if number % 40 == 3 && !failed {
        let event = |name: &str, fields: &str| {
            let text = format!(
                r#"{{"schema": 1, "event": "{name}", "at": "{started}", "producer": {{"dbbackup": "0.1.0", "host": "web1", "user": "root"}}{fields}}}"#
            );
            let stamp = at.format("%Y%m%dT%H%M%S.000Z");
            let path: PathBuf = dir.join(format!("{id}.{stamp}-{name}.event.json"));
            std::fs::write(path, text).unwrap();
        };
        event(
            "verified",
            &format!(
                r#", "verification": {{"at": "{started}", "level": "restore", "status": "ok", "duration_seconds": 4.5}}"#
            ),
        );
        if number % 400 == 3 {
            event("pinned", "");
        }
    }
}

fn database(source: &str, postgres: bool) -> String {
    if !postgres {
        return format!(
            r#"{{
    "path": "/srv/{source}/app.db",
    "owner": "app:app",
    "mode": "0640",
    "size_bytes": 40960000,
    "page_size": 4096,
    "encoding": "UTF-8",
    "auto_vacuum": "none",
    "journal_mode": "wal",
    "user_version": 7,
    "application_id": 0,
    "foreign_key_violations": 0
  }}"#
        );
    }
    format!(
        r#"{{
    "size_bytes": 524288000,
    "encoding": "UTF8",
    "name": "{source}",
    "host": "db.internal",
    "port": 5432,
    "user": "backup",
    "server_version": "15.18",
    "system_identifier": "7301234567890123456",
    "locale": {{
      "provider": "c",
      "collate": "en_US.UTF-8",
      "ctype": "en_US.UTF-8"
    }},
    "settings": {{
      "owner": "shop",
      "grants": [
        {{ "to": "app", "privilege": "CONNECT", "grantable": false }}
      ],
      "connection_limit": -1,
      "tablespace": "pg_default",
      "is_template": false
    }},
    "extensions": [
      {{ "name": "plpgsql", "version": "1.0" }},
      {{ "name": "pgcrypto", "version": "1.3" }}
    ],
    "roles": ["app", "shop"]
  }}"#
    )
}
