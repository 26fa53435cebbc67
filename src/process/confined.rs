//! Confines a child process: it runs what somebody else wrote, with our user's rights or less, and
//! must neither read nor change anything of the user's, nor reach any socket or process but its
//! own.
//!
//! Two kinds of walls serve, whichever can be had. [`Walls::Namespaces`] builds a world of its own
//! around the child: a root directory in which only the system's programs are (read-only) and one
//! directory that it may write to, no network, no other processes, no System V memory of others.
//! Root may do that where it has CAP_SYS_ADMIN, an ordinary user where the system lets it make user
//! namespaces. [`Walls::Landlock`] leaves the child in this world and has the kernel refuse what it
//! asks for; it is what a container has that is not privileged. A filter of system calls
//! ([`filter`]) stands behind both: it closes what neither knows, such as connecting to a socket by
//! its path, which Landlock does not stop.

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod namespaces;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a confined child may reach.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// What holds it.
    pub walls: Walls,
    /// Another user that it runs as; `None`: who we are.
    pub user: Option<u32>,
    /// The one directory that it may write to, and where it begins.
    pub directory: PathBuf,
    /// An empty directory on which its root directory is built, where it gets one.
    pub root: PathBuf,
    /// Files and directories that it may read and run programs from; see [`visible`].
    pub visible: Vec<PathBuf>,
    /// It may connect to Unix sockets, those in its directory above all.
    pub may_connect: bool,
    /// It may start no other process.
    pub alone: bool,
}

/// What holds a confined child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walls {
    /// Namespaces of its own: mount, process, network, IPC, and a user namespace where we are not
    /// root.
    Namespaces,
    /// Landlock's rules, where those of this kernel are enough.
    Landlock,
}

impl Walls {
    /// Every kind, the better one first.
    pub const ALL: [Walls; 2] = [Walls::Namespaces, Walls::Landlock];

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Walls::Namespaces => "namespaces",
            Walls::Landlock => "Landlock",
        }
    }
}

/// The system's own places: programs, libraries, and what those read. No user keeps anything there,
/// but for what is hidden by name.
const SYSTEM: [&str; 15] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ssl/openssl.cnf",
    // Debian makes PostgreSQL's dictionaries there.
    "/var/cache/postgresql",
];

/// The system's places and those that are `needed` besides, without what is `hidden` in them; a
/// place that is named itself is seen.
pub fn visible(needed: &[PathBuf], hidden: &[PathBuf]) -> Vec<PathBuf> {
    let hidden: Vec<PathBuf> = hidden
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut found = Vec::new();
    for place in SYSTEM
        .iter()
        .map(Path::new)
        .chain(needed.iter().map(PathBuf::as_path))
    {
        let place = without_links(place, &mut found);
        reveal(&place, &hidden, &mut found);
    }
    found.sort();
    // What lies in another one comes with it.
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in found {
        if !kept.last().is_some_and(|last| path.starts_with(last)) {
            kept.push(path);
        }
    }
    kept
}

/// The same place by a path without symbolic links; those that it leads through are seen, too.
fn without_links(place: &Path, found: &mut Vec<PathBuf>) -> PathBuf {
    let mut path = place.to_path_buf();
    // As many as the system follows.
    for _ in 0..40 {
        let ancestors: Vec<&Path> = path.ancestors().collect();
        let Some(link) = ancestors
            .into_iter()
            .rev()
            .find(|ancestor| ancestor.is_symlink())
            .map(Path::to_path_buf)
        else {
            break;
        };
        let (Ok(target), Ok(rest)) = (std::fs::read_link(&link), path.strip_prefix(&link)) else {
            break;
        };
        let target = link.parent().unwrap_or(Path::new("/")).join(target);
        let next = if rest.as_os_str().is_empty() {
            target
        } else {
            target.join(rest)
        };
        found.push(link);
        path = next
            .components()
            .fold(PathBuf::new(), |path, part| match part {
                std::path::Component::ParentDir => {
                    path.parent().map(Path::to_path_buf).unwrap_or(path)
                }
                part => path.join(part),
            });
    }
    path
}

fn reveal(place: &Path, hidden: &[PathBuf], found: &mut Vec<PathBuf>) {
    let Ok(metadata) = place.symlink_metadata() else {
        return;
    };
    if metadata.is_symlink()
        || !hidden
            .iter()
            .any(|hidden| hidden.starts_with(place) && hidden != place)
    {
        return found.push(place.to_path_buf());
    }
    let inside = std::fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for path in inside.filter(|path| !hidden.contains(path)) {
        reveal(&path, hidden, found);
    }
}

/// Words of what a child did when it failed, for our error: between fork and exec it has no other
/// way to say it.
#[derive(Debug)]
pub struct Trouble {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    reader: Option<std::os::fd::OwnedFd>,
}

impl Trouble {
    /// The step that failed, once the child is known to have failed.
    pub fn step(&self) -> Option<String> {
        let reader = self.reader.as_ref()?;
        let mut text = [0; 200];
        // It does not block: whatever there is was written before the child ended.
        let length = rustix::io::read(reader, &mut text).ok()?;
        (length > 0).then(|| String::from_utf8_lossy(&text[..length]).into_owned())
    }
}

