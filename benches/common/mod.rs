//! What the benchmarks share: where they work, the database they work on, and how a command is
//! measured.
//!
//! `DBBACKUP_BENCH_DIR` says where (by default `target/bench-data`, which needs about four times
//! the database's size), `DBBACKUP_BENCH_MIB` how large the database is (1200 MiB by default),
//! `DBBACKUP_BENCH_GROWN=1` that it is to look like an old one (see `database`),
//! `DBBACKUP_BENCH_BINARY` which build is measured, so that two builds can be compared.

#![allow(dead_code)]

pub mod contest;
pub mod database;
pub mod measure;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary that is measured: the optimised one that cargo built for this run, or another build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        std::env::var_os("DBBACKUP_BENCH_BINARY").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_dbbackup")),
            PathBuf::from,
        )
    })
}

/// The directory for the databases and for all that is made of them.
pub fn workplace() -> PathBuf {
    let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-data");
    let dir = std::env::var_os("DBBACKUP_BENCH_DIR").map_or_else(default, PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    dir.canonicalize().unwrap()
}

/// The database's size.
pub fn mebibytes() -> u64 {
    number("DBBACKUP_BENCH_MIB", 1200)
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

/// What this process is: `cargo bench` says `--bench`; our own other processes are told their part
/// and its arguments.
pub enum Role {
    Benchmark,
    Part(String, Vec<String>),
    /// Something else, such as `cargo test --all-targets`, where minutes of measuring are not
    /// wanted.
    None,
}

pub fn role() -> Role {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "--part" => Role::Part(rest[0].clone(), rest[1..].to_vec()),
        _ if arguments.iter().any(|argument| argument == "--bench") => Role::Benchmark,
        _ => Role::None,
    }
}

/// This program once more, in another role.
pub fn part(name: &str, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--part", name]).args(arguments);
    command
}

/// Runs this program once more, in another role, to its end.
pub fn again(name: &str, arguments: &[&OsStr]) {
    let status = part(name, arguments).status().unwrap();
    assert!(status.success(), "{name} failed");
}

/// A configuration whose store is `store`, and nothing verified after a backup unless it is
/// `checked`.
pub fn configuration(dir: &Path, name: &str, compression: &str, checked: bool) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(format!("{name}.toml"));
    let verify_after = if checked { "checksum" } else { "none" };
    let text = format!(
        "[store]\npath = {store:?}\n[backup]\ncompression = {compression:?}\nverify_after = \
         {verify_after:?}\nscratch_dir = {dir:?}\n",
        store = dir.join(format!("store-{name}")),
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// `dbbackup` with this configuration.
pub fn dbbackup(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("--config")
        .arg(config)
        .arg("--quiet")
        .args(arguments);
    command
}

/// The only file of a source's directory whose name ends so; `None` where there is none.
pub fn only_file(dir: &Path, ending: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let found: Vec<PathBuf> = entries
        .filter(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| !name.starts_with('.') && name.ends_with(ending))
        })
        .collect();
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next()
}

/// Bytes of a file.
pub fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

/// Reads a file, so that it is in the page cache.
pub fn warm(path: &Path) {
    let mut file = std::fs::File::open(path).unwrap();
    let mut block = vec![0; 1 << 20];
    while file.read(&mut block).unwrap() > 0 {}
}

/// Removes a file or a directory and everything in it, if it is there.
pub fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else if path.symlink_metadata().is_ok() {
        std::fs::remove_file(path).unwrap();
    }
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// The first line that a program prints.
pub fn first_line(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return format!("{program} is not installed");
    };
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What the figures depend on.
pub fn describe_machine() {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = text("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor")
        .to_owned();
    println!(
        "machine:   {} x {model}, Linux {}",
        measure::cores(),
        text("/proc/sys/kernel/osrelease").trim()
    );
    println!(
        "dbbackup:  {}",
        first_line(&binary().display().to_string(), "--version")
    );
    for (program, argument) in [
        ("sqlite3", "--version"),
        ("gzip", "--version"),
        ("pigz", "--version"),
        ("zstd", "--version"),
    ] {
        println!(
            "{:<10} {}",
            format!("{program}:"),
            first_line(program, argument)
        );
    }
}
