//! A world of its own for one child and all that it starts: what is not in it does not exist.
//!
//! Two copies of this process stand around the child. One stays outside and waits
//! ([`wait_outside`]). The other is the first process inside: its end is the end of all in there,
//! and it takes in what others leave behind ([`wait_inside`]). A database server must not be the
//! first: it would take the failure of a stranger that it inherits for the crash of one of its own.

use super::{Confinement, Failed, done};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// What is made in the new root directory, ready to be done between fork and exec.
#[derive(Debug)]
pub(super) struct World {
    root: CString,
    /// Where the child begins.
    start: CString,
    steps: Vec<MountStep>,
    /// The lines of `uid_map` and `gid_map`.
    uid_map: CString,
    gid_map: CString,
    /// Held by who waits outside, so that who is inside learns when that one is gone.
    alive: (OwnedFd, OwnedFd),
    /// By which the one inside tells the one outside how the child has ended.
    ended: (OwnedFd, OwnedFd),
}

#[derive(Debug)]
enum MountStep {
    Directory(CString),
    /// A directory in memory, that everybody may write to.
    Memory(CString),
    /// An empty file, to be covered.
    File(CString),
    /// Points to the first, and lies at the second.
    Link(CString, CString),
    /// Shows the first at the second, with these attributes for all of it.
    Show(CString, CString, u64),
}

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
const DEVICE: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

/// Devices that any program may expect.
pub(super) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

impl World {
    pub(super) fn new(confinement: &Confinement) -> io::Result<World> {
        let mut steps = Steps {
            root: &confinement.root,
            steps: Vec::new(),
        };
        for empty in ["/tmp", "/var/tmp", "/dev/shm"] {
            let place = steps.directory(Path::new(empty))?;
            steps.steps.push(MountStep::Memory(place));
        }
        for empty in ["/run", "/home", "/root", "/proc"] {
            steps.directory(Path::new(empty))?;
        }
        for path in &confinement.visible {
            steps.show(path, READ_ONLY)?;
        }
        for device in DEVICES {
            steps.show(Path::new(device), DEVICE)?;
        }
        // Last: it may lie in a place that is shown.
        steps.show(&confinement.directory, WRITABLE)?;
        use rustix::process::{getegid, geteuid};
        let map = |id: u32| CString::new(format!("{id} {id} 1")).map_err(io::Error::other);
        Ok(World {
            root: text(&confinement.root)?,
            start: text(&confinement.directory)?,
            steps: steps.steps,
            uid_map: map(geteuid().as_raw())?,
            gid_map: map(getegid().as_raw())?,
            alive: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?,
            ended: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?,
        })
    }

    /// Called between fork and exec; what comes back is another process, in the new world. `root`:
    /// who we are needs no user namespace.
    pub(super) fn enter(&self, root: bool, parent: u32) -> Result<(), Failed> {
        let own = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
        let flags = if root { own } else { own | libc::CLONE_NEWUSER };
        // SAFETY: plain numbers.
        done("making namespaces", unsafe { libc::unshare(flags) }.into())?;
        if !root {
            write("mapping the user", c"/proc/self/setgroups", c"deny")?;
            write("mapping the user", c"/proc/self/uid_map", &self.uid_map)?;
            write("mapping the user", c"/proc/self/gid_map", &self.gid_map)?;
        }
        self.go_on_as_first_process(parent)?;
        // SAFETY: a system call without arguments; a terminal is left behind by it. It fails for
        // who leads a group, which a new process does not.
        done("leaving the session", unsafe { libc::setsid() }.into())?;
        self.build()
    }

