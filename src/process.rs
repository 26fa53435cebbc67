//! Child processes: their stderr is drained, their exit status is part of their data, and they are
//! gone when dropped.
//!
//! A child has a process group of its own, so that Ctrl-C on a terminal reaches this program alone,
//! which then ends the child; and it dies with this program, however that ends (on Linux).

pub mod captured;
pub mod confined;
mod drain;
mod failure;
mod filter;
mod foreground;
mod pipes;

pub use drain::STDERR_KEPT;
pub use failure::{ProgramFailure, last_lines, summarize_stderr};
pub use filter::{Filter, FilterStep};
pub use foreground::run_in_foreground;
pub use pipes::{ChildReader, ChildWriter, Pipes};

use crate::error::{Context, Error, Result};
use crate::interrupt;
use confined::{Confinement, Walls};
use drain::{Drain, KeptPart, LINGER};
use failure::{exit_failure, start_attempt};
use rustix::process::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How often a wait looks for a signal and at its deadline.
const TICK: Duration = Duration::from_millis(100);

/// A running program, which is ended if the value is dropped before [`Process::finish`].
#[derive(Debug)]
pub struct Process {
    child: Child,
    stderr: Option<Drain>,
    name: String,
    /// Masked wherever it stands in the child's output.
    secret: Option<String>,
    end_signal: Signal,
    ended: bool,
}

impl Process {
    /// Starts `command`, which messages call `name`. `secret` is masked in its output.
    pub fn start(
        command: Command,
        name: &str,
        secret: Option<&str>,
        pipes: Pipes,
    ) -> Result<Process> {
        Process::start_ended_by(Signal::TERM, command, name, secret, pipes)
    }

    /// Starts a program that is ended by another signal than SIGTERM.
    pub fn start_ended_by(
        signal: Signal,
        command: Command,
        name: &str,
        secret: Option<&str>,
        pipes: Pipes,
    ) -> Result<Process> {
        Process::start_behind(None, signal, command, name, secret, pipes)
    }

