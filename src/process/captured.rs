//! Programs of the user's (hooks, and those that give a secret): they are run to their end, within
//! a limit of time, and their output is kept. When the time is over their whole process group is
//! ended. Unlike our own children they do not die with this program: half an `after` that starts an
//! application again is worse than one that goes on.

use super::drain::{Drain, KeptPart, LINGER};
use super::failure::exit_failure;
use super::foreground::has_the_terminal;
use super::{GRACE, TICK};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time that it may run.
    pub timeout: Duration,
    /// Whether it is ended when a signal comes; else it goes on to its end.
    pub interruptible: bool,
    /// The hint of the error where it takes longer.
    pub hint: &'static str,
}

/// How a program ended, with its output.
#[derive(Debug)]
pub struct Captured {
    /// The end of its output, stdout and stderr as they came.
    pub output: String,
    /// How long it ran.
    pub duration: Duration,
    /// Ok where its exit status was 0.
    pub result: Result<()>,
}

/// Runs `command`, which messages call `name`, to its end, with nothing to read on stdin. Each line
/// of its output goes through `mask`.
pub fn run(
    command: Command,
    name: &str,
    limits: Limits,
    mask: &dyn Fn(&str) -> String,
) -> Captured {
    run_with(command, Stdio::null(), name, limits, mask)
}

/// As [`run`], with this file to read on stdin.
pub fn run_with_input(
    command: Command,
    input: File,
    name: &str,
    limits: Limits,
    mask: &dyn Fn(&str) -> String,
) -> Captured {
    run_with(command, Stdio::from(input), name, limits, mask)
}

fn run_with(
    command: Command,
    input: Stdio,
    name: &str,
    limits: Limits,
    mask: &dyn Fn(&str) -> String,
) -> Captured {
    let started = Instant::now();
    let (output, result) = match spawn(command, input, name) {
        Ok((mut child, drain)) => {
            let status = wait(&mut child, name, started, limits);
            let output: String = drain
                .text(LINGER)
                .lines()
                .map(|line| mask(line.trim_end()) + "\n")
                .collect();
            let result = status.and_then(|status| {
                if status.success() {
                    Ok(())
                } else {
                    Err(exit_failure(name, status, &output))
                }
            });
            (output, result)
        }
        Err(error) => (String::new(), Err(error)),
    };
    Captured {
        output,
        duration: started.elapsed(),
        result,
    }
}

/// Starts `command` with both outputs in one pipe. It is taken by value: a command that lives on
/// holds the writing ends, and the reader would wait for ever.
fn spawn(mut command: Command, input: Stdio, name: &str) -> Result<(Child, Drain)> {
    let (reader, writer) = std::io::pipe()?;
    command
        .stdin(input)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let child = super::withhold_secrets(&mut command)
        .spawn()
        .map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            let error = Error::from(error).context(format!("starting `{program}` for {name}"));
            // A list whose first word is a whole line.
            let hint = "a list is one program and its arguments; write a shell line as a string";
            if program.contains(' ') {
                error.with_hint(hint)
            } else {
                error
            }
        })?;
    Ok((child, Drain::new(reader, KeptPart::End)))
}

/// Runs `command`, which messages call `name`, to its end and returns the beginning of its stdout,
/// which nobody else sees. It may ask on the terminal, if this program has that.
pub fn read_output(mut command: Command, name: &str, limits: Limits) -> Result<Vec<u8>> {
    let started = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let terminal = lend_terminal(&mut command);
    let mut child = super::withhold_secrets(&mut command)
        .spawn()
        .with_context(|| format!("running {name}"))?;
    // Nobody but the child may hold what it is lent by `command`.
    drop(command);
    let stdout = child
        .stdout
        .take()
        .map(|stdout| Drain::new(stdout, KeptPart::Begin));
    let stderr = child
        .stderr
        .take()
        .map(|stderr| Drain::new(stderr, KeptPart::End));
    let status = wait(&mut child, name, started, limits)?;
    if terminal.is_some()
        && (status.signal() == Some(libc::SIGINT) || status.code() == Some(128 + libc::SIGINT))
    {
        // Ctrl-C went there.
        return Err(Error::interrupted());
    }
    if !status.success() {
        let stderr = stderr.map_or(String::new(), |drain| drain.text(LINGER));
        return Err(exit_failure(name, status, &stderr)
            .with_hint("run the command by hand, as the user that dbbackup runs as"));
    }
    Ok(stdout.map_or(Vec::new(), |drain| drain.bytes(LINGER)))
}

/// The terminal while another process group has it: dropping the value takes it back.
struct LentTerminal(File);

