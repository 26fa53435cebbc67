//! A stub between `dbbackup` and a real SFTP server that tells the truth but once: at one packet of
//! a run, counted from 1 over all connections, it does one of the [`SftpLie`]s.
//!
//! `ssh_command` is a script that carries bytes between its pipes and this process, which starts a
//! server for each connection.

use super::sftp_packet::{self as packet, Packet};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What is done instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SftpLie {
    /// The connection ends before the packet gets through.
    DropBefore,
    /// The packet is carried out, and the connection ends.
    DropAfter,
    /// The packet never gets through, and nothing is heard any more on this connection.
    HangBefore,
    /// The packet is carried out, and nothing is heard any more on this connection.
    HangAfter,
    /// The packet's answer never comes, and all others do.
    Swallow,
    /// Half of the packet gets through, and the connection ends.
    CutRequest,
    /// Half of the answer comes, and the connection ends.
    CutAnswer,
    /// A byte of the packet is another one.
    FlipRequest,
    /// A byte of the answer is another one.
    FlipAnswer,
    /// It fails, as is said, and nothing is done.
    Fail,
    /// It fails, as is said, and it is done.
    DoneButFail,
    /// It is done, as is said, and nothing is.
    Forget,
    /// It is not there, as is said.
    Deny,
    /// It is not allowed, as is said.
    Forbid,
    /// The last name of a list is left out.
    ShortList,
    /// The list is empty.
    EmptyList,
    /// Half of what was to be read comes.
    ShortRead,
    /// The file is at its end, as is said.
    EarlyEnd,
    /// Every connection ends from here on.
    Outage,
    /// Silence from here on, on every connection.
    Coma,
}

impl SftpLie {
    pub const ALL: &'static [SftpLie] = &[
        SftpLie::DropBefore,
        SftpLie::DropAfter,
        SftpLie::HangBefore,
        SftpLie::HangAfter,
        SftpLie::Swallow,
        SftpLie::CutRequest,
        SftpLie::CutAnswer,
        SftpLie::FlipRequest,
        SftpLie::FlipAnswer,
        SftpLie::Fail,
        SftpLie::DoneButFail,
        SftpLie::Forget,
        SftpLie::Deny,
        SftpLie::Forbid,
        SftpLie::ShortList,
        SftpLie::EmptyList,
        SftpLie::ShortRead,
        SftpLie::EarlyEnd,
        SftpLie::Outage,
        SftpLie::Coma,
    ];

    /// Whether there is anything in such a packet that it can be told about.
    pub fn fits(self, request: &Packet) -> bool {
        let kind = request.kind();
        match self {
            // The first packet's answer has no status.
            SftpLie::Fail | SftpLie::DoneButFail | SftpLie::Forbid | SftpLie::Swallow => {
                kind != packet::INIT
            }
            SftpLie::Forget => packet::has_status_alone(kind),
            SftpLie::Deny => packet::is_question(kind),
            SftpLie::ShortList | SftpLie::EmptyList => kind == packet::READDIR,
            SftpLie::ShortRead | SftpLie::EarlyEnd => kind == packet::READ,
            _ => true,
        }
    }

    fn lasts(self) -> usize {
        match self {
            SftpLie::Outage | SftpLie::Coma => usize::MAX,
            _ => 1,
        }
    }
}

/// What is to be lied about, and what came by.
#[derive(Default)]
struct Plan {
    lie: Option<(SftpLie, usize)>,
    count: usize,
    seen: Vec<Packet>,
    sockets: Vec<TcpStream>,
}

impl Plan {
    /// Begins to count anew; whatever still hangs ends.
    fn begin(&mut self, lie: Option<(SftpLie, usize)>) {
        (self.lie, self.count) = (lie, 0);
        self.seen.clear();
        for socket in self.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn next_lie(&mut self, request: &Packet) -> Option<SftpLie> {
        self.count += 1;
        self.seen.push(request.clone());
        let (lie, position) = self.lie?;
        let is_told = self.count >= position && self.count - position < lie.lasts();
        is_told.then_some(lie)
    }
}

/// See the head of this file. It ends when it is dropped.
pub struct SftpLiar {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    is_over: Arc<AtomicBool>,
}

impl SftpLiar {
    /// Starts a stub before a server that is this program.
    pub fn start(server: &Path) -> SftpLiar {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let liar = SftpLiar {
            address: listener.local_addr().unwrap(),
            plan: Arc::default(),
            is_over: Arc::default(),
        };
        let (plan, is_over) = (Arc::clone(&liar.plan), Arc::clone(&liar.is_over));
        let server = server.to_owned();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                plan.lock()
                    .unwrap()
                    .sockets
                    .push(socket.try_clone().unwrap());
                Session::start(socket, &server, &plan);
            }
        });
        liar
    }

    /// The text of a script that stands in for `ssh`.
    pub fn bridge(&self) -> String {
        // The writer must not have the standard input of a command in the background, which is
        // empty. When the stub ends the connection both end.
        format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} 4<&0\ncat <&4 >&3 &\ncat <&3\nkill $!\n",
            self.address.port()
        )
    }

    /// Begins to count anew, and lies at that packet.
    pub fn lie(&self, lie: SftpLie, position: usize) {
        self.plan.lock().unwrap().begin(Some((lie, position)));
    }

    /// Is honest from here on, and begins to count anew; what it has seen so far is forgotten.
    pub fn be_honest(&self) {
        self.plan.lock().unwrap().begin(None);
    }

    /// The packets since it began to count.
    pub fn seen(&self) -> Vec<Packet> {
        self.plan.lock().unwrap().seen.clone()
    }
}

