//! `cargo bench --bench sqlite`: dbbackup beside what people use instead, on one database, in one run.
//!
//! Every contender has its turn in every round, so that whatever disturbs the machine disturbs all of them; what is compared is the median. All
//! read from a warm page cache, all end with their result on disk (fsync), and what the one before wrote is on disk before the next begins.
//! `DBBACKUP_BENCH_ROUNDS` says how many rounds (5 by default); see `common` for the database's size and place.

mod common;

use common::measure::{self, Cost, median};
use common::{Role, configuration, dbbackup, installed, only_file, remove, size, warm};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        Role::Part(_, arguments) => common::database::make(Path::new(&arguments[0]), arguments[1].parse().unwrap()),
        Role::None => println!("run me by `cargo bench --bench sqlite`: it takes a quarter of an hour"),
    }
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 5).max(1);
    let place = common::workplace();
    let database = common::database::shop(&place, common::mebibytes());
    common::describe_machine();
    println!("database:  {:.0} MB; {rounds} rounds\n", megabytes(size(&database)));
    let work = tempfile::Builder::new().prefix("run-").tempdir_in(&place).unwrap();
    let kept = keep_dumps(&database, work.path());
    let mut tables = [
        writing_plain(&database, work.path()),
        writing_gzip(&database, work.path()),
        writing_zstd(&database, work.path()),
        reading(&kept[0], "gzip", &["gunzip", "pigz"], work.path()),
        reading(&kept[1], "zstd", &["zstd"], work.path()),
    ];
    for table in &mut tables {
        table.leave_out_what_is_not_installed();
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for contender in tables.iter_mut().flat_map(|table| &mut table.contenders) {
            contender.turn(round);
        }
    }
    explain_columns();
    for table in &tables {
        table.print();
    }
    print_aims(&tables);
}

/// What takes part, and how it did.
struct Contender {
    name: String,
    command: Box<dyn Fn() -> Command>,
    /// What it needs.
    programs: Vec<&'static str>,
    /// Read before its turn, untimed.
    reads: PathBuf,
    /// The directory for its result, and how the result's name ends; all of it is removed after its turn, untimed.
    dir: PathBuf,
    ending: &'static str,
    /// Too slow for every round.
    once: bool,
    costs: Vec<Cost>,
    size: u64,
}

impl Contender {
    /// A pipeline of the shell: it finds its input in `$IN` and leaves its result in `$OUT`; `$TMP` is for what comes between.
    fn shell(name: &str, programs: &[&'static str], input: &Path, dir: &Path, script: &str) -> Contender {
        let dir = dir.join("shell");
        let script = format!("set -e; {script}");
        let (input, out, tmp) = (input.to_owned(), dir.join("out"), dir.join("tmp"));
        let reads = input.clone();
        let command = move || {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&script).env("IN", &input).env("OUT", &out).env("TMP", &tmp);
            command
        };
        Contender::new(name, programs, &reads, &dir, "out", Box::new(command))
    }

