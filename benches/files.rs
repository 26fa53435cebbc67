//! `cargo bench --bench files`: dbbackup beside `tar` and a compressor, on a tree of large files
//! and on one of very many small ones, in one run.
//!
//! All read from a warm page cache, and all end with their result on disk (fsync).
//! `DBBACKUP_BENCH_ROUNDS` says how many rounds (5 by default), `DBBACKUP_BENCH_MIB` how large the
//! first tree is (1000 by default), `DBBACKUP_BENCH_FILES` how many files the second has (100,000
//! by default). What is in them is taken from what lies in /usr: text, programs, some of it
//! compressed already.

mod common;

use common::contest::{Contender, Table, aim, explain_columns, megabytes, memory_of_ours};
use common::{Role, configuration, dbbackup, warm};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    match common::role() {
        Role::Benchmark => benchmark(),
        // In a process of its own: what it holds would be counted as everybody's.
        Role::Part(kind, arguments) => make(
            &kind,
            Path::new(&arguments[0]),
            arguments[1].parse().unwrap(),
        ),
        Role::None => println!("run me by `cargo bench --bench files`: it takes ten minutes"),
    }
}

fn benchmark() {
    let rounds = common::number("DBBACKUP_BENCH_ROUNDS", 5).max(1);
    common::describe_machine();
    println!("tar:       {}", common::first_line("tar", "--version"));
    let place = common::workplace();
    let trees = [
        tree(&place, "large", common::number("DBBACKUP_BENCH_MIB", 1000)),
        tree(
            &place,
            "small",
            common::number("DBBACKUP_BENCH_FILES", 100_000),
        ),
    ];
    let work = tempfile::Builder::new()
        .prefix("files-")
        .tempdir_in(&place)
        .unwrap();
    let mut tables: Vec<(PathBuf, Table)> = Vec::new();
    for (name, tree) in ["large files", "small files"].into_iter().zip(&trees) {
        let found: Vec<u64> = files(tree).iter().map(|path| common::size(path)).collect();
        println!(
            "{name}: {} files, {:.0} MB; {rounds} rounds",
            found.len(),
            megabytes(found.iter().sum())
        );
        tables.push((tree.clone(), gzip(name, tree, work.path())));
        tables.push((tree.clone(), zstd(name, tree, work.path())));
        tables.push((tree.clone(), reading(name, tree, work.path())));
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (tree, table) in &mut tables {
            for contender in &mut table.contenders {
                contender.turn(round, || files(tree).iter().for_each(|path| warm(path)));
            }
        }
    }
    explain_columns();
    let tables: Vec<Table> = tables.into_iter().map(|(_, table)| table).collect();
    tables.iter().for_each(Table::print);
    print_aims(&tables);
}

const PIGZ: &str = "tar | pigz -6";
const ZSTD: &str = "tar | zstd -3 -T0";
const UNTAR: &str = "zstd -dc | tar -x";

