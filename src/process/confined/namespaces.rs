//! A world of its own for one child and all that it starts: nothing else exists for them.
//!
//! Two copies of this process stand around the child. One stays outside and waits
//! ([`wait_outside`]). The other is the first process inside ([`wait_inside`]): when it ends, all
//! inside end, and it inherits the processes whose parents have ended. A database server must not
//! be the first: it would take the failure of an inherited stranger for the crash of a process of
//! its own.

use super::{Confinement, StepError, check_call};
use rustix::process::{getegid, geteuid};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// A world that is ready to be made between fork and exec.
#[derive(Debug)]
pub(super) struct World {
    /// The directory on which the root directory is built.
    root: CString,
    /// The directory in which the child begins.
    start: CString,
    /// The steps that fill the root directory.
    steps: Vec<MountStep>,
    /// The lines of `uid_map` and `gid_map`.
    uid_map: CString,
    gid_map: CString,
    /// A pipe whose writing end is held by the process outside, so that those inside notice when
    /// that one is gone.
    alive: (OwnedFd, OwnedFd),
    /// A pipe by which the first process inside passes the child's exit status to the one outside.
    ended: (OwnedFd, OwnedFd),
}

/// A step in building the root directory.
#[derive(Debug)]
enum MountStep {
    /// Makes a directory.
    Directory(CString),
    /// Makes a directory in memory that everybody may write to.
    Memory(CString),
    /// Makes an empty file, which will be covered.
    File(CString),
    /// Makes a link to the first at the second.
    Link(CString, CString),
    /// Mounts the first at the second, with these attributes for all of it.
    Bind(CString, CString, u64),
}

const READ_ONLY_MOUNT: u64 =
    libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE_MOUNT: u64 =
    libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
const DEVICE_MOUNT: u64 =
    libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

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
        let mut plan = MountPlan {
            root: &confinement.root,
            steps: Vec::new(),
        };
        for empty in ["/tmp", "/var/tmp", "/dev/shm"] {
            let place = plan.add_directory(Path::new(empty))?;
            plan.steps.push(MountStep::Memory(place));
        }
        for empty in ["/run", "/home", "/root", "/proc"] {
            plan.add_directory(Path::new(empty))?;
        }
        for path in &confinement.visible {
            plan.add_visible(path, READ_ONLY_MOUNT)?;
        }
        for device in DEVICES {
            plan.add_visible(Path::new(device), DEVICE_MOUNT)?;
        }
        // This comes last: the directory may lie in a visible place.
        plan.add_visible(&confinement.directory, WRITABLE_MOUNT)?;
        Ok(World {
            root: c_path(&confinement.root)?,
            start: c_path(&confinement.directory)?,
            steps: plan.steps,
            uid_map: id_map(geteuid().as_raw())?,
            gid_map: id_map(getegid().as_raw())?,
            alive: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?,
            ended: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?,
        })
    }

    /// Makes the world, and goes on as another process in it. It is called between fork and exec.
    /// With `root` we are a user who needs no user namespace.
    pub(super) fn enter(&self, root: bool, parent: u32) -> Result<(), StepError> {
        let own = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
        let flags = if root { own } else { own | libc::CLONE_NEWUSER };
        // SAFETY: plain numbers.
        check_call("making namespaces", unsafe { libc::unshare(flags) }.into())?;
        if !root {
            write_file("mapping the user", c"/proc/self/setgroups", c"deny")?;
            write_file("mapping the user", c"/proc/self/uid_map", &self.uid_map)?;
            write_file("mapping the user", c"/proc/self/gid_map", &self.gid_map)?;
        }
        self.become_first_process(parent)?;
        // SAFETY: a system call without arguments, which leaves the terminal behind. It fails for
        // the leader of a process group, which a new process is not.
        check_call("leaving the session", unsafe { libc::setsid() }.into())?;
        self.build_root()
    }

    /// Makes the first process inside and goes on as it. This process waits outside.
    fn become_first_process(&self, parent: u32) -> Result<(), StepError> {
        // SAFETY: `signals` is a plain value that these calls fill; the raw system call has no
        // stack of its own, so it is like fork.
        unsafe {
            let mut signals: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut signals);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, &raw mut before);
            match check_call("making a process", fork())? {
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

    /// Goes on as the process that becomes the child, while the first one waits for it. This is the
    /// last step.
    pub(super) fn become_child(&self) -> Result<(), StepError> {
        // SAFETY: it has no arguments.
        match check_call("making a process", unsafe { fork() })? {
            0 => Ok(()),
            child => wait_inside(child as libc::pid_t, self.ended.1.as_raw_fd()),
        }
    }

    /// Checks that the process outside is there. It may have ended before the kernel was asked to
    /// signal that.
    pub(super) fn check_parent(&self) -> Result<(), StepError> {
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

    /// Builds the root directory and enters it.
    fn build_root(&self) -> Result<(), StepError> {
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
            check_call("keeping mounts to ourselves", private.into())?;
            mount_memory(&self.root, c"size=1m,mode=755")?;
            for step in &self.steps {
                step.carry_out()?;
            }
            set_mount_attributes(&self.root, READ_ONLY_MOUNT, 0)?;
            check_call(
                "entering the root directory",
                libc::chdir(self.root.as_ptr()).into(),
            )?;
            let dot = c".".as_ptr();
            check_call(
                "entering the root directory",
                libc::syscall(libc::SYS_pivot_root, dot, dot),
            )?;
            check_call(
                "leaving the old root directory",
                libc::umount2(dot, libc::MNT_DETACH).into(),
            )?;
            check_call(
                "entering the directory",
                libc::chdir(self.start.as_ptr()).into(),
            )?;
            libc::umask(0o077);
        }
        Ok(())
    }
}

