//! A throw-away PostgreSQL server for trial restores: made with `initdb` in a scratch directory,
//! reached by a Unix socket in it alone, gone with its value.
//!
//! What is restored into it runs in it: a CHECK constraint may call a function that starts a
//! program. So the server and the programs that fill it are confined
//! ([`crate::process::confined`]): they see the system's programs and one scratch directory, and
//! reach no socket and no process but their own. Root also gives them to a user that owns nothing
//! and runs nothing. Where they can't be confined there is no server, unless the user trusts the
//! dump.

use super::connect::Session;
use super::conninfo::{ConnInfo, Spec};
use super::programs::{Program, Search};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::process::confined::{self, Confinement, Walls};
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

/// Removes what killed drills left in `parent`: with a directory whatever still runs in it as the
/// user that it was given to. (Somebody else may have got that user's number since.)
pub fn sweep(parent: &Path) {
    crate::scratch::sweep_after(parent, SCRATCH_PREFIX, |dir| {
        let owner = std::fs::symlink_metadata(dir.join(INSIDE)).map(|found| found.uid());
        if let Some(uid) = owner
            .ok()
            .filter(|uid| UIDS.contains(uid) && rustix::process::geteuid().is_root())
        {
            end_all(uid, |pid| is_of(pid, dir));
        }
    });
}

/// Where in a scratch directory the server is, and the empty directory on which its own root
/// directory is built.
const INSIDE: &str = "pg";
const ROOT: &str = "root";

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

/// Where a server is made, and how far what runs in it is trusted.
#[derive(Debug)]
pub struct Place<'a> {
    /// The directory for its scratch directory.
    pub parent: &'a Path,
    /// It need not be confined.
    pub trusted: bool,
    /// Places that it must not even see.
    pub hidden: &'a [PathBuf],
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Before the directory: it must have ended when that goes.
    postmaster: Option<Process>,
    inside: PathBuf,
    identity: Identity,
    /// `None`: what runs in it is trusted.
    walls: Option<Walls>,
    hidden: Vec<PathBuf>,
    search: Search,
    /// Its major version.
    pub major: u32,
    scratch: Scratch,
}

impl Server {
    /// Starts one of the smallest major version that is at least `major`. `needed` bytes must be
    /// free.
    pub fn start(
        place: &Place<'_>,
        needed: u64,
        major: u32,
        search: &Search,
    ) -> Result<Tried<Server>> {
        let local = Search {
            prefix: Vec::new(),
            ..search.clone()
        };
        let (initdb, postgres, identity) = match means(&local, major)? {
            Tried::Done(means) => means,
            Tried::Impossible(why) => return Ok(Tried::Impossible(why)),
        };
        let mut server = Server::prepare(place, needed, &postgres, identity, local)?;
        if let Some(why) = server.choose_walls(place, &postgres)? {
            return Ok(Tried::Impossible(why));
        }
        if let Err(error) = server.initialise(&initdb) {
            interrupt::check()?;
            return Ok(Tried::Impossible(format!(
                "no throw-away cluster could be made: {error}"
            )));
        }
        server.run(&postgres)?;
        Ok(Tried::Done(server))
    }

    /// Makes its directories.
    fn prepare(
        place: &Place<'_>,
        needed: u64,
        postgres: &Program,
        identity: Identity,
        search: Search,
    ) -> Result<Server> {
        let made = || -> Result<(Scratch, PathBuf)> {
            sweep(place.parent);
            let scratch = Scratch::new(place.parent, SCRATCH_PREFIX, needed, "a trial restore")?;
            let inside = scratch.join(INSIDE);
            make_room(&scratch, &inside, &identity)?;
            Ok((scratch, inside))
        };
        let (scratch, inside) = made().inspect_err(|_| identity.give_back())?;
        let (hidden, major) = (place.hidden.to_vec(), postgres.version.major);
        Ok(Server {
            postmaster: None,
            inside,
            identity,
            walls: None,
            hidden,
            search,
            major,
            scratch,
        })
    }

