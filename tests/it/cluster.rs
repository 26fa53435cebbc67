//! Throw-away PostgreSQL clusters: one that all tests of a process share, and more where a test
//! needs its own configuration, version or crash.
//!
//! A cluster lives in one directory below `/tmp`. A small shell keeps it: it makes the directory,
//! runs `initdb` and the server as its children, and takes its orders from a pipe. When that pipe
//! closes, because the cluster was dropped or because the test process ended in whatever way, it
//! stops the server and removes the directory. So nothing is left behind, not even by a test
//! process that was killed.
//!
//! As root, the keeper and all that it starts run as the user `postgres` (or `nobody`), for
//! PostgreSQL refuses to be root.

#![allow(dead_code)]

use postgres::{Client, NoTls, SimpleQueryMessage};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Settings that all clusters begin with: quick, and ready for what the tests do.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "100"),
    ("max_prepared_transactions", "10"),
    ("wal_level", "logical"),
    ("listen_addresses", "127.0.0.1"),
    ("timezone", "UTC"),
    ("lc_messages", "C"),
];

/// How long anything may take that a cluster is asked for: as `moments` has it. (This file is also
/// a part of other programs, which lack that one.)
const PATIENCE: Duration = Duration::from_secs(120);

/// What a cluster is to be like.
pub struct Options {
    /// Its programs; by default those of the shared cluster.
    pub bin: Option<PathBuf>,
    /// Settings for `postgresql.conf`.
    pub config: Vec<(String, String)>,
    /// What `pg_hba.conf` says, after a line that lets the superuser in through the socket.
    pub hba: Option<String>,
    /// More arguments for `initdb`; the later of two that contradict each other counts.
    pub initdb: Vec<String>,
    pub superuser: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bin: None,
            config: Vec::new(),
            hba: None,
            initdb: Vec::new(),
            superuser: "postgres".into(),
        }
    }
}

/// A running server with a directory of its own.
pub struct Cluster {
    keeper: Mutex<Keeper>,
    bin: PathBuf,
    major: u32,
    dir: PathBuf,
    data: PathBuf,
    superuser: String,
    port: u16,
    pid: AtomicI32,
    databases: AtomicU32,
}

// -------------------------------------------------------------------------------------------------
// what is installed

impl Cluster {
    /// The directories with `initdb` and `postgres`, of any version: those that
    /// `DBBACKUP_TEST_POSTGRES` names, separated by colons, and those of the system.
    pub fn installed() -> Vec<PathBuf> {
        let named = std::env::var_os("DBBACKUP_TEST_POSTGRES").unwrap_or_default();
        let mut found: Vec<PathBuf> = std::env::split_paths(&named)
            .filter(|dir| has(dir, &["initdb", "postgres"]))
            .collect();
        found.extend(installed_by_the_system());
        distinct(found)
    }

    /// Those that have the client programs too.
    pub fn with_clients() -> Vec<PathBuf> {
        let mut found = Cluster::installed();
        found.retain(|bin| has(bin, CLIENTS));
        found
    }

