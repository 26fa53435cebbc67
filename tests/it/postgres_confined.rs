//! What a dump brings runs while it is proven, and reaches nothing: each thing that it could want
//! is tried by it, the tries are seen, and none succeeds, whoever proves it and whatever holds it.

use crate::cluster::Cluster;
use crate::postgres_world::Shop;
use crate::support::{Call, Ran, binary, is_root, set_mode};
use crate::tools::skip;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An ordinary user that every system has, and that runs nothing.
const USER: &str = "games";

/// As whom a dump is proven, and what is kept from that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prover {
    /// Who runs the tests, with all that may be had.
    Oneself,
    /// Root as it is in most containers.
    RootWithoutMounts,
    /// The ordinary user.
    User,
    /// The ordinary user where nobody may make a user namespace.
    UserWithoutNamespaces,
}

impl Prover {
    fn is_user(self) -> bool {
        matches!(self, Prover::User | Prover::UserWithoutNamespaces)
    }

    /// The words before the command.
    fn words(self) -> Vec<&'static str> {
        const DROP: [&str; 3] = ["--inh-caps=-all", "--ambient-caps=-all", "--"];
        let user = [
            "setpriv",
            "--reuid=games",
            "--regid=games",
            "--clear-groups",
        ];
        match self {
            Prover::Oneself => Vec::new(),
            Prover::RootWithoutMounts => vec![
                "setpriv",
                "--bounding-set=-sys_admin",
                "--inh-caps=-sys_admin",
                "--",
            ],
            Prover::User => user.into_iter().chain(DROP).collect(),
            Prover::UserWithoutNamespaces => {
                // A limit that holds in a namespace is made from the inside, by who has all rights
                // in it.
                let limit = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv \
                             --inh-caps=-all --ambient-caps=-all -- \"$@\"";
                let inner = [
                    "--",
                    "unshare",
                    "-U",
                    "--map-current-user",
                    "--keep-caps",
                    "sh",
                    "-c",
                    limit,
                    "sh",
                ];
                user.into_iter().chain(inner).collect()
            }
        }
    }
}

/// One at a time: they look at what is everybody's, a role of the cluster and the ordinary user's
/// memory.
static ALONE: Mutex<()> = Mutex::new(());

/// A database whose dump tries everything, and a directory in which there is something to be had.
struct Trap<'a> {
    shop: Shop<'a>,
    prover: Prover,
    /// A process of the one who proves it.
    victim: Child,
    /// A file beside the world, where everybody may write.
    mark: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Trap<'_> {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = std::fs::remove_file(&self.mark);
    }
}

