//! One connection: a program, its two pipes, and the protocol on a thread of its own.
//!
//! The thread starts the program and outlives it, as a program dies with the thread that started
//! it. Whoever calls waits on a channel, and looks for signals and for silence meanwhile.

use super::guard::{LastHeard, PacketGuard};
use super::program::CarrierCommand;
use crate::error::{Context, Error, Result};
use crate::failpoint::lowered;
use crate::process::{self, Pipes, Process};
use crate::store::remote::server_text::bounded;
use crate::{interrupt, units};
use openssh_sftp_client::error::{Error as ProtocolError, SftpErrorKind};
use openssh_sftp_client::{Sftp, SftpOptions};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// How often a wait looks for a signal and at its limits.
const TICK: Duration = Duration::from_millis(100);

/// How long a program that has closed its pipes is given to end, and to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many times the longest silence one call may take although others are answered.
const SILENCES: u32 = 20;

/// The longest waits.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For a connection.
    pub connect: Duration,
    /// For any word of the other side while it owes one.
    pub silence: Duration,
    /// For a call that cleans up after a signal has come.
    pub farewell: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            connect: Duration::from_millis(lowered("DBBACKUP_TEST_CONNECT", 35_000)),
            silence: Duration::from_millis(lowered("DBBACKUP_TEST_SILENCE", 60_000)),
            farewell: Duration::from_secs(10),
        }
    }
}

/// What a failed call means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection is gone or is as good as gone; another one may do better.
    Lost,
    /// The other side has answered.
    Answer(AnswerCode),
    /// Trying again would come to the same.
    Final,
}

/// What the other side has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerCode {
    /// There is no such file.
    NoSuchFile,
    /// It does not know how to do that.
    Unsupported,
    /// Anything else.
    Other,
}

/// Why a call failed.
#[derive(Debug)]
pub struct SftpFailure {
    /// The cause, without what was called.
    pub error: Error,
    /// What it means.
    pub kind: FailureKind,
}

impl SftpFailure {
    /// Whether the other side said that there is no such file.
    pub fn is_missing(&self) -> bool {
        self.kind == FailureKind::Answer(AnswerCode::NoSuchFile)
    }

    /// A failure that stays.
    pub fn last(error: Error) -> SftpFailure {
        SftpFailure {
            error,
            kind: FailureKind::Final,
        }
    }
}

impl From<SftpFailure> for Error {
    fn from(failure: SftpFailure) -> Self {
        failure.error
    }
}

/// What a call comes to.
pub type CallResult<T> = Result<T, SftpFailure>;

/// What a call comes to on the connection's thread.
pub type ProtocolResult<T> = Result<T, ProtocolError>;

/// How long a call may take, and whether it goes on when a signal has come.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    silence: Duration,
    despite_signal: bool,
}

impl Patience {
    /// For `bytes` that the other side may have to move before it answers: it is given time for
    /// them at a slow disk's rate.
    pub fn for_bytes(bounds: &Bounds, bytes: u64) -> Patience {
        Patience {
            silence: bounds.silence + Duration::from_secs(bytes >> 18),
            despite_signal: false,
        }
    }

    /// For any other call.
    pub fn usual(bounds: &Bounds) -> Patience {
        Patience::for_bytes(bounds, 0)
    }

    /// For what cleans up, which a signal does not keep from being done; after one it must be
    /// quick.
    pub fn for_cleanup(bounds: &Bounds) -> Patience {
        let silence = if interrupt::requested() {
            bounds.farewell.min(bounds.silence)
        } else {
            bounds.silence
        };
        Patience {
            silence,
            despite_signal: true,
        }
    }

    fn check(self) -> CallResult<()> {
        if self.despite_signal {
            return Ok(());
        }
        interrupt::check().map_err(SftpFailure::last)
    }
}

/// An answer that is still to come.
pub struct Reply<T> {
    receiver: Receiver<ProtocolResult<T>>,
    since: Instant,
}