    /// The major version of the programs in a directory.
    pub fn major(bin: &Path) -> u32 {
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text
            .split_whitespace()
            .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        let digits = number.and_then(|number| {
            number
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        digits.unwrap_or_else(|| {
            panic!(
                "{}/postgres says {text:?} ({})",
                bin.display(),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// The programs that tests use where nothing else is said: the newest version that the system
    /// has with all client programs, so that the binary under test finds them by itself; where it
    /// has none, the newest of `DBBACKUP_TEST_POSTGRES`.
    pub fn usual() -> Option<PathBuf> {
        let with_clients = Cluster::with_clients();
        let system: Vec<PathBuf> = distinct(installed_by_the_system())
            .into_iter()
            .filter(|bin| with_clients.contains(bin))
            .collect();
        let newest = |bins: Vec<PathBuf>| bins.into_iter().max_by_key(|bin| Cluster::major(bin));
        newest(system).or_else(|| newest(with_clients))
    }
}

const CLIENTS: &[&str] = &["pg_dump", "pg_restore", "psql"];

fn installed_by_the_system() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    found.retain(|dir| has(dir, &["initdb", "postgres"]));
    found
}

fn has(dir: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| dir.join(program).is_file())
}

/// Each directory once, under its real name; where the programs are only links, it is the one that
/// they lead to.
fn distinct(dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for program in dirs
        .into_iter()
        .filter_map(|dir| dir.join("postgres").canonicalize().ok())
    {
        let dir = program.parent().unwrap().to_owned();
        if !found.contains(&dir) {
            found.push(dir);
        }
    }
    found
}

// -------------------------------------------------------------------------------------------------
// start and end

impl Cluster {
    /// The cluster that all tests of this process share, started on first use; each test makes its
    /// own databases in it. `None`, and a line that says so, where PostgreSQL is not installed,
    /// unless `DBBACKUP_TEST_TOOLS` is `required`.
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: LazyLock<Option<Cluster>> =
            LazyLock::new(|| Cluster::start(Options::default()));
        SHARED.as_ref()
    }

    /// A cluster of one's own.
    pub fn start(options: Options) -> Option<Cluster> {
        let Some(bin) = options.bin.clone().or_else(Cluster::usual) else {
            let required =
                std::env::var("DBBACKUP_TEST_TOOLS").is_ok_and(|value| value == "required");
            assert!(
                !required,
                "PostgreSQL is not installed, and DBBACKUP_TEST_TOOLS is \"required\""
            );
            eprintln!(
                "skipped: PostgreSQL is not installed (or its server or its client programs are \
                 not)"
            );
            return None;
        };
        let cluster = Cluster::empty(bin, &options.superuser);
        cluster.initialise(&options);
        Some(cluster.first_started())
    }

    /// The directory and its keeper.
    fn empty(bin: PathBuf, superuser: &str) -> Cluster {
        let (keeper, dir) = Keeper::new();
        let (data, major) = (dir.join("data"), Cluster::major(&bin));
        let superuser = superuser.to_owned();
        let (pid, databases) = (AtomicI32::new(0), AtomicU32::new(0));
        Cluster {
            keeper: Mutex::new(keeper),
            bin,
            major,
            dir,
            data,
            superuser,
            port: 0,
            pid,
            databases,
        }
    }

    fn initialise(&self, options: &Options) {
        let mut line = format!(
            "$known {} -D data -A trust --no-sync -E UTF8 --locale=C.UTF-8 -U",
            quoted(self.bin.join("initdb"))
        );
        for argument in [&self.superuser].into_iter().chain(&options.initdb) {
            write!(line, " {}", quoted(argument)).unwrap();
        }
        self.run(&line);
        self.configure(SETTINGS);
        self.configure(&options.config);
        if let Some(hba) = &options.hba {
            let user = self.superuser.replace('"', "\"\"");
            let own = format!("local all \"{user}\" trust\nlocal replication \"{user}\" trust\n");
            self.file("pg_hba.conf", format!("{own}{hba}").as_bytes());
        }
    }

    /// Lines for `postgresql.conf`, in force after the next start or [`Cluster::reload`].
    pub fn configure<K: AsRef<str>, V: AsRef<str>>(&self, settings: &[(K, V)]) {
        let path = self.data.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (name, value) in settings {
            let value = value.as_ref().replace('\\', "\\\\").replace('\'', "''");
            writeln!(text, "{} = '{value}'", name.as_ref()).unwrap();
        }
        std::fs::write(&path, text).unwrap();
    }

    /// A file in the data directory that belongs to the server's user and that nobody else may
    /// read, as PostgreSQL wants keys to be.
    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.data.join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let owner = self.data.metadata().unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        path
    }

    /// Started on a port that is free; again on another one where somebody else has taken it
    /// meanwhile.
    fn first_started(mut self) -> Cluster {
        for attempt in 1.. {
            self.port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let port = self.port.to_string();
            self.configure(&[
                ("port", port.as_str()),
                ("unix_socket_directories", self.dir.to_str().unwrap()),
            ]);
            match self.try_start() {
                Ok(()) => break,
                Err(log) => assert!(
                    attempt < 5 && log.contains("could not bind"),
                    "the server did not start:\n{log}"
                ),
            }
        }
        self
    }

    /// Starts the server after a [`Cluster::stop`] or [`Cluster::kill`], on the same port.
    pub fn start_again(&self) {
        let started = Instant::now();
        while let Err(log) = self.try_start() {
            // What another process has as its port, or a killed server's shared memory: both pass.
            let passes = log.contains("could not bind") || log.contains("shared memory block");
            assert!(
                passes && started.elapsed() < PATIENCE,
                "the server did not start:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `Err` with the log where the server ends instead.
    fn try_start(&self) -> Result<(), String> {
        let before = self.log().len();
        // Not `exec`ed by a shell between: what is told is the server's own pid.
        let line = format!(
            "{} -D \"$here/data\" </dev/null >>\"$here/log\" 2>&1 & server=$!; echo $server",
            quoted(self.bin.join("postgres"))
        );
        let pid = self.keeper.lock().unwrap().ask(&line);
        self.pid.store(pid.parse().unwrap(), Ordering::SeqCst);
        if self.is_ready() {
            return Ok(());
        }
        self.reap();
        Err(self.log()[before..].to_owned())
    }

    /// Waits until the server takes connections; false if it ends instead.
    fn is_ready(&self) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            // Its first line is the pid, its eighth the state.
            let text =
                std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = text.lines();
            let pid = lines.next().and_then(|line| line.parse().ok());
            if pid == Some(self.pid()) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
            {
                return true;
            }
            if !runs(self.pid()) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!(
            "the server is not ready after {PATIENCE:?}:\n{}",
            self.log()
        );
    }

    /// Waits until the server takes connections, after a start, a crash of one of its processes, or
    /// `pg_promote`.
    pub fn wait_ready(&self) {
        assert!(self.is_ready(), "the server has ended:\n{}", self.log());
    }

    /// Stops the server as `pg_ctl stop` does: sessions end, nothing is lost.
    pub fn stop(&self) {
        self.stop_by(Signal::INT);
    }

    /// `INT` ends the sessions first, `TERM` waits for them, `QUIT` is as good as a crash.
    pub fn stop_by(&self, signal: Signal) {
        self.signal(signal);
        self.reap();
    }

    /// As when the machine loses power: every process of the server is killed at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.reap();
        // They would see for themselves that the postmaster is gone, but some of them late.
        let started = Instant::now();
        loop {
            let left = processes_in(&self.data);
            if left.is_empty() {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{left:?} do not end");
            for pid in left {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Has the server read its configuration files again, and waits until a new session sees them.
    pub fn reload(&self) {
        let loaded = || self.value("postgres", "SELECT pg_conf_load_time()");
        let before = loaded();
        self.signal(Signal::HUP);
        let started = Instant::now();
        while loaded() == before {
            assert!(
                started.elapsed() < PATIENCE,
                "the configuration is not read:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends the postmaster a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("the server is stopped");
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the postmaster has ended.
    fn reap(&self) {
        self.keeper
            .lock()
            .unwrap()
            .ask("wait \"$server\" 2>/dev/null; server=; echo");
        self.pid.store(0, Ordering::SeqCst);
    }

    /// A hot standby of this cluster, that follows it.
    pub fn standby(&self) -> Cluster {
        let standby = Cluster::empty(self.bin.clone(), &self.superuser);
        let program = quoted(self.bin.join("pg_basebackup"));
        let from = format!(
            "host={} port={} user='{}'",
            self.dir.display(),
            self.port,
            self.superuser
        );
        standby.run(&format!(
            "{program} -D data -R -X stream -c fast --no-sync -d {}",
            quoted(from)
        ));
        standby.first_started()
    }

    /// Waits until this standby has all that has been committed there.
    pub fn catch_up(&self, primary: &Cluster) {
        let position = primary.value("postgres", "SELECT pg_current_wal_flush_lsn()");
        let started = Instant::now();
        while self.value(
            "postgres",
            &format!("SELECT pg_last_wal_replay_lsn() >= '{position}'"),
        ) != "t"
        {
            assert!(
                started.elapsed() < PATIENCE,
                "the standby does not reach {position}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command in the cluster's directory, as the server's user.
    fn run(&self, command: &str) {
        let status = self.keeper.lock().unwrap().ask(&format!(
            "{command} </dev/null >>\"$here/log\" 2>&1; echo $?"
        ));
        assert_eq!(status, "0", "{command}\n{}", self.log());
    }
}

/// The shell that keeps a cluster's directory and its server.
struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// An answer that nobody reads any more must not end it. `initdb` insists on a user that has a
/// name; where the one that runs the tests has none, it is told in a namespace of its own that it
/// is `nobody`. A server that is only just starting may still ignore the signal, hence the loop.
const KEEPER: &str = r#"
    trap : PIPE
    here=$(mktemp -d /tmp/pg-test.XXXXXX) && chmod 755 "$here" && cd "$here" && exec 2>>log || exit
    known= server=
    id -un >/dev/null 2>&1 ||
    known="unshare --user --map-user=$(id -u nobody) --map-group=$(id -g nobody)"
    echo "$here"
    while read -r order; do eval "$order"; done
    while [ -n "$server" ] && kill -QUIT "$server" 2>/dev/null; do sleep 0.02; done
    cd / && rm -rf "$here"
"#;

impl Keeper {
    fn new() -> (Keeper, PathBuf) {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(KEEPER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        without_settings(&mut command)
            .env("LC_ALL", "C")
            .env_remove("LANG")
            .env_remove("LANGUAGE");
        // A Ctrl-C at the terminal ends the tests, and they end this.
        command.process_group(0);
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = unprivileged();
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().unwrap();
        let (orders, answers) = (
            child.stdin.take(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let mut keeper = Keeper {
            child,
            orders,
            answers,
        };
        let dir = keeper.answer();
        (keeper, dir.into())
    }

    /// One line that the shell executes, and the line with which it answers.
    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders.as_ref().unwrap(), "{order}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).unwrap();
        assert!(length > 0, "the cluster's keeper has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// A user that is not root: PostgreSQL's own, or nobody. It must be known by name, or `initdb`
/// refuses.
fn unprivileged() -> (u32, u32) {
    let text = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line
            .split(':')
            .skip(2)
            .map(|number| number.parse::<u32>().unwrap());
        Some((numbers.next()?, numbers.next()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .expect("neither postgres nor nobody in /etc/passwd")
}

fn quoted(word: impl AsRef<OsStr>) -> String {
    format!(
        "'{}'",
        word.as_ref().to_str().unwrap().replace('\'', r"'\''")
    )
}

/// Whether a process is there and has not ended.
fn runs(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state follows the name, which is in parentheses.
        Ok(text) => text
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        Err(_) => rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok(),
    }
}

/// The processes whose working directory this is; all of a server have its data directory as
/// theirs.
fn processes_in(dir: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir) && runs(*pid)
    })
    .collect()
}

// -------------------------------------------------------------------------------------------------
// what it is

impl Cluster {
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    pub fn major_version(&self) -> u32 {
        self.major
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn superuser(&self) -> &str {
        &self.superuser
    }

    /// The postmaster's; 0 while the server is stopped.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::SeqCst)
    }

    /// All that the server has written to its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default())
            .into_owned()
    }

    /// Through the Unix socket, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as(&self.superuser, database)
    }

    /// Through the Unix socket.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let host = percent_encoded(self.dir.to_str().unwrap());
        format!(
            "postgresql://{}@/{}?host={host}&port={}",
            percent_encoded(user),
            percent_encoded(database),
            self.port
        )
    }

    /// Through TCP, as the superuser.
    pub fn tcp_url(&self, database: &str) -> String {
        format!(
            "postgresql://{}@127.0.0.1:{}/{}",
            percent_encoded(&self.superuser),
            self.port,
            percent_encoded(database)
        )
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}

/// A name as SQL wants it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

// -------------------------------------------------------------------------------------------------
// work with it

impl Cluster {
    /// A session as the superuser.
    #[track_caller]
    pub fn client(&self, database: &str) -> Client {
        let mut config = Client::configure();
        config
            .host_path(&self.dir)
            .port(self.port)
            .user(&self.superuser)
            .dbname(database);
        config
            .connect(NoTls)
            .unwrap_or_else(|error| panic!("{database}: {}", explained(&error)))
    }

    /// Runs statements, in a session of their own.
    #[track_caller]
    pub fn sql(&self, database: &str, script: &str) {
        if let Err(error) = self.client(database).batch_execute(script) {
            panic!(
                "{}\nin {database}: {}",
                explained(&error),
                script.chars().take(1000).collect::<String>()
            );
        }
    }

    /// The first column of the first row, as text; empty where it is NULL.
    #[track_caller]
    pub fn value(&self, database: &str, query: &str) -> String {
        match self.client(database).simple_query(query) {
            Ok(messages) => {
                let row = messages.iter().find_map(|message| {
                    if let SimpleQueryMessage::Row(row) = message {
                        Some(row)
                    } else {
                        None
                    }
                });
                row.unwrap_or_else(|| panic!("no row in {database}: {query}"))
                    .get(0)
                    .unwrap_or_default()
                    .to_owned()
            }
            Err(error) => panic!("{}\nin {database}: {query}", explained(&error)),
        }
    }

    /// A new, empty database of a name that no other has.
    #[track_caller]
    pub fn database(&self, prefix: &str) -> Database<'_> {
        let name = format!(
            "{prefix}_{}",
            self.databases.fetch_add(1, Ordering::Relaxed)
        );
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {} TEMPLATE template0", identifier(&name)),
        );
        Database {
            cluster: self,
            name,
        }
    }

    /// One of this version's programs, told of this server and of nothing else.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        without_settings(&mut command)
            .env("PGHOST", &self.dir)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.superuser);
        command.stdin(Stdio::null());
        command
    }

    /// What `pg_dump` prints of a database, less what differs from run to run: the `\restrict`
    /// keys, the dates and the versions.
    #[track_caller]
    pub fn dump_text(&self, database: &str, more: &[&str]) -> String {
        let output = self
            .program("pg_dump")
            .args(["-d", database])
            .args(more)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "pg_dump {database}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)
            .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
        let varies = [
            "\\restrict ",
            "\\unrestrict ",
            "-- Dumped ",
            "-- Started on ",
            "-- Completed on ",
        ];
        text.split_inclusive('\n')
            .filter(|line| !varies.iter().any(|start| line.starts_with(start)))
            .collect()
    }
}

/// A database that is dropped with the value.
pub struct Database<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
}

impl Database<'_> {
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        self.cluster.client(&self.name)
    }

    #[track_caller]
    pub fn sql(&self, script: &str) {
        self.cluster.sql(&self.name, script);
    }

    #[track_caller]
    pub fn value(&self, query: &str) -> String {
        self.cluster.value(&self.name, query)
    }

    #[track_caller]
    pub fn dump_text(&self) -> String {
        self.cluster.dump_text(&self.name, &[])
    }

    /// Runs a file through `psql`.
    #[track_caller]
    pub fn load(&self, path: &Path) {
        let mut psql = self.cluster.program("psql");
        let output = psql
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.name, "-f"])
            .arg(path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // The server may be gone, or the test may have failed in between; either way the cluster
        // takes its databases with it.
        let mut config = Client::configure();
        config
            .host_path(&self.cluster.dir)
            .port(self.cluster.port)
            .user(&self.cluster.superuser)
            .dbname("postgres");
        if let Ok(mut client) = config.connect(NoTls) {
            let _ = client.batch_execute(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                identifier(&self.name)
            ));
        }
    }
}

/// Fails with the first lines that differ, rather than with all of both.
#[track_caller]
pub fn assert_same(left: &str, right: &str) {
    if left == right {
        return;
    }
    let (left, right): (Vec<&str>, Vec<&str>) =
        (left.split('\n').collect(), right.split('\n').collect());
    let at = left
        .iter()
        .zip(&right)
        .take_while(|(left, right)| left == right)
        .count();
    let shown = |lines: &[&str]| -> String {
        let shown = lines.iter().skip(at.saturating_sub(5)).take(15);
        shown
            .map(|line| format!("    {}\n", line.chars().take(200).collect::<String>()))
            .collect()
    };
    panic!(
        "they differ in line {}; left ({} lines):\n{}right ({} lines):\n{}",
        at + 1,
        left.len(),
        shown(&left),
        right.len(),
        shown(&right)
    );
}

/// Without the `PG…` variables that this process was started with.
fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
}

fn explained(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!(
            "{error}{}",
            error
                .detail()
                .map(|detail| format!(" ({detail})"))
                .unwrap_or_default()
        ),
        None => format!(
            "{error}{}",
            std::error::Error::source(error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default()
        ),
    }
}
