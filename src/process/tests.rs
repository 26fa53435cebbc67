//! Child processes: what is kept of their words, and how they end.

use super::*;
use std::io::Read;

#[test]
fn what_a_server_calls_an_error_comes_first() {
    let long = "pg_restore: error: could not execute query: ERROR:  type \"t\" does not \
                exist\nLINE 2: a t\n  ^\nCommand was: x\n1\n2\n3\n4\n5\n";
    let told = summarize_stderr(long);
    assert!(
        told.starts_with(
            "pg_restore: error: could not execute query: ERROR:  type \"t\" does not exist; "
        ),
        "{told}"
    );
    assert!(
        told.ends_with("4; 5") && told.matches("ERROR").count() == 1,
        "{told}"
    );
    assert_eq!(
        summarize_stderr("a\nx: ERROR:  b\nc\n"),
        "x: ERROR:  b; a; c"
    );
    assert_eq!(summarize_stderr("a\nb\n"), "a; b");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_and_then_failure_is_failure() {
    let error =
        Process::output(shell("echo all of it; echo why >&2; exit 3"), "dump", None).unwrap_err();
    assert_eq!(error.message(), "`dump` failed (exit status 3): why");
    let error = Process::output(shell("echo all of it; kill -9 $$"), "dump", None).unwrap_err();
    assert_eq!(error.message(), "`dump` failed (killed by signal 9)");
    assert_eq!(
        Process::output(shell("echo all of it"), "dump", None).unwrap(),
        "all of it\n"
    );
}

#[test]
fn a_secret_is_masked() {
    let error = Process::output(
        shell("echo tried hunter2 >&2; exit 1"),
        "dump",
        Some("hunter2"),
    )
    .unwrap_err();
    assert_eq!(error.message(), "`dump` failed (exit status 1): tried ***");
}

#[test]
fn a_silent_child_is_given_up_and_ended() {
    let pipes = Pipes {
        stdin: false,
        stdout: true,
    };
    let mut process = Process::start(shell("exec sleep 600"), "dump", None, pipes).unwrap();
    let pid = process.id();
    let error = process
        .reader(Some(Duration::from_millis(50)))
        .unwrap()
        .read(&mut [0; 8])
        .unwrap_err();
    assert!(
        error.to_string().contains("nothing came from `dump`"),
        "{error}"
    );
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_goes_on_in_the_background_is_not_waited_for_and_is_ended_with_its_parent() {
    let started = Instant::now();
    let text = Process::output(shell("sleep 600 & echo $!"), "dump", None).unwrap();
    assert!(started.elapsed() < Duration::from_secs(60));
    signal(text.trim().parse().unwrap(), Signal::KILL);
    let pipes = Pipes {
        stdin: false,
        stdout: true,
    };
    let mut process =
        Process::start(shell("sleep 600 & echo $!; wait"), "dump", None, pipes).unwrap();
    let mut line = [0; 32];
    let count = process.reader(None).unwrap().read(&mut line).unwrap();
    let pid: u32 = std::str::from_utf8(&line[..count])
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    drop(process);
    let ended = || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.contains(") Z "))
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while cfg!(target_os = "linux") && !ended() {
        assert!(Instant::now() < deadline, "its child goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn much_on_stderr_blocks_nobody() {
    let text = Process::output(
        shell("yes noise | head -c 3000000 >&2; echo done"),
        "dump",
        None,
    )
    .unwrap();
    assert_eq!(text, "done\n");
}
