//! A server of mail with TLS and a login: aiosmtpd of PyPI, which `tests/run` installs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who may send, and with which password.
pub const USER: &str = "ops%40example.org";
/// The password; a `/` and digits, so that it looks like nothing else.
pub const PASSWORD: &str = "smtp-p4ss/word";

/// A server that ends when it is dropped.
pub struct MailServer {
    directory: PathBuf,
    child: Child,
}

impl MailServer {
    /// Starts one that speaks TLS from the start (`tls`), or goes over to it (`starttls`), or that
    /// also without a login (`open`). `None` where it is not installed.
    pub fn start(directory: &Path, mode: &str) -> Option<MailServer> {
        std::fs::create_dir_all(directory).unwrap();
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
            .args("-keyout server.key -out server.crt -days 2 -subj /CN=localhost".split(' '))
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(directory)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/smtp.py");
        let child = Command::new(python()?)
            .arg(script)
            .arg(directory)
            .arg(mode)
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let mut server = MailServer {
            directory: directory.to_owned(),
            child,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !directory.join("port").exists() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            assert!(
                !has_ended && Instant::now() < deadline,
                "the server of mail did not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// Its port.
    pub fn port(&self) -> String {
        std::fs::read_to_string(self.directory.join("port")).unwrap()
    }

    /// The certificate that clients must trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("server.crt")
    }

    /// The mails that arrived, as they came, each with a line about its envelope.
    pub fn mails(&self) -> Vec<String> {
        (1..)
            .map_while(|number| {
                std::fs::read_to_string(self.directory.join(format!("{number}.eml"))).ok()
            })
            .collect()
    }
}

/// The Python that has aiosmtpd: it lies beside the program of that name.
fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut dirs = std::env::split_paths(&path).filter(|dir| dir.join("aiosmtpd").is_file());
    dirs.next().map(|dir| dir.join("python3"))
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
