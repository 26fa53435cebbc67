//! The text of the units of systemd. They confine what they run as examples/dbbackup@.service does;
//! what a manager of a user can't do is left out there.

use super::jobs::{Job, JobKind};
use super::sandbox::Sandbox;
use super::systemd::ManagerScope;
use std::path::Path;

/// What all units of one schedule share.
pub struct UnitWriter<'p> {
    /// Whose manager runs them.
    pub scope: ManagerScope,
    /// What their names begin with: `dbbackup`, or `dbbackup-shop-1a2b3c`.
    pub stem: &'p str,
    /// The program, absolute.
    pub program: &'p str,
    /// The configuration, absolute.
    pub config: &'p str,
    /// Where they may write.
    pub sandbox: &'p Sandbox,
    /// The user that mail about failed runs goes to; `None`: nobody gets mail.
    pub mail_to: Option<&'p str>,
}

/// What only the system's manager can do.
const OF_SYSTEM: &str = "\
StateDirectory=dbbackup
StateDirectoryMode=0700
ProtectSystem=strict
ProtectHome=read-only
# Reading files of other users, keeping owner and mode right, and giving the throw-away server of a
# trial restore of PostgreSQL to a user that owns nothing.
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
";

/// What every manager can do.
const OF_ALL: &str = "\
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
UMask=0077
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
# By these a trial restore of a PostgreSQL dump is confined.
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
SystemCallErrorNumber=EPERM
";

/// Neighbours first: a backup may take longer.
const NICE: &str = "\
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
";

impl UnitWriter<'_> {
    /// The name of a job's unit, as `dbbackup-backup.timer`.
    pub fn name(&self, kind: JobKind, suffix: &str) -> String {
        format!("{}-{}.{suffix}", self.stem, kind.as_str())
    }

    /// The name of the template that mails about a failed run.
    pub fn mail_name(&self) -> String {
        format!("{}-mail@.service", self.stem)
    }

    /// The service of a job.
    pub fn service(&self, job: &Job) -> String {
        let mut text = self.head(job);
        match self.scope {
            ManagerScope::System => text.push_str(
                "Wants=network-online.target\n\
                 After=local-fs.target remote-fs.target network-online.target\n",
            ),
            ManagerScope::User => {}
        }
        if self.mail_to.is_some() {
            let mail = self.mail_name().replace("@.", "@%n.");
            text.push_str(&format!("OnFailure={mail}\n"));
        }
        let mut words = vec![exec_word(self.program), "--config".to_owned()];
        words.push(exec_word(self.config));
        words.extend(job.arguments.iter().map(|word| exec_word(word)));
        text.push_str(&format!(
            "\n[Service]\nType=oneshot\nExecStart={}\n",
            words.join(" ")
        ));
        text.push_str(NICE);
        if self.scope == ManagerScope::System {
            text.push_str(
                "\n# The file system is read-only, but for these, and the unit's own state.\n",
            );
            for path in &self.sandbox.directories {
                text.push_str(&format!("ReadWritePaths={}\n", path_word(path)));
            }
            let own = if self.sandbox.uses_tmp { "no" } else { "yes" };
            text.push_str(&format!("PrivateTmp={own}\n{OF_SYSTEM}"));
        }
        text.push_str(OF_ALL);
        text
    }

    /// The timer of a job.
    pub fn timer(&self, job: &Job) -> String {
        let mut text = self.head(job);
        text.push_str(&format!(
            "\n[Timer]\nOnCalendar={}\n",
            job.calendar.to_systemd()
        ));
        if job.is_exact {
            text.push_str("AccuracySec=1s\n");
        } else {
            // Runs that were missed are all made up for at once, when the machines of a rack start.
            text.push_str("RandomizedDelaySec=5m\n");
        }
        if matches!(job.kind, JobKind::Backup | JobKind::Verify) {
            text.push_str(
                "# A run that was missed while the machine was off is made up for.\n\
                 Persistent=true\n",
            );
        }
        text.push_str("\n[Install]\nWantedBy=timers.target\n");
        text
    }

    /// The template that mails what a failed run said last.
    pub fn mail_service(&self, to: &str) -> String {
        let status = self
            .scope
            .systemctl(&["status", "--full", "--lines=50", "\"$1\""]);
        format!(
            "[Unit]\nDescription=Tell that %i failed\n\n[Service]\nType=oneshot\n\
             Environment=MAILTO={}\n\
             # The unit's name is passed as an argument: it is no part of the script.\n\
             ExecStart=/bin/sh -c '{status} | \
             mail -s \"$1 failed on $(uname -n)\" \"$MAILTO\"' sh %i\n",
            exec_word(to)
        )
    }

    fn head(&self, job: &Job) -> String {
        format!(
            "# What is changed here by hand is kept as it is. Better: {}\n\n\
             [Unit]\nDescription={} ({})\nDocumentation=man:dbbackup(1)\n",
            self.scope.systemctl(&["edit"]),
            job.kind.description(),
            escaped(self.config, false)
        )
    }
}

/// A word of `ExecStart=`.
fn exec_word(word: &str) -> String {
    quoted(&escaped(word, true))
}

/// A path of `ReadWritePaths=`, which need not be there.
fn path_word(path: &Path) -> String {
    quoted(&escaped(&format!("-{}", path.display()), false))
}

/// The text with nothing in it that systemd replaces; in a command `$` is such a sign, too.
fn escaped(text: &str, is_command: bool) -> String {
    let text = text.replace('%', "%%");
    if is_command {
        text.replace('$', "$$")
    } else {
        text
    }
}

/// The word in quotes where it needs them.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:=@%,$".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_replaces_nothing_in_a_word() {
        for (word, written) in [
            ("/etc/dbbackup/config.toml", "/etc/dbbackup/config.toml"),
            ("/srv/50%/$HOME.toml", "/srv/50%%/$$HOME.toml"),
            ("/a dir/\"q\"\\", "\"/a dir/\\\"q\\\"\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(exec_word(word), written);
        }
        assert_eq!(path_word(Path::new("/srv/a $b")), "\"-/srv/a $b\"");
    }
}
