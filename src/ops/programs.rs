//! Programs of the user's: whether one is there.

use crate::error::{Error, Hint, Result};
use std::ffi::OsStr;
use std::path::Path;

/// Checks that a program can be run, so that a mistyped one is found before the work. It looks
/// where [`std::process::Command`] would; `dirs` is the value of `PATH`.
pub fn check_program(program: &OsStr, dirs: &OsStr) -> Result<()> {
    let runs = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let path = Path::new(program);
    let shown = path.display();
    if program.as_encoded_bytes().contains(&b'/') {
        return match (path.exists(), runs(path)) {
            (_, true) => Ok(()),
            (true, false) => Err(Error::usage(format!("`{shown}` is no program"))
                .with_hint(format!("`chmod +x {shown}`, or name its interpreter"))),
            (false, false) => {
                Err(Error::usage(format!("there is no program `{shown}`"))
                    .with_hint("check the path"))
            }
        };
    }
    match std::env::split_paths(dirs).any(|dir| runs(&dir.join(path))) {
        true => Ok(()),
        false => Err(
            Error::usage(format!("there is no program `{shown}` in PATH")).with_hint(
                Hint::new()
                    .text("a line for a shell is written so: ")
                    .shell_command("guard app -- sh -c 'cd /srv/app && ./upgrade'"),
            ),
        ),
    }
}