    fn new(
        name: &str,
        programs: &[&'static str],
        reads: &Path,
        dir: &Path,
        ending: &'static str,
        command: Box<dyn Fn() -> Command>,
    ) -> Contender {
        let (name, programs, reads, dir) = (name.to_owned(), programs.to_vec(), reads.to_owned(), dir.to_owned());
        Contender { name, command, programs, reads, dir, ending, once: false, costs: Vec::new(), size: 0 }
    }

    /// A backup of the database.
    fn backup(database: &Path, work: &Path, compression: &str, checked: bool) -> Contender {
        let name = if checked { compression.to_owned() } else { format!("{compression}-unverified") };
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
        Contender::new(&title, &[], database, &store.join("shop"), ending, Box::new(command))
    }

    fn once(mut self) -> Contender {
        self.once = true;
        self
    }

    fn turn(&mut self, round: u64) {
        if self.once && round > 1 {
            return;
        }
        if self.ending == "out" {
            std::fs::create_dir_all(&self.dir).unwrap();
        }
        warm(&self.reads);
        measure::settle();
        let cost = measure::cost(&mut (self.command)());
        self.size = only_file(&self.dir, self.ending).map_or(0, |path| size(&path));
        eprintln!("   {:<52} {:7.2} s", self.name, cost.wall.as_secs_f64());
        self.costs.push(cost);
        remove(&self.dir);
    }

    fn wall(&self) -> f64 {
        median(self.costs.iter().map(|cost| cost.wall.as_secs_f64())).0
    }

    fn memory(&self) -> u64 {
        self.costs.iter().map(|cost| cost.memory).max().unwrap_or(0)
    }
}

/// Contenders that are compared with one of them.
struct Table {
    title: String,
    reference: &'static str,
    contenders: Vec<Contender>,
}

const VACUUM: &str = r#"sqlite3 "$IN" "VACUUM INTO '$TMP'""#;

const PLAIN: &str = "VACUUM INTO";
const PIGZ: &str = "VACUUM INTO, then pigz -6";
const ZSTD: &str = "VACUUM INTO, then zstd -3 -T0";

fn writing_plain(database: &Path, work: &Path) -> Table {
    let shell = |name: &str, program, script: &str| Contender::shell(name, &[program], database, work, script);
    Table {
        title: "Uncompressed".into(),
        reference: PLAIN,
        contenders: vec![
            shell(PLAIN, "sqlite3", r#"sqlite3 "$IN" "VACUUM INTO '$OUT'"; sync "$OUT""#),
            shell("the shell's .backup", "sqlite3", r#"sqlite3 "$IN" ".backup '$OUT'"; sync "$OUT""#),
            shell("cp (wrong while anybody writes)", "cp", r#"cp "$IN" "$OUT"; sync "$OUT""#),
            Contender::backup(database, work, "none", true),
            Contender::backup(database, work, "none", false),
        ],
    }
}

fn writing_gzip(database: &Path, work: &Path) -> Table {
    let then = |name: &str, program, filter: &str| {
        Contender::shell(
            name,
            &["sqlite3", program],
            database,
            work,
            &format!(r#"{VACUUM}; {filter} <"$TMP" >"$OUT"; sync "$OUT""#),
        )
    };
    Table {
        title: "gzip".into(),
        reference: PIGZ,
        contenders: vec![
            then("VACUUM INTO, then gzip -6 (first round only)", "gzip", "gzip -6").once(),
            then(PIGZ, "pigz", "pigz -6"),
            Contender::shell(
                "pigz -6 of the file as it is (first round only)",
                &["pigz"],
                database,
                work,
                r#"pigz -6 <"$IN" >"$OUT"; sync "$OUT""#,
            )
            .once(),
            Contender::backup(database, work, "gzip", true),
            Contender::backup(database, work, "gzip", false),
        ],
    }
}

fn writing_zstd(database: &Path, work: &Path) -> Table {
    let script = format!(r#"{VACUUM}; zstd -q -3 -T0 <"$TMP" >"$OUT"; sync "$OUT""#);
    Table {
        title: "zstd".into(),
        reference: ZSTD,
        contenders: vec![
            Contender::shell(ZSTD, &["sqlite3", "zstd"], database, work, &script),
            Contender::shell(
                "zstd -3 -T0 of the file as it is (first round only)",
                &["zstd"],
                database,
                work,
                r#"zstd -q -3 -T0 <"$IN" >"$OUT"; sync "$OUT""#,
            )
            .once(),
            Contender::backup(database, work, "zstd", true),
            Contender::backup(database, work, "zstd", false),
        ],
    }
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
        measure::cost(&mut dbbackup(&config, &["backup", database.to_str().unwrap(), "--as", "shop"]));
        let dump = only_file(&work.join(format!("store-{name}/shop")), ending).unwrap();
        Kept { config, dump }
    };
    vec![keep("gzip", ".gz"), keep("zstd", ".zst")]
}

fn reading(kept: &Kept, format: &str, decoders: &'static [&'static str], work: &Path) -> Table {
    let mut contenders = Vec::new();
    for program in decoders.iter().copied() {
        let decode = if program == "gunzip" { program.to_owned() } else { format!("{program} -dc") };
        let plain = format!(r#"{decode} <"$IN" >"$OUT"; sync "$OUT""#);
        contenders.push(Contender::shell(decoder_name(program), &[program], &kept.dump, work, &plain));
    }
    let best = decoders[decoders.len() - 1];
    let checked = format!(r#"{best} -dc <"$IN" >"$OUT"; sync "$OUT"; test "$(sqlite3 "$OUT" "PRAGMA integrity_check")" = ok"#);
    contenders.push(Contender::shell(&checked_name(best), &[best, "sqlite3"], &kept.dump, work, &checked));
    contenders.push(Contender::shell("sha256sum of the dump", &["sha256sum"], &kept.dump, work, r#"sha256sum "$IN""#));
    let nothing = work.join("nothing");
    for level in ["checksum", "content"] {
        let config = kept.config.clone();
        let command = move || dbbackup(&config, &["verify", "shop", "--level", level]);
        contenders.push(Contender::new(&verify_name(level), &[], &kept.dump, &nothing, "-", Box::new(command)));
    }
    let (config, target) = (kept.config.clone(), work.join("restored"));
    let to = target.join("restored.out");
    let command = move || dbbackup(&config, &["restore", "shop", "--to", to.to_str().unwrap()]);
    contenders.push(Contender::new(RESTORE, &[], &kept.dump, &target, "out", Box::new(command)));
    Table { title: format!("Reading back {format}"), reference: decoder_name(best), contenders }
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

fn explain_columns() {
    println!(
        "wall       seconds, the median of the rounds [fastest-slowest]; in brackets after it the ratio to the table's reference (*)
size       MB (a million bytes) of the result, and its ratio to the reference's
processor  seconds of user and system time, child processes included
memory     MB, the largest resident set of any one process (ru_maxrss of wait4; less than {:.0} can't be told)
written    MB handed to the file system (ru_oublock, which is write_bytes of /proc/PID/io)
elsewhere  the part of all cores that others had meanwhile, the kernel's own threads included: well above what the quiet rows have, a
           row is disturbed",
        megabytes(measure::own_memory())
    );
}

impl Table {
    fn leave_out_what_is_not_installed(&mut self) {
        self.contenders.retain(|contender| {
            let missing: Vec<&str> = contender.programs.iter().copied().filter(|program| !installed(program)).collect();
            if !missing.is_empty() {
                println!("left out, for {} is not installed: {}", missing.join(", "), contender.name);
            }
            missing.is_empty()
        });
    }

    fn find(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.name == name)
    }

    fn print(&self) {
        println!("\n{}", self.title);
        println!(
            "{:<52} {:>22} {:>8} {:>8} {:>8} {:>10} {:>7} {:>8} {:>9}",
            "", "wall", "", "size", "", "processor", "memory", "written", "elsewhere"
        );
        let reference = self.find(self.reference);
        for contender in &self.contenders {
            let column = |value: fn(&Cost) -> f64| median(contender.costs.iter().map(value));
            let (wall, least, most) = column(|cost| cost.wall.as_secs_f64());
            let ratio = |mine: f64, other: fn(&Contender) -> f64| match reference.map(other) {
                Some(other) if other > 0.0 && mine > 0.0 => format!("({:.2})", mine / other),
                _ => String::new(),
            };
            let mark = if contender.name == self.reference { "*" } else { "" };
            println!(
                "{:<52} {:>22} {:>8} {:>8.1} {:>8} {:>10.2} {:>7.0} {:>8.0} {:>8.0}%",
                format!("{}{mark}", contender.name),
                format!("{wall:.2} [{least:.2}-{most:.2}]"),
                ratio(wall, Contender::wall),
                megabytes(contender.size),
                ratio(contender.size as f64, |other| other.size as f64),
                column(|cost| cost.processor.as_secs_f64()).0,
                megabytes(contender.memory()),
                column(|cost| cost.written as f64).0 / 1e6,
                column(|cost| cost.elsewhere).0 * 100.0,
            );
        }
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn print_aims(tables: &[Table; 5]) {
    let [plain, gzip, zstd, from_gzip, from_zstd] = tables;
    println!("\nAims (dbbackup as it comes, with verify_after = checksum)");
    faster("gzip", gzip, "dbbackup gzip", 3.5, 1.05);
    faster("zstd", zstd, "dbbackup zstd", 1.5, 1.02);
    if let (Some(ours), Some(theirs)) = (plain.find("dbbackup none"), plain.find(PLAIN)) {
        let ratio = ours.wall() / theirs.wall();
        aim(format!("none takes at most 1.3 times as long as {PLAIN}"), format!("{ratio:.2} times"), ratio <= 1.3);
    }
    let ours = tables.iter().flat_map(|table| &table.contenders).filter(|contender| contender.name.starts_with("dbbackup"));
    let (most, name) = ours.map(|contender| (contender.memory(), &contender.name)).max().unwrap();
    aim("peak memory below 64 MB".into(), format!("{:.0} MB ({name})", megabytes(most)), most < 64_000_000);
    for (format, table) in [("gzip", from_gzip), ("zstd", from_zstd)] {
        at_decoding_speed(format, table);
    }
}

fn faster(format: &str, table: &Table, name: &str, times: f64, larger: f64) {
    let (Some(ours), Some(theirs)) = (table.find(name), table.find(table.reference)) else { return };
    let ratio = theirs.wall() / ours.wall();
    aim(format!("{format} at least {times} times as fast as {}", table.reference), format!("{ratio:.2} times"), ratio >= times);
    let ratio = ours.size as f64 / theirs.size as f64;
    let percent = (larger - 1.0) * 100.0;
    aim(format!("{format} at a size within {percent:.0} % of that"), format!("{:+.1} %", (ratio - 1.0) * 100.0), ratio <= larger);
}

/// Twice: beside what only decodes, and beside what also has SQLite check every page, as dbbackup does.
fn at_decoding_speed(format: &str, table: &Table) {
    let (Some(decoder), Some(restore)) = (table.find(table.reference), table.find(RESTORE)) else { return };
    let checksum = table.find(&verify_name("checksum")).map_or(0.0, Contender::wall);
    let content = table.find(&verify_name("content")).map_or(0.0, Contender::wall);
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
    aim(format!("verify and restore {format} at the speed of decoding ({name})"), said(decoder), not_slower(decoder));
    let Some(checked) = table.find(&format!("{name}, then integrity_check")) else { return };
    aim(format!("… or of {}", checked.name), said(checked), not_slower(checked));
}

fn aim(what: String, found: String, reached: bool) {
    println!("   {} {what}: {found}", if reached { "reached    " } else { "NOT REACHED" });
}
