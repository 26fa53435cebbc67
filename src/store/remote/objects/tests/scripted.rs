//! A server that gives prepared answers, and what the medium makes of bad ones.

use super::*;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Clone)]
enum ScriptedReply {
    /// Answers with a status, headers and a body.
    Whole(u16, &'static str, Vec<u8>),
    /// The same, but ends after so many bytes of the body.
    Cut(u16, &'static str, Vec<u8>, usize),
    /// Reads the request and says nothing more.
    Silence,
    /// Does not even read a request's body.
    Deafness,
    /// Answers, and says nothing more after so many bytes of the body.
    Stall(u16, &'static str, Vec<u8>, usize),
    /// Closes the connection.
    Close,
}

fn reply(status: u16, body: &str) -> ScriptedReply {
    ScriptedReply::Whole(status, "", body.as_bytes().to_vec())
}

fn tagged(status: u16, headers: &'static str, body: &[u8]) -> ScriptedReply {
    ScriptedReply::Whole(status, headers, body.to_vec())
}

fn refusal(status: u16, code: &str) -> ScriptedReply {
    reply(
        status,
        &format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"),
    )
}

#[derive(Default)]
struct Script {
    replies: VecDeque<ScriptedReply>,
    /// Each request's head.
    requests: Vec<String>,
}

/// The server; its thread lives as long as the tests do.
struct ScriptedServer {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl ScriptedServer {
    fn start(replies: Vec<ScriptedReply>) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script {
            replies: replies.into(),
            requests: Vec::new(),
        }));
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let script = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &script));
            }
        });
        ScriptedServer { port, script }
    }

    fn medium(&self) -> ObjectMedium {
        let settings = settings(&format!("http://127.0.0.1:{}", self.port));
        ObjectMedium::with_patience(&address("web1"), &settings, Duration::from_millis(600))
            .unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.script.lock().unwrap().requests.clone()
    }

    /// The method and the path of each request.
    fn lines(&self) -> Vec<String> {
        let line = |head: &String| {
            let words: Vec<&str> = head.split([' ', '?']).collect();
            format!("{} {}", words[0], words[1])
        };
        self.requests().iter().map(line).collect()
    }
}

fn serve(stream: TcpStream, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let next = {
        let mut script = script.lock().unwrap();
        script.requests.push(head.clone());
        script.replies.pop_front().unwrap_or(ScriptedReply::Close)
    };
    if matches!(next, ScriptedReply::Deafness) {
        std::thread::sleep(Duration::from_secs(60));
        return None;
    }
    let length = lower
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse::<u64>().ok())
        .unwrap_or(0);
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
    let mut stalls = false;
    let (status, headers, body, sent) = match next {
        ScriptedReply::Close => return None,
        ScriptedReply::Silence | ScriptedReply::Deafness => {
            std::thread::sleep(Duration::from_secs(60));
            return None;
        }
        ScriptedReply::Whole(status, headers, body) => {
            let length = body.len();
            (status, headers, body, length)
        }
        ScriptedReply::Cut(status, headers, body, sent) => (status, headers, body, sent),
        ScriptedReply::Stall(status, headers, body, sent) => {
            stalls = true;
            (status, headers, body, sent)
        }
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .ok()?;
    if !head.starts_with("HEAD") {
        stream.write_all(&body[..sent]).ok()?;
    }
    if stalls {
        std::thread::sleep(Duration::from_secs(60));
    }
    Some(())
}

#[test]
fn what_passes_is_tried_again() {
    let server = ScriptedServer::start(vec![
        refusal(503, "SlowDown"),
        ScriptedReply::Close,
        tagged(200, TAG_OF_ONE, b"one"),
    ]);
    assert_eq!(server.medium().read("app/x", 9).unwrap(), b"one");
    assert_eq!(server.lines(), ["GET /acme/web1/app/x"; 3]);
}

/// The header of an object that is `one`: its MD5.
const TAG_OF_ONE: &str = "ETag: \"f97c5d29941bfb1b2fdab0874906ab82\"\r\n";

#[test]
fn what_its_tag_does_not_fit_is_read_once_more() {
    let changed = tagged(200, TAG_OF_ONE, b"onf");
    let server = ScriptedServer::start(vec![changed.clone(), tagged(200, TAG_OF_ONE, b"one")]);
    assert_eq!(server.medium().read("app/x", 999).unwrap(), b"one");
    let error = refusal(200, "InternalError");
    let server = ScriptedServer::start(vec![error, tagged(200, TAG_OF_ONE, b"one")]);
    assert_eq!(server.medium().read("app/x", 999).unwrap(), b"one");
    let server = ScriptedServer::start(vec![changed, tagged(200, TAG_OF_ONE, b"ono")]);
    let error = server.medium().read("app/x", 999).unwrap_err();
    assert!(
        error.message().contains("another one each time"),
        "{error:?}"
    );
    // The tag of an answer without a body fits nothing at all.
    const TAG_OF_NOTHING: &str = "ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n";
    let nothing = tagged(200, TAG_OF_NOTHING, b"");
    let server = ScriptedServer::start(vec![nothing.clone(), tagged(200, TAG_OF_ONE, b"one")]);
    assert_eq!(server.medium().read("app/x", 999).unwrap(), b"one");
    let server = ScriptedServer::start(vec![nothing; 2]);
    assert_eq!(server.medium().read("app/x", 999).unwrap(), b"");
    // A service whose tags are no sums is believed after one look.
    let server = ScriptedServer::start(vec![tagged(200, "ETag: \"x\"\r\n", b"one"); 3]);
    let medium = server.medium();
    for requests in [2, 3] {
        assert_eq!(medium.read("app/x", 999).unwrap(), b"one");
        assert_eq!(server.lines().len(), requests);
    }
}