impl Drop for SftpLiar {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.be_honest();
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// One connection, with a server of its own.
struct Session {
    socket: TcpStream,
    /// The lies about answers that are still to come, by the number of their request.
    pending: Mutex<HashMap<u32, SftpLie>>,
    is_silent: AtomicBool,
}

impl Session {
    fn start(socket: TcpStream, server: &Path, plan: &Arc<Mutex<Plan>>) {
        let mut child = Command::new(server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let session = Arc::new(Session {
            socket,
            pending: Mutex::default(),
            is_silent: AtomicBool::new(false),
        });
        let (asking, plan) = (Arc::clone(&session), Arc::clone(plan));
        std::thread::spawn(move || asking.carry_requests(stdin, &plan, child));
        std::thread::spawn(move || session.carry_answers(stdout));
    }

    fn end(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn answer(&self, packet: &Packet) {
        if !self.is_silent.load(Ordering::SeqCst) {
            let _ = (&self.socket).write_all(packet.bytes());
        }
    }

    fn carry_requests(&self, mut server: impl Write, plan: &Mutex<Plan>, mut child: Child) {
        while let Some(request) = Packet::read(&mut &self.socket) {
            let lie = plan.lock().unwrap().next_lie(&request);
            if self.is_silent.load(Ordering::SeqCst) {
                continue;
            }
            if let Some(request) = self.changed(request, lie)
                && server.write_all(request.bytes()).is_err()
            {
                break;
            }
        }
        self.end();
        drop(server);
        // What it was told before is done first, as a server's that loses its client.
        let _ = child.wait();
    }

    /// What the server gets in place of the request, if anything.
    fn changed(&self, request: Packet, lie: Option<SftpLie>) -> Option<Packet> {
        let number = request.number();
        let Some(lie) = lie else {
            return Some(request);
        };
        match lie {
            SftpLie::DropBefore | SftpLie::Outage => {
                self.end();
                None
            }
            SftpLie::HangBefore | SftpLie::Coma => {
                self.is_silent.store(true, Ordering::SeqCst);
                None
            }
            SftpLie::CutRequest => {
                self.end();
                Some(request.cut())
            }
            SftpLie::FlipRequest => Some(request.flipped()),
            SftpLie::Fail => {
                self.answer(&packet::status(number, packet::FAILURE));
                None
            }
            SftpLie::Forget => {
                self.answer(&packet::status(number, packet::OK));
                None
            }
            SftpLie::Deny => {
                self.answer(&packet::status(number, packet::NO_SUCH_FILE));
                None
            }
            SftpLie::Forbid => {
                self.answer(&packet::status(number, packet::PERMISSION_DENIED));
                None
            }
            SftpLie::EmptyList | SftpLie::EarlyEnd => {
                self.answer(&packet::status(number, packet::END));
                None
            }
            later => {
                self.pending.lock().unwrap().insert(number, later);
                Some(request)
            }
        }
    }

    fn carry_answers(&self, mut server: impl Read) {
        while let Some(answer) = Packet::read(&mut server) {
            let lie = self.pending.lock().unwrap().remove(&answer.number());
            match lie {
                None => self.answer(&answer),
                Some(SftpLie::Swallow) => {}
                Some(SftpLie::DropAfter) => break,
                Some(SftpLie::HangAfter) => self.is_silent.store(true, Ordering::SeqCst),
                Some(SftpLie::CutAnswer) => {
                    self.answer(&answer.cut());
                    break;
                }
                Some(SftpLie::FlipAnswer) => self.answer(&answer.flipped()),
                Some(SftpLie::DoneButFail) => {
                    self.answer(&packet::status(answer.number(), packet::FAILURE));
                }
                Some(SftpLie::ShortList) => self.answer(&answer.without_last_name()),
                Some(SftpLie::ShortRead) => self.answer(&answer.with_half_of_the_data()),
                Some(other) => unreachable!("{other:?} is told about the request"),
            }
        }
        self.end();
    }
}

/// The server program of OpenSSH, where it is.
pub fn server_program() -> Option<PathBuf> {
    let places = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/lib/ssh/sftp-server",
        "/usr/libexec/sftp-server",
    ];
    places
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}
