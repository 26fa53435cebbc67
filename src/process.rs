//! Child processes: what they say on stderr is drained, their exit status is part of their data,
//! and they are gone when dropped.
//!
//! A child has a process group of its own, so that Ctrl-C on a terminal reaches this program alone,
//! which then ends the child; and it dies with this program, however that ends (on Linux).

pub mod captured;
pub mod confined;

use crate::error::{Context, Error, Kind, Result};
use crate::interrupt;
use confined::{Confinement, Walls};
use rustix::process::Signal;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much of a child's stderr is kept, in bytes: the end is what matters.
pub const STDERR_KEPT: usize = 64 << 10;

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long the output is waited for after the program's end: what it left in the background may
/// hold it open for ever.
const LINGER: Duration = Duration::from_secs(1);

/// How long at most, however much still comes.
const LONGEST_LINGER: Duration = Duration::from_secs(30);

/// How often a wait looks up: for a signal, for a deadline.
const TICK: Duration = Duration::from_millis(100);

/// A running program. Dropped before [`Process::finish`] it is ended.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stderr: Option<Drain>,
    name: String,
    /// Never shown, wherever it stands in what the child says.
    secret: Option<String>,
    end_signal: Signal,
    ended: bool,
}

/// What goes into a child, and what of its output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipes {
    /// Its stdin is written to; else it is empty.
    pub stdin: bool,
    /// Its stdout is read; else it goes nowhere.
    pub stdout: bool,
}

impl Process {
    /// Starts `command`, which messages call `name`. `secret` is masked in whatever it says.
    pub fn start(
        command: Command,
        name: &str,
        secret: Option<&str>,
        pipes: Pipes,
    ) -> Result<Process> {
        Process::start_ended_by(Signal::TERM, command, name, secret, pipes)
    }

    /// The same for a program that is ended by another signal than SIGTERM.
    pub fn start_ended_by(
        signal: Signal,
        command: Command,
        name: &str,
        secret: Option<&str>,
        pipes: Pipes,
    ) -> Result<Process> {
        Process::start_behind(None, signal, command, name, secret, pipes)
    }

    /// Starts it confined. Where that can't be had it is not started; the error says which step
    /// failed.
    pub fn start_confined(
        confinement: &Confinement,
        signal: Signal,
        command: Command,
        name: &str,
        pipes: Pipes,
    ) -> Result<Process> {
        // Who waits for a world of its own ends it by this one.
        let signal = if confinement.walls == Walls::Namespaces {
            Signal::TERM
        } else {
            signal
        };
        Process::start_behind(Some(confinement), signal, command, name, None, pipes)
    }

    fn start_behind(
        confinement: Option<&Confinement>,
        signal: Signal,
        mut command: Command,
        name: &str,
        secret: Option<&str>,
        pipes: Pipes,
    ) -> Result<Process> {
        let pipe = |wanted: bool| {
            if wanted {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        command
            .stdin(pipe(pipes.stdin))
            .stdout(pipe(pipes.stdout))
            .stderr(Stdio::piped())
            .process_group(0);
        die_with_parent(&mut command, signal.as_raw());
        let trouble = confinement
            .map(|confinement| confinement.apply(&mut command, signal.as_raw()))
            .transpose();
        let trouble = trouble.with_context(|| format!("confining `{name}`"))?;
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let error = match trouble.and_then(|trouble| trouble.step()) {
                    Some(step) => Error::from(error).context(step),
                    None => Error::from(error),
                };
                return Err(error.context(starting(&command, name)));
            }
        };
        let stderr = child
            .stderr
            .take()
            .map(|stderr| Drain::new(stderr, Kept::End));
        if let Some(stdout) = &child.stdout {
            widen(stdout);
        }
        if let Some(stdin) = &child.stdin {
            widen(stdin);
        }
        Ok(Process {
            child,
            stderr,
            name: name.to_owned(),
            secret: secret.map(str::to_owned),
            end_signal: signal,
            ended: false,
        })
    }

    /// Runs `command` to its end and gives back its stdout; for outputs that fit into memory. What
    /// it left in the background is not waited for.
    pub fn output(command: Command, name: &str, secret: Option<&str>) -> Result<String> {
        Process::start(
            command,
            name,
            secret,
            Pipes {
                stdin: false,
                stdout: true,
            },
        )?
        .finish_with_output()
    }

