//! A throw-away PostgreSQL server for trial restores. It is made with `initdb` in a scratch
//! directory, reached only by a Unix socket in it, and removed when its value is dropped.
//!
//! What is restored into it runs in it: a CHECK constraint may call a function that starts a
//! program. So the server and the programs that fill it are confined
//! ([`crate::process::confined`]): they see the system's programs and one scratch directory, and
//! reach no socket and no process but their own. Root also runs them as a user that owns nothing
//! and runs nothing else. Where they can't be confined no server is started, unless the user trusts
//! the dump.

use super::connect::PostgresSession;
use super::conninfo::{ConnInfo, ConnectionSpec};
use super::programs::{Program, ProgramSearch};
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

/// How long the server may take to start.
const START: Duration = Duration::from_secs(60);

/// The prefix of its scratch directories; see [`crate::scratch::sweep`].
pub const SCRATCH_PREFIX: &str = "dbbackup-drill-";

/// Removes what killed drills left in `parent`: the directories, and whatever still runs in them as
/// the user that they were given to. Somebody else may have got that user's number since, so only
/// processes of the directory are ended.
pub fn sweep(parent: &Path) {
    crate::scratch::sweep_after(parent, SCRATCH_PREFIX, |dir| {
        let owner = std::fs::symlink_metadata(dir.join(INSIDE)).map(|found| found.uid());
        if let Some(uid) = owner
            .ok()
            .filter(|uid| UIDS.contains(uid) && rustix::process::geteuid().is_root())
        {
            kill_processes(uid, |pid| is_started_in(pid, dir));
        }
    });
}

/// The server's directory in the scratch directory, and the empty directory on which its own root
/// directory is built.
const INSIDE: &str = "pg";
const ROOT: &str = "root";

/// Ids that systemd gives to services temporarily, and that fit into a container's map.
const UIDS: std::ops::Range<u32> = 61_184..65_184;

/// Whether something can be had on this machine.
#[derive(Debug)]
pub enum Availability<T> {
    /// It can be had.
    Available(T),
    /// It can't be had, for this reason, which says nothing against a backup.
    Unavailable(String),
}

/// The place for a throw-away server, and how far its content is trusted.
#[derive(Debug)]
pub struct DrillSite<'a> {
    /// The parent of its scratch directory.
    pub parent: &'a Path,
    /// Whether it may run without being confined.
    pub trusted: bool,
    /// Places that it must not even see.
    pub hidden: &'a [PathBuf],
}

/// A running throw-away server.
#[derive(Debug)]
pub struct ThrowAwayServer {
    // This stands before the directory, as it must end before that is removed.
    postmaster: Option<Process>,
    inside: PathBuf,
    identity: ServerUser,
    /// `None` where its content is trusted.
    walls: Option<Walls>,
    hidden: Vec<PathBuf>,
    search: ProgramSearch,
    /// Its major version.
    pub major: u32,
    scratch: Scratch,
}

impl ThrowAwayServer {
    /// Starts a server of the smallest major version that is at least `major`. `needed` bytes must
    /// be free.
    pub fn start(
        place: &DrillSite<'_>,
        needed: u64,
        major: u32,
        search: &ProgramSearch,
    ) -> Result<Availability<ThrowAwayServer>> {
        let local = ProgramSearch {
            prefix: Vec::new(),
            ..search.clone()
        };
        let (initdb, postgres, identity) = match find_means(&local, major)? {
            Availability::Available(means) => means,
            Availability::Unavailable(why) => return Ok(Availability::Unavailable(why)),
        };
        let mut server = ThrowAwayServer::prepare(place, needed, &postgres, identity, local)?;
        if let Some(why) = server.choose_walls(place, &postgres)? {
            return Ok(Availability::Unavailable(why));
        }
        if let Err(error) = server.run_initdb(&initdb) {
            interrupt::check()?;
            return Ok(Availability::Unavailable(format!(
                "no throw-away cluster could be made: {error}"
            )));
        }
        server.run(&postgres)?;
        Ok(Availability::Available(server))
    }

