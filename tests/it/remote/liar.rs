//! A proxy in front of an S3 server that tells the truth but once: at one request of a run, counted
//! from 1, it does one of the [`Lie`]s.

use super::http::{Answer, Request, forward};
use md5::{Digest as _, Md5};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lie {
    /// The connection ends before the request gets through.
    DropBefore,
    /// The request is carried out, and the connection ends.
    DropAfter,
    /// The request never gets through, and nothing is heard any more.
    HangBefore,
    /// The request is carried out, and nothing is heard any more.
    HangAfter,
    /// Half of the answer's body comes, and nothing after it.
    HangWithin,
    /// 200 with an error in the body, and nothing is done.
    ErrorInSuccess,
    /// 200 with an error in the body, and it is done.
    DoneButErrorInSuccess,
    /// Half of the answer's body under the whole length.
    CutAnswer,
    /// Half of the request's body gets through.
    CutRequest,
    /// A byte of the answer's body is another one.
    FlipAnswer,
    /// A byte of the request's body is another one.
    FlipRequest,
    /// It is stored, and then a byte of it is another one, under the tag of what was sent.
    FlipStored,
    /// The last object of a list is left out.
    ShortList,
    /// The second half of a list is left out.
    HalfList,
    /// The list is empty.
    EmptyList,
    /// It is done, and the answer is 500.
    DoneBut500,
    /// The answer is 200, and nothing is done.
    Forget,
    /// The first answer that there was to the same request.
    Older,
    /// The answer to the same request for another object of its kind.
    Swap,
    /// It is not there, as is said.
    Deny,
    /// It is not allowed, as is said.
    Forbid,
    /// It and the next one: 503.
    Busy,
    /// It and the next one: 429.
    TooMany,
    /// 503 from here on.
    Outage,
    /// Silence from here on.
    Coma,
}

impl Lie {
    pub const ALL: &'static [Lie] = &[
        Lie::DropBefore,
        Lie::DropAfter,
        Lie::HangBefore,
        Lie::HangAfter,
        Lie::HangWithin,
        Lie::ErrorInSuccess,
        Lie::DoneButErrorInSuccess,
        Lie::CutAnswer,
        Lie::CutRequest,
        Lie::FlipAnswer,
        Lie::FlipRequest,
        Lie::FlipStored,
        Lie::ShortList,
        Lie::HalfList,
        Lie::EmptyList,
        Lie::DoneBut500,
        Lie::Forget,
        Lie::Older,
        Lie::Swap,
        Lie::Deny,
        Lie::Forbid,
        Lie::Busy,
        Lie::TooMany,
        Lie::Outage,
        Lie::Coma,
    ];

    /// Whether there is anything in such a request that it can be told about.
    pub fn fits(self, request: &SeenRequest) -> bool {
        match self {
            Lie::CutRequest | Lie::FlipRequest => request.has_body,
            Lie::CutAnswer | Lie::FlipAnswer | Lie::HangWithin => request.has_answer_body,
            Lie::ShortList | Lie::HalfList | Lie::EmptyList => request.is_list,
            Lie::FlipStored => request.is_put,
            Lie::Older | Lie::Swap | Lie::Deny => !request.changes,
            Lie::DoneButErrorInSuccess | Lie::DoneBut500 | Lie::DropAfter | Lie::HangAfter => true,
            _ => true,
        }
    }

    /// How many requests it lasts.
    fn lasts(self) -> usize {
        match self {
            Lie::Busy | Lie::TooMany => 2,
            Lie::Outage | Lie::Coma => usize::MAX,
            _ => 1,
        }
    }
}

/// A request that came by in an honest run.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Method and target, for people.
    pub line: String,
    is_list: bool,
    is_put: bool,
    changes: bool,
    has_body: bool,
    has_answer_body: bool,
}

/// What is to be lied about, and what came by.
#[derive(Default)]
struct Plan {
    lie: Option<(Lie, usize)>,
    count: usize,
    seen: Vec<SeenRequest>,
    /// The first answer to each request.
    first: HashMap<String, Answer>,
    /// The last answer to a request for an object of each kind.
    kinds: HashMap<String, (String, Answer)>,
}

/// See the head of this file. It ends when it is dropped.
pub struct Liar(Arc<Proxy>);

/// What all connections share.
struct Proxy {
    address: SocketAddr,
    upstream: SocketAddr,
    bucket: PathBuf,
    plan: Mutex<Plan>,
    is_over: AtomicBool,
}

