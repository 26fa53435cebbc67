//! Confines a child process: it runs code that somebody else wrote, with our user's rights or less.
//! It must neither read nor change anything of the user's, nor reach any socket or process but its
//! own.
//!
//! There are two kinds of walls, of which one is enough. [`Walls::Namespaces`] builds a world of
//! its own around the child: a root directory with the system's programs only (read-only) and one
//! directory that it may write to, no network, no other processes, no System V memory of others.
//! Root may do that if it has CAP_SYS_ADMIN, an ordinary user if the system lets it make user
//! namespaces. [`Walls::Landlock`] leaves the child in this world, and the kernel refuses its
//! accesses; a container that is not privileged has only that. A filter of system calls
//! ([`filter`]) stands behind both. It refuses calls that neither stops, such as connecting to a
//! socket by its path under Landlock.

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod namespaces;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The rules for a confined child.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// The kind of walls around it.
    pub walls: Walls,
    /// The other user that it runs as; `None` is our own one.
    pub user: Option<u32>,
    /// The one directory that it may write to, in which it begins.
    pub directory: PathBuf,
    /// An empty directory on which its root directory is built, if it gets one.
    pub root: PathBuf,
    /// Files and directories that it may read and run programs from; see [`find_visible`].
    pub visible: Vec<PathBuf>,
    /// Whether it may connect to Unix sockets, above all to those in its directory.
    pub may_connect: bool,
    /// Whether it may start no other process.
    pub alone: bool,
}

/// The walls around a confined child.
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

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Walls::Namespaces => "namespaces",
            Walls::Landlock => "Landlock",
        }
    }
}

/// The system's own places: programs, libraries, and the files that those read. No user keeps
/// anything there, except for places that are hidden by name.
const SYSTEM_PLACES: [&str; 15] = [
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

/// Lists the system's places and those that are `needed` besides, without the `hidden` ones in
/// them. A needed place is visible even if it is hidden itself.
pub fn find_visible(needed: &[PathBuf], hidden: &[PathBuf]) -> Vec<PathBuf> {
    let hidden: Vec<PathBuf> = hidden
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut found = Vec::new();
    for place in SYSTEM_PLACES
        .iter()
        .map(Path::new)
        .chain(needed.iter().map(PathBuf::as_path))
    {
        let place = resolve_links(place, &mut found);
        collect_visible(&place, &hidden, &mut found);
    }
    found.sort();
    // A place within another one is visible with that.
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in found {
        if !kept.last().is_some_and(|last| path.starts_with(last)) {
            kept.push(path);
        }
    }
    kept
}

/// Returns the path of a place without symbolic links. The links on the way are visible, too.
fn resolve_links(place: &Path, found: &mut Vec<PathBuf>) -> PathBuf {
    let mut path = place.to_path_buf();
    // The system follows as many links.
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
        path = remove_parent_steps(&next);
    }
    path
}

/// Replaces each `..` in a path by the step up that it means.
fn remove_parent_steps(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(part);
        }
    }
    resolved
}

/// Adds a place without the hidden ones in it.
fn collect_visible(place: &Path, hidden: &[PathBuf], found: &mut Vec<PathBuf>) {
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
    let entries = std::fs::read_dir(place);
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        if !hidden.contains(&path) {
            collect_visible(&path, hidden, found);
        }
    }
}

/// Reads the name of the step at which a child failed between fork and exec, for our error. The
/// child has no other way to report it.
#[derive(Debug)]
pub struct FailedStepReader {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    reader: Option<std::os::fd::OwnedFd>,
}

impl FailedStepReader {
    /// Reads the step that failed, once the child is known to have failed.
    pub fn read(&self) -> Option<String> {
        let reader = self.reader.as_ref()?;
        let mut text = [0; 200];
        // This does not block: the name was written before the child ended.
        let length = rustix::io::read(reader, &mut text).ok()?;
        (length > 0).then(|| String::from_utf8_lossy(&text[..length]).into_owned())
    }
}

#[cfg(target_os = "linux")]
impl Confinement {
    /// Checks whether the kernel and the user allow these walls, as far as that is known before
    /// they are tried.
    pub fn check(&self) -> Result<(), String> {
        match self.walls {
            Walls::Namespaces => Ok(()),
            Walls::Landlock => filter::check_landlock(self.user.is_some()),
        }
    }