    fn go_on_as_first_process(&self, parent: u32) -> Result<(), Failed> {
        // SAFETY: `signals` is a plain value that these calls fill; the raw system call has no
        // stack of its own, so it is like fork.
        unsafe {
            let mut signals: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut signals);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, &raw mut before);
            match done("making a process", fork())? {
                0 => {
                    libc::close(self.alive.1.as_raw_fd());
                    libc::sigprocmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                    Ok(())
                }
                child => wait_outside(
                    child as libc::pid_t,
                    self.alive.1.as_raw_fd(),
                    self.ended.0.as_raw_fd(),
                    parent,
                ),
            }
        }
    }

    /// The last thing: goes on as the process that becomes the child, while the first one waits for
    /// it.
    pub(super) fn go_on_as_the_child(&self) -> Result<(), Failed> {
        // SAFETY: it has no arguments.
        match done("making a process", unsafe { fork() })? {
            0 => Ok(()),
            child => wait_inside(child as libc::pid_t, self.ended.1.as_raw_fd()),
        }
    }

    /// Whether the one who waits outside is there: it may have gone before the kernel was asked to
    /// tell.
    pub(super) fn is_still_wanted(&self) -> Result<(), Failed> {
        let mut fd = libc::pollfd {
            fd: self.alive.0.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one valid descriptor, and no waiting.
        unsafe { libc::poll(&raw mut fd, 1, 0) };
        if fd.revents & libc::POLLHUP != 0 {
            Err(("starting", io::Error::other("its parent is gone")))
        } else {
            Ok(())
        }
    }

    fn build(&self) -> Result<(), Failed> {
        // SAFETY: every pointer is that of a string that lives as long as `self`, or null where
        // that is allowed.
        unsafe {
            libc::umask(0);
            let none = ptr::null();
            let private = libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                ptr::null(),
            );
            done("keeping mounts to ourselves", private.into())?;
            mount_memory(&self.root, c"size=1m,mode=755")?;
            for step in &self.steps {
                step.carry_out()?;
            }
            protect(&self.root, READ_ONLY, 0)?;
            done(
                "entering the root directory",
                libc::chdir(self.root.as_ptr()).into(),
            )?;
            let dot = c".".as_ptr();
            done(
                "entering the root directory",
                libc::syscall(libc::SYS_pivot_root, dot, dot),
            )?;
            done(
                "leaving the old root directory",
                libc::umount2(dot, libc::MNT_DETACH).into(),
            )?;
            done(
                "entering the directory",
                libc::chdir(self.start.as_ptr()).into(),
            )?;
            libc::umask(0o077);
        }
        Ok(())
    }
}

impl MountStep {
    unsafe fn carry_out(&self) -> Result<(), Failed> {
        // SAFETY: every pointer is that of a string that lives as long as `self`, or null where
        // that is allowed.
        unsafe {
            match self {
                MountStep::Directory(at) => {
                    exists("making a directory", libc::mkdir(at.as_ptr(), 0o755))
                }
                MountStep::Memory(at) => mount_memory(at, c"size=64m,mode=1777"),
                MountStep::File(at) => {
                    let file = libc::open(
                        at.as_ptr(),
                        libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC,
                        0o644,
                    );
                    if file >= 0 {
                        libc::close(file);
                    }
                    // What is there already, on a file system that can't be written to, is there.
                    Ok(())
                }
                MountStep::Link(to, at) => {
                    exists("making a link", libc::symlink(to.as_ptr(), at.as_ptr()))
                }
                MountStep::Show(from, at, attributes) => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    let shown =
                        libc::mount(from.as_ptr(), at.as_ptr(), ptr::null(), flags, ptr::null());
                    done("showing a directory", shown.into())?;
                    protect(at, *attributes, libc::AT_RECURSIVE)
                }
            }
        }
    }
}

/// Mounts a file system that is in memory alone.
unsafe fn mount_memory(at: &CStr, options: &CStr) -> Result<(), Failed> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: strings that live longer than the call.
    let made = unsafe {
        libc::mount(
            c"none".as_ptr(),
            at.as_ptr(),
            c"tmpfs".as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    };
    done("mounting a directory in memory", made.into()).map(drop)
}

/// Sets attributes of what is mounted there, and takes none away.
unsafe fn protect(at: &CStr, attributes: u64, flags: libc::c_int) -> Result<(), Failed> {
    let attributes = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let size = std::mem::size_of::<libc::mount_attr>();
    // SAFETY: a string and a value that live longer than the call.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            &raw const attributes,
            size,
        )
    };
    done("protecting a directory", set).map(drop)
}

fn exists(step: &'static str, result: libc::c_int) -> Result<(), Failed> {
    match done(step, result.into()) {
        Err((_, error)) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop),
    }
}

fn write(step: &'static str, path: &CStr, bytes: &CStr) -> Result<(), Failed> {
    // SAFETY: strings that live longer than the calls.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        done(step, file.into())?;
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.count_bytes());
        let result = done(step, written as libc::c_long);
        libc::close(file);
        result.map(drop)
    }
}

/// The first process of the new world, for the handler of signals.
static FIRST: AtomicI32 = AtomicI32::new(0);