#[test]
fn silence_ends() {
    let server = ScriptedServer::start(vec![ScriptedReply::Silence; 20]);
    let began = Instant::now();
    let error = server.medium().read("app/x", 9).unwrap_err();
    assert!(error.message().contains("silent"), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_body_that_nobody_takes_ends() {
    let server = ScriptedServer::start(vec![ScriptedReply::Deafness; 20]);
    let (mut upload, _) = begin(&server.medium(), "app/x");
    upload.write_all(&content(8 << 20)).unwrap();
    let began = Instant::now();
    let error = upload.finish().unwrap_err();
    assert!(error.message().contains("silent"), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_body_that_stops_is_fetched_on() {
    let bytes = content(100_000);
    let server = ScriptedServer::start(vec![
        ScriptedReply::Stall(200, "ETag: \"x\"\r\n", bytes.clone(), 30_000),
        tagged(
            206,
            "ETag: \"x\"\r\nContent-Range: bytes 30000-99999/100000\r\n",
            &bytes[30_000..],
        ),
    ]);
    assert!(read_range(&server.medium(), "app/x", 0..u64::MAX) == bytes);
}

#[test]
fn what_is_no_list_is_an_error() {
    for body in [
        "<html></html>",
        "",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ] {
        let server = ScriptedServer::start(vec![reply(200, body); 20]);
        let error = server.medium().list("").unwrap_err();
        assert!(error.message().contains("can't be read"), "{error:?}");
    }
    let server = ScriptedServer::start(vec![refusal(200, "InternalError"); 20]);
    let error = server.medium().list("").unwrap_err();
    assert!(error.message().contains("InternalError"), "{error:?}");
    let endless = "<ListBucketResult><IsTruncated>true</IsTruncated>\
                   <NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    let server = ScriptedServer::start(vec![reply(200, endless); 20]);
    let error = server.medium().list("").unwrap_err();
    assert!(error.message().contains("no end"), "{error:?}");
}

#[test]
fn a_foreign_key_spoils_no_list() {
    let entry = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
    let body = format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
        [
            "web1/app//x",
            "web1/../x",
            "web1/app/&#x7;",
            "web1/app/y",
            "other/z",
            "web1/"
        ]
        .map(entry)
        .concat()
    );
    let server = ScriptedServer::start(vec![reply(200, &body)]);
    let found = server.medium().list("app/").unwrap();
    let keys: Vec<&str> = found.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["app//x", "app/y"]);
}

#[test]
fn a_broken_body_is_fetched_on() {
    let bytes = content(100_000);
    let server = ScriptedServer::start(vec![
        ScriptedReply::Cut(200, "ETag: \"x\"\r\n", bytes.clone(), 40_000),
        ScriptedReply::Cut(
            206,
            "ETag: \"x\"\r\nContent-Range: bytes 40000-99999/100000\r\n",
            bytes[40_000..].to_vec(),
            0,
        ),
        tagged(
            206,
            "ETag: \"x\"\r\nContent-Range: bytes 40000-99999/100000\r\n",
            &bytes[40_000..],
        ),
    ]);
    assert!(read_range(&server.medium(), "app/x", 0..u64::MAX) == bytes);
    let second = server.requests()[1].to_ascii_lowercase();
    assert!(second.contains("range: bytes=40000-99999"), "{second}");
    assert!(second.contains("if-match: \"x\""), "{second}");
}

#[test]
fn a_replaced_object_is_not_mixed() {
    for answer in [
        tagged(
            206,
            "ETag: \"y\"\r\nContent-Range: bytes 40000-99999/100000\r\n",
            &content(60_000),
        ),
        refusal(412, "PreconditionFailed"),
    ] {
        let server = ScriptedServer::start(vec![
            ScriptedReply::Cut(200, "ETag: \"x\"\r\n", content(100_000), 40_000),
            answer,
        ]);
        let mut reader = server.medium().open("app/x", 0..u64::MAX).unwrap();
        let error: Error = std::io::copy(&mut reader, &mut std::io::sink())
            .unwrap_err()
            .into();
        assert!(error.message().contains("replaced"), "{error:?}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = "Location: http://127.0.0.1:1/x?X-Amz-Signature=s3cret\r\n\
                     x-amz-bucket-region: eu-west-1\r\n";
    let server = ScriptedServer::start(vec![tagged(307, elsewhere, b"")]);
    let error = server.medium().read("app/x", 9).unwrap_err();
    assert!(
        error.hint().unwrap().to_string().contains("eu-west-1"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("s3cret"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_missing_bucket_is_no_missing_object() {
    let server = ScriptedServer::start(vec![reply(404, ""), refusal(404, "NoSuchBucket")]);
    let error = server.medium().size("app/x").unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error:?}");
    let server = ScriptedServer::start(vec![reply(404, ""), refusal(404, "NoSuchKey")]);
    assert_eq!(
        server.medium().size("app/x").unwrap_err().kind(),
        Kind::NotFound
    );
    assert_eq!(
        server.lines(),
        ["HEAD /acme/web1/app/x", "GET /acme/web1/app/x"]
    );
}

#[test]
fn a_service_without_the_condition_is_asked_first() {
    let server = ScriptedServer::start(vec![
        refusal(501, "NotImplemented"),
        reply(404, ""),
        refusal(404, "NoSuchKey"),
        tagged(200, "ETag: \"x\"\r\n", b""),
        tagged(200, "ETag: \"x\"\r\n", b"one"),
    ]);
    assert_eq!(
        server.medium().create("app/x", b"one").unwrap(),
        Creation::Created
    );
    let requests = server.requests();
    assert!(
        requests[0]
            .to_ascii_lowercase()
            .contains("if-none-match: *")
    );
    assert!(!requests[3].to_ascii_lowercase().contains("if-none-match"));
    let server = ScriptedServer::start(vec![
        refusal(501, "NotImplemented"),
        tagged(200, "ETag: \"x\"\r\n", b"two"),
    ]);
    assert_eq!(
        server.medium().create("app/x", b"one").unwrap(),
        Creation::AlreadyThere
    );
}

#[test]
fn a_lost_answer_to_a_creation_is_no_error() {
    let server = ScriptedServer::start(vec![
        ScriptedReply::Close,
        refusal(500, "InternalError"),
        refusal(412, "PreconditionFailed"),
    ]);
    assert_eq!(
        server.medium().create("app/x", b"one").unwrap(),
        Creation::AlreadyThere
    );
}

#[test]
fn what_is_forgotten_or_changed_is_not_stored() {
    let stored = tagged(200, "ETag: \"x\"\r\n", b"");
    let server = ScriptedServer::start(vec![stored.clone(), refusal(404, "NoSuchKey")]);
    let error = server.medium().create("app/x", b"one").unwrap_err();
    assert_eq!(error.kind(), Kind::Failed, "{error:?}");
    let other = tagged(200, "ETag: \"x\"\r\n", b"onf");
    let server = ScriptedServer::start(vec![stored.clone(), other]);
    let error = server.medium().create("app/x", b"one").unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error:?}");
    // An upload in one piece, which is asked for and not there, or has another tag and content.
    let send = |server: &ScriptedServer| {
        let (mut upload, _) = begin(&server.medium(), "app/x");
        upload.write_all(b"one").unwrap();
        upload.finish().unwrap_err()
    };
    let server = ScriptedServer::start(vec![
        stored.clone(),
        reply(404, ""),
        refusal(404, "NoSuchKey"),
    ]);
    let error = send(&server);
    assert_eq!(error.kind(), Kind::Damaged, "{error:?}");
    let server = ScriptedServer::start(vec![
        stored.clone(),
        tagged(200, "ETag: \"x\"\r\n", b"onf"),
        tagged(200, "ETag: \"x\"\r\n", b"onf"),
        tagged(204, "", b""),
    ]);
    let error = send(&server);
    assert_eq!(error.kind(), Kind::Damaged, "{error:?}");
    assert_eq!(server.lines().last().unwrap(), "DELETE /acme/web1/app/x");
}

#[test]
fn an_error_in_the_body_of_a_completion_is_one() {
    let begun = "<InitiateMultipartUploadResult><UploadId>u1</UploadId>\
                 </InitiateMultipartUploadResult>";
    let part = tagged(200, "ETag: \"x\"\r\n", b"");
    let server = ScriptedServer::start(vec![
        reply(200, begun),
        part.clone(),
        part.clone(),
        refusal(200, "AccessDenied"),
        reply(404, ""),
        refusal(404, "NoSuchKey"),
        tagged(204, "", b""),
        tagged(204, "", b""),
    ]);
    let (mut upload, tokens) = begin(&server.medium(), "app/x");
    upload.write_all(&content((8 << 20) + 1)).unwrap();
    assert_eq!(*tokens.lock().unwrap(), ["u1"]);
    let error = upload.finish().unwrap_err();
    assert!(error.message().contains("AccessDenied"), "{error:?}");
    let last = server.requests().last().unwrap().clone();
    assert!(
        last.starts_with("DELETE") && last.contains("uploadId=u1"),
        "{last}"
    );
}

#[test]
fn an_upload_that_is_gone_is_given_up_already() {
    let server = ScriptedServer::start(vec![refusal(404, "NoSuchUpload")]);
    server.medium().discard_upload("app/x", "u1").unwrap();
    let server = ScriptedServer::start(vec![refusal(403, "AccessDenied")]);
    assert!(server.medium().discard_upload("app/x", "u1").is_err());
}
