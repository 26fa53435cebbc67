//! What a test needs of the machine. `tests/run` installs every tool that it knows and sets
//! `DBBACKUP_TEST_TOOLS=required`: a test that lacks one fails then. What no package brings (root,
//! mounts, another file system) is a reason to skip, which is told.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether what a package brings may be missing.
fn are_required() -> bool {
    std::env::var("DBBACKUP_TEST_TOOLS").is_ok_and(|value| value == "required")
}

/// Says that a test is skipped for want of a tool, where that is allowed.
#[track_caller]
pub fn lack(tool: &str) {
    assert!(
        !are_required(),
        "{tool} is not installed, and DBBACKUP_TEST_TOOLS is \"required\""
    );
    println!("skipped: {tool} is not installed");
}

/// Says that a test is skipped because of something that can't be installed.
pub fn skip(why: &str) {
    println!("skipped: {why}");
}

/// Whether a program is in PATH.
#[track_caller]
pub fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    if !there {
        lack(tool);
    }
    there
}

/// Whether `strace` is there and may trace; a container may forbid that.
#[track_caller]
pub fn can_trace() -> bool {
    if !have("strace") {
        return false;
    }
    let traced = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !traced {
        skip("strace may not trace here");
    }
    traced
}

/// Whether util-linux's `script`, which gives a program a terminal, is there.
#[track_caller]
pub fn have_terminal() -> bool {
    let there = ["/usr/bin/script", "/bin/script"]
        .iter()
        .any(|path| Path::new(path).exists());
    if !there {
        lack("script");
    }
    there
}
