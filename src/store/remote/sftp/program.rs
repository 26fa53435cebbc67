//! The program that carries SFTP to the other side, and what its last words mean.

use crate::error::{Error, Hint, Result};
use crate::process::last_lines;
use crate::store::location::{RemoteAddress, SftpAddress};
use crate::units;
use std::process::Command;

/// What `ssh` is always told. It never asks, it notices a dead peer, and it does nothing but this.
/// The host's key is checked, whatever its configuration says: what comes first counts, so only
/// `ssh_command` itself can say otherwise.
const SSH_OPTIONS: [&str; 9] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardX11=no",
    "RequestTTY=no",
    "RemoteCommand=none",
];

/// What `rclone` is always told. Without its cache a file is sent while it is written, and closing
/// it says whether it arrived. Without a cache of directories a list is what is there now, not five
/// minutes ago.
const RCLONE_OPTIONS: [&str; 14] = [
    "serve",
    "sftp",
    "--stdio",
    "--vfs-cache-mode",
    "off",
    "--dir-cache-time",
    "0s",
    "--poll-interval",
    "0s",
    "--contimeout",
    "30s",
    "--timeout",
    "60s",
    "--ask-password=false",
];

/// Which of the two programs it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// OpenSSH's client, or what the settings name in its place.
    Ssh,
    /// rclone, which serves any of its remotes.
    Rclone,
}

/// A program and its arguments.
#[derive(Debug, Clone)]
pub struct CarrierCommand {
    /// Which program it is.
    pub carrier: Carrier,
    /// The program, then its arguments.
    pub words: Vec<String>,
}

impl CarrierCommand {
    /// The command for an address, and the directory that the server has for it. `ssh_command`
    /// takes the place of `ssh`.
    pub fn for_address(
        address: &RemoteAddress,
        ssh_command: Option<&str>,
    ) -> Result<Option<(CarrierCommand, String)>> {
        match address {
            RemoteAddress::Sftp(address) => {
                let command = CarrierCommand::ssh(address, ssh_command)?;
                Ok(Some((command, address.path.clone())))
            }
            RemoteAddress::Rclone(remote) => {
                // The remote with its path is what is served: a key may be good for no more.
                Ok(Some((CarrierCommand::rclone(remote), "/".to_owned())))
            }
            RemoteAddress::Objects(_) => Ok(None),
        }
    }