impl MountStep {
    /// Carries the step out. It allocates nothing.
    unsafe fn carry_out(&self) -> Result<(), StepError> {
        // SAFETY: every pointer is that of a string that lives as long as `self`, or null where
        // that is allowed.
        unsafe {
            match self {
                MountStep::Directory(at) => {
                    allow_existing("making a directory", libc::mkdir(at.as_ptr(), 0o755))
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
                    // A failure is no error: on a file system that can't be written to, the file is
                    // there already.
                    Ok(())
                }
                MountStep::Link(to, at) => {
                    allow_existing("making a link", libc::symlink(to.as_ptr(), at.as_ptr()))
                }
                MountStep::Bind(from, at, attributes) => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    let shown =
                        libc::mount(from.as_ptr(), at.as_ptr(), ptr::null(), flags, ptr::null());
                    check_call("showing a directory", shown.into())?;
                    set_mount_attributes(at, *attributes, libc::AT_RECURSIVE)
                }
            }
        }
    }
}

/// Mounts a file system that is in memory only.
unsafe fn mount_memory(at: &CStr, options: &CStr) -> Result<(), StepError> {
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
    check_call("mounting a directory in memory", made.into()).map(drop)
}

/// Adds attributes to the mount at this place, and removes none.
unsafe fn set_mount_attributes(
    at: &CStr,
    attributes: u64,
    flags: libc::c_int,
) -> Result<(), StepError> {
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
    check_call("protecting a directory", set).map(drop)
}

/// Checks the result of a system call that may find its file there already.
fn allow_existing(step: &'static str, result: libc::c_int) -> Result<(), StepError> {
    match check_call(step, result.into()) {
        Err((_, error)) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop),
    }
}

/// Writes to a file that is there.
fn write_file(step: &'static str, path: &CStr, bytes: &CStr) -> Result<(), StepError> {
    // SAFETY: strings that live longer than the calls.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check_call(step, file.into())?;
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.count_bytes());
        let result = check_call(step, written as libc::c_long);
        libc::close(file);
        result.map(drop)
    }
}

/// The first process of the new world, for the signal handler.
static FIRST_PROCESS: AtomicI32 = AtomicI32::new(0);