impl<'a> Trap<'a> {
    /// None, and a line that says so, where this prover can't be had.
    fn new(cluster: &'a Cluster, prover: Prover) -> Option<Trap<'a>> {
        let works = |words: &[&str]| {
            let status = Command::new(words[0])
                .args(&words[1..])
                .arg("true")
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        if prover != Prover::Oneself && !(is_root() && works(&prover.words())) {
            skip(&format!("{prover:?} can't be had here"));
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let shop = Shop::empty(cluster);
        set_mode(&shop.world.path(""), 0o755);
        shop.world.file(".pgpass", "*:*:*:*:hunter2");
        set_mode(&shop.world.path(".pgpass"), 0o600);
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        if prover.is_user() {
            let id = |what: &str| -> u32 {
                let output = Command::new("id").args([what, USER]).output().unwrap();
                String::from_utf8(output.stdout)
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap()
            };
            sleep.uid(id("-u")).gid(id("-g"));
        }
        let mark = PathBuf::from(format!(
            "/tmp/dbbackup-mark-{}",
            shop.name()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
        ));
        Some(Trap {
            shop,
            prover,
            victim: sleep.spawn().unwrap(),
            mark,
            _alone: alone,
        })
    }

    /// What the dump tries, each with the name that it is told by.
    fn attempts(&self) -> Vec<(&'static str, String)> {
        let (store, home) = (self.shop.world.path("store"), self.shop.world.path(""));
        let cluster = self.shop.cluster();
        let (store, home, pid) = (store.display(), home.display(), self.victim.id());
        let psql = format!(
            "{} -w -U postgres -d postgres -c",
            cluster.bin().join("psql").display()
        );
        vec![
            (
                "remove",
                format!("rm {store}/shop/*.json {store}/shop/*.dump.*"),
            ),
            ("look", format!("ls {store}/shop/*.json")),
            ("read", format!("cat {store}/shop/*.json")),
            ("cut", format!("truncate -s 0 {store}/shop/*.json")),
            ("rename", format!("mv {store}/shop {store}/gone")),
            ("password", format!("cat {home}/.pgpass")),
            ("home", format!("touch {home}/evil")),
            (
                "socket",
                format!(
                    "{psql} 'CREATE ROLE evil' -h {} -p {}",
                    cluster.socket_dir().display(),
                    cluster.port()
                ),
            ),
            (
                "network",
                format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}'", cluster.port()),
            ),
            ("kill", format!("kill -9 {pid}")),
            ("environment", format!("cat /proc/{pid}/environ")),
            ("limit", format!("prlimit --pid {pid} --cpu=1:1")),
            ("nice", format!("renice 19 {pid}")),
            ("mount", "unshare -U true".to_owned()),
            ("terminal", "sh -c 'echo x >/dev/tty'".to_owned()),
            ("descriptor", "cat /proc/self/fd/9 /dev/fd/9".to_owned()),
        ]
    }

    /// Has its restore try all of it; `then` is run at the end.
    fn lay(&self, then: &str) {
        let attempt = |(name, command): &(&str, String)| {
            format!("{command} >/dev/null 2>&1 && echo {name}=done || echo {name}=refused\n")
        };
        // What a private directory takes is nobody's; that of everybody must not see it. The modes
        // of files are asked for in the end.
        let more = format!(
            "touch {0}; chmod 777 {1} {1}/.pgpass {2}; chown games {1}/.pgpass\n",
            self.mark.display(),
            self.shop.world.path("").display(),
            self.shop.world.path("store").display()
        );
        let who = "echo uid=$(id -u); test -e /proc/1 && echo proc=seen\n";
        let script: String = self
            .attempts()
            .iter()
            .map(attempt)
            .chain([who.to_owned(), more])
            .collect();
        self.shop.db.sql(&format!(
            "CREATE OR REPLACE FUNCTION check_it(id integer) RETURNS boolean LANGUAGE plpgsql AS \
             $body$
             BEGIN
                IF session_user = 'dbbackup_drill' THEN
                    COPY (SELECT 1) TO PROGRAM $sh$cat >/dev/null; ({script}) >tried 2>/dev/null; \
             true$sh$;
                    {then}
                END IF;
                RETURN true;
             END $body$;
             CREATE TABLE IF NOT EXISTS checked (id integer CHECK (public.check_it(id)));
             DELETE FROM checked; INSERT INTO checked VALUES (1), (2);"
        ));
    }

    fn backup(&self) -> String {
        let give_to = |user: &str| {
            let given = Command::new("chown")
                .args(["-R", user])
                .arg(self.shop.world.path(""))
                .status()
                .unwrap();
            assert!(given.success());
        };
        if !self.prover.is_user() {
            return self.shop.backup();
        }
        give_to("root");
        let id = self.shop.backup();
        give_to(USER);
        id
    }

    fn call(&self, arguments: &str) -> Call {
        // The binary may lie where only its owner can go.
        let copy = self.shop.world.path("dbbackup");
        assert!(
            Command::new("install")
                .args(["-m", "755"])
                .arg(binary())
                .arg(&copy)
                .status()
                .unwrap()
                .success()
        );
        let mut call = self.shop.run(arguments);
        let mut command = Command::new(&copy);
        command
            .args(call.command.get_args())
            .current_dir(self.shop.world.path(""));
        command.envs(
            call.command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        call.command = command;
        let words = self.prover.words();
        // Something of the user's is open in whoever starts it.
        let shell = ["sh", "-c", "exec 9<.pgpass; exec \"$@\"", "sh"];
        call.by(&words.into_iter().chain(shell).collect::<Vec<_>>())
    }

    /// Everything that could have been harmed.
    fn state(&mut self) -> Vec<String> {
        use std::os::unix::fs::MetadataExt;
        let mut files: Vec<String> = walkdir::WalkDir::new(self.shop.world.path(""))
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.path().to_string_lossy().contains(".event.json"))
            .filter(|entry| entry.file_name() != "dbbackup" && entry.file_name() != ".lock")
            .map(|entry| {
                let found = entry.metadata().unwrap();
                let length = if found.is_dir() { 0 } else { found.len() };
                format!(
                    "{} {:o} {} {length}",
                    entry.path().display(),
                    found.mode(),
                    found.uid()
                )
            })
            .collect();
        files.sort();
        files.push(format!("mark {}", self.mark.exists()));
        let roles = self.shop.cluster().value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'evil'",
        );
        files.push(format!("roles {roles}"));
        files.push(format!(
            "victim {}",
            self.victim.try_wait().unwrap().is_none()
        ));
        files.push(format!(
            "priority {:?}",
            rustix::process::getpriority_process(rustix::process::Pid::from_raw(
                self.victim.id().cast_signed()
            ))
        ));
        files
    }
}

/// Whether this root can be exchanged for another one: in a change of root nobody can, nor make a
/// user namespace, and what is proven keeps the `/proc` that is there.
fn can_change_root() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_root = |line: &str| line.split(' ').nth(4) == Some("/");
    mounts.lines().any(is_root)
}