    /// Waits for its end and gives back its stdout, which nobody must have read; for outputs that
    /// fit into memory.
    pub fn finish_with_output(mut self) -> Result<String> {
        let said = self
            .child
            .stdout
            .take()
            .map(|stdout| Drain::new(stdout, Kept::All));
        self.finish()?;
        let said = said.map_or(Vec::new(), |said| said.bytes(LINGER));
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// The child's stdout; once. No byte for as long as `stall` is an error.
    pub fn reader(&mut self, stall: Option<Duration>) -> Result<Reader> {
        let stdout = self
            .child
            .stdout
            .take()
            .ok_or_else(|| Error::failed(format!("`{}` has no output to read", self.name)))?;
        Ok(Reader {
            stdout,
            stall,
            name: self.name.clone(),
        })
    }

    /// The child's stdin; once. Dropping it is its end.
    pub fn writer(&mut self) -> Result<Writer> {
        let stdin = self
            .child
            .stdin
            .take()
            .ok_or_else(|| Error::failed(format!("`{}` takes no input", self.name)))?;
        let flags = rustix::fs::fcntl_getfl(&stdin)
            .with_context(|| format!("preparing to write to `{}`", self.name))?;
        rustix::fs::fcntl_setfl(&stdin, flags | rustix::fs::OFlags::NONBLOCK)
            .with_context(|| format!("preparing to write to `{}`", self.name))?;
        Ok(Writer { stdin })
    }

    /// Whether it has ended; then with what it said on stderr.
    pub fn has_ended(&mut self) -> Result<Option<String>> {
        Ok(match self.wait(Some(Duration::ZERO))? {
            Some(_) => {
                self.ended = true;
                Some(self.said())
            }
            None => None,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. Ok means that it succeeded, with what it said on stderr; its failure is
    /// an error with that text's end.
    pub fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let status = self
            .wait(None)?
            .ok_or_else(|| Error::failed(format!("`{}` did not end", self.name)))?;
        self.ended = true;
        let said = self.said();
        if status.success() {
            return Ok(said);
        }
        // Whoever pressed Ctrl-C knows why it ended.
        interrupt::check()?;
        Err(failure(&format!("`{}`", self.name), status, &said))
    }

    /// Waits for its end; whether it succeeded, and what it said on stderr: for programs that go on
    /// after an error, and tell of it in the end.
    pub fn finish_and_tell(mut self) -> Result<(bool, String)> {
        drop(self.child.stdin.take());
        let status = self
            .wait(None)?
            .ok_or_else(|| Error::failed(format!("`{}` did not end", self.name)))?;
        self.ended = true;
        let said = self.said();
        match status.code() {
            Some(code) => Ok((code == 0, said)),
            None => {
                interrupt::check()?;
                Err(failure(&format!("`{}`", self.name), status, &said))
            }
        }
    }

    /// Waits at most as long; `None` where it still runs then. Without a limit only a signal ends
    /// the wait early.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Option<ExitStatus>> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .with_context(|| format!("waiting for `{}`", self.name))?
            {
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if deadline.is_none() {
                interrupt::check()?;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
    }

    fn said(&mut self) -> String {
        let Some(stderr) = self.stderr.take() else {
            return String::new();
        };
        // A grandchild may hold the other end for ever.
        let text = stderr.kept(GRACE);
        match &self.secret {
            Some(secret) if !secret.is_empty() => text.replace(secret.as_str(), "***"),
            _ => text,
        }
    }

    /// Ends it, with all that it has started in its group: politely first.
    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        // A server ends its own children; of another program they would go on.
        if self.end_signal == Signal::TERM {
            signal_group(self.child.id(), self.end_signal);
        } else {
            signal(self.child.id(), self.end_signal);
        }
        drop((self.child.stdin.take(), self.child.stdout.take()));
        if !matches!(self.wait(Some(GRACE)), Ok(Some(_))) {
            signal_group(self.child.id(), Signal::KILL);
            // One that runs as another user may not be ours to kill.
            let _ = self.wait(Some(GRACE));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A child's stdin. A write ends with an error when a signal comes, however long the child takes
/// nothing.
#[derive(Debug)]
pub struct Writer {
    stdin: ChildStdin,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        loop {
            match self.stdin.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let mut ready = [PollFd::new(&self.stdin, PollFlags::OUT)];
            match poll(&mut ready, Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => interrupt::check()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A child's stdout. It ends with an error when a signal comes, or when nothing comes for too long.
#[derive(Debug)]
pub struct Reader {
    stdout: ChildStdout,
    stall: Option<Duration>,
    name: String,
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let since = Instant::now();
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        loop {
            let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
            match poll(&mut ready, Some(&tick)) {
                Ok(0) => {}
                Ok(_) => return self.stdout.read(bytes),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            interrupt::check()?;
            if let Some(stall) = self.stall.filter(|stall| since.elapsed() >= *stall) {
                let waited = crate::units::elapsed(stall.as_secs_f64());
                return Err(Error::failed(format!(
                    "nothing came from `{}` for {waited}",
                    self.name
                ))
                .with_hint(
                    "look at what the server is doing (`pg_stat_activity`); a longer \
                           `stall_timeout` waits longer",
                )
                .into());
            }
        }
    }
}

/// Runs a program that has the terminal, stdin, stdout and stderr for itself, in this process
/// group, and passes signals on to it. It is not ended with this program: who is killed while an
/// upgrade runs should not cut that off, too.
pub fn in_foreground(mut command: Command) -> Result<ExitStatus> {
    interrupt::let_pass(|| {
        use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
        let heeded = interrupt::heeded();
        let mut signals = signal_hook::iterator::Signals::new(
            heeded
                .into_iter()
                .chain([SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD]),
        )?;
        let mut child = command.spawn()?;
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        for number in signals.forever() {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            // Keys reach the child without us; once more, and it would take it for a second Ctrl-C.
            let by_key = matches!(number, SIGINT | SIGQUIT) && has_the_terminal();
            let passed = Signal::from_named_raw(number).filter(|_| number != SIGCHLD && !by_key);
            if let Some(passed) = passed {
                signal(child.id(), passed);
            }
        }
        Ok(child.wait()?)
    })?
}

/// Whether keys that make signals reach this process group.
fn has_the_terminal() -> bool {
    let terminal = std::fs::File::open("/dev/tty").map_err(Error::from);
    terminal.is_ok_and(|terminal| {
        rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
    })
}

/// What could not be started: behind a prefix it is the prefix's program.
fn starting(command: &Command, name: &str) -> String {
    let program = Path::new(command.get_program());
    if program.file_name().is_some_and(|file| file == name) {
        format!("starting `{}`", program.display())
    } else {
        format!("starting `{}` for `{name}`", program.display())
    }
}

/// Asks a child to end whose [`Process`] is in another thread's hands and not waited for yet.
pub fn terminate(pid: u32) {
    signal_group(pid, Signal::TERM);
}

/// The child leads its group, and has not been waited for.
fn signal_group(leader: u32, signal: Signal) {
    if let Some(group) = rustix::process::Pid::from_raw(leader.cast_signed()) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A program that ended with a failure, by its exit status or a signal.
#[derive(Debug)]
pub struct ProgramFailure {
    name: String,
    status: ExitStatus,
    /// What it wrote to stderr, in the order in which it is shown.
    stderr: String,
}

impl ProgramFailure {
    /// The exit status, unless a signal ended the program.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the program.
    pub fn signal(&self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.status)
    }
}

impl std::fmt::Display for ProgramFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "{name} failed (exit status {code})")?,
            (None, Some(signal)) => write!(f, "{name} failed (killed by signal {signal})")?,
            (None, None) => write!(f, "{name} failed (unknown status)")?,
        }
        if self.stderr.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.stderr)
    }
}

impl std::error::Error for ProgramFailure {}

fn failure(name: &str, status: ExitStatus, said: &str) -> Error {
    let failure = ProgramFailure {
        name: name.to_owned(),
        status,
        stderr: in_order(said),
    };
    Error::from_cause(Kind::Failed, failure)
}

/// What is to be told of all that was said: what the server calls an error first, then the end.
pub fn in_order(said: &str) -> String {
    let end = last_lines(said, 6);
    match said
        .lines()
        .map(str::trim)
        .find(|line| line.contains("ERROR: ") || line.contains("FATAL: "))
    {
        Some(first) if !end.starts_with(first) => {
            let rest = end.replacen(&format!("; {first}"), "", 1);
            format!("{first}; {rest}")
        }
        _ => end,
    }
}

/// The last lines that say something, joined.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}

/// What is kept of what a child says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    All,
    /// The first [`STDERR_KEPT`] bytes.
    Begin,
    /// The last ones.
    End,
}

/// What a child says, read as it comes.
#[derive(Debug)]
struct Drain {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Drain {
    fn new(mut from: impl Read + Send + 'static, what: Kept) -> Drain {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = Arc::clone(&kept);
        let thread = std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut block) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                if what == Kept::Begin && kept.len() >= STDERR_KEPT {
                    continue;
                }
                kept.extend_from_slice(&block[..count]);
                if what == Kept::End && kept.len() > 2 * STDERR_KEPT {
                    let surplus = kept.len() - STDERR_KEPT;
                    kept.drain(..surplus);
                }
            }
        });
        Drain { kept, thread }
    }

