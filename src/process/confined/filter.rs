//! The rules by which the kernel refuses something to a confined child: a filter of system calls,
//! whatever the walls are, and Landlock's rules, which are the walls where there are no namespaces.
//!
//! Tried on Linux 6.18: under Landlock (ABI 7) alone a child connects to any Unix socket by its
//! path, and changes the mode, owner and times of any file of its user. So the filter refuses these
//! calls.

use super::namespaces::DEVICES;
use super::{Confinement, StepError, check_call};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The newest version of Landlock that is asked for; an older kernel applies the rules that it
/// knows.
const NEWEST_ABI: ABI = ABI::V7;

/// The version that a child of another user needs: it covers reading and making files. Processes,
/// and files that are not open to everybody, are out of another user's reach anyway.
const ABI_FOR_ANOTHER_USER: i64 = 1;
/// The version that a child of the same user needs: besides, files can't be truncated (3), and no
/// signals can be sent to other processes (6).
const ABI_FOR_SAME_USER: i64 = 6;

/// Checks whether this kernel's Landlock can confine a child that runs as another user, or as the
/// same one.
pub(super) fn check_landlock(another_user: bool) -> Result<(), String> {
    // SAFETY: there are no attributes, and the flag asks for the version only.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            1,
        )
    };
    let needed = if another_user {
        ABI_FOR_ANOTHER_USER
    } else {
        ABI_FOR_SAME_USER
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

/// Whether this user has System V shared memory. A single page is only the mark that a PostgreSQL
/// server leaves.
fn has_shared_memory() -> bool {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let user = u64::from(rustix::process::geteuid().as_raw());
    text.lines().skip(1).any(|line| {
        // key shmid perms size cpid lpid nattch uid gid cuid …
        let owned = number_in_column(line, 7) == user || number_in_column(line, 9) == user;
        owned && number_in_column(line, 3) > 4096
    })
}

/// The number in a column, counted from 0; 0 if there is none.
fn number_in_column(line: &str, column: usize) -> u64 {
    let word = line.split_whitespace().nth(column);
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Builds Landlock's rules: visible places may be read and run, the one directory written to, and
/// nothing may be bound or connected to.
pub(super) fn build_ruleset(confinement: &Confinement) -> Result<OwnedFd, String> {
    create_ruleset(confinement)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "the kernel does not offer it".to_owned())
}

/// Does what [`build_ruleset`] does; `None` if the kernel has no Landlock.
fn create_ruleset(confinement: &Confinement) -> Result<Option<OwnedFd>, RulesetError> {
    let all = AccessFs::from_all(NEWEST_ABI);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(NEWEST_ABI))?
        .scope(Scope::from_all(NEWEST_ABI))?
        .create()?
        .add_rules(path_beneath_rules(
            &confinement.visible,
            AccessFs::from_read(NEWEST_ABI),
        ))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules([&confinement.directory], all))?;
    Ok(ruleset.into())
}