fn try_all(prover: Prover, proc_is_there: bool) {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let Some(mut trap) = Trap::new(cluster, prover) else {
        return;
    };
    trap.lay("RAISE EXCEPTION 'TRIED % ', translate(pg_read_file('tried'), E'\\n', ' ');");
    let id = trap.backup();
    let before = trap.state();
    // It says what it has tried; that is an error.
    let ran: Ran = trap.call(&format!("verify {id} --level restore")).run();
    assert_eq!(trap.state(), before);
    let ran = ran.exits(4);
    let told = ran
        .stderr
        .split("TRIED ")
        .nth(1)
        .unwrap_or_else(|| panic!("{ran}"))
        .split(" ;")
        .next()
        .unwrap()
        .to_owned();
    for (name, _) in trap.attempts() {
        assert!(told.contains(&format!("{name}=refused")), "{name}: {told}");
    }
    assert_eq!(told.contains("proc=seen"), proc_is_there, "{told}");
    // The same in silence: the proof itself is what it would be without.
    trap.lay("");
    let id = trap.backup();
    let before = trap.state();
    trap.call(&format!("verify {id} --level restore"))
        .run()
        .exits(0)
        .prints("restored into PostgreSQL")
        .prints("2 rows as at the backup");
    assert_eq!(trap.state(), before);
    assert_eq!(trap.shop.scratch(), Vec::<String>::new());
}

#[test]
fn in_a_world_of_its_own() {
    if !is_root()
        && Command::new("id")
            .arg("-un")
            .output()
            .is_ok_and(|output| output.stdout == b"postgres\n")
    {
        return skip("no trial restore is made as this user");
    }
    try_all(Prover::Oneself, !can_change_root());
}

#[test]
fn as_an_ordinary_user() {
    try_all(Prover::User, !can_change_root());
}

#[test]
fn as_root_without_the_right_to_mount() {
    try_all(Prover::RootWithoutMounts, true);
}

#[test]
fn as_a_user_without_namespaces() {
    try_all(Prover::UserWithoutNamespaces, true);
}

/// A segment of System V shared memory that belongs to the ordinary user.
struct Segment(String);

impl Segment {
    fn new() -> Segment {
        let made = as_user(&["ipcmk", "-M", "65536"]);
        Segment(made.split_whitespace().last().unwrap().to_owned())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        as_user(&["ipcrm", "-m", &self.0]);
    }
}

fn as_user(words: &[&str]) -> String {
    let output = Command::new("setpriv")
        .args(["--reuid=games", "--regid=games", "--clear-groups", "--"])
        .args(words)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_can_t_be_confined_is_not_run_unless_it_is_trusted() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    for header in ["[backup]", "[sources.shop]"] {
        let Some(mut trap) = Trap::new(cluster, Prover::UserWithoutNamespaces) else {
            return;
        };
        trap.lay("");
        let id = trap.backup();
        let before = trap.state();
        // Shared memory of the user's is what Landlock can't hide.
        let segment = Segment::new();
        let ran = trap
            .call(&format!("verify {id} --level restore"))
            .run()
            .exits(1);
        let ran = ran
            .says("can't be proven here")
            .says("can't be confined here (namespaces: ")
            .says("Landlock: ");
        ran.says("`drill = \"trusted\"` in the configuration runs it unconfined");
        assert_eq!(trap.state(), before);
        trap.call("doctor")
            .run()
            .prints("no trial restore is possible here: what a dump brings can't be confined here");
        drop(segment);
        // What it does then is what the user has asked for.
        let config = trap.shop.world.path("dbbackup.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(
            &config,
            text.replace(header, &format!("{header}\ndrill = \"trusted\"")),
        )
        .unwrap();
        let ran = trap.call(&format!("verify {id} --level restore")).run();
        cluster.sql("postgres", "DROP ROLE evil");
        ran.exits(4)
            .says("was removed while the backup was verified");
        assert_ne!(trap.state(), before);
    }
}