    /// Makes the command run behind these walls. `end` is the signal that ends it, which it gets
    /// when we are gone, too.
    pub fn apply(&self, command: &mut Command, end: i32) -> io::Result<FailedStepReader> {
        use rustix::pipe::{PipeFlags, pipe_with};
        use std::os::unix::process::CommandExt;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let filters = filter::build_filters(self.may_connect).map_err(io::Error::other)?;
        let ruleset = match self.walls {
            Walls::Landlock => Some(filter::build_ruleset(self).map_err(io::Error::other)?),
            Walls::Namespaces => None,
        };
        let world = match self.walls {
            Walls::Namespaces => Some(namespaces::World::new(self)?),
            Walls::Landlock => None,
        };
        let single_process = if self.alone {
            Some(filter::build_single_process_filter().map_err(io::Error::other)?)
        } else {
            None
        };
        let (user, parent) = (self.user, std::process::id());
        let enter = move || -> Result<(), StepError> {
            close_descriptors_on_exec()?;
            if let Some(world) = &world {
                world.enter(user.is_some(), parent)?;
            }
            if let Some(uid) = user {
                become_user(uid)?;
            }
            end_with_parent(world.as_ref().map_or(end, |_| libc::SIGKILL))?;
            match &world {
                Some(world) => world.check_parent()?,
                None if parent_is_gone(parent) => {
                    return Err(("starting", io::Error::other("its parent is gone")));
                }
                None => {}
            }
            filter::apply_filters(ruleset.as_ref(), &filters)?;
            world
                .as_ref()
                .map_or(Ok(()), namespaces::World::become_child)?;
            // This comes last: the step before started a process.
            filter::apply_filters(None, single_process.as_slice())
        };
        // SAFETY: between fork and exec only system calls are made, with memory that was made ready
        // before. Nothing is allocated there.
        unsafe {
            command.pre_exec(move || {
                enter().map_err(|(step, error)| {
                    let _ = rustix::io::write(&writer, step.as_bytes());
                    error
                })
            });
        }
        Ok(FailedStepReader {
            reader: Some(reader),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Confinement {
    pub fn check(&self) -> Result<(), String> {
        Err("this system has none".to_owned())
    }

    pub fn apply(&self, _command: &mut Command, _end: i32) -> io::Result<FailedStepReader> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// Keeps the command from starting any other process; all else is as it would be. If the system has
/// no means for that, nothing changes.
pub fn forbid_processes(command: &mut Command) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if filter::is_supported() {
        use std::os::unix::process::CommandExt;
        let filters = [filter::build_single_process_filter().map_err(io::Error::other)?];
        // SAFETY: between fork and exec only system calls are made, with memory that was made ready
        // before.
        unsafe {
            command.pre_exec(move || {
                filter::apply_filters(None, &filters).map_err(|(_, error)| error)
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
    Ok(())
}

/// A step that failed, and its error.
#[cfg(target_os = "linux")]
type StepError = (&'static str, io::Error);

/// Checks the result of a system call that returns -1 on failure.
#[cfg(target_os = "linux")]
fn check_call(step: &'static str, result: libc::c_long) -> Result<libc::c_long, StepError> {
    if result < 0 {
        Err((step, io::Error::last_os_error()))
    } else {
        Ok(result)
    }
}

/// Lets exec close all descriptors that we have inherited ourselves: a lock, a terminal, somebody's
/// file.
#[cfg(target_os = "linux")]
fn close_descriptors_on_exec() -> Result<(), StepError> {
    // SAFETY: plain numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check_call("keeping our descriptors back", result).map(drop)
}

/// Goes on as another user, in the group of the same number alone.
#[cfg(target_os = "linux")]
fn become_user(uid: u32) -> Result<(), StepError> {
    // SAFETY: system calls with plain numbers; the group list is empty.
    unsafe {
        check_call(
            "giving up groups",
            libc::setgroups(0, std::ptr::null()).into(),
        )?;
        check_call("changing the group", libc::setgid(uid).into())?;
        check_call("changing the user", libc::setuid(uid).into())?;
    }
    Ok(())
}

/// Asks for this signal when the parent ends. A change of user would undo it, so it comes after
/// that.
#[cfg(target_os = "linux")]
fn end_with_parent(signal: i32) -> Result<(), StepError> {
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
    check_call("asking to end with the parent", result.into()).map(drop)
}

/// Whether the parent, whose process id was `parent`, has ended.
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
        let found = find_visible(&[at("lib")], &[at("lib/b/store"), at("")]);
        let found: Vec<&PathBuf> = found
            .iter()
            .filter(|path| path.starts_with(at("")))
            .collect();
        assert_eq!(found, [&at("lib/a"), &at("lib/b/c")]);
        // A needed place in a hidden one is visible.
        assert!(find_visible(&[at("lib")], &[at("")]).contains(&at("lib")));
    }

    /// As in a change of root, where the kernel takes no other one: whoever starts the child waits
    /// for the process outside, which must not wait for him.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_whose_root_can_not_be_built_is_an_error() {
        use super::super::{Pipes, Process};
        use rustix::process::Signal;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(at("place")).unwrap();
        let confinement = Confinement {
            walls: Walls::Namespaces,
            user: None,
            directory: at("place"),
            root: at("missing"),
            visible: Vec::new(),
            may_connect: false,
            alone: false,
        };
        let pipes = Pipes {
            stdin: false,
            stdout: false,
        };
        let command = Command::new("true");
        let started =
            Process::start_confined(&confinement, Signal::TERM, command, "the child", pipes);
        assert!(started.is_err());
    }
}
