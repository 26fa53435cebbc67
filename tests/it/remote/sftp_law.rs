//! The law of `law`, for SFTP: every lie at every packet of a run, or a sample of them.

use super::judge::{LyingServer, Operation, hold_to_the_law};
use super::sftp_liar::{SftpLiar, SftpLie, server_program};
use crate::tools::lack;
use std::path::{Path, PathBuf};

/// A directory that OpenSSH's server serves, and the liar before it.
struct LyingDirectory {
    dir: tempfile::TempDir,
    liar: SftpLiar,
    program: PathBuf,
}

impl LyingDirectory {
    fn script(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl LyingServer for LyingDirectory {
    type Lie = SftpLie;

    const OPERATIONS: &'static [Operation] = &[
        Operation::Backup,
        Operation::BackupAndPrune,
        Operation::Cleanup,
        Operation::Verify,
        Operation::Restore,
        Operation::List,
        Operation::Copy,
        Operation::BackupWithCopy,
    ];

    fn start() -> LyingDirectory {
        let program = server_program().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let server = LyingDirectory {
            liar: SftpLiar::start(&program),
            program,
            dir,
        };
        let honest = format!("exec {}\n", server.program.display());
        std::fs::write(server.script("honest"), honest).unwrap();
        std::fs::write(server.script("lying"), server.liar.bridge()).unwrap();
        std::fs::create_dir(server.root()).unwrap();
        server
    }

    fn settings(&self, name: &str, prefix: &str, is_honest: bool) -> String {
        let script = self.script(if is_honest { "honest" } else { "lying" });
        let directory = self.root().join(prefix);
        format!(
            "[stores.{name}]\nurl = 'sftp://liar{}'\nssh_command = 'bash {}'\nretry_for = '2s'\n",
            directory.display(),
            script.display()
        )
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("served")
    }

    fn source_directory(&self, prefix: &str) -> PathBuf {
        self.root().join(prefix).join("app")
    }

    fn unfinished(&self) -> Vec<String> {
        fn parts(dir: &Path) -> Vec<String> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.path().display().to_string());
            names.filter(|name| name.ends_with(".part")).collect()
        }
        let stores = ["web1", "web2"].map(|prefix| parts(&self.root().join(prefix)));
        stores.concat()
    }

    fn lie(&self, lie: SftpLie, position: usize) {
        self.liar.lie(lie, position);
    }

    fn be_honest(&self) {
        self.liar.be_honest();
    }

    fn lies_worth_telling(&self, _operation: Operation) -> Vec<(String, Vec<SftpLie>)> {
        let seen = self.liar.seen().into_iter();
        let lies = seen.map(|request| {
            let fits = |lie: &SftpLie| lie.fits(&request);
            let lies = SftpLie::ALL.iter().copied().filter(fits).collect();
            (request.line(), lies)
        });
        lies.collect()
    }

    fn may_hide_a_backup(lie: SftpLie) -> bool {
        matches!(
            lie,
            SftpLie::ShortList | SftpLie::EmptyList | SftpLie::FlipAnswer | SftpLie::FlipRequest
        )
    }

    fn may_leave(_lie: SftpLie, name: &str) -> bool {
        // A file that is not finished is removed by its own run while it is heard, and by
        // another one a day later.
        name.ends_with(".part")
    }
}

#[test]
fn whatever_an_sftp_server_says_the_law_holds() {
    if server_program().is_none() {
        return lack("sftp-server");
    }
    hold_to_the_law::<LyingDirectory>(40);
}
