//! `cargo bench --bench sqlite`: dbbackup beside what people use instead, on one database, in one
//! run.
//!
//! Every contender has its turn in every round, so that whatever disturbs the machine disturbs all
//! of them; what is compared is the median. All read from a warm page cache, all end with their
//! result on disk (fsync), and what the one before wrote is on disk before the next begins.
//! `DBBACKUP_BENCH_ROUNDS` says how many rounds (5 by default); see `common` for the database's
//! size and place.

mod common;

use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::measure;
use common::{Role, configuration, dbbackup, only_file, size, warm};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(_, arguments) => {
            common::database::make(Path::new(&arguments[0]), arguments[1].parse().unwrap())
        }
        Role::None => {
            println!("run me by `cargo bench --bench sqlite`: it takes a quarter of an hour")
        }
    }
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 5).max(1);
    let place = common::workplace();
    let database = common::database::shop(&place, common::mebibytes());
    common::describe_machine();
    println!(
        "database:  {:.0} MB; {rounds} rounds\n",
        megabytes(size(&database))
    );
    let work = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&place)
        .unwrap();
    let kept = keep_dumps(&database, work.path());
    let mut tables = [
        writing_plain(&database, work.path()),
        writing_gzip(&database, work.path()),
        writing_zstd(&database, work.path()),
        reading(&kept[0], "gzip", &["gunzip", "pigz"], work.path()),
        reading(&kept[1], "zstd", &["zstd"], work.path()),
    ];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (table, reads) in tables.iter_mut().zip([
            &database,
            &database,
            &database,
            &kept[0].dump,
            &kept[1].dump,
        ]) {
            table
                .contenders
                .iter_mut()
                .for_each(|contender| contender.turn(round, || warm(reads)));
        }
    }
    explain_columns();
    for table in &tables {
        table.print();
    }
    print_aims(&tables);
}

/// A pipeline of the shell: it finds its input in `$IN` and leaves its result in `$OUT`; `$TMP` is
/// for what comes between.
fn shell_of(
    name: &str,
    programs: &[&'static str],
    input: &Path,
    dir: &Path,
    script: &str,
) -> Contender {
    let dir = dir.join("shell");
    let script = format!("set -e; {script}");
    let (input, out, tmp) = (input.to_owned(), dir.join("out"), dir.join("tmp"));
    let command = move || {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&script)
            .env("IN", &input)
            .env("OUT", &out)
            .env("TMP", &tmp);
        command
    };
    Contender::new(name, programs, &dir, "out", command)
}

/// A backup of the database.
fn backup(database: &Path, work: &Path, compression: &str, checked: bool) -> Contender {
    let name = if checked {
        compression.to_owned()
    } else {
        format!("{compression}-unverified")
    };
    let config = configuration(work, &name, compression, checked);
    let (from, store) = (database.to_owned(), work.join(format!("store-{name}")));
    let command = move || dbbackup(&config, &["backup", from.to_str().unwrap(), "--as", "shop"]);
    let ending = match compression {
        "gzip" => ".gz",
        "zstd" => ".zst",
        _ => ".sqlite3",
    };
    let mut title = format!("dbbackup {compression}");
    if !checked {
        title.push_str(", verify_after none");
    }
    Contender::new(&title, &[], &store.join("shop"), ending, command)
}

const VACUUM: &str = r#"sqlite3 "$IN" "VACUUM INTO '$TMP'""#;

const PLAIN: &str = "VACUUM INTO";
const PIGZ: &str = "VACUUM INTO, then pigz -6";
const ZSTD: &str = "VACUUM INTO, then zstd -3 -T0";