    fn ssh(address: &SftpAddress, ssh_command: Option<&str>) -> Result<CarrierCommand> {
        let mut words = units::split_words(ssh_command.unwrap_or("ssh"))
            .map_err(|why| Error::usage(format!("`ssh_command`: {why}")))?;
        if words.is_empty() {
            return Err(Error::usage("`ssh_command` is empty"));
        }
        for option in SSH_OPTIONS {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        if let Some(port) = address.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &address.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        words.extend(["-s", "--", &address.host, "sftp"].map(str::to_owned));
        Ok(CarrierCommand {
            carrier: Carrier::Ssh,
            words,
        })
    }

    fn rclone(remote: &str) -> CarrierCommand {
        let mut words = vec!["rclone".to_owned()];
        words.extend(RCLONE_OPTIONS.map(str::to_owned));
        words.extend(["--".to_owned(), remote.to_owned()]);
        CarrierCommand {
            carrier: Carrier::Rclone,
            words,
        }
    }

    /// The same, with rclone's cache of directories: for reading what never changes. Without it
    /// each file that is opened costs a list of its directory.
    pub fn with_directory_cache(mut self) -> CarrierCommand {
        let mut words = self.words.iter_mut();
        if words.any(|word| word == "--dir-cache-time")
            && let Some(duration) = words.next()
        {
            *duration = "60s".to_owned();
        }
        self
    }

    /// The program's name, for messages.
    pub fn name(&self) -> &str {
        let program = self.words.first().map_or("", String::as_str);
        program.rsplit('/').next().unwrap_or(program)
    }

    /// The command to be started.
    pub fn to_command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words);
        command
    }

    /// The error of a program that could not be started.
    pub fn not_started(&self, error: Error) -> Error {
        if error.io_kind() != Some(std::io::ErrorKind::NotFound) {
            return error;
        }
        error.with_hint(match self.carrier {
            Carrier::Ssh => "install `openssh-client`, as Debian calls it",
            Carrier::Rclone => "install `rclone`, as Debian calls it",
        })
    }

    /// The error of a program that ended or fell silent: what it said last, or else `trouble`.
    pub fn ended(&self, trouble: &str, stderr: &str) -> Error {
        let words = last_lines(stderr, 1);
        let words = words.trim_end_matches('.');
        let error = if words.is_empty() {
            Error::failed(format!("`{}`: {trouble}", self.name()))
        } else {
            Error::failed(format!("`{}`: {words}", self.name()))
        };
        match self.hint(stderr) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// Whether trying again would come to the same.
    pub fn is_final(&self, stderr: &str) -> bool {
        // A name server that can't be reached now may be later.
        !stderr.contains("Temporary failure")
            && FINAL_WORDS.iter().any(|words| stderr.contains(words))
    }

    /// The part of the command line that a user repeats by hand.
    fn by_hand(&self) -> String {
        let mut words = Vec::new();
        let mut left = self.words.iter();
        while let Some(word) = left.next() {
            let is_ours = |next: &String| SSH_OPTIONS.contains(&next.as_str());
            match word.as_str() {
                "-o" if left.clone().next().is_some_and(is_ours) => {
                    left.next();
                }
                "-s" => {}
                "--" => {
                    words.extend(left.next().map(|host| units::shell_word(host)));
                    break;
                }
                _ => words.push(units::shell_word(word)),
            }
        }
        words.join(" ")
    }

    fn hint(&self, stderr: &str) -> Option<Hint> {
        let says = |words: &str| stderr.contains(words);
        if self.carrier == Carrier::Rclone {
            return says("didn't find section in config file").then(|| {
                "`rclone listremotes` shows the remotes of this user; `rclone config` makes one"
                    .into()
            });
        }
        let hand = self.by_hand();
        if says("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            return Some(
                "the server has another key than it had: find out why first; then remove the old \
                 one with `ssh-keygen -R HOST`"
                    .into(),
            );
        }
        if says("Host key verification failed") {
            return Some(
                format!(
                    "log in once by hand as the same user and compare the key: `{hand}`; or add \
                     it with `ssh-keyscan`"
                )
                .into(),
            );
        }
        if says("Permission denied") {
            return Some(
                format!("which keys are offered, and as which user: `{hand} -v`; nothing is asked")
                    .into(),
            );
        }
        if says("subsystem request failed") {
            return Some("the server allows this user no SFTP".into());
        }
        None
    }
}

/// What `ssh` and `rclone` say of what stays as it is.
const FINAL_WORDS: [&str; 11] = [
    "Host key verification failed",
    "Permission denied",
    "Too many authentication failures",
    "Could not resolve hostname",
    "subsystem request failed",
    "Bad configuration option",
    "no matching host key type",
    "didn't find section in config file",
    "Failed to create file system",
    "unknown flag",
    "command not found",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn command(address: &str, ssh_command: Option<&str>) -> CarrierCommand {
        let address = RemoteAddress::parse(address).unwrap().unwrap();
        CarrierCommand::for_address(&address, ssh_command)
            .unwrap()
            .unwrap()
            .0
    }

    #[test]
    fn ssh_is_told_where_and_never_asks() {
        let command = command("sftp://u@host:2222/srv", Some("ssh -F 'my config'"));
        let line = command.words.join(" ");
        assert!(
            line.starts_with("ssh -F my config -o BatchMode=yes -o StrictHostKeyChecking=yes "),
            "{line}"
        );
        assert!(line.ends_with(" -p 2222 -l u -s -- host sftp"), "{line}");
        assert_eq!(command.by_hand(), "ssh -F 'my config' -p 2222 -l u host");
    }

    #[test]
    fn rclone_serves_the_remote_alone() {
        let command = command("rclone:b2:acme/web1", None);
        assert!(
            command
                .words
                .ends_with(&["--".to_owned(), "b2:acme/web1".to_owned()])
        );
        let cached = command.with_directory_cache().words.join(" ");
        assert!(cached.contains("--dir-cache-time 60s --poll-interval"));
    }

    #[test]
    fn last_words_have_their_hints() {
        let command = command("sftp://u@host/srv", None);
        let error = command.ended("x", "Warning: y\nHost key verification failed.\n");
        assert_eq!(error.message(), "`ssh`: Host key verification failed");
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("`ssh -l u host`"), "{hint}");
        assert!(command.is_final("Host key verification failed."));
        assert!(!command.is_final("Connection reset by peer"));
        assert!(
            !command.is_final(
                "ssh: Could not resolve hostname x: Temporary failure in name resolution"
            )
        );
        assert_eq!(command.ended("no answer", "").message(), "`ssh`: no answer");
    }
}