/// Applies the rules and filters to this process and to all that it starts. It is called between
/// fork and exec.
pub(super) fn apply_filters(
    ruleset: Option<&OwnedFd>,
    filters: &[BpfProgram],
) -> Result<(), StepError> {
    // SAFETY: plain numbers.
    unsafe {
        check_call(
            "giving up privileges",
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(),
        )?;
        if let Some(ruleset) = ruleset {
            check_call(
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

/// Builds the filters of every confined child, one for each answer that they give.
pub(super) fn build_filters(may_connect: bool) -> Result<Vec<BpfProgram>, String> {
    let mut refused = FilterRules::default();
    for call in REFUSED_CALLS
        .iter()
        .chain(OLD_REFUSED_CALLS)
        .chain(if may_connect { &[] } else { CONNECT_CALLS })
    {
        refused.add(*call);
    }
    // Streams between processes of one machine are allowed, and no other sockets: a datagram
    // reaches somebody without a connection.
    refused.add_if(libc::SYS_socket, 0, SeccompCmpOp::Ne, libc::AF_UNIX as u64);
    for kind in (0..16).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
        refused.add_if(libc::SYS_socket, 1, SeccompCmpOp::MaskedEq(0xf), kind);
        refused.add_if(libc::SYS_socketpair, 1, SeccompCmpOp::MaskedEq(0xf), kind);
    }
    for request in [TIOCSTI, TIOCLINUX] {
        refused.add_if(libc::SYS_ioctl, 1, SeccompCmpOp::Eq, request);
    }
    // A process may set its own limits only.
    refused.add_if(libc::SYS_prlimit64, 0, SeccompCmpOp::Ne, 0);
    for flag in NAMESPACE_FLAGS {
        refused.add_if(libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(*flag), *flag);
    }
    let mut unknown = FilterRules::default();
    // Its flags lie in memory, which a filter can't read. The C library then uses `clone`.
    unknown.add(libc::SYS_clone3);
    let mut ignored = FilterRules::default();
    // The caller goes on as if the call had succeeded. No mode in its directory matters to anybody.
    for call in [libc::SYS_fchmod, libc::SYS_fchmodat, FCHMODAT2]
        .iter()
        .chain(OLD_IGNORED_CALLS)
    {
        ignored.add(*call);
    }
    let refusal = |error: libc::c_int| SeccompAction::Errno(error.unsigned_abs());
    Ok(vec![
        with_x32_refused(refused.compile(refusal(libc::EPERM))?),
        unknown.compile(refusal(libc::ENOSYS))?,
        ignored.compile(refusal(0))?,
    ])
}

/// Whether filters can be made for this processor.
pub(super) fn is_supported() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// Builds the filter of a process that may start threads, but no other process.
pub(super) fn build_single_process_filter() -> Result<BpfProgram, String> {
    let mut refused = FilterRules::default();
    for call in FORK_CALLS {
        refused.add(*call);
    }
    refused.add_if(
        libc::SYS_clone,
        0,
        SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
        0,
    );
    // Its flags lie in memory. The C library uses `clone` if this one is refused, whatever the
    // error is.
    refused.add(libc::SYS_clone3);
    refused
        .compile(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
        .map(with_x32_refused)
}

/// Adds a refusal of all calls by a second set of numbers (x32), which some kernels know.
fn with_x32_refused(program: BpfProgram) -> BpfProgram {
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let bpf = |code: u32, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let head = [
        // The number of the call is the first field that a filter gets.
        bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        bpf(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0x4000_0000),
        bpf(libc::BPF_RET | libc::BPF_K, 0, refusal),
    ];
    head.into_iter().chain(program).collect()
}

/// The calls of one filter, which all get the same answer.
#[derive(Default)]
struct FilterRules {
    /// The rules of each call; a call without any is always answered.
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    /// The last error of a rule that could not be made.
    error: Option<String>,
}

impl FilterRules {
    /// Adds a call, whatever its arguments are.
    fn add(&mut self, call: i64) {
        self.calls.insert(call, Vec::new());
    }

    /// Adds a call if one of its arguments has a certain value.
    fn add_if(&mut self, call: i64, argument: u8, is: SeccompCmpOp, value: u64) {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value);
        match condition.and_then(|condition| SeccompRule::new(vec![condition])) {
            Ok(rule) => self.calls.entry(call).or_default().push(rule),
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// Compiles the filter that gives this answer.
    fn compile(self, answer: SeccompAction) -> Result<BpfProgram, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let architecture =
            TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
        SeccompFilter::new(self.calls, SeccompAction::Allow, answer, architecture)
            .and_then(BpfProgram::try_from)
            .map_err(|error| error.to_string())
    }
}

// The requests that type on a terminal. They are the same on every architecture that has filters.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// The flags of the namespaces that `clone` can make.
const NAMESPACE_FLAGS: &[u64] = &[
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWCGROUP as u64,
];

/// The calls that connect; a server that only answers needs none.
const CONNECT_CALLS: &[i64] = &[libc::SYS_connect];

// Calls for which the library has no names yet. Since Linux 5.1 their numbers are the same
// everywhere.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

/// The calls that are refused to every confined child.
const REFUSED_CALLS: &[i64] = &[
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
    // System V and POSIX queues and semaphores. System V shared memory is needed by a server.
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
    // Changes of files that could not be opened for writing.
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
    // Calls that are queued here pass no filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Namespaces and mounts.
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

/// The calls that start a process. Here and below are those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const FORK_CALLS: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORK_CALLS: &[i64] = &[];
#[cfg(target_arch = "x86_64")]
const OLD_REFUSED_CALLS: &[i64] = &[
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(target_arch = "x86_64")]
const OLD_IGNORED_CALLS: &[i64] = &[libc::SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const OLD_REFUSED_CALLS: &[i64] = &[];
#[cfg(not(target_arch = "x86_64"))]
const OLD_IGNORED_CALLS: &[i64] = &[];