    /// Creates the server's directories.
    fn prepare(
        place: &DrillSite<'_>,
        needed: u64,
        postgres: &Program,
        identity: ServerUser,
        search: ProgramSearch,
    ) -> Result<ThrowAwayServer> {
        let made = || -> Result<(Scratch, PathBuf)> {
            sweep(place.parent);
            let scratch = Scratch::new(place.parent, SCRATCH_PREFIX, needed, "a trial restore")?;
            let inside = scratch.join(INSIDE);
            create_directories(&scratch, &inside, &identity)?;
            Ok((scratch, inside))
        };
        let (scratch, inside) = made().inspect_err(|_| identity.release())?;
        let (hidden, major) = (place.hidden.to_vec(), postgres.version.major);
        Ok(ThrowAwayServer {
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

    /// Chooses the walls by trying them. Returns the reasons where none of them hold.
    fn choose_walls(
        &mut self,
        place: &DrillSite<'_>,
        postgres: &Program,
    ) -> Result<Option<String>> {
        if place.trusted {
            return Ok(None);
        }
        let mut reasons = Vec::new();
        for walls in Walls::ALL {
            let tried = match self
                .confinement(walls, postgres, ProgramRole::Server)?
                .check()
            {
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

    /// Runs a program that does nothing behind these walls.
    fn try_walls(&self, walls: Walls, postgres: &Program) -> Result<()> {
        let mut command = self.command(postgres);
        command.arg("--version");
        let confinement = self.confinement(walls, postgres, ProgramRole::Server)?;
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        Process::start_confined(&confinement, Signal::TERM, command, "postgres", pipes)?
            .finish_with_output()
            .map(drop)
    }

    fn confinement(
        &self,
        walls: Walls,
        program: &Program,
        part: ProgramRole,
    ) -> Result<Confinement> {
        Ok(Confinement {
            walls,
            user: self.identity.uid,
            directory: self.inside.clone(),
            root: self.scratch.join(ROOT),
            visible: confined::visible(&program.required_directories()?, &self.hidden),
            may_connect: part != ProgramRole::Server,
            alone: part == ProgramRole::Client { alone: true },
        })
    }

    /// Starts a program as the server's user; it is confined unless the content is trusted.
    fn start_program(
        &self,
        program: &Program,
        command: Command,
        pipes: Pipes,
        part: ProgramRole,
    ) -> Result<Process> {
        match self.walls {
            Some(walls) => {
                let confinement = self.confinement(walls, program, part)?;
                Process::start_confined(&confinement, Signal::QUIT, command, &program.name, pipes)
            }
            None => {
                let mut command = command;
                self.identity.run_as(&mut command);
                if part == (ProgramRole::Client { alone: true }) {
                    confined::keep_alone(&mut command)
                        .context("keeping a program from starting others")?;
                }
                Process::start_ended_by(Signal::QUIT, command, &program.name, None, pipes)
            }
        }
    }

    /// `initdb` asks the system for its user's name, and a free id has none. It runs only
    /// PostgreSQL's own code, so it may be any user.
    fn run_initdb(&self, initdb: &Program) -> Result<()> {
        let maker = self.identity.initdb_user()?;
        maker.give_ownership(&self.inside)?;
        let mut command = self.command(initdb);
        maker.run_as(&mut command);
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
            self.identity.give_ownership(entry.path())?;
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
        let mut postmaster = self.start_program(
            postgres,
            command,
            Pipes {
                stdin: false,
                stdout: false,
            },
            ProgramRole::Server,
        )?;
        let deadline = Instant::now() + START;
        let ready = loop {
            interrupt::check()?;
            if let Some(said) = postmaster.has_ended()? {
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

    /// Opens a session as the server's superuser.
    pub fn session(&self, database: &str) -> Result<PostgresSession> {
        let spec = ConnectionSpec {
            host: Some(self.inside.display().to_string()),
            port: Some(5432.to_string()),
            user: Some(SUPERUSER.to_owned()),
            dbname: Some(database.to_owned()),
            ..ConnectionSpec::default()
        };
        ConnInfo::resolve(&spec, &|_| None)?
            .with_application_name("dbbackup")
            .connect()
    }

    /// Starts a client program of the smallest version that is at least `major`. It runs as the
    /// server's user, as its input is not trusted either. `alone` keeps it from starting other
    /// programs.
    pub fn start_client(
        &self,
        name: &str,
        major: u32,
        arguments: &[String],
        pipes: Pipes,
        alone: bool,
    ) -> Result<Process> {
        let program = self.search.find(name, major)?.with_real_path();
        let mut command = self.command(&program);
        command.args(arguments);
        self.start_program(&program, command, pipes, ProgramRole::Client { alone })
    }

    /// The private directory of the server's user.
    pub fn directory(&self) -> &Path {
        &self.inside
    }

    /// Gives a file in the directory to the server's user.
    pub fn give_file(&self, path: &Path) -> Result<()> {
        self.identity.give_ownership(path)
    }

    fn command(&self, program: &Program) -> Command {
        let mut command = program.command(&[], super::connect::ReachedServer::cleared_variables());
        command
            .current_dir(&self.inside)
            .env("HOME", &self.inside)
            .env("TZ", "UTC")
            .env("TMPDIR", &self.inside);
        command
    }
}

/// The part of a program in a trial restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProgramRole {
    /// A program that accepts connections.
    Server,
    /// A program that connects.
    Client {
        /// Whether it is kept from starting other programs.
        alone: bool,
    },
}

/// The remedy where a dump's content can't be confined.
const UNCONFINED: &str = "prove it as root, let this user make user namespaces, or set \
                          `drill_url`; `drill = \"trusted\"` in the configuration runs it \
                          unconfined";

impl Drop for ThrowAwayServer {
    fn drop(&mut self) {
        drop(self.postmaster.take());
        self.identity.kill_processes(self.scratch.path());
        self.identity.release();
    }
}

/// Settings for speed: nothing that the server holds outlives it.
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
    // It uses the server's own directory, not the one for everybody.
    "dynamic_shared_memory_type=mmap",
    "log_min_messages=warning",
];

/// Whether a server could be started here; then its version.
pub fn check_availability(
    search: &ProgramSearch,
    major: u32,
    place: &DrillSite<'_>,
) -> Result<Availability<String>> {
    let local = ProgramSearch {
        prefix: Vec::new(),
        ..search.clone()
    };
    let (postgres, identity) = match find_means(&local, major)? {
        Availability::Available((_, postgres, identity)) => (postgres, identity),
        Availability::Unavailable(why) => return Ok(Availability::Unavailable(why)),
    };
    let version = postgres.version.to_string();
    let mut server = match ThrowAwayServer::prepare(place, 0, &postgres, identity, local) {
        Ok(server) => server,
        Err(error) => return Ok(Availability::Unavailable(error.message())),
    };
    Ok(match server.choose_walls(place, &postgres)? {
        Some(why) => Availability::Unavailable(why),
        None => Availability::Available(version),
    })
}

/// Finds the programs and the user for a server.
fn find_means(
    search: &ProgramSearch,
    major: u32,
) -> Result<Availability<(Program, Program, ServerUser)>> {
    let Some((initdb, postgres)) = find_server_programs(search, major)? else {
        return Ok(Availability::Unavailable(format!(
            "a trial restore needs the server's programs (`initdb`, `postgres`) of PostgreSQL \
             {major} or newer here: install `postgresql-{major}`, set `bin_dir`, or give a \
             `drill_url`"
        )));
    };
    Ok(match ServerUser::choose() {
        Availability::Available(identity) => {
            Availability::Available((initdb, postgres.with_real_path(), identity))
        }
        Availability::Unavailable(why) => Availability::Unavailable(why),
    })
}

/// Finds `initdb` and `postgres` in one directory.
fn find_server_programs(search: &ProgramSearch, major: u32) -> Result<Option<(Program, Program)>> {
    let servers = search.find_all("postgres")?;
    let mut pairs = Vec::new();
    for initdb in search.find_all("initdb")? {
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

fn create_directories(scratch: &Scratch, inside: &Path, identity: &ServerUser) -> Result<()> {
    let context = || format!("making `{}`", inside.display());
    if identity.uid.is_some() {
        // Its name can't be guessed and its content is private; the other user only passes through.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))
            .with_context(context)?;
    }
    let mut directory = std::fs::DirBuilder::new();
    directory.mode(0o700).create(inside).with_context(context)?;
    directory.create(scratch.join(ROOT)).with_context(context)?;
    identity.give_ownership(inside)
}

/// The user that the server runs as.
#[derive(Debug, Clone)]
struct ServerUser {
    /// Another user's id; `None` for the current user.
    uid: Option<u32>,
}

impl ServerUser {
    fn choose() -> Availability<ServerUser> {
        if rustix::process::geteuid().is_root() {
            return match reserve_uid() {
                Some(uid) => Availability::Available(ServerUser { uid: Some(uid) }),
                None => Availability::Unavailable(
                    "there is no free user id for the throw-away server".to_owned(),
                ),
            };
        }
        // A dump's content runs as this user, so it must not be one that owns servers.
        match users::me().as_deref() {
            Some(name @ ("postgres" | "nobody")) => Availability::Unavailable(format!(
                "a trial restore is not made as the user `{name}`, for what a dump brings would \
                 run with its rights: run it as root or another user, or give a `drill_url`"
            )),
            _ => Availability::Available(ServerUser { uid: None }),
        }
    }

    /// The user's name, for messages.
    fn name(&self) -> String {
        self.uid.map_or_else(
            || "this user".to_owned(),
            |uid| format!("user {uid}, who can see what everybody can"),
        )
    }

    /// Releases the user id for another server.
    fn release(&self) {
        if let Some(uid) = self.uid {
            RESERVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&uid);
        }
    }

    /// An unprivileged user with a name, where the server's user has none.
    fn initdb_user(&self) -> Result<ServerUser> {
        if self.uid.is_none() {
            return Ok(self.clone());
        }
        let uid = ["daemon", "bin", "nobody"]
            .into_iter()
            .find_map(users::user_id)
            .filter(|uid| *uid != 0);
        uid.map(|uid| ServerUser { uid: Some(uid) })
            .ok_or_else(|| Error::failed("there is no unprivileged user to run `initdb` as"))
    }

    fn give_ownership(&self, path: &Path) -> Result<()> {
        let Some(uid) = self.uid else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(uid))
            .with_context(|| format!("giving `{}` to user {uid}", path.display()))
    }

    /// Makes the command run as this user, unable to gain privileges, and without network where
    /// that is permitted.
    fn run_as(&self, command: &mut Command) {
        let uid = self.uid;
        // SAFETY: between fork and exec only these system calls are made, which are safe there.
        unsafe {
            command.pre_exec(move || become_user(uid));
        }
    }

    /// Ends all processes that the server left: those of its own user, or of the current user those
    /// that were started in its directory.
    fn kill_processes(&self, dir: &Path) {
        match self.uid {
            Some(uid) => kill_processes(uid, |_| true),
            None => kill_processes(rustix::process::geteuid().as_raw(), |pid| {
                is_started_in(pid, dir)
            }),
        }
    }
}

fn kill_processes(uid: u32, which: impl Fn(i32) -> bool) {
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

/// Whether a process was started in this directory: its working directory or its home is there.
fn is_started_in(pid: i32, dir: &Path) -> bool {
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

/// The user ids of this process's servers. An id is reserved before anything runs under it.
static RESERVED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Reserves a user id that nobody uses.
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
