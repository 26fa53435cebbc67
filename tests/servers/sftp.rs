//! Servers that the tests start for themselves: Debian's sshd for one user on a high port, and a
//! configuration for rclone. The unit tests and the tests of the binary include this file.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An sshd that only this user can log in to, and ends when dropped.
pub struct SshServer {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "`{program}` is needed for these tests (Debian: openssh-server, openssh-client): {status:?}"
    );
}

impl SshServer {
    /// Starts one.
    pub fn start() -> SshServer {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host_key", "user_key"] {
            run(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f", &path(key)],
            );
        }
        fs::copy(path("user_key.pub"), path("authorized_keys")).unwrap();
        let port = free_port();
        let server = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {}\nStrictModes no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\nLogLevel ERROR\n",
            path("host_key"),
            path("authorized_keys"),
        );
        fs::write(path("sshd_config"), server).unwrap();
        let client = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile /dev/null\n",
            path("user_key"),
            path("known_hosts"),
        );
        fs::write(path("ssh_config"), client).unwrap();
        let public = fs::read_to_string(path("host_key.pub")).unwrap();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {public}")).unwrap();
        // Debian's sshd wants it where it is started by root.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-E", &path("log"), "-f", &path("sshd_config")])
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is needed for these tests (Debian: openssh-server)");
        let server = SshServer { dir, port, child };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "sshd did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `ssh_command` is for this server.
    pub fn ssh_command(&self) -> String {
        format!("ssh -F {}", self.file("ssh_config").display())
    }

    /// A file of the server's own: `known_hosts`, `authorized_keys`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The address of a directory of this machine, by way of the server.
    pub fn address(&self, path: &Path) -> String {
        format!("sftp://127.0.0.1:{}{}", self.port, path.display())
    }

    /// Signals every session, and not the server that takes new ones.
    pub fn signal_sessions(&self, signal: Signal) {
        for pid in descendants(self.child.id()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills every session, and waits until none can write any more.
    pub fn kill_sessions(&self) {
        while !descendants(self.child.id()).is_empty() {
            self.signal_sessions(Signal::KILL);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Kills the server and every session.
    pub fn kill(&mut self) {
        let sessions = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in sessions {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The processes that a process has started, and those that they have.
pub fn descendants(of: u32) -> Vec<Pid> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if let Some(parent) = fields.split_whitespace().nth(1) {
            parents.push((pid, parent.parse::<u32>().unwrap_or(0)));
        }
    }
    let mut found: Vec<u32> = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    let own = found.drain(1..);
    own.filter_map(|pid: u32| Pid::from_raw(pid.cast_signed()))
        .collect()
}

/// Writes a configuration for rclone with two remotes: `disk:`, of type local, and `behind:`, an
/// alias of `directory`. The path is what `RCLONE_CONFIG` is for it.
pub fn rclone_config(dir: &Path, directory: &Path) -> PathBuf {
    let path = dir.join("rclone.conf");
    let text = format!(
        "[disk]\ntype = local\n\n[behind]\ntype = alias\nremote = {}\n",
        directory.display()
    );
    fs::write(&path, text).unwrap();
    path
}