fn writing_plain(database: &Path, work: &Path) -> Table {
    let shell =
        |name: &str, program, script: &str| shell_of(name, &[program], database, work, script);
    Table::new(
        "Uncompressed",
        PLAIN,
        vec![
            shell(
                PLAIN,
                "sqlite3",
                r#"sqlite3 "$IN" "VACUUM INTO '$OUT'"; sync "$OUT""#,
            ),
            shell(
                "the shell's .backup",
                "sqlite3",
                r#"sqlite3 "$IN" ".backup '$OUT'"; sync "$OUT""#,
            ),
            shell(
                "cp (wrong while anybody writes)",
                "cp",
                r#"cp "$IN" "$OUT"; sync "$OUT""#,
            ),
            backup(database, work, "none", true),
            backup(database, work, "none", false),
        ],
    )
}

fn writing_gzip(database: &Path, work: &Path) -> Table {
    let then = |name: &str, program, filter: &str| {
        shell_of(
            name,
            &["sqlite3", program],
            database,
            work,
            &format!(r#"{VACUUM}; {filter} <"$TMP" >"$OUT"; sync "$OUT""#),
        )
    };
    Table::new(
        "gzip",
        PIGZ,
        vec![
            then("VACUUM INTO, then gzip -6", "gzip", "gzip -6").once(),
            then(PIGZ, "pigz", "pigz -6"),
            shell_of(
                "pigz -6 of the file as it is",
                &["pigz"],
                database,
                work,
                r#"pigz -6 <"$IN" >"$OUT"; sync "$OUT""#,
            )
            .once(),
            backup(database, work, "gzip", true),
            backup(database, work, "gzip", false),
        ],
    )
}

fn writing_zstd(database: &Path, work: &Path) -> Table {
    let script = format!(r#"{VACUUM}; zstd -q -3 -T0 <"$TMP" >"$OUT"; sync "$OUT""#);
    Table::new(
        "zstd",
        ZSTD,
        vec![
            shell_of(ZSTD, &["sqlite3", "zstd"], database, work, &script),
            shell_of(
                "zstd -3 -T0 of the file as it is",
                &["zstd"],
                database,
                work,
                r#"zstd -q -3 -T0 <"$IN" >"$OUT"; sync "$OUT""#,
            )
            .once(),
            backup(database, work, "zstd", true),
            backup(database, work, "zstd", false),
        ],
    )
}

/// A dump that is read back in every round.
struct Kept {
    config: PathBuf,
    dump: PathBuf,
}

fn keep_dumps(database: &Path, work: &Path) -> Vec<Kept> {
    let keep = |compression: &str, ending: &str| {
        let name = format!("{compression}-kept");
        let config = configuration(work, &name, compression, true);
        measure::cost(&mut dbbackup(
            &config,
            &["backup", database.to_str().unwrap(), "--as", "shop"],
        ));
        let dump = only_file(&work.join(format!("store-{name}/shop")), ending).unwrap();
        Kept { config, dump }
    };
    vec![keep("gzip", ".gz"), keep("zstd", ".zst")]
}

fn reading(kept: &Kept, format: &str, decoders: &'static [&'static str], work: &Path) -> Table {
    let mut contenders = Vec::new();
    for program in decoders.iter().copied() {
        let decode = if program == "gunzip" {
            program.to_owned()
        } else {
            format!("{program} -dc")
        };
        let plain = format!(r#"{decode} <"$IN" >"$OUT"; sync "$OUT""#);
        contenders.push(shell_of(
            decoder_name(program),
            &[program],
            &kept.dump,
            work,
            &plain,
        ));
    }
    let best = decoders[decoders.len() - 1];
    let checked = format!(
        r#"{best} -dc <"$IN" >"$OUT"; sync "$OUT"; test "$(sqlite3 "$OUT" "PRAGMA integrity_check")" = ok"#
    );
    contenders.push(shell_of(
        &checked_name(best),
        &[best, "sqlite3"],
        &kept.dump,
        work,
        &checked,
    ));
    contenders.push(shell_of(
        "sha256sum of the dump",
        &["sha256sum"],
        &kept.dump,
        work,
        r#"sha256sum "$IN""#,
    ));
    let nothing = work.join("nothing");
    for level in ["checksum", "content"] {
        let config = kept.config.clone();
        let command = move || dbbackup(&config, &["verify", "shop", "--level", level]);
        contenders.push(Contender::new(
            &verify_name(level),
            &[],
            &nothing,
            "-",
            command,
        ));
    }
    let (config, target) = (kept.config.clone(), work.join("restored"));
    let to = target.join("restored.out");
    let command = move || dbbackup(&config, &["restore", "shop", "--to", to.to_str().unwrap()]);
    contenders.push(Contender::new(RESTORE, &[], &target, "out", command));
    Table::new(
        &format!("Reading back {format}"),
        decoder_name(best),
        contenders,
    )
}

const RESTORE: &str = "dbbackup restore --to";

fn decoder_name(program: &str) -> &'static str {
    match program {
        "gunzip" => "gunzip",
        "pigz" => "pigz -dc",
        _ => "zstd -dc",
    }
}

fn checked_name(program: &str) -> String {
    format!("{}, then integrity_check", decoder_name(program))
}

fn verify_name(level: &str) -> String {
    format!("dbbackup verify --level {level}")
}

fn print_aims(tables: &[Table; 5]) {
    let [plain, gzip, zstd, from_gzip, from_zstd] = tables;
    println!("\nAims (dbbackup as it comes, with verify_after = checksum)");
    faster("gzip", gzip, "dbbackup gzip", 3.5, 1.05);
    faster("zstd", zstd, "dbbackup zstd", 1.5, 1.02);
    if let (Some(ours), Some(theirs)) = (plain.find("dbbackup none"), plain.find(PLAIN)) {
        let ratio = ours.wall() / theirs.wall();
        aim(
            format!("none takes at most 1.3 times as long as {PLAIN}"),
            format!("{ratio:.2} times"),
            ratio <= 1.3,
        );
    }
    memory_of_ours(tables, 64);
    for (format, table) in [("gzip", from_gzip), ("zstd", from_zstd)] {
        at_decoding_speed(format, table);
    }
}

fn faster(format: &str, table: &Table, name: &str, times: f64, larger: f64) {
    let (Some(ours), Some(theirs)) = (table.find(name), table.find(table.reference)) else {
        return;
    };
    let ratio = theirs.wall() / ours.wall();
    aim(
        format!(
            "{format} at least {times} times as fast as {}",
            table.reference
        ),
        format!("{ratio:.2} times"),
        ratio >= times,
    );
    let ratio = ours.size as f64 / theirs.size as f64;
    let percent = (larger - 1.0) * 100.0;
    aim(
        format!("{format} at a size within {percent:.0} % of that"),
        format!("{:+.1} %", (ratio - 1.0) * 100.0),
        ratio <= larger,
    );
}

/// Twice: beside what only decodes, and beside what also has SQLite check every page, as dbbackup
/// does.
fn at_decoding_speed(format: &str, table: &Table) {
    let (Some(decoder), Some(restore)) = (table.find(table.reference), table.find(RESTORE)) else {
        return;
    };
    let checksum = table
        .find(&verify_name("checksum"))
        .map_or(0.0, Contender::wall);
    let content = table
        .find(&verify_name("content"))
        .map_or(0.0, Contender::wall);
    let said = |other: &Contender| {
        let other = other.wall();
        let times = |mine: f64| mine / other;
        format!(
            "verify checksum {:.2}, content {:.2}, restore {:.2} times its time",
            times(checksum),
            times(content),
            times(restore.wall())
        )
    };
    let not_slower = |other: &Contender| content.max(restore.wall()) <= other.wall();
    let name = table.reference;
    aim(
        format!("verify and restore {format} at the speed of decoding ({name})"),
        said(decoder),
        not_slower(decoder),
    );
    let Some(checked) = table.find(&format!("{name}, then integrity_check")) else {
        return;
    };
    aim(
        format!("… or of {}", checked.name),
        said(checked),
        not_slower(checked),
    );
}