    /// Finds what holds it here, by trying; why nothing does where nothing does.
    fn choose_walls(&mut self, place: &Place<'_>, postgres: &Program) -> Result<Option<String>> {
        if place.trusted {
            return Ok(None);
        }
        let mut reasons = Vec::new();
        for walls in Walls::ALL {
            let tried = match self.confinement(walls, postgres, Part::Server)?.check() {
                Ok(()) => self.try_walls(walls, postgres),
                Err(why) => Err(Error::failed(why)),
            };
            match tried {
                Ok(()) => {
                    self.walls = Some(walls);
                    return Ok(None);
                }
                Err(error) => reasons.push(format!("{}: {error}", walls.name())),
            }
            interrupt::check()?;
        }
        Ok(Some(format!(
            "what a dump brings can't be confined here ({}), and would run with the rights of {}; \
             {UNCONFINED}",
            reasons.join("; "),
            self.identity.name()
        )))
    }

    /// A program that does nothing, behind these walls.
    fn try_walls(&self, walls: Walls, postgres: &Program) -> Result<()> {
        let mut command = self.command(postgres);
        command.arg("--version");
        let confinement = self.confinement(walls, postgres, Part::Server)?;
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        Process::start_confined(&confinement, Signal::TERM, command, "postgres", pipes)?
            .finish_with_output()
            .map(drop)
    }

    fn confinement(&self, walls: Walls, program: &Program, part: Part) -> Result<Confinement> {
        Ok(Confinement {
            walls,
            user: self.identity.uid,
            directory: self.inside.clone(),
            root: self.scratch.join(ROOT),
            visible: confined::visible(&program.surroundings()?, &self.hidden),
            may_connect: part != Part::Server,
            alone: part == Part::Client { alone: true },
        })
    }

    /// Starts a program as who the server is: confined, where nobody has said that it is trusted.
    fn launch(
        &self,
        program: &Program,
        command: Command,
        pipes: Pipes,
        part: Part,
    ) -> Result<Process> {
        match self.walls {
            Some(walls) => {
                let confinement = self.confinement(walls, program, part)?;
                Process::start_confined(&confinement, Signal::QUIT, command, &program.name, pipes)
            }
            None => {
                let mut command = command;
                self.identity.assume(&mut command);
                if part == (Part::Client { alone: true }) {
                    confined::keep_alone(&mut command)
                        .context("keeping a program from starting others")?;
                }
                Process::start_ended_by(Signal::QUIT, command, &program.name, None, pipes)
            }
        }
    }

