//! A small HTTP server for messages: it keeps each request as it came, byte for byte, and answers
//! as it is told: with a status, with a redirect, or not at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it answers.
#[derive(Clone)]
pub enum Answer {
    /// With this status and body.
    Status(u16, &'static str),
    /// Elsewhere.
    Redirect(u16, String),
    /// Never; the connection stays open.
    Hang,
    /// Not at all; the connection is closed.
    Close,
}

/// A server that listens as long as the test runs.
pub struct Listener {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    /// Starts one that answers so.
    pub fn start(answer: Answer) -> Listener {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, kept) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answers.lock().unwrap().clone();
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &answer, &kept));
            }
        });
        Listener {
            port,
            answer,
            requests,
        }
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// A URL of it with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, kept: &Mutex<Vec<String>>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let request = read_request(&mut stream);
    kept.lock()
        .unwrap()
        .push(String::from_utf8_lossy(&request).into_owned());
    let text = match answer {
        Answer::Hang => {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        Answer::Close => return,
        Answer::Status(status, body) => format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
        Answer::Redirect(status, to) => format!(
            "HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: \
             close\r\n\r\n"
        ),
    };
    _ = stream.write_all(text.as_bytes());
}

/// The head, and as much of a body as it says.
fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                return request;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return request,
            Ok(count) => request.extend_from_slice(&piece[..count]),
        }
    }
}