/// See the head of this file.
pub struct Connection {
    command: CarrierCommand,
    sftp: Arc<Sftp>,
    runtime: Handle,
    heard: Arc<LastHeard>,
    process: SharedProcess,
    is_lost: AtomicBool,
    /// Dropped to end the thread.
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type SharedProcess = Arc<Mutex<Option<Process>>>;

/// What the thread says once the other side has answered.
struct Opened {
    sftp: Arc<Sftp>,
    runtime: Handle,
}

/// Why there is no connection.
enum OpeningTrouble {
    /// The program could not be started.
    NotStarted(Error),
    /// The program or the other side.
    Protocol(String),
}

impl Connection {
    /// Starts the program and waits for the other side's first word.
    pub fn open(
        command: &CarrierCommand,
        bounds: &Bounds,
        patience: Patience,
    ) -> CallResult<Connection> {
        let heard = Arc::new(LastHeard::new());
        let process: SharedProcess = Arc::default();
        let (sender, receiver) = channel();
        let (closing, close) = oneshot::channel();
        let thread = ConnectionThread {
            command: command.clone(),
            heard: Arc::clone(&heard),
            process: Arc::clone(&process),
            opened: sender,
            close,
        };
        let limit = if patience.despite_signal {
            bounds.connect.min(patience.silence)
        } else {
            bounds.connect
        };
        let thread = std::thread::Builder::new()
            .name("sftp".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| SftpFailure::last(error.into()))?;
        let deadline = Instant::now() + limit;
        let trouble = loop {
            match receiver.recv_timeout(TICK) {
                Ok(Ok(Opened { sftp, runtime })) => {
                    return Ok(Connection {
                        command: command.clone(),
                        sftp,
                        runtime,
                        heard,
                        process,
                        is_lost: AtomicBool::new(false),
                        closing: Some(closing),
                        thread: Some(thread),
                    });
                }
                Ok(Err(OpeningTrouble::NotStarted(error))) => {
                    return Err(SftpFailure::last(command.not_started(error)));
                }
                Ok(Err(OpeningTrouble::Protocol(trouble))) => break trouble,
                Err(RecvTimeoutError::Disconnected) => break "it ended".to_owned(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            patience.check()?;
            if Instant::now() >= deadline {
                break format!("no answer for {}", shown(limit));
            }
        };
        let stderr = last_words(&process);
        drop(closing);
        // It has nothing to wait for any more.
        let _ = thread.join();
        Err(lost(command, &trouble, &stderr))
    }

    /// Whether a call has found it gone.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// What the calls are made with.
    pub fn sftp(&self) -> &Arc<Sftp> {
        &self.sftp
    }

    /// Begins a call, whose answer is waited for later.
    pub fn begin<T, F>(&self, call: F) -> Reply<T>
    where
        T: Send + 'static,
        F: Future<Output = ProtocolResult<T>> + Send + 'static,
    {
        let (sender, receiver) = channel();
        self.runtime.spawn(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(call.await);
        });
        Reply {
            receiver,
            since: Instant::now(),
        }
    }

    /// Waits for an answer.
    pub fn wait<T>(&self, reply: &Reply<T>, patience: Patience) -> CallResult<T> {
        loop {
            match reply.receiver.recv_timeout(TICK) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => return Err(self.failure(error)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost("it ended")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            patience.check()?;
            let now = Instant::now();
            let quiet = now.duration_since(reply.since.max(self.heard.at()));
            let longest = patience.silence.saturating_mul(SILENCES);
            if quiet >= patience.silence || now.duration_since(reply.since) >= longest {
                let waited = shown(patience.silence);
                return Err(self.lost(&format!("no answer for {waited}")));
            }
        }
    }

    /// Makes a call.
    pub fn call<T, F>(&self, patience: Patience, call: F) -> CallResult<T>
    where
        T: Send + 'static,
        F: Future<Output = ProtocolResult<T>> + Send + 'static,
    {
        let reply = self.begin(call);
        self.wait(&reply, patience)
    }

    fn failure(&self, error: ProtocolError) -> SftpFailure {
        let (code, text) = match &error {
            ProtocolError::SftpError(kind, message) => {
                let text = message.get().0.trim();
                let code = match kind {
                    SftpErrorKind::NoSuchFile => AnswerCode::NoSuchFile,
                    SftpErrorKind::OpUnsupported => AnswerCode::Unsupported,
                    _ => AnswerCode::Other,
                };
                (code, answer_text(*kind, text))
            }
            ProtocolError::UnsupportedExtension(name) => (
                AnswerCode::Unsupported,
                format!("the server does not offer `{name}`"),
            ),
            other => return self.lost(&protocol_text(other)),
        };
        SftpFailure {
            error: Error::failed(text),
            kind: FailureKind::Answer(code),
        }
    }

    /// The failure of a connection that is gone, or that nobody should wait for any longer.
    fn lost(&self, trouble: &str) -> SftpFailure {
        let stderr = if self.is_lost.swap(true, Ordering::Relaxed) {
            String::new()
        } else {
            last_words(&self.process)
        };
        let mut failure = lost(&self.command, trouble, &stderr);
        // It once was there, so that it may be again.
        failure.kind = FailureKind::Lost;
        failure
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.closing.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lost(command: &CarrierCommand, trouble: &str, stderr: &str) -> SftpFailure {
    SftpFailure {
        error: command.ended(trouble, stderr),
        kind: if command.is_final(stderr) {
            FailureKind::Final
        } else {
            FailureKind::Lost
        },
    }
}

fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds => units::elapsed(seconds as f64),
    }
}

/// The server's own words, or what its number means.
fn answer_text(kind: SftpErrorKind, text: &str) -> String {
    let meaning = match kind {
        SftpErrorKind::NoSuchFile => "no such file or directory",
        SftpErrorKind::PermDenied => "permission denied",
        SftpErrorKind::OpUnsupported => "the server does not do that",
        _ => "the server says only `failure`",
    };
    match text {
        "" | "Failure" | "No such file" | "Permission denied" => meaning.to_owned(),
        _ => bounded(text),
    }
}

/// A trouble of the connection itself, in words.
fn protocol_text(error: &ProtocolError) -> String {
    match error {
        ProtocolError::IOError(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            error.to_string()
        }
        ProtocolError::IOError(_) | ProtocolError::BackgroundTaskFailure(_) => {
            "the connection broke".to_owned()
        }
        ProtocolError::RecursiveErrors(both) => protocol_text(&both.original_error),
        ProtocolError::UnsupportedSftpProtocol { version } => {
            format!("the server speaks version {version} of SFTP, not 3")
        }
        other => format!("the server's answer makes no sense: {other}"),
    }
}

/// Waits for a program's end, ends it where it does not come, and returns what it said.
fn last_words(process: &SharedProcess) -> String {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(process) = process.as_mut() else {
        return String::new();
    };
    let mut deadline = Instant::now() + LAST_WORDS;
    let mut is_ending = false;
    loop {
        match process.errors_if_ended() {
            Ok(Some(stderr)) => return stderr,
            Ok(None) => {}
            Err(_) => return String::new(),
        }
        if Instant::now() >= deadline {
            if is_ending {
                return String::new();
            }
            process::terminate(process.id());
            deadline = Instant::now() + LAST_WORDS;
            is_ending = true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a connection's thread is given.
struct ConnectionThread {
    command: CarrierCommand,
    heard: Arc<LastHeard>,
    process: SharedProcess,
    opened: Sender<Result<Opened, OpeningTrouble>>,
    close: oneshot::Receiver<()>,
}

impl ConnectionThread {
    fn run(self) {
        let process = Arc::clone(&self.process);
        match self.start() {
            // Nobody may be waiting any more.
            Err(error) => drop(self.opened.send(Err(OpeningTrouble::NotStarted(error)))),
            Ok((runtime, stdin, stdout)) => {
                self.serve(&runtime, stdin, stdout);
                // Closes the pipes, at which the program ends by itself.
                drop(runtime);
            }
        }
        let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + Duration::from_millis(300);
        while let Some(Ok(None)) = process.as_mut().map(Process::errors_if_ended) {
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(process.take());
    }

    fn start(&self) -> Result<(Runtime, OwnedFd, OwnedFd)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a thread for SFTP")?;
        let pipes = Pipes {
            stdin: true,
            stdout: true,
        };
        let mut process =
            Process::start(self.command.to_command(), self.command.name(), None, pipes)?;
        let (stdin, stdout) = process.take_pipes()?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok((runtime, stdin.into(), stdout.into()))
    }

    /// Speaks the protocol until nobody needs it any more.
    fn serve(self, runtime: &Runtime, stdin: OwnedFd, stdout: OwnedFd) {
        let ConnectionThread {
            heard,
            opened,
            mut close,
            ..
        } = self;
        runtime.block_on(async move {
            let sftp = tokio::select! {
                sftp = connect(stdin, stdout, heard) => sftp,
                _ = &mut close => return,
            };
            match sftp {
                Ok(sftp) => {
                    let runtime = Handle::current();
                    let sftp = Arc::new(sftp);
                    // Nobody may be waiting any more; then this ends at once.
                    let _ = opened.send(Ok(Opened { sftp, runtime }));
                    let _ = close.await;
                }
                Err(error) => {
                    let trouble = protocol_text(&error);
                    let _ = opened.send(Err(OpeningTrouble::Protocol(trouble)));
                    // Until its last words were heard.
                    let _ = close.await;
                }
            }
        });
    }
}

async fn connect(stdin: OwnedFd, stdout: OwnedFd, heard: Arc<LastHeard>) -> ProtocolResult<Sftp> {
    let stdin = pipe::Sender::from_owned_fd(stdin)?;
    let stdout = PacketGuard::new(pipe::Receiver::from_owned_fd(stdout)?, heard);
    let options = SftpOptions::new().flush_interval(Duration::ZERO);
    Sftp::new(stdin, stdout, options).await
}
