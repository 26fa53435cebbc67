//! The user that a throw-away server runs as, and the processes of that user.

use super::Availability;
use crate::error::{Context, Error, Result};
use crate::users;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Ids that systemd gives to services temporarily, and that fit into a container's map.
pub(super) const UIDS: std::ops::Range<u32> = 61_184..65_184;

/// The user that the server runs as.
#[derive(Debug, Clone)]
pub(super) struct ServerUser {
    /// Another user's id; `None` for the current user.
    pub(super) uid: Option<u32>,
}

impl ServerUser {
    pub(super) fn choose() -> Availability<ServerUser> {
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
    pub(super) fn name(&self) -> String {
        self.uid.map_or_else(
            || "this user".to_owned(),
            |uid| format!("user {uid}, who can see what everybody can"),
        )
    }

    /// Releases the user id for another server.
    pub(super) fn release(&self) {
        if let Some(uid) = self.uid {
            RESERVED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&uid);
        }
    }

    /// An unprivileged user with a name, where the server's user has none.
    pub(super) fn initdb_user(&self) -> Result<ServerUser> {
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

    pub(super) fn give_ownership(&self, path: &Path) -> Result<()> {
        let Some(uid) = self.uid else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(uid))
            .with_context(|| format!("giving `{}` to user {uid}", path.display()))
    }

    /// Makes the command run as this user, unable to gain privileges, and without network where
    /// that is permitted.
    pub(super) fn run_as(&self, command: &mut Command) {
        let uid = self.uid;
        // SAFETY: between fork and exec only these system calls are made, which are safe there.
        unsafe {
            command.pre_exec(move || become_user(uid));
        }
    }

    /// Ends all processes that the server left: those of its own user, or of the current user those
    /// that were started in its directory.
    pub(super) fn kill_processes(&self, dir: &Path) {
        match self.uid {
            Some(uid) => kill_processes(uid, |_| true),
            None => kill_processes(rustix::process::geteuid().as_raw(), |pid| {
                is_started_in(pid, dir)
            }),
        }
    }
}

pub(super) fn kill_processes(uid: u32, which: impl Fn(i32) -> bool) {
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
pub(super) fn is_started_in(pid: i32, dir: &Path) -> bool {
    let place =
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place.starts_with(dir));
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    place || memchr::memmem::find(&environment, dir.as_os_str().as_encoded_bytes()).is_some()
}

fn become_user(uid: Option<u32>) -> io::Result<()> {
    // SAFETY: system calls with plain numbers; the group list is empty.
    unsafe {
        if let Some(uid) = uid {
            #[cfg(target_os = "linux")]
            let _ = libc::unshare(libc::CLONE_NEWNET);
            check_status(libc::setgroups(0, std::ptr::null()))?;
            check_status(libc::setgid(uid))?;
            check_status(libc::setuid(uid))?;
        }
        #[cfg(target_os = "linux")]
        check_status(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    Ok(())
}

fn check_status(status: libc::c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
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
    entries
        .filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == uid))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
