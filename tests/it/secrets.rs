//! Programs that give a secret: they hang no run, heed no less than their caller does, and leave
//! nothing behind.

use crate::support::{World, binary, until};
use crate::tools::lack;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::{Command, Stdio};

fn world(command: &str) -> World {
    let world = World::new();
    world.config(&format!(
        "[store]\npath = 'store'\n[sources.shop]\nkind = 'postgres'\nurl = \
         'postgresql://u@127.0.0.1:1/shop'\npassword_command = \"\"\"{command}\"\"\"\n"
    ));
    world
}

fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

#[test]
fn a_signal_ends_a_password_command_with_all_that_it_started() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let world = world("sleep 600 & echo $! > child.draft; mv child.draft child; wait");
    let mut running = world.dbbackup("backup").start();
    let child = world.path("child");
    until("the command runs", || child.is_file() || running.ended());
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    running.wait().exits(130);
    let pid = std::fs::read_to_string(child).unwrap();
    until("its child ends", || !runs(pid.trim()));
}

#[test]
fn what_a_password_command_leaves_in_the_background_is_not_waited_for() {
    let world = world("sleep 600 & echo $! > child; echo s3cret");
    // The port is closed; it got as far as that.
    let ran = world.dbbackup("backup").run().exits(1).never_says("s3cret");
    ran.never_says("password_command").says("127.0.0.1");
    let pid = std::fs::read_to_string(world.path("child")).unwrap();
    assert!(
        runs(pid.trim()) || !cfg!(target_os = "linux"),
        "an agent that it starts goes on"
    );
    kill_process(
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
}

#[test]
fn a_password_command_may_ask_on_the_terminal() {
    if !Command::new("script")
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux"))
    {
        lack("script(1) of util-linux");
        return;
    }
    let world = world(
        "printf 'passphrase? ' > /dev/tty; read -r line < /dev/tty; echo got-$line > asked; echo \
         $line",
    );
    let mut command = Command::new("script");
    command
        .args([
            "-qec",
            &format!("{} backup", binary().display()),
            "/dev/null",
        ])
        .current_dir(world.path(""));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"open sesame\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        std::fs::read_to_string(world.path("asked")).unwrap_or_default(),
        "got-open sesame\n",
        "{said}"
    );
    assert!(
        said.contains("127.0.0.1") && said.contains("0 of 1") || said.contains("error:"),
        "{said}"
    );
}