/// A pipeline of the shell that reads `$IN` and leaves its result in `$OUT`.
fn shell(
    name: &str,
    programs: &[&'static str],
    input: &Path,
    work: &Path,
    script: &str,
) -> Contender {
    let dir = work.join("shell");
    let (script, input, out) = (
        format!("set -e -o pipefail; {script}"),
        input.to_owned(),
        dir.join("out"),
    );
    Contender::new(name, programs, &dir, "out", move || {
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(&script)
            .env("IN", &input)
            .env("OUT", &out);
        command
    })
}

fn through(name: &str, filter: &str, program: &'static str, tree: &Path, work: &Path) -> Contender {
    let script = format!(
        r#"tar -cf - -C "$(dirname "$IN")" "$(basename "$IN")" | {filter} >"$OUT"; sync "$OUT""#
    );
    shell(name, &["tar", program], tree, work, &script)
}

fn backup(tree: &Path, work: &Path, compression: &str, checked: bool) -> Contender {
    let name = format!("{compression}-{checked}");
    let config = configuration(work, &name, compression, checked);
    let title = format!(
        "dbbackup {compression}{}",
        if checked { "" } else { ", verify_after none" }
    );
    let ending = if compression == "gzip" {
        ".tar.gz"
    } else {
        ".tar.zst"
    };
    let from = tree.to_owned();
    let command = move || dbbackup(&config, &["backup", from.to_str().unwrap(), "--as", "tree"]);
    Contender::new(
        &title,
        &[],
        &work.join(format!("store-{name}/tree")),
        ending,
        command,
    )
}

fn gzip(name: &str, tree: &Path, work: &Path) -> Table {
    let contenders = vec![
        through("tar | gzip -6", "gzip -6", "gzip", tree, work).once(),
        through(PIGZ, "pigz -6", "pigz", tree, work),
        backup(tree, work, "gzip", true),
        backup(tree, work, "gzip", false),
    ];
    Table::new(&format!("Backup of {name}, gzip"), PIGZ, contenders)
}

fn zstd(name: &str, tree: &Path, work: &Path) -> Table {
    let contenders = vec![
        through(ZSTD, "zstd -q -3 -T0", "zstd", tree, work),
        backup(tree, work, "zstd", true),
        backup(tree, work, "zstd", false),
    ];
    Table::new(&format!("Backup of {name}, zstd"), ZSTD, contenders)
}

/// Verifying and restoring what is kept in a store of its own.
fn reading(name: &str, tree: &Path, work: &Path) -> Table {
    let kept = format!("kept-{}", tree.file_name().unwrap().to_str().unwrap());
    let config = configuration(work, &kept, "zstd", true);
    common::measure::cost(&mut dbbackup(
        &config,
        &["backup", tree.to_str().unwrap(), "--as", "tree"],
    ));
    let dump = common::only_file(&work.join(format!("store-{kept}/tree")), ".tar.zst").unwrap();
    let verify = config.clone();
    let target = work.join("restored");
    let to = target.join("out");
    let contenders = vec![
        shell(
            UNTAR,
            &["tar", "zstd"],
            &dump,
            work,
            r#"mkdir -p "$OUT"; zstd -q -dc "$IN" | tar -xf - -C "$OUT"; sync -f "$OUT""#,
        ),
        Contender::new(
            "dbbackup verify",
            &[],
            &work.join("nothing"),
            "-",
            move || dbbackup(&verify, &["verify", "tree"]),
        ),
        Contender::new("dbbackup restore --to", &[], &target, "out", move || {
            dbbackup(&config, &["restore", "tree", "--to", to.to_str().unwrap()])
        }),
    ];
    Table::new(&format!("Reading back {name}"), UNTAR, contenders)
}

fn print_aims(tables: &[Table]) {
    println!("\nAims (dbbackup as it comes, with verify_after = checksum)");
    for table in tables {
        let theirs = table.find(table.reference);
        for contender in table.contenders.iter().filter(|contender| {
            ["dbbackup gzip", "dbbackup zstd", "dbbackup restore --to"]
                .contains(&contender.name.as_str())
        }) {
            if let Some(theirs) = theirs {
                let ratio = contender.wall() / theirs.wall();
                let what = format!(
                    "{}: {} takes no longer than {}",
                    table.title, contender.name, theirs.name
                );
                aim(what, format!("{ratio:.2} times"), ratio <= 1.0);
            }
        }
    }
    memory_of_ours(tables, 64);
}

// -------------------------------------------------------------------------------------------------
// the trees

/// Every file of a tree, in order.
fn files(tree: &Path) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(tree)
        .sort_by_file_name()
        .into_iter()
        .flatten();
    all.filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// Bytes to make files of: up to this many of what /usr holds.
fn material(most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for root in ["/usr/share", "/usr/lib", "/usr/bin", "/usr/include"] {
        let mut taken = 0;
        for path in files(Path::new(root)) {
            if taken < most / 4
                && let Ok(content) = std::fs::read(&path)
            {
                taken += content.len().min(1 << 20);
                bytes.extend_from_slice(&content[..content.len().min(1 << 20)]);
            }
        }
    }
    assert!(
        bytes.len() > 1 << 20,
        "there is nothing in /usr to make files of"
    );
    bytes
}

/// A generator that gives the same numbers every time: xorshift64*, see
/// <https://www.jstatsoft.org/article/view/v008i14>.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
}

/// A tree that is made once and kept for further runs.
fn tree(place: &Path, kind: &str, size: u64) -> PathBuf {
    let tree = place.join(format!("{kind}-{size}"));
    let done = place.join(format!("{kind}-{size}.done"));
    if !done.is_file() {
        common::remove(&tree);
        std::fs::create_dir_all(&tree).unwrap();
        common::again(kind, &[tree.as_os_str(), OsStr::new(&size.to_string())]);
        File::create(done).unwrap();
    }
    tree
}

fn make(kind: &str, tree: &Path, size: u64) {
    match kind {
        "large" => large(tree, size),
        "small" => small(tree, size),
        other => panic!("no part `{other}`"),
    }
}

/// Files of 64 MiB, each made of pieces of 256 KiB in no order.
fn large(tree: &Path, mebibytes: u64) {
    let material = material(400 << 20);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for number in 0..mebibytes.div_ceil(64) {
        let mut file = File::create(tree.join(format!("file{number:03}"))).unwrap();
        for _ in 0..256 {
            let at = random(&mut state) as usize % (material.len() - (256 << 10));
            file.write_all(&material[at..at + (256 << 10)]).unwrap();
        }
    }
}

/// Files of a few bytes to 64 KiB, half of them below 2 KiB, a thousand to a directory.
fn small(tree: &Path, count: u64) {
    let material = material(100 << 20);
    let mut state = 0x1234_5678_9abc_def1;
    for number in 0..count {
        let directory = tree.join(format!("{:03}", number / 1000));
        std::fs::create_dir_all(&directory).unwrap();
        let most = 64_usize << (random(&mut state) % 11);
        let length = random(&mut state) as usize % most;
        let at = random(&mut state) as usize % (material.len() - length);
        std::fs::write(
            directory.join(format!("{number:06}")),
            &material[at..at + length],
        )
        .unwrap();
    }
}
