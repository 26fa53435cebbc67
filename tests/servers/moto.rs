//! moto, a server of S3 that knows versions, object lock and keys that are created only once. It is
//! on PyPI; `tests/run` installs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends when it is dropped.
pub struct Moto {
    port: u16,
    child: Child,
}

impl Moto {
    /// Starts one; `None` where it is not installed.
    pub fn start() -> Option<Moto> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let child = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Moto { port, child };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// The URL that clients are given.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, name: &str) {
        self.put(&format!("/{name}"), "", "");
    }

    /// Makes a bucket in which nothing that is written can be removed for a day.
    pub fn make_locked_bucket(&self, name: &str) {
        let lock = "x-amz-bucket-object-lock-enabled: true\r\n";
        self.put(&format!("/{name}"), lock, "");
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>\
                    </Rule></ObjectLockConfiguration>";
        self.put(&format!("/{name}?object-lock"), "", rule);
    }

    /// Makes a bucket that keeps what is replaced or removed.
    pub fn make_versioned_bucket(&self, name: &str) {
        self.make_bucket(name);
        let text = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.put(&format!("/{name}?versioning"), "", text);
    }

    /// The answer to a request for a list of a bucket's versions.
    #[allow(dead_code)]
    pub fn versions(&self, bucket: &str) -> String {
        self.ask("GET", &format!("/{bucket}?versions"), "", "")
    }

    /// The answer to a request for a list of a bucket's unfinished uploads.
    pub fn unfinished(&self, bucket: &str) -> String {
        self.ask("GET", &format!("/{bucket}?uploads"), "", "")
    }

    fn put(&self, target: &str, headers: &str, body: &str) {
        let answer = self.ask("PUT", target, headers, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
    }

    fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // It takes any key, and knows the service by this header.
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 \
             Credential=key/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=none\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