impl Liar {
    /// Starts a proxy to the server at this endpoint, whose bucket is this directory.
    pub fn start(endpoint: &str, bucket: PathBuf) -> Liar {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Arc::new(Proxy {
            address: listener.local_addr().unwrap(),
            upstream: endpoint.trim_start_matches("http://").parse().unwrap(),
            bucket,
            plan: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&proxy);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let proxy = Arc::clone(&shared);
                std::thread::spawn(move || proxy.serve(socket));
            }
        });
        Liar(proxy)
    }

    /// The URL that clients are given.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Begins to count anew, and lies at that request.
    pub fn lie(&self, lie: Lie, position: usize) {
        let mut plan = self.0.plan.lock().unwrap();
        (plan.lie, plan.count) = (Some((lie, position)), 0);
        plan.seen.clear();
    }

    /// Is honest from here on, and begins to count anew; what it has seen so far is forgotten.
    pub fn be_honest(&self) {
        let mut plan = self.0.plan.lock().unwrap();
        (plan.lie, plan.count) = (None, 0);
        plan.seen.clear();
    }

    /// The requests since it began to count.
    pub fn seen(&self) -> Vec<SeenRequest> {
        self.0.plan.lock().unwrap().seen.clone()
    }
}

impl Proxy {
    /// What is told at the next request.
    fn next_lie(&self) -> Option<Lie> {
        let mut plan = self.plan.lock().unwrap();
        plan.count += 1;
        let (lie, position) = plan.lie?;
        let is_told = plan.count >= position && plan.count - position < lie.lasts();
        is_told.then_some(lie)
    }

    fn serve(&self, mut socket: TcpStream) {
        let Some(request) = Request::read(&mut socket) else {
            return;
        };
        let lie = self.next_lie();
        let answer = self.answer(&request, lie, &mut socket);
        if let Some(answer) = answer {
            self.remember(&request, &answer);
            send(&mut socket, &answer, lie);
        }
        let _ = socket.shutdown(Shutdown::Both);
    }

    /// The answer, unless there is none.
    fn answer(
        &self,
        request: &Request,
        lie: Option<Lie>,
        socket: &mut TcpStream,
    ) -> Option<Answer> {
        let truth = || forward(self.upstream, request);
        let Some(lie) = lie else {
            return truth();
        };
        match lie {
            Lie::DropBefore => None,
            Lie::DropAfter => {
                truth();
                None
            }
            Lie::HangBefore | Lie::Coma => {
                hang(socket);
                None
            }
            Lie::HangAfter => {
                truth();
                hang(socket);
                None
            }
            Lie::CutRequest => {
                let mut cut = request.clone();
                cut.body.truncate(request.body.len() / 2);
                super::http::forward_cut(self.upstream, request, &cut.body);
                None
            }
            Lie::FlipRequest => {
                let mut flipped = request.clone();
                flip(&mut flipped.body);
                forward(self.upstream, &flipped)
            }
            Lie::FlipStored => {
                let answer = truth();
                self.flip_stored(request);
                answer
            }
            Lie::ErrorInSuccess => Some(Answer::error(200, "InternalError", request)),
            Lie::DoneButErrorInSuccess => {
                truth();
                Some(Answer::error(200, "InternalError", request))
            }
            Lie::DoneBut500 => {
                truth();
                Some(Answer::error(500, "InternalError", request))
            }
            Lie::Forget => Some(pretended(request)),
            Lie::Older => {
                let plan = self.plan.lock().unwrap();
                let older = plan.first.get(&request.line()).cloned();
                drop(plan);
                older.or_else(truth)
            }
            Lie::Swap => {
                let plan = self.plan.lock().unwrap();
                let other = plan.kinds.get(&request.kind());
                let other = other.filter(|(line, _)| *line != request.line());
                let other = other.map(|(_, answer)| answer.clone());
                drop(plan);
                other.or_else(truth)
            }
            Lie::Deny => Some(Answer::error(404, "NoSuchKey", request)),
            Lie::Forbid => Some(Answer::error(403, "AccessDenied", request)),
            Lie::Busy | Lie::Outage => Some(Answer::error(503, "SlowDown", request)),
            Lie::TooMany => Some(Answer::error(429, "TooManyRequests", request)),
            Lie::ShortList => truth().map(|answer| shortened(answer, |count| count - 1)),
            Lie::HalfList => truth().map(|answer| shortened(answer, |count| count / 2)),
            Lie::EmptyList => truth().map(|answer| shortened(answer, |_| 0)),
            Lie::FlipAnswer => truth().map(|mut answer| {
                flip(&mut answer.body);
                answer
            }),
            Lie::CutAnswer | Lie::HangWithin => truth(),
        }
    }

