//! What the kernel refuses to a confined child whatever walls it is behind (a filter of system
//! calls), and Landlock's rules, which are the walls where there are no namespaces.
//!
//! Tried on Linux 6.18: under Landlock (ABI 7) alone a child connects to any Unix socket by its
//! path, and changes the mode, owner and times of any file of its user. So the filter refuses these
//! calls.

use super::namespaces::DEVICES;
use super::{Confinement, Failed, done};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The newest rules that are asked for; an older kernel gives those that it knows.
const NEWEST: ABI = ABI::V7;

/// Reading and making files. Processes, and files that are not open to everybody, are out of
/// another user's reach as they are.
const WITH_ANOTHER_USER: i64 = 1;
/// Besides, files can't be cut off (3), and other processes can't be sent signals (6).
const AS_THE_SAME_USER: i64 = 6;

/// Whether this kernel's Landlock can hold a child that runs as another user, or as the same.
pub(super) fn landlock_suffices(another_user: bool) -> Result<(), String> {
    // SAFETY: no attributes, and the flag that asks for the version only.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            1,
        )
    };
    let needed = if another_user {
        WITH_ANOTHER_USER
    } else {
        AS_THE_SAME_USER
    };
    if abi < 0 {
        return Err(format!(
            "the kernel does not offer it ({})",
            io::Error::last_os_error()
        ));
    }
    if abi < needed {
        return Err(format!(
            "the kernel's version {abi} of it does not keep signals from this user's other \
             processes"
        ));
    }
    if !another_user && has_shared_memory() {
        return Err("this user's System V shared memory can't be kept out of reach".to_owned());
    }
    Ok(())
}

/// Whether this user has System V shared memory; a page of it is only the mark that a PostgreSQL
/// server leaves.
fn has_shared_memory() -> bool {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let me = rustix::process::geteuid().as_raw();
    text.lines().skip(1).any(|line| {
        let column = |at: usize| {
            line.split_whitespace()
                .nth(at)
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0)
        };
        // key shmid perms size cpid lpid nattch uid gid cuid …
        (column(7) == u64::from(me) || column(9) == u64::from(me)) && column(3) > 4096
    })
}

/// Landlock's rules: what is visible may be read and run, the one directory written to, nothing
/// bound or connected to.
pub(super) fn ruleset(confinement: &Confinement) -> Result<OwnedFd, String> {
    let made = || -> Result<Option<OwnedFd>, landlock::RulesetError> {
        let all = AccessFs::from_all(NEWEST);
        let device = AccessFs::ReadFile | AccessFs::WriteFile;
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(
                &confinement.visible,
                AccessFs::from_read(NEWEST),
            ))?
            .add_rules(path_beneath_rules(DEVICES, device))?
            .add_rules(path_beneath_rules([&confinement.directory], all))?;
        Ok(ruleset.into())
    };
    made()
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "the kernel does not offer it".to_owned())
}

/// Called between fork and exec: from here on the child and all that it starts are held.
pub(super) fn lock(ruleset: Option<&OwnedFd>, filters: &[BpfProgram]) -> Result<(), Failed> {
    // SAFETY: plain numbers.
    unsafe {
        done(
            "giving up privileges",
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(),
        )?;
        if let Some(ruleset) = ruleset {
            done(
                "setting Landlock's rules",
                libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0),
            )?;
        }
    }
    for filter in filters {
        if apply_filter(filter).is_err() {
            return Err((
                "setting the filter of system calls",
                io::Error::last_os_error(),
            ));
        }
    }
    Ok(())
}