    /// What was said, waiting for its end at most as long.
    fn kept(&self, wait: Duration) -> String {
        String::from_utf8_lossy(&self.bytes(wait)).into_owned()
    }

    /// The same as it came.
    fn bytes(&self, wait: Duration) -> Vec<u8> {
        let said = || {
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len()
        };
        let (last, mut length) = (Instant::now() + LONGEST_LINGER, said());
        let mut deadline = Instant::now() + wait;
        while !self.thread.is_finished() && Instant::now() < deadline.min(last) {
            std::thread::sleep(Duration::from_millis(1));
            // What still comes in is not cut off, on a machine that is busy.
            if said() > length {
                (length, deadline) = (said(), Instant::now() + wait);
            }
        }
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A child whose parent is killed must not go on: on Linux the kernel sends it this signal then.
/// The thread that starts it must live as long as it does.
#[cfg(target_os = "linux")]
pub fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only these system calls are made, which are safe there.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have gone before the call.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::other("its parent is gone"));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_command: &mut Command, _signal: i32) {}

/// A pipe of 1 MiB in place of 64 KiB, where the system allows it: fewer turns between the two
/// ends.
fn widen(pipe: &impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_calls_an_error_comes_first() {
        let long = "pg_restore: error: could not execute query: ERROR:  type \"t\" does not \
                    exist\nLINE 2: a t\n  ^\nCommand was: x\n1\n2\n3\n4\n5\n";
        let told = in_order(long);
        assert!(
            told.starts_with(
                "pg_restore: error: could not execute query: ERROR:  type \"t\" does not exist; "
            ),
            "{told}"
        );
        assert!(
            told.ends_with("4; 5") && told.matches("ERROR").count() == 1,
            "{told}"
        );
        assert_eq!(in_order("a\nx: ERROR:  b\nc\n"), "x: ERROR:  b; a; c");
        assert_eq!(in_order("a\nb\n"), "a; b");
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_then_failure_is_failure() {
        let error = Process::output(shell("echo all of it; echo why >&2; exit 3"), "dump", None)
            .unwrap_err();
        assert_eq!(error.message(), "`dump` failed (exit status 3): why");
        let error = Process::output(shell("echo all of it; kill -9 $$"), "dump", None).unwrap_err();
        assert_eq!(error.message(), "`dump` failed (killed by signal 9)");
        assert_eq!(
            Process::output(shell("echo all of it"), "dump", None).unwrap(),
            "all of it\n"
        );
    }

    #[test]
    fn a_secret_is_masked() {
        let error = Process::output(
            shell("echo tried hunter2 >&2; exit 1"),
            "dump",
            Some("hunter2"),
        )
        .unwrap_err();
        assert_eq!(error.message(), "`dump` failed (exit status 1): tried ***");
    }

    #[test]
    fn a_silent_child_is_given_up_and_ended() {
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let mut process = Process::start(shell("exec sleep 600"), "dump", None, pipes).unwrap();
        let pid = process.id();
        let error = process
            .reader(Some(Duration::from_millis(50)))
            .unwrap()
            .read(&mut [0; 8])
            .unwrap_err();
        assert!(
            error.to_string().contains("nothing came from `dump`"),
            "{error}"
        );
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn what_goes_on_in_the_background_is_not_waited_for_and_is_ended_with_its_parent() {
        let started = Instant::now();
        let text = Process::output(shell("sleep 600 & echo $!"), "dump", None).unwrap();
        assert!(started.elapsed() < Duration::from_secs(60));
        signal(text.trim().parse().unwrap(), Signal::KILL);
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let mut process =
            Process::start(shell("sleep 600 & echo $!; wait"), "dump", None, pipes).unwrap();
        let mut line = [0; 32];
        let count = process.reader(None).unwrap().read(&mut line).unwrap();
        let pid: u32 = std::str::from_utf8(&line[..count])
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        drop(process);
        let ended = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while cfg!(target_os = "linux") && !ended() {
            assert!(Instant::now() < deadline, "its child goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn much_on_stderr_blocks_nobody() {
        let text = Process::output(
            shell("yes noise | head -c 3000000 >&2; echo done"),
            "dump",
            None,
        )
        .unwrap();
        assert_eq!(text, "done\n");
    }
}