#[cfg(target_os = "linux")]
impl Confinement {
    /// Whether the kernel and the user allow these walls, as far as that is known before anything
    /// is tried.
    pub fn check(&self) -> Result<(), String> {
        match self.walls {
            Walls::Namespaces => Ok(()),
            Walls::Landlock => filter::landlock_suffices(self.user.is_some()),
        }
    }

    /// Has the command run behind these walls. `end` is the signal that ends it, and that it gets
    /// when we are gone.
    pub fn apply(&self, command: &mut Command, end: i32) -> io::Result<Trouble> {
        use rustix::pipe::{PipeFlags, pipe_with};
        use std::os::unix::process::CommandExt;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let filters = filter::filters(self.may_connect).map_err(io::Error::other)?;
        let ruleset = match self.walls {
            Walls::Landlock => Some(filter::ruleset(self).map_err(io::Error::other)?),
            Walls::Namespaces => None,
        };
        let world = match self.walls {
            Walls::Namespaces => Some(namespaces::World::new(self)?),
            Walls::Landlock => None,
        };
        let alone = if self.alone {
            Some(filter::alone().map_err(io::Error::other)?)
        } else {
            None
        };
        let (user, parent) = (self.user, std::process::id());
        let enter = move || -> Result<(), Failed> {
            keep_descriptors_back()?;
            if let Some(world) = &world {
                world.enter(user.is_some(), parent)?;
            }
            if let Some(uid) = user {
                become_user(uid)?;
            }
            die_with(world.as_ref().map_or(end, |_| libc::SIGKILL))?;
            match &world {
                Some(world) => world.is_still_wanted()?,
                None if parent_is_gone(parent) => {
                    return Err(("starting", io::Error::other("its parent is gone")));
                }
                None => {}
            }
            filter::lock(ruleset.as_ref(), &filters)?;
            world
                .as_ref()
                .map_or(Ok(()), namespaces::World::go_on_as_the_child)?;
            // Not before: that was a process.
            filter::lock(None, alone.as_slice())
        };
        // SAFETY: between fork and exec only system calls are made, with memory that was made ready
        // before; nothing is allocated there.
        unsafe {
            command.pre_exec(move || {
                enter().map_err(|(step, error)| {
                    let _ = rustix::io::write(&writer, step.as_bytes());
                    error
                })
            });
        }
        Ok(Trouble {
            reader: Some(reader),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Confinement {
    pub fn check(&self) -> Result<(), String> {
        Err("this system has none".to_owned())
    }

    pub fn apply(&self, _command: &mut Command, _end: i32) -> io::Result<Trouble> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// Has the command run so that it can start no other process, and otherwise as it would. Where the
/// system has no means for that, it runs as it would.
pub fn keep_alone(command: &mut Command) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if filter::is_known_here() {
        use std::os::unix::process::CommandExt;
        let alone = [filter::alone().map_err(io::Error::other)?];
        // SAFETY: between fork and exec only system calls are made, with memory that was made ready
        // before.
        unsafe {
            command.pre_exec(move || filter::lock(None, &alone).map_err(|(_, error)| error));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
    Ok(())
}

/// What failed, and how.
#[cfg(target_os = "linux")]
type Failed = (&'static str, io::Error);

/// The result of a system call that gives back -1 on failure.
#[cfg(target_os = "linux")]
fn done(step: &'static str, result: libc::c_long) -> Result<libc::c_long, Failed> {
    if result < 0 {
        Err((step, io::Error::last_os_error()))
    } else {
        Ok(result)
    }
}

/// Whatever we have inherited ourselves without its being closed on exec: a lock, a terminal,
/// somebody's file.
#[cfg(target_os = "linux")]
fn keep_descriptors_back() -> Result<(), Failed> {
    // SAFETY: plain numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    done("keeping our descriptors back", result).map(drop)
}

#[cfg(target_os = "linux")]
fn become_user(uid: u32) -> Result<(), Failed> {
    // SAFETY: system calls with plain numbers; the group list is empty.
    unsafe {
        done(
            "giving up groups",
            libc::setgroups(0, std::ptr::null()).into(),
        )?;
        done("changing the group", libc::setgid(uid).into())?;
        done("changing the user", libc::setuid(uid).into())?;
    }
    Ok(())
}

/// A change of user takes the wish away, so it comes after that.
#[cfg(target_os = "linux")]
fn die_with(signal: i32) -> Result<(), Failed> {
    // SAFETY: plain numbers.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::c_ulong::from(signal.unsigned_abs()),
            0,
            0,
            0,
        )
    };
    done("asking to end with the parent", result.into()).map(drop)
}

#[cfg(target_os = "linux")]
fn parent_is_gone(parent: u32) -> bool {
    // SAFETY: it has no arguments and can't fail.
    unsafe { libc::getppid() }.unsigned_abs() != parent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_left_out_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for name in ["lib/a", "lib/b/store", "lib/b/c"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let found = visible(&[at("lib")], &[at("lib/b/store"), at("")]);
        let found: Vec<&PathBuf> = found
            .iter()
            .filter(|path| path.starts_with(at("")))
            .collect();
        assert_eq!(found, [&at("lib/a"), &at("lib/b/c")]);
        // What lies in something hidden and is needed is seen.
        assert!(visible(&[at("lib")], &[at("")]).contains(&at("lib")));
    }
}