/// The filters, one for each answer that they give.
pub(super) fn filters(may_connect: bool) -> Result<Vec<BpfProgram>, String> {
    let mut refused = Rules::default();
    for call in REFUSED
        .iter()
        .chain(OLD_REFUSED)
        .chain(if may_connect { &[] } else { CONNECTING })
    {
        refused.always(*call);
    }
    // Streams between processes of one machine, and no other socket: a datagram needs no connection
    // to reach somebody.
    refused.when(libc::SYS_socket, 0, SeccompCmpOp::Ne, libc::AF_UNIX as u64);
    for kind in (0..16).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
        refused.when(libc::SYS_socket, 1, SeccompCmpOp::MaskedEq(0xf), kind);
        refused.when(libc::SYS_socketpair, 1, SeccompCmpOp::MaskedEq(0xf), kind);
    }
    for request in [TIOCSTI, TIOCLINUX] {
        refused.when(libc::SYS_ioctl, 1, SeccompCmpOp::Eq, request);
    }
    // Of itself only.
    refused.when(libc::SYS_prlimit64, 0, SeccompCmpOp::Ne, 0);
    for flag in NAMESPACES {
        refused.when(libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(*flag), *flag);
    }
    let mut unknown = Rules::default();
    // Its flags lie in memory, where a filter does not look; the C library then takes `clone`.
    unknown.always(libc::SYS_clone3);
    let mut ignored = Rules::default();
    // Who asks goes on as if it had been done; no mode in its directory matters to anybody.
    for call in [libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2]
        .iter()
        .chain(OLD_IGNORED)
    {
        ignored.always(*call);
    }
    let refusal = |error: libc::c_int| SeccompAction::Errno(error.unsigned_abs());
    Ok(vec![
        other_calls_refused(refused.compiled(refusal(libc::EPERM))?),
        unknown.compiled(refusal(libc::ENOSYS))?,
        ignored.compiled(refusal(0))?,
    ])
}

/// Whether filters can be made for this processor.
pub(super) fn is_known_here() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// The filter of a process that makes no other one; threads it may have.
pub(super) fn alone() -> Result<BpfProgram, String> {
    let mut refused = Rules::default();
    for call in FORKING {
        refused.always(*call);
    }
    refused.when(
        libc::SYS_clone,
        0,
        SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
        0,
    );
    // Its flags lie in memory; the C library takes `clone` where this one is refused, whatever it
    // is told.
    refused.always(libc::SYS_clone3);
    refused
        .compiled(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
        .map(other_calls_refused)
}

/// Where a kernel knows a second set of numbers for its calls (x32), none of them passes.
fn other_calls_refused(program: BpfProgram) -> BpfProgram {
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let bpf = |code: u32, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let head = [
        // The number of the call is the first thing that a filter is given.
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        bpf(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0x4000_0000),
        bpf(libc::BPF_RET | libc::BPF_K, 0, refusal),
    ];
    head.into_iter().chain(program).collect()
}

#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>, Option<String>);

impl Rules {
    fn always(&mut self, call: i64) {
        self.0.insert(call, Vec::new());
    }

    fn when(&mut self, call: i64, argument: u8, is: SeccompCmpOp, value: u64) {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value);
        match condition.and_then(|condition| SeccompRule::new(vec![condition])) {
            Ok(rule) => self.0.entry(call).or_default().push(rule),
            Err(error) => self.1 = Some(error.to_string()),
        }
    }

    fn compiled(self, answer: SeccompAction) -> Result<BpfProgram, String> {
        if let Some(error) = self.1 {
            return Err(error);
        }
        let architecture =
            TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
        SeccompFilter::new(self.0, SeccompAction::Allow, answer, architecture)
            .and_then(BpfProgram::try_from)
            .map_err(|error| error.to_string())
    }
}

// What types on a terminal; the same on every architecture that there are filters for.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// Namespaces that `clone` can make.
const NAMESPACES: &[u64] = &[
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWCGROUP as u64,
];

/// A server that only answers needs neither.
const CONNECTING: &[i64] = &[libc::SYS_connect];

// Calls that the library has no names for yet; since 5.1 their numbers are the same everywhere.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // System V and POSIX queues and semaphores; the shared memory of the former a server needs.
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Keys of the user and the session.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // What changes files that could not be opened for it.
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Calls by a queue pass no filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other worlds.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    // Large and seldom needed parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
];

/// Calls that newer architectures have no more.
#[cfg(target_arch = "x86_64")]
const FORKING: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKING: &[i64] = &[];
#[cfg(target_arch = "x86_64")]
const OLD_REFUSED: &[i64] = &[
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(target_arch = "x86_64")]
const OLD_IGNORED: &[i64] = &[libc::SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const OLD_REFUSED: &[i64] = &[];
#[cfg(not(target_arch = "x86_64"))]
const OLD_IGNORED: &[i64] = &[];
