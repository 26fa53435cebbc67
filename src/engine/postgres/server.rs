//! A throw-away PostgreSQL server for trial restores: made with `initdb` in a scratch directory, reached by a Unix socket in it alone, gone with its value.
//!
//! What is restored into it runs in it: a CHECK constraint may call a function that starts a program. So the server is never root, and root gives it
//! to a user that owns nothing and runs nothing, may gain no privileges, and has no network.

use super::connect::Session;
use super::conninfo::{ConnInfo, Spec};
use super::programs::{Program, Search};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::process::{Pipes, Process, last_lines};
use crate::scratch::Scratch;
use crate::users;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The server's superuser, a name that no dump has.
pub const SUPERUSER: &str = "dbbackup_drill";

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// The prefix of its scratch directories; see [`crate::scratch::sweep`].
pub const SCRATCH_PREFIX: &str = "dbbackup-drill-";

/// Removes what killed drills left in `parent`: with a directory whatever still runs in it as the user that it was given to. (Somebody else may have got that
/// user's number since.)
pub fn sweep(parent: &Path) {
    crate::scratch::sweep_after(parent, SCRATCH_PREFIX, |dir| {
        let owner = std::fs::symlink_metadata(dir.join(INSIDE)).map(|found| found.uid());
        if let Some(uid) = owner.ok().filter(|uid| UIDS.contains(uid) && rustix::process::geteuid().is_root()) {
            end_all(uid, |pid| is_of(pid, dir));
        }
    });
}

/// Where in a scratch directory the server is.
const INSIDE: &str = "pg";

/// Ids that systemd gives to services for a while, and that fit into a container's map.
const UIDS: std::ops::Range<u32> = 61_184..65_184;

/// What was tried, or why it can't be tried on this machine.
#[derive(Debug)]
pub enum Tried<T> {
    /// It was done.
    Done(T),
    /// It can't be had here: says nothing against a backup.
    Impossible(String),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Before the directory: it must have ended when that goes.
    postmaster: Option<Process>,
    inside: PathBuf,
    identity: Identity,
    search: Search,
    /// Its major version.
    pub major: u32,
    _scratch: Scratch,
}

impl Server {
    /// Starts one of the smallest major version that is at least `major`. `needed` bytes must be free in `parent`.
    pub fn start(parent: &Path, needed: u64, major: u32, search: &Search) -> Result<Tried<Server>> {
        let local = Search { prefix: Vec::new(), ..search.clone() };
        let (initdb, postgres, identity) = match means(&local, major)? {
            Tried::Done(means) => means,
            Tried::Impossible(why) => return Ok(Tried::Impossible(why)),
        };
        sweep(parent);
        let scratch = Scratch::new(parent, SCRATCH_PREFIX, needed, "a trial restore")?;
        let inside = scratch.join(INSIDE);
        make_room(&scratch, &inside, &identity)?;
        let mut server =
            Server { postmaster: None, inside, identity, search: local, major: postgres.version.major, _scratch: scratch };
        if let Err(error) = server.initialise(&initdb) {
            interrupt::check()?;
            return Ok(Tried::Impossible(format!("no throw-away cluster could be made: {error}")));
        }
        server.run(&postgres)?;
        Ok(Tried::Done(server))
    }

    /// `initdb` asks the system for its user's name, and a free id has none. It runs nothing that is not PostgreSQL's own, so it may be any user.
    fn initialise(&self, initdb: &Program) -> Result<()> {
        let maker = self.identity.maker()?;
        maker.own(&self.inside)?;
        let mut command = self.command_of(initdb, &maker);
        command.arg("--pgdata").arg(self.inside.join("data")).args(["--username", SUPERUSER, "--auth=trust"]);
        command.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"]);
        Process::output(command, "initdb", None)?;
        for entry in walkdir::WalkDir::new(&self.inside) {
            let entry = entry.map_err(|error| Error::from(io::Error::from(error)).context("giving the cluster to its user"))?;
            self.identity.own(entry.path())?;
        }
        Ok(())
    }

