//! One that makes backups and can't read them, one that proves them, one that removes: three
//! machines, each with the rights of its own example, at one bucket whose objects are locked.

use super::moto::Moto;
use super::place;
use super::rights::{User, start_guard};
use crate::moments::next_second;
use crate::support::{Call, Ran, World};
use crate::tools::{lack, skip};
use std::process::{Command, Stdio};

/// The text of a file of `examples/`.
fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::fs::read_to_string(path.join(name)).unwrap()
}

/// What stands in quotes behind `name =`, in the lines after it too where it is a list.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("{name} = ")).unwrap();
    let end = match rest.starts_with('[') {
        true => rest.find(']').unwrap() + 1,
        false => rest[1..].find('"').unwrap() + 2,
    };
    &rest[..end]
}

/// A machine, whose directory has all its files.
struct Machine {
    name: &'static str,
    world: World,
    signing_key: String,
    configuration: String,
}

impl Machine {
    fn new(name: &'static str) -> Machine {
        let world = World::new();
        let made = world.dbbackup("key init --sign-key sign.key --json").run();
        let signing_key = made.exits(0).json()["public_key"]
            .as_str()
            .unwrap()
            .to_owned();
        Machine {
            name,
            world,
            signing_key,
            configuration: example(&format!("three-machines-{name}.toml")),
        }
    }

    fn replace(&mut self, name: &str, with: &str) {
        let old = value(&self.configuration, name).to_owned();
        self.configuration = self.configuration.replace(&old, with);
    }

    /// Writes the example with this machine's own values in it.
    fn configure(&mut self, endpoint: &str, trust: &str) {
        self.replace("trust", trust);
        self.configuration = self.configuration.replace(
            "region = \"eu-central-1\"",
            &format!("endpoint = '{endpoint}'\nretry_for = '5s'"),
        );
        self.replace("access_key_file", "'s3.id'");
        self.replace("secret_key_file", "'s3.key'");
        self.replace("sign_key_file", "'sign.key'");
        place::configure(&self.world, "s3.id", self.name);
        place::configure(&self.world, "s3.key", "a secret");
    }

    fn write_configuration(&self) {
        place::configure(&self.world, "dbbackup.toml", &self.configuration);
    }

    /// `dbbackup` on a host of this machine's name.
    fn call(&self, arguments: &str) -> Call {
        let call = self.world.dbbackup(arguments);
        match can_name_hosts() {
            true => {
                let name = format!("hostname {} && exec \"$@\"", self.name);
                call.by(&["unshare", "-r", "--uts", "sh", "-c", &name, "sh"])
            }
            false => call,
        }
    }

    fn run(&self, arguments: &str) -> Ran {
        self.call(arguments).run()
    }

    /// The ids of the backups that it lists, newest first.
    fn ids(&self) -> Vec<String> {
        let listed = self.run("list --json").exits(0).json();
        let backups = listed["backups"].as_array().unwrap().iter();
        backups
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Whether a process may have a host name of its own here.
fn can_name_hosts() -> bool {
    let mut command = Command::new("unshare");
    command.args(["-r", "--uts", "hostname", "elsewhere"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn none_of_three_machines_can_do_alone_what_ransomware_wants() {
    let Some(server) = Moto::start() else {
        return lack("moto_server");
    };
    server.make_locked_bucket("acme-backups");
    let user = |name: &str, rights: &str| User::new(name, &example(&format!("iam-{rights}.json")));
    let users = vec![
        user("web1", "backup"),
        user("vault1", "verify"),
        user("cleanup1", "cleanup"),
    ];
    let endpoint = start_guard(&server.endpoint(), users);
    let mut web1 = Machine::new("web1");
    let mut vault1 = Machine::new("vault1");
    let mut cleanup1 = Machine::new("cleanup1");
    let identity = vault1
        .world
        .dbbackup("key init --identity backup.key --json")
        .run();
    let identity = identity.exits(0).json();
    let recipient = identity["recipient"].as_str().unwrap();
    let safe = cleanup1
        .world
        .dbbackup("key init --identity safe.key --json")
        .run();
    let safe = safe.exits(0).json()["recipient"]
        .as_str()
        .unwrap()
        .to_owned();
    let trust = [&web1, &vault1, &cleanup1].map(|machine| format!("'{}'", machine.signing_key));
    let trust = format!("[{}]", trust.join(", "));
    for machine in [&mut web1, &mut vault1, &mut cleanup1] {
        machine.configure(&endpoint, &trust);
    }
    web1.replace("recipients", &format!("['{recipient}', '{safe}']"));
    web1.replace("path", "'app.db'");
    vault1.replace("identity_file", "'backup.key'");
    cleanup1.configuration = cleanup1.configuration.replace(
        "keep_daily = 14\nkeep_weekly = 8\nkeep_monthly = 12",
        "keep_last = 1",
    );
    for machine in [&web1, &vault1, &cleanup1] {
        machine.write_configuration();
    }
    web1.world.shop("app.db");

    // It makes backups, and sees that nobody has proven one yet.
    web1.run("backup").exits(0);
    web1.run("doctor").exits(0);
    web1.run("status")
        .exits(1)
        .prints("no backup was ever proven by a restore");
    web1.run("restore app --to x.db")
        .exits(1)
        .says(recipient_shown(recipient));

    // Another one proves it, and the first one hears of it.
    let id = web1.ids()[0].clone();
    vault1
        .run("verify --all --level restore")
        .exits(0)
        .prints(&format!("ok {id}: restore"));
    vault1.run("doctor").exits(0);
    vault1.run("key prove").exits(0).prints(&id);
    let proven = web1.run("status -v").exits(0);
    match can_name_hosts() {
        true => drop(proven.prints("proven by vault1")),
        false => skip("a host name of its own"),
    }

    // A third one removes, by its configuration alone.
    for _ in 0..2 {
        next_second();
        web1.run("backup").exits(0);
    }
    let before = web1.ids();
    assert_eq!(before.len(), 3);
    cleanup1.run("cleanup").exits(0).prints("removed 1 backup");
    let after = web1.ids();
    // The newest, and the proven one.
    assert_eq!(after, [before[0].as_str(), before[2].as_str()]);
    web1.run("status").exits(0);
    vault1.run("verify --all --level restore").exits(0);

    // None can do what is another one's.
    web1.run(&format!("delete {id} --yes --force"))
        .exits(2)
        .says("delete = \"never\"");
    web1.configuration = web1.configuration.replace("delete = \"never\"", "");
    web1.write_configuration();
    web1.run(&format!("delete {id} --yes --force"))
        .exits(1)
        .says("s3:DeleteObject");
    cleanup1
        .run("restore app --to x.db")
        .exits(1)
        .says(recipient_shown(recipient));
    vault1.world.shop("app.db");
    vault1.run("backup app.db --plain").exits(1).says("403");
    assert_eq!(web1.ids(), after);

    // What somebody could destroy who has taken over one of them.
    web1.run("doctor --ransomware")
        .exits(0)
        .prints("nothing for good");
    vault1
        .run("doctor --ransomware")
        .exits(0)
        .prints(": nothing: ");
    // This server makes no mark for what was not there, and so does not tell that it keeps
    // versions.
    cleanup1
        .run("doctor --ransomware")
        .exits(3)
        .prints("refused, so it can write over nothing")
        .prints("it can't be told");
}

/// What messages show of a recipient.
fn recipient_shown(recipient: &str) -> &str {
    &recipient[..12]
}