    fn remember(&self, request: &Request, answer: &Answer) {
        let mut plan = self.plan.lock().unwrap();
        let changes = !matches!(request.method.as_str(), "GET" | "HEAD");
        plan.seen.push(SeenRequest {
            line: request.line(),
            is_list: request.is_list(),
            is_put: request.method == "PUT",
            changes,
            has_body: !request.body.is_empty(),
            has_answer_body: !answer.body.is_empty() && request.method != "HEAD",
        });
        if plan.lie.is_none() {
            let (line, kind) = (request.line(), request.kind());
            let first = plan.first.entry(line.clone());
            first.or_insert_with(|| answer.clone());
            plan.kinds.insert(kind, (line, answer.clone()));
        }
    }

    /// Flips a byte of what the server has of the object.
    fn flip_stored(&self, request: &Request) {
        let path = self.bucket.join(request.key());
        if let Ok(mut bytes) = std::fs::read(&path) {
            flip(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.0.address);
    }
}

/// Says nothing until the other side has had enough.
fn hang(socket: &mut TcpStream) {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
    let _ = socket.read(&mut [0]);
}

fn send(socket: &mut TcpStream, answer: &Answer, lie: Option<Lie>) {
    let body = match lie {
        Some(Lie::CutAnswer | Lie::HangWithin) => &answer.body[..answer.body.len() / 2],
        _ => &answer.body,
    };
    let _ = socket.write_all(answer.head().as_bytes());
    let _ = socket.write_all(body);
    if lie == Some(Lie::HangWithin) {
        hang(socket);
    }
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// The list with so many of its objects.
fn shortened(mut answer: Answer, keep: impl Fn(usize) -> usize) -> Answer {
    let text = String::from_utf8(answer.body.clone()).unwrap_or_default();
    let count = text.matches("<Contents>").count() + text.matches("<CommonPrefixes>").count();
    let left = if count == 0 { 0 } else { keep(count) };
    let mut kept = String::new();
    let mut rest = text.as_str();
    let mut number = 0;
    while let Some((begin, name)) = next_entry(rest) {
        let end_tag = format!("</{name}>");
        let Some(length) = rest[begin..].find(&end_tag) else {
            break;
        };
        let end = begin + length + end_tag.len();
        kept.push_str(&rest[..begin]);
        if number < left {
            kept.push_str(&rest[begin..end]);
        }
        number += 1;
        rest = &rest[end..];
    }
    kept.push_str(rest);
    answer.body = kept.into_bytes();
    answer
}

/// Where the next object of a list begins, and the name of its element.
fn next_entry(text: &str) -> Option<(usize, &'static str)> {
    ["Contents", "CommonPrefixes"]
        .into_iter()
        .filter_map(|name| Some((text.find(&format!("<{name}>"))?, name)))
        .min()
}

/// What the server would say if it did as it is told.
fn pretended(request: &Request) -> Answer {
    let tag: String = Md5::digest(&request.body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let xml = |root: &str, inner: &str| {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{root}>{inner}</{root}>")
    };
    let key = request.key();
    match request.method.as_str() {
        "PUT" => Answer::new(200, String::new()).with_header("ETag", &format!("\"{tag}\"")),
        "DELETE" => Answer::new(204, String::new()),
        "POST" if request.target.contains("uploadId=") => Answer::new(
            200,
            xml(
                "CompleteMultipartUploadResult",
                &format!("<Key>{key}</Key><ETag>\"{tag}-1\"</ETag>"),
            ),
        ),
        "POST" => Answer::new(
            200,
            xml(
                "InitiateMultipartUploadResult",
                &format!(
                    "<Key>{key}</Key><UploadId>00000000-0000-4000-8000-000000000000</UploadId>"
                ),
            ),
        ),
        _ if request.is_list() => Answer::new(
            200,
            xml("ListBucketResult", "<IsTruncated>false</IsTruncated>"),
        ),
        _ => Answer::new(200, String::new())
            .with_header("ETag", &format!("\"{tag}\""))
            .with_header("Last-Modified", "Fri, 20 Nov 2026 02:00:00 GMT"),
    }
}