    fn run(&mut self, postgres: &Program) -> Result<()> {
        let mut command = self.command(postgres);
        command.arg("-D").arg(self.inside.join("data")).arg("-k").arg(&self.inside);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut postmaster =
            Process::start_ended_by(Signal::QUIT, command, "postgres", None, Pipes { stdin: false, stdout: false })?;
        let deadline = Instant::now() + START;
        let ready = loop {
            interrupt::check()?;
            if let Some(said) = postmaster.has_ended()? {
                break Err(Error::failed(format!("the throw-away server did not start: {}", last_lines(&said, 4))));
            }
            match self.session("postgres") {
                Ok(_) => break Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    break Err(error.context("the throw-away server did not answer"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        self.postmaster = Some(postmaster);
        ready
    }

    /// A session as its superuser.
    pub fn session(&self, database: &str) -> Result<Session> {
        let spec = Spec {
            host: Some(self.inside.display().to_string()),
            port: Some(5432.to_string()),
            user: Some(SUPERUSER.to_owned()),
            dbname: Some(database.to_owned()),
            ..Spec::default()
        };
        ConnInfo::resolve(&spec, &|_| None)?.with_application_name("dbbackup").connect()
    }

    /// A client program of the smallest version that is at least `major`, to be run as who the server is: what it is fed is not trusted either.
    pub fn client(&self, name: &str, major: u32) -> Result<Command> {
        Ok(self.command(&self.search.find(name, major)?))
    }

    /// A directory that its user may read and write, private otherwise.
    pub fn directory(&self) -> &Path {
        &self.inside
    }

    /// Gives a file in its directory to its user.
    pub fn hand_over(&self, path: &Path) -> Result<()> {
        self.identity.own(path)
    }

    fn command(&self, program: &Program) -> Command {
        self.command_of(program, &self.identity)
    }

    fn command_of(&self, program: &Program, identity: &Identity) -> Command {
        let mut command = program.command(&[], super::connect::Reached::cleared());
        command.current_dir(&self.inside).env("HOME", &self.inside).env("TZ", "UTC").env("TMPDIR", &self.inside);
        identity.assume(&mut command);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.postmaster.take());
        self.identity.end_all();
        self.identity.give_back();
    }
}

/// As fast as it can be: nothing that it holds outlives it.
const SETTINGS: [&str; 15] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "max_wal_size=1GB",
    "maintenance_work_mem=128MB",
    "max_locks_per_transaction=4096",
    "max_logical_replication_workers=0",
    "logging_collector=off",
    "jit=off",
    "log_min_messages=warning",
];

/// Whether a server could be started here; then the version that it would have.
pub fn possible(search: &Search, major: u32) -> Result<Tried<String>> {
    let local = Search { prefix: Vec::new(), ..search.clone() };
    Ok(match means(&local, major)? {
        Tried::Impossible(why) => Tried::Impossible(why),
        Tried::Done((_, postgres, identity)) => {
            identity.give_back();
            Tried::Done(postgres.version.to_string())
        }
    })
}

/// What a server is started with and as whom.
fn means(search: &Search, major: u32) -> Result<Tried<(Program, Program, Identity)>> {
    let Some((initdb, postgres)) = programs(search, major)? else {
        return Ok(Tried::Impossible(format!(
            "a trial restore needs the server's programs (`initdb`, `postgres`) of PostgreSQL {major} or newer here: install `postgresql-{major}`, set `bin_dir`, or give a `drill_url`"
        )));
    };
    Ok(match Identity::choose() {
        Tried::Done(identity) => Tried::Done((initdb, postgres, identity)),
        Tried::Impossible(why) => Tried::Impossible(why),
    })
}

/// `initdb` and `postgres` of one directory.
fn programs(search: &Search, major: u32) -> Result<Option<(Program, Program)>> {
    let servers = search.all("postgres")?;
    let mut pairs = Vec::new();
    for initdb in search.all("initdb")? {
        let beside =
            servers.iter().find(|server| server.version == initdb.version && server.path().parent() == initdb.path().parent());
        let fits = initdb.version.major >= major;
        pairs.extend(beside.filter(|_| fits).map(|server| (initdb.clone(), server.clone())));
    }
    Ok(pairs.into_iter().min_by_key(|(initdb, _)| initdb.version.major))
}

fn make_room(scratch: &Scratch, inside: &Path, identity: &Identity) -> Result<()> {
    let context = || format!("making `{}`", inside.display());
    if identity.uid.is_some() {
        // Its name can't be guessed and what is in it is private; the other user only goes through it.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711)).with_context(context)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(inside).with_context(context)?;
    identity.own(inside)
}

/// Who the server runs as.
#[derive(Debug, Clone)]
struct Identity {
    /// Another user; `None`: who we are.
    uid: Option<u32>,
}

impl Identity {
    fn choose() -> Tried<Identity> {
        if rustix::process::geteuid().is_root() {
            return match reserve_uid() {
                Some(uid) => Tried::Done(Identity { uid: Some(uid) }),
                None => Tried::Impossible("there is no free user id for the throw-away server".to_owned()),
            };
        }
        // What a dump brings runs as this user, so it must not be one that owns servers.
        match users::me().as_deref() {
            Some(name @ ("postgres" | "nobody")) => Tried::Impossible(format!(
                "a trial restore is not made as the user `{name}`, for what a dump brings would run with its rights: run it as root or another user, or give a `drill_url`"
            )),
            _ => Tried::Done(Identity { uid: None }),
        }
    }

    /// Another server may use it.
    fn give_back(&self) {
        if let Some(uid) = self.uid {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        }
    }

    /// An unprivileged user that has a name, where this one has none.
    fn maker(&self) -> Result<Identity> {
        if self.uid.is_none() {
            return Ok(self.clone());
        }
        let uid = ["daemon", "bin", "nobody"].into_iter().find_map(users::user_id).filter(|uid| *uid != 0);
        uid.map(|uid| Identity { uid: Some(uid) })
            .ok_or_else(|| Error::failed("there is no unprivileged user to run `initdb` as"))
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some(uid) = self.uid else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(uid))
            .with_context(|| format!("giving `{}` to user {uid}", path.display()))
    }

    /// Has the command run as this user, without any privilege to gain, and without network where that is permitted.
    fn assume(&self, command: &mut Command) {
        let uid = self.uid;
        // SAFETY: between fork and exec only these system calls are made, which are safe there.
        unsafe {
            command.pre_exec(move || become_user(uid));
        }
    }

    /// Ends whatever still runs as this user: it is nobody else's.
    fn end_all(&self) {
        if let Some(uid) = self.uid {
            end_all(uid, |_| true);
        }
    }
}

fn end_all(uid: u32, which: impl Fn(i32) -> bool) {
    for _ in 0..20 {
        let pids: Vec<i32> = processes_of(uid).into_iter().filter(|pid| which(*pid)).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process was started by what ran in this directory: it is still there, or has its home there.
fn is_of(pid: i32, dir: &Path) -> bool {
    let place = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place.starts_with(dir));
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    place || memchr::memmem::find(&environment, dir.as_os_str().as_encoded_bytes()).is_some()
}

fn become_user(uid: Option<u32>) -> io::Result<()> {
    let done = |status: libc::c_int| if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: system calls with plain numbers; the group list is empty.
    unsafe {
        if let Some(uid) = uid {
            #[cfg(target_os = "linux")]
            let _ = libc::unshare(libc::CLONE_NEWNET);
            done(libc::setgroups(0, std::ptr::null()))?;
            done(libc::setgid(uid))?;
            done(libc::setuid(uid))?;
        }
        #[cfg(target_os = "linux")]
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    Ok(())
}

/// The ids of this process's servers: one is taken before anything runs under it.
static RESERVED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// One of them that nobody has.
fn reserve_uid() -> Option<u32> {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let count = UIDS.end - UIDS.start;
    let start = std::process::id().wrapping_mul(31) % count;
    let mut candidates = (0..count).map(|at| UIDS.start + (start + at) % count);
    let uid =
        candidates.find(|uid| !reserved.contains(uid) && users::user_name(*uid).is_none() && processes_of(*uid).is_empty())?;
    reserved.insert(uid);
    Some(uid)
}

fn processes_of(uid: u32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        entry.metadata().is_ok_and(|found| found.uid() == uid).then_some(pid)
    };
    entries.filter_map(pid).collect()
}