    /// `initdb` asks the system for its user's name, and a free id has none. It runs nothing that
    /// is not PostgreSQL's own, so it may be any user.
    fn initialise(&self, initdb: &Program) -> Result<()> {
        let maker = self.identity.maker()?;
        maker.own(&self.inside)?;
        let mut command = self.command(initdb);
        maker.assume(&mut command);
        command.arg("--pgdata").arg(self.inside.join("data")).args([
            "--username",
            SUPERUSER,
            "--auth=trust",
        ]);
        command.args([
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        Process::output(command, "initdb", None)?;
        for entry in walkdir::WalkDir::new(&self.inside) {
            let entry = entry.map_err(|error| {
                Error::from(io::Error::from(error)).context("giving the cluster to its user")
            })?;
            self.identity.own(entry.path())?;
        }
        Ok(())
    }

    fn run(&mut self, postgres: &Program) -> Result<()> {
        let mut command = self.command(postgres);
        command
            .arg("-D")
            .arg(self.inside.join("data"))
            .arg("-k")
            .arg(&self.inside);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut postmaster = self.launch(
            postgres,
            command,
            Pipes {
                stdin: false,
                stdout: false,
            },
            Part::Server,
        )?;
        let deadline = Instant::now() + START;
        let ready = loop {
            interrupt::check()?;
            if let Some(said) = postmaster.stderr_if_ended()? {
                break Err(Error::failed(format!(
                    "the throw-away server did not start: {}",
                    last_lines(&said, 4)
                )));
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
        ConnInfo::resolve(&spec, &|_| None)?
            .with_application_name("dbbackup")
            .connect()
    }

    /// Starts a client program of the smallest version that is at least `major` as who the server
    /// is: what it is fed is not trusted either. `alone`: it is to start no other program.
    pub fn start_client(
        &self,
        name: &str,
        major: u32,
        arguments: &[String],
        pipes: Pipes,
        alone: bool,
    ) -> Result<Process> {
        let program = self.search.find(name, major)?.resolved();
        let mut command = self.command(&program);
        command.args(arguments);
        self.launch(&program, command, pipes, Part::Client { alone })
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
        let mut command = program.command(&[], super::connect::Reached::cleared());
        command
            .current_dir(&self.inside)
            .env("HOME", &self.inside)
            .env("TZ", "UTC")
            .env("TMPDIR", &self.inside);
        command
    }
}

/// What a program does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It answers.
    Server,
    /// It asks.
    Client {
        /// And starts no other program.
        alone: bool,
    },
}

/// What to do where nothing can hold what a dump brings.
const UNCONFINED: &str = "prove it as root, let this user make user namespaces, or set \
                          `drill_url`; `drill = \"trusted\"` in the configuration runs it \
                          unconfined";

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.postmaster.take());
        self.identity.end_all(self.scratch.path());
        self.identity.give_back();
    }
}

/// As fast as it can be: nothing that it holds outlives it.
const SETTINGS: [&str; 16] = [
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
    // In its own directory, not in that for everybody's.
    "dynamic_shared_memory_type=mmap",
    "log_min_messages=warning",
];

/// Whether a server could be started here; then the version that it would have.
pub fn possible(search: &Search, major: u32, place: &Place<'_>) -> Result<Tried<String>> {
    let local = Search {
        prefix: Vec::new(),
        ..search.clone()
    };
    let (postgres, identity) = match means(&local, major)? {
        Tried::Done((_, postgres, identity)) => (postgres, identity),
        Tried::Impossible(why) => return Ok(Tried::Impossible(why)),
    };
    let version = postgres.version.to_string();
    let mut server = match Server::prepare(place, 0, &postgres, identity, local) {
        Ok(server) => server,
        Err(error) => return Ok(Tried::Impossible(error.message())),
    };
    Ok(match server.choose_walls(place, &postgres)? {
        Some(why) => Tried::Impossible(why),
        None => Tried::Done(version),
    })
}

/// What a server is started with and as whom.
fn means(search: &Search, major: u32) -> Result<Tried<(Program, Program, Identity)>> {
    let Some((initdb, postgres)) = programs(search, major)? else {
        return Ok(Tried::Impossible(format!(
            "a trial restore needs the server's programs (`initdb`, `postgres`) of PostgreSQL \
             {major} or newer here: install `postgresql-{major}`, set `bin_dir`, or give a \
             `drill_url`"
        )));
    };
    Ok(match Identity::choose() {
        Tried::Done(identity) => Tried::Done((initdb, postgres.resolved(), identity)),
        Tried::Impossible(why) => Tried::Impossible(why),
    })
}

/// `initdb` and `postgres` of one directory.
fn programs(search: &Search, major: u32) -> Result<Option<(Program, Program)>> {
    let servers = search.all("postgres")?;
    let mut pairs = Vec::new();
    for initdb in search.all("initdb")? {
        let beside = servers.iter().find(|server| {
            server.version == initdb.version && server.path().parent() == initdb.path().parent()
        });
        let fits = initdb.version.major >= major;
        pairs.extend(
            beside
                .filter(|_| fits)
                .map(|server| (initdb.clone(), server.clone())),
        );
    }
    Ok(pairs
        .into_iter()
        .min_by_key(|(initdb, _)| initdb.version.major))
}