extern "C" fn end_first(_signal: libc::c_int) {
    let first = FIRST.load(Ordering::Relaxed);
    if first > 0 {
        // SAFETY: plain numbers.
        unsafe { libc::kill(first, libc::SIGKILL) };
    }
}

/// The bare system call: what the C library does around it for threads is of no use here.
unsafe fn fork() -> libc::c_long {
    // SAFETY: without a stack and without flags it is like fork.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

/// Waits for the first process of the new world, which is over only when all in it are, and ends as
/// the child did. A signal that asks this one to end kills it.
fn wait_outside(first: libc::pid_t, alive: libc::c_int, ended: libc::c_int, parent: u32) -> ! {
    FIRST.store(first, Ordering::Relaxed);
    // SAFETY: system calls of which every argument is a number or a plain value that lives here.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end_first as *const () as libc::sighandler_t;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::SIGTERM as libc::c_ulong,
            0,
            0,
            0,
        );
        if super::parent_is_gone(parent) {
            end_first(0);
        }
        // Nobody is to wait for the end of a pipe that only this one has open.
        keep_only(&[alive, ended]);
        libc::chdir(c"/".as_ptr());
        let mut status = 0;
        while libc::waitpid(first, &raw mut status, 0) != first {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                libc::_exit(127);
            }
        }
        // The first process can't be ended by a signal as others are, so it tells how the child
        // was.
        let mut told: libc::c_int = 0;
        let size = std::mem::size_of::<libc::c_int>();
        if libc::read(1, (&raw mut told).cast(), size) == size as libc::ssize_t {
            status = told;
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // This one has no core to leave.
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        libc::_exit(libc::WEXITSTATUS(status));
    }
}

/// Waits for all that end in the new world, until the child does; then the rest ends with this one.
/// It is confined as they are.
fn wait_inside(child: libc::pid_t, ended: libc::c_int) -> ! {
    // SAFETY: system calls of which every argument is a number or a plain value that lives here.
    unsafe {
        keep_only(&[ended]);
        let mut status: libc::c_int = 0;
        loop {
            let found = libc::waitpid(-1, &raw mut status, 0);
            if found == child {
                break;
            }
            if found < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                libc::_exit(127);
            }
        }
        libc::write(
            0,
            (&raw const status).cast(),
            std::mem::size_of::<libc::c_int>(),
        );
        libc::_exit(0);
    }
}

/// Closes every descriptor but these, which get the numbers from 0 on.
unsafe fn keep_only(descriptors: &[libc::c_int]) {
    // SAFETY: plain numbers. A place that is taken here is none that is kept: those were opened
    // while 0, 1 and 2 were.
    unsafe {
        for (place, descriptor) in (0..).zip(descriptors) {
            libc::dup2(*descriptor, place);
        }
        libc::syscall(
            libc::SYS_close_range,
            descriptors.len() as libc::c_uint,
            libc::c_uint::MAX,
            0,
        );
    }
}

struct Steps<'a> {
    root: &'a Path,
    steps: Vec<MountStep>,
}

impl Steps<'_> {
    /// The place of a path in the new root directory.
    fn place(&self, path: &Path) -> io::Result<CString> {
        text(&self.root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Its place.
    fn directory(&mut self, path: &Path) -> io::Result<CString> {
        self.parents(path)?;
        let place = self.place(path)?;
        self.steps.push(MountStep::Directory(place.clone()));
        Ok(place)
    }

    fn parents(&mut self, path: &Path) -> io::Result<()> {
        let parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|parent| parent.parent().is_some())
            .collect();
        for parent in parents.into_iter().rev() {
            let place = self.place(parent)?;
            self.steps.push(MountStep::Directory(place));
        }
        Ok(())
    }

    fn show(&mut self, path: &Path, attributes: u64) -> io::Result<()> {
        let Ok(metadata) = path.symlink_metadata() else {
            return Ok(());
        };
        self.parents(path)?;
        let place = self.place(path)?;
        if metadata.is_symlink() {
            self.steps
                .push(MountStep::Link(text(&std::fs::read_link(path)?)?, place));
            return Ok(());
        }
        self.steps.push(if metadata.is_dir() {
            MountStep::Directory(place.clone())
        } else {
            MountStep::File(place.clone())
        });
        self.steps
            .push(MountStep::Show(text(path)?, place, attributes));
        Ok(())
    }
}

fn text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