    /// Starts `command` confined. Where it can't be confined it is not started; the error says
    /// which step failed.
    pub fn start_confined(
        confinement: &Confinement,
        signal: Signal,
        command: Command,
        name: &str,
        pipes: Pipes,
    ) -> Result<Process> {
        // The process that waits for its own namespaces ends them by this signal.
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
        withhold_secrets(&mut command)
            .stdin(pipe_if(pipes.stdin))
            .stdout(pipe_if(pipes.stdout))
            .stderr(Stdio::piped())
            .process_group(0);
        die_with_parent(&mut command, signal.as_raw());
        let failed_step = confinement
            .map(|confinement| confinement.apply(&mut command, signal.as_raw()))
            .transpose();
        let failed_step = failed_step.with_context(|| format!("confining `{name}`"))?;
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let error = match failed_step.and_then(|failed_step| failed_step.read()) {
                    Some(step) => Error::from(error).context(step),
                    None => Error::from(error),
                };
                return Err(error.context(start_attempt(&command, name)));
            }
        };
        let stderr = child
            .stderr
            .take()
            .map(|stderr| Drain::new(stderr, KeptPart::End));
        if let Some(stdout) = &child.stdout {
            pipes::widen(stdout);
        }
        if let Some(stdin) = &child.stdin {
            pipes::widen(stdin);
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

    /// Runs `command` to its end and returns its stdout, which must fit into memory. Processes that
    /// it left in the background are not waited for.
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

    /// Waits for the end and returns its stdout, which nobody may have read before and which must
    /// fit into memory.
    pub fn finish_with_output(mut self) -> Result<String> {
        let drain = self
            .child
            .stdout
            .take()
            .map(|stdout| Drain::new(stdout, KeptPart::All));
        self.finish()?;
        let output = drain.map_or(Vec::new(), |drain| drain.bytes(LINGER));
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// The child's stdout, which can be taken once. No byte for as long as `stall` is an error.
    pub fn reader(&mut self, stall: Option<Duration>) -> Result<ChildReader> {
        let stdout = self
            .child
            .stdout
            .take()
            .ok_or_else(|| Error::failed(format!("`{}` has no output to read", self.name)))?;
        Ok(ChildReader::new(stdout, stall, &self.name))
    }

    /// The child's stdin, which can be taken once. Dropping it closes the pipe.
    pub fn writer(&mut self) -> Result<ChildWriter> {
        let stdin = self
            .child
            .stdin
            .take()
            .ok_or_else(|| Error::failed(format!("`{}` takes no input", self.name)))?;
        ChildWriter::new(stdin).with_context(|| format!("preparing to write to `{}`", self.name))
    }

    /// The child's stdin and stdout as they are, each of which can be taken once: for a protocol
    /// that has its own ways to wait.
    pub fn take_pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        match (self.child.stdin.take(), self.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((stdin, stdout)),
            _ => Err(Error::failed(format!("`{}` has no pipes", self.name))),
        }
    }

    /// Its stderr if it has ended, `None` while it runs.
    pub fn errors_if_ended(&mut self) -> Result<Option<String>> {
        Ok(match self.wait(Some(Duration::ZERO))? {
            Some(_) => {
                self.ended = true;
                Some(self.take_errors())
            }
            None => None,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end and returns its stderr where it succeeded. A failure is an error with the
    /// end of that text.
    pub fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let status = self
            .wait(None)?
            .ok_or_else(|| Error::failed(format!("`{}` did not end", self.name)))?;
        self.ended = true;
        let stderr = self.take_errors();
        if status.success() {
            return Ok(stderr);
        }
        // Whoever pressed Ctrl-C knows why it ended.
        interrupt::check()?;
        Err(exit_failure(&format!("`{}`", self.name), status, &stderr))
    }

    /// Waits for the end and returns whether it succeeded, with its stderr: for programs that go on
    /// after an error and report it in the end.
    pub fn finish_with_errors(mut self) -> Result<(bool, String)> {
        drop(self.child.stdin.take());
        let status = self
            .wait(None)?
            .ok_or_else(|| Error::failed(format!("`{}` did not end", self.name)))?;
        self.ended = true;
        let stderr = self.take_errors();
        match status.code() {
            Some(code) => Ok((code == 0, stderr)),
            None => {
                interrupt::check()?;
                Err(exit_failure(&format!("`{}`", self.name), status, &stderr))
            }
        }
    }

    /// Waits for the end, at most for `limit`, and returns `None` where it still runs then. Without
    /// a limit only a signal ends the wait early.
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

    fn take_errors(&mut self) -> String {
        let Some(stderr) = self.stderr.take() else {
            return String::new();
        };
        // A grandchild may hold the other end for ever.
        let text = stderr.text(GRACE);
        match &self.secret {
            Some(secret) if !secret.is_empty() => text.replace(secret.as_str(), "***"),
            _ => text,
        }
    }

    /// Ends the child with all that it has started in its group: by its signal, and by SIGKILL
    /// where that does not help.
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

/// Variables with secrets of ours, which are no child's affair.
const SECRET_VARIABLES: &[&str] = &["DBBACKUP_SIGN_PASSWORD"];

/// Takes our secrets out of a child's environment.
fn withhold_secrets(command: &mut Command) -> &mut Command {
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    command
}

fn pipe_if(wanted: bool) -> Stdio {
    if wanted {
        Stdio::piped()
    } else {
        Stdio::null()
    }
}

/// Asks a child to end. Its [`Process`] may be in another thread's hands, but nobody may have
/// waited for it yet.
pub fn terminate(pid: u32) {
    signal_group(pid, Signal::TERM);
}

/// Signals a child's group. The child leads it and must not have been waited for.
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

/// Has the kernel send the child this signal when this program is killed (on Linux). The thread
/// that starts the child must live as long as the child does.
#[cfg(target_os = "linux")]
pub fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only these system calls are made, which are safe there.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have gone before the call.
            if libc::getppid() as u32 != parent {
                return Err(std::io::Error::other("its parent is gone"));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_command: &mut Command, _signal: i32) {}

#[cfg(test)]
mod tests;