impl Drop for LentTerminal {
    fn drop(&mut self) {
        let _ = give_terminal(self.0.as_raw_fd(), rustix::process::getpgrp().as_raw_pid());
    }
}

/// Gives the keyboard to the program that is started, where this one has it: outside of the
/// foreground it would be stopped when it asks for a passphrase.
fn lend_terminal(command: &mut Command) -> Option<LentTerminal> {
    if !has_the_terminal() {
        return None;
    }
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    let descriptor = terminal.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made, which are safe there; the
    // descriptor is open until the value is dropped.
    unsafe {
        command.pre_exec(move || give_terminal(descriptor, libc::getpid()));
    }
    Some(LentTerminal(terminal))
}

/// Makes a process group the one that keys go to. A process outside of the foreground gets a stop
/// signal for that, unless it blocks it.
fn give_terminal(descriptor: RawFd, group: libc::pid_t) -> std::io::Result<()> {
    // SAFETY: the sets are initialised before they are read, and nothing else is touched.
    unsafe {
        let mut blocked = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut blocked);
        libc::sigaddset(&raw mut blocked, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before);
        let given = libc::tcsetpgrp(descriptor, group);
        let error = std::io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        if given == 0 { Ok(()) } else { Err(error) }
    }
}

/// Waits for the end within the limits.
fn wait(child: &mut Child, name: &str, started: Instant, limits: Limits) -> Result<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if limits.interruptible && interrupt::requested() {
            end_group(child);
            return Err(Error::interrupted());
        }
        if started.elapsed() >= limits.timeout {
            end_group(child);
            let limit = crate::units::elapsed(limits.timeout.as_secs_f64());
            return Err(
                Error::failed(format!("{name} took longer than {limit} and was ended"))
                    .with_hint(limits.hint),
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(TICK);
    }
}

/// Ends the program and all that it started in its group: by SIGTERM, and by SIGKILL where that
/// does not help.
fn end_group(child: &mut Child) {
    let Some(group) = Pid::from_raw(child.id().cast_signed()) else {
        return;
    };
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    // Waited for, the program itself is no member any more.
    while Instant::now() < deadline && (matches!(child.try_wait(), Ok(None)) || is_running(group)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Whether any process of the group runs. One that has ended and waits to be reaped does not count:
/// in a container init may never do it.
fn is_running(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_ok()
        && is_listed(group.as_raw_pid()).unwrap_or(true)
}

/// Whether the system's list of processes has a running one of the group; `None` where there is no
/// such list.
fn is_listed(group: i32) -> Option<bool> {
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut readable = false;
    let found = processes.any(|entry| {
        let answer = is_running_in(&entry.path(), group);
        readable |= answer.is_some();
        answer == Some(true)
    });
    readable.then_some(found)
}

/// Whether the process of this directory of /proc runs in the group; `None` where it can't be read.
fn is_running_in(process: &Path, group: i32) -> Option<bool> {
    // `PID (NAME) STATE PARENT GROUP …`; a name may hold anything.
    let stat = std::fs::read(process.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, its_group) = (fields.next()?, fields.nth(1)?);
    Some(its_group.parse() == Ok(group) && !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Captured {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(
            command,
            "the hook",
            Limits {
                timeout,
                interruptible: true,
                hint: "look",
            },
            &|line| line.replace("hunter2", "***"),
        )
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_outputs_are_kept_in_their_order() {
        let ran = shell("echo one; echo hunter2 >&2; echo three; exit 4", LONG);
        assert_eq!(ran.output, "one\n***\nthree\n");
        assert_eq!(
            ran.result.unwrap_err().message(),
            "the hook failed (exit status 4): one; ***; three"
        );
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let there = tempfile::tempdir().unwrap();
        let leader = there.path().join("leader");
        // One child takes no notice of SIGTERM.
        let script = format!(
            "echo $$ > {}; echo begun; (trap '' TERM; sleep 600; sleep 600) & wait",
            leader.display()
        );
        let ran = shell(&script, Duration::from_millis(500));
        assert!(
            ran.result
                .unwrap_err()
                .message()
                .contains("longer than 0.5 s")
        );
        assert_eq!(ran.output, "begun\n");
        let group: i32 = std::fs::read_to_string(leader)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // SIGKILL takes a moment.
        let gone = Instant::now() + LONG;
        while is_running(Pid::from_raw(group).unwrap()) {
            assert!(Instant::now() < gone, "something of the group is left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_goes_on_in_the_background_is_not_waited_for() {
        let started = Instant::now();
        let ran = shell("sleep 600 & echo $!", 2 * LONG);
        assert!(ran.result.is_ok() && started.elapsed() < LONG);
        let left = ran.output.trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::TERM).unwrap();
    }
}
