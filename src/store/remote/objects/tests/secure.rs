//! A server with a certificate of one's own authority. `openssl` makes both, and is the server.

use super::*;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends the server.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// Serves the directory's files, which hold whole answers, on a free port.
fn serve(directory: &Path) -> (Running, u16) {
    openssl(
        directory,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2",
    );
    openssl(
        directory,
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=x",
    );
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile names -out server.pem",
    );
    let mut child = Command::new("openssl")
        .args("s_server -accept 127.0.0.1:0 -cert server.pem -key server.key -HTTP".split(' '))
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        line.strip_prefix("ACCEPT")?
            .rsplit(':')
            .next()?
            .parse()
            .ok()
    });
    // What it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), port.unwrap())
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let object = directory.path().join("acme/app");
    std::fs::create_dir_all(&object).unwrap();
    let answer = "HTTP/1.0 200 OK\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\none";
    std::fs::write(object.join("x"), answer).unwrap();
    let (_server, port) = serve(directory.path());
    let mut settings = settings(&format!("https://localhost:{port}"));
    let medium = ObjectMedium::connect(&address(""), &settings).unwrap();
    let began = Instant::now();
    let error = medium.read("app/x", 9).unwrap_err();
    assert!(error.message().contains("certificate"), "{error:?}");
    assert!(
        error.hint().unwrap().to_string().contains("ca_file"),
        "{error:?}"
    );
    // It is not tried again.
    assert!(began.elapsed() < Duration::from_secs(2));
    settings.ca_file = Some(directory.path().join("ca.pem"));
    let medium = ObjectMedium::connect(&address(""), &settings).unwrap();
    assert_eq!(medium.read("app/x", 9).unwrap(), b"one");
    settings.ca_file = Some(directory.path().join("names"));
    let error = ObjectMedium::connect(&address(""), &settings)
        .err()
        .unwrap();
    assert!(error.message().contains("ca_file"), "{error:?}");
}