/// The signal handler of the process outside.
extern "C" fn kill_first_process(_signal: libc::c_int) {
    let first = FIRST_PROCESS.load(Ordering::Relaxed);
    if first > 0 {
        // SAFETY: plain numbers.
        unsafe { libc::kill(first, libc::SIGKILL) };
    }
}

/// Forks by the bare system call. What the C library does besides, for threads, is of no use here.
unsafe fn fork() -> libc::c_long {
    // SAFETY: without a stack and without flags it is like fork.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

/// Waits for the first process of the new world, which ends only when all in it have ended, and
/// ends as the child did. A signal that asks this process to end kills the first one.
fn wait_outside(first: libc::pid_t, alive: libc::c_int, ended: libc::c_int, parent: u32) -> ! {
    FIRST_PROCESS.store(first, Ordering::Relaxed);
    // SAFETY: system calls of which every argument is a number or a plain value that lives here.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = kill_first_process as *const () as libc::sighandler_t;
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
            kill_first_process(0);
        }
        // Otherwise somebody might wait for the end of a pipe that only this process has open.
        keep_descriptors(&[alive, ended]);
        libc::chdir(c"/".as_ptr());
        let mut status = 0;
        while libc::waitpid(first, &raw mut status, 0) != first {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                libc::_exit(127);
            }
        }
        // The first process can't be ended by a signal as others are, so it passes on the child's
        // exit status. It has ended, so what it passed on is there: where it could not even build
        // its root it passed on nothing, and whoever waits for this process has the pipe open.
        let mut passed_on = libc::pollfd {
            fd: 1,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut child_status: libc::c_int = 0;
        let size = std::mem::size_of::<libc::c_int>();
        if libc::poll(&raw mut passed_on, 1, 0) == 1
            && passed_on.revents & libc::POLLIN != 0
            && libc::read(1, (&raw mut child_status).cast(), size) == size as libc::ssize_t
        {
            status = child_status;
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // This process must not leave a core file.
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

/// Waits for all that end in the new world, until the child does. Then the rest ends with this
/// process, which is confined as they are.
fn wait_inside(child: libc::pid_t, ended: libc::c_int) -> ! {
    // SAFETY: system calls of which every argument is a number or a plain value that lives here.
    unsafe {
        keep_descriptors(&[ended]);
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
unsafe fn keep_descriptors(descriptors: &[libc::c_int]) {
    // SAFETY: plain numbers. The numbers that are replaced are not among the kept ones: those were
    // opened while 0, 1 and 2 were open.
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

/// The steps that build a root directory, put together before the fork.
struct MountPlan<'a> {
    root: &'a Path,
    steps: Vec<MountStep>,
}

impl MountPlan<'_> {
    /// The path below the new root directory at which `path` appears.
    fn place(&self, path: &Path) -> io::Result<CString> {
        c_path(&self.root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Adds an empty directory. Returns its place.
    fn add_directory(&mut self, path: &Path) -> io::Result<CString> {
        self.add_parents(path)?;
        let place = self.place(path)?;
        self.steps.push(MountStep::Directory(place.clone()));
        Ok(place)
    }

    /// Adds the directories above a path.
    fn add_parents(&mut self, path: &Path) -> io::Result<()> {
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

    /// Adds a file, directory or link that is there, mounted with these attributes.
    fn add_visible(&mut self, path: &Path, attributes: u64) -> io::Result<()> {
        let Ok(metadata) = path.symlink_metadata() else {
            return Ok(());
        };
        self.add_parents(path)?;
        let place = self.place(path)?;
        if metadata.is_symlink() {
            self.steps
                .push(MountStep::Link(c_path(&std::fs::read_link(path)?)?, place));
            return Ok(());
        }
        self.steps.push(if metadata.is_dir() {
            MountStep::Directory(place.clone())
        } else {
            MountStep::File(place.clone())
        });
        self.steps
            .push(MountStep::Bind(c_path(path)?, place, attributes));
        Ok(())
    }
}

/// The line of a map that keeps one id as it is.
fn id_map(id: u32) -> io::Result<CString> {
    CString::new(format!("{id} {id} 1")).map_err(io::Error::other)
}

/// A path for a system call.
fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
