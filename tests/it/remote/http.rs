//! As much of HTTP/1.1 as a proxy needs that answers one request a connection.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A request, read whole.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All but those of the connection and of the body's length.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What the length is said to be where there is no body: in answers to `HEAD`.
    said_length: Option<usize>,
}

impl Request {
    /// Reads a request; `None` where the connection ends before it does.
    pub fn read(socket: &mut TcpStream) -> Option<Request> {
        let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
        let (head, mut rest) = read_head(socket)?;
        let (first, headers) = split_head(&head)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let length = header(&headers, "content-length").and_then(|text| text.parse().ok());
        let body = match length {
            Some(length) => {
                let missing = usize::saturating_sub(length, rest.len());
                read_exactly(socket, &mut rest, missing)?;
                rest
            }
            None if is_chunked(&headers) => read_chunks(socket, rest)?,
            None => Vec::new(),
        };
        Some(Request {
            method,
            target,
            headers: of_the_message(headers),
            body,
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The object's key.
    pub fn key(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.trim_start_matches('/')
            .split_once('/')
            .map_or("", |(_, key)| key)
    }

    pub fn is_list(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }

    /// Requests of one kind have answers that could be taken for each other's.
    pub fn kind(&self) -> String {
        let key = self.key();
        let end = key.rsplit('/').next().unwrap_or_default();
        let end = end.split_once('.').map_or(end, |(_, end)| end);
        format!("{} {end} {}", self.method, self.is_list())
    }

    fn head(&self) -> String {
        let mut head = format!("{} HTTP/1.1\r\n", self.line());
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let length = self.body.len();
        write!(
            head,
            "content-length: {length}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        head
    }
}

impl Answer {
    pub fn new(status: u16, body: String) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
            said_length: None,
        }
    }

    /// An error document of S3.
    pub fn error(status: u16, code: &str, request: &Request) -> Answer {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>The \
             liar says so</Message></Error>"
        );
        let mut answer = Answer::new(status, text);
        if request.method == "HEAD" {
            answer.body.clear();
        }
        answer.with_header("Content-Type", "application/xml")
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Said\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let length = self.said_length.unwrap_or(self.body.len());
        write!(head, "connection: close\r\n").unwrap();
        if self.status != 204 {
            write!(head, "content-length: {length}\r\n").unwrap();
        }
        head + "\r\n"
    }

    fn parse(bytes: &[u8], is_head: bool) -> Option<Answer> {
        let end = end_of_head(bytes)?;
        let (first, headers) = split_head(&bytes[..end])?;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        let mut body = bytes[end..].to_vec();
        if is_chunked(&headers) {
            body = unchunked(&body)?;
        }
        let said = header(&headers, "content-length").and_then(|text| text.parse().ok());
        Some(Answer {
            status,
            headers: of_the_message(headers),
            body,
            said_length: said.filter(|_| is_head),
        })
    }
}

/// Has the server answer.
pub fn forward(upstream: SocketAddr, request: &Request) -> Option<Answer> {
    let mut socket = TcpStream::connect(upstream).ok()?;
    let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
    socket.write_all(request.head().as_bytes()).ok()?;
    socket.write_all(&request.body).ok()?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).ok()?;
    Answer::parse(&bytes, request.method == "HEAD")
}

/// Sends the server only so much of the body.
pub fn forward_cut(upstream: SocketAddr, request: &Request, body: &[u8]) {
    let Ok(mut socket) = TcpStream::connect(upstream) else {
        return;
    };
    let _ = socket.write_all(request.head().as_bytes());
    let _ = socket.write_all(body);
    let _ = socket.shutdown(Shutdown::Both);
}

type Headers = Vec<(String, String)>;

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn is_chunked(headers: &Headers) -> bool {
    header(headers, "transfer-encoding").is_some_and(|value| value.contains("chunked"))
}

/// Without what belongs to the connection.
fn of_the_message(mut headers: Headers) -> Headers {
    let of_the_connection = ["connection", "content-length", "transfer-encoding"];
    headers.retain(|(name, _)| !of_the_connection.contains(&name.to_ascii_lowercase().as_str()));
    headers
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

fn split_head(head: &[u8]) -> Option<(String, Headers)> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.split("\r\n");
    let first = lines.next()?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Some((first, headers.collect()))
}

/// Reads to the head's end; returns what came after it, too.
fn read_head(socket: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = end_of_head(&bytes) {
            let rest = bytes.split_off(end);
            return Some((bytes, rest));
        }
        read_some(socket, &mut bytes)?;
    }
}

fn read_some(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 65536];
    match socket.read(&mut buffer) {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            bytes.extend_from_slice(&buffer[..length]);
            Some(())
        }
    }
}

fn read_exactly(socket: &mut TcpStream, bytes: &mut Vec<u8>, missing: usize) -> Option<()> {
    let whole = bytes.len() + missing;
    while bytes.len() < whole {
        read_some(socket, bytes)?;
    }
    Some(())
}

fn read_chunks(socket: &mut TcpStream, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(body) = unchunked(&bytes) {
            return Some(body);
        }
        read_some(socket, &mut bytes)?;
    }
}

/// The body of chunks; `None` where their end is not there.
fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = text.split(';').next()?.trim();
        let length = usize::from_str_radix(size, 16).ok()?;
        bytes = &bytes[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..length)?);
        bytes = bytes.get(length + 2..)?;
    }
}