fn make_room(scratch: &Scratch, inside: &Path, identity: &Identity) -> Result<()> {
    let context = || format!("making `{}`", inside.display());
    if identity.uid.is_some() {
        // Its name can't be guessed and what is in it is private; the other user only goes through
        // it.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))
            .with_context(context)?;
    }
    let mut directory = std::fs::DirBuilder::new();
    directory.mode(0o700).create(inside).with_context(context)?;
    directory.create(scratch.join(ROOT)).with_context(context)?;
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
                None => Tried::Impossible(
                    "there is no free user id for the throw-away server".to_owned(),
                ),
            };
        }
        // What a dump brings runs as this user, so it must not be one that owns servers.
        match users::me().as_deref() {
            Some(name @ ("postgres" | "nobody")) => Tried::Impossible(format!(
                "a trial restore is not made as the user `{name}`, for what a dump brings would \
                 run with its rights: run it as root or another user, or give a `drill_url`"
            )),
            _ => Tried::Done(Identity { uid: None }),
        }
    }

    /// For messages.
    fn name(&self) -> String {
        self.uid.map_or_else(
            || "this user".to_owned(),
            |uid| format!("user {uid}, who can see what everybody can"),
        )
    }

    /// Another server may use it.
    fn give_back(&self) {
        if let Some(uid) = self.uid {
            RESERVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&uid);
        }
    }

    /// An unprivileged user that has a name, where this one has none.
    fn maker(&self) -> Result<Identity> {
        if self.uid.is_none() {
            return Ok(self.clone());
        }
        let uid = ["daemon", "bin", "nobody"]
            .into_iter()
            .find_map(users::user_id)
            .filter(|uid| *uid != 0);
        uid.map(|uid| Identity { uid: Some(uid) })
            .ok_or_else(|| Error::failed("there is no unprivileged user to run `initdb` as"))
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some(uid) = self.uid else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(uid))
            .with_context(|| format!("giving `{}` to user {uid}", path.display()))
    }

    /// Has the command run as this user, without any privilege to gain, and without network where
    /// that is permitted.
    fn assume(&self, command: &mut Command) {
        let uid = self.uid;
        // SAFETY: between fork and exec only these system calls are made, which are safe there.
        unsafe {
            command.pre_exec(move || become_user(uid));
        }
    }

    /// Ends whatever a server still leaves: all that runs as this user, which is nobody else's;
    /// what runs as we do where it was started in there.
    fn end_all(&self, dir: &Path) {
        match self.uid {
            Some(uid) => end_all(uid, |_| true),
            None => end_all(rustix::process::geteuid().as_raw(), |pid| is_of(pid, dir)),
        }
    }
}

fn end_all(uid: u32, which: impl Fn(i32) -> bool) {
    for _ in 0..20 {
        let pids: Vec<i32> = processes_of(uid)
            .into_iter()
            .filter(|pid| which(*pid))
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids
            .iter()
            .filter_map(|pid| rustix::process::Pid::from_raw(*pid))
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process was started by what ran in this directory: it is still there, or has its home
/// there.
fn is_of(pid: i32, dir: &Path) -> bool {
    let place =
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place.starts_with(dir));
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    place || memchr::memmem::find(&environment, dir.as_os_str().as_encoded_bytes()).is_some()
}

fn become_user(uid: Option<u32>) -> io::Result<()> {
    let done = |status: libc::c_int| {
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
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
    let uid = candidates.find(|uid| {
        !reserved.contains(uid) && users::user_name(*uid).is_none() && processes_of(*uid).is_empty()
    })?;
    reserved.insert(uid);
    Some(uid)
}

fn processes_of(uid: u32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        entry
            .metadata()
            .is_ok_and(|found| found.uid() == uid)
            .then_some(pid)
    };
    entries.filter_map(pid).collect()
}
