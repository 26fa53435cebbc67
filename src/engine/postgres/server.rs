//! A throw-away PostgreSQL server for trial restores. It is made with `initdb` in a scratch
//! directory, reached only by a Unix socket in it, and removed when its value is dropped.
//!
//! What is restored into it runs in it: a CHECK constraint may call a function that starts a
//! program. So the server and the programs that fill it are confined
//! ([`crate::process::confined`]): they see the system's programs and one scratch directory, and
//! reach no socket and no process but their own. Root also runs them as a user that owns nothing
//! and runs nothing else. Where they can't be confined no server is started, unless the user trusts
//! the dump.

mod user;

use super::connect::PostgresSession;
use super::conninfo::{ConnInfo, ConnectionSpec};
use super::programs::{Program, ProgramSearch};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::process::confined::{self, Confinement, Walls};
use crate::process::{Pipes, Process, last_lines};
use crate::scratch::Scratch;
use rustix::process::Signal;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use user::{ServerUser, UIDS, is_started_in, kill_processes};

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
        let (scratch, inside) =
            create_scratch(place.parent, needed, &identity).inspect_err(|_| identity.release())?;
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
            visible: confined::find_visible(&program.required_directories()?, &self.hidden),
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
                    confined::forbid_processes(&mut command)
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
            if let Some(stderr) = postmaster.errors_if_ended()? {
                break Err(Error::failed(format!(
                    "the throw-away server did not start: {}",
                    last_lines(&stderr, 4)
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

/// The scratch directory, and the server's directory in it.
fn create_scratch(parent: &Path, needed: u64, identity: &ServerUser) -> Result<(Scratch, PathBuf)> {
    sweep(parent);
    let scratch = Scratch::new(parent, SCRATCH_PREFIX, needed, "a trial restore")?;
    let inside = scratch.join(INSIDE);
    create_directories(&scratch, &inside, identity)?;
    Ok((scratch, inside))
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
