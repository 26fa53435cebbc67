//! Mail, through a real server with TLS and a login, and through the program sendmail.

use super::smtp::{MailServer, PASSWORD, USER};
use super::{back_up, waiting, world};
use crate::tools::lack;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn mail_goes_with_tls_and_a_login() {
    for (mode, scheme) in [("tls", "smtps"), ("starttls", "smtp")] {
        let place = tempfile::tempdir().unwrap();
        let Some(server) = MailServer::start(place.path(), mode) else {
            return lack("aiosmtpd");
        };
        let tables = format!(
            "[notify.ops]\ntype = 'mail'\nto = ['ops@example.org', 'Two <two@example.org>']\nfrom \
             = 'backup@example.org'\nserver = '{scheme}://{USER}@localhost:{}'\npassword_file = \
             'mail.pass'\nca_file = '{}'\n",
            server.port(),
            server.certificate().display()
        );
        let world = world(&tables);
        world.file("mail.pass", PASSWORD);
        crate::support::set_mode(&world.path("mail.pass"), 0o600);
        back_up(&world).exits(3).never_says("nobody was told");
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        let mail = &mails[0];
        let envelope = mail.lines().next().unwrap();
        assert_eq!(
            envelope,
            "user=ops@example.org tls=True from=backup@example.org to=['ops@example.org', \
             'two@example.org']"
        );
        for part in [
            "From: backup@example.org",
            "backup FAILED: shop (1 of 2)",
            "Auto-Submitted: auto-generated",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "shop.db",
        ] {
            assert!(mail.contains(part), "no {part}: {mail}");
        }
        assert!(!mail.contains(PASSWORD));
        world
            .dbbackup("notify --test")
            .run()
            .exits(0)
            .prints("taken as number 2");
        // A wrong password, and a server that nobody trusts.
        world.file("mail.pass", "wrong-password-of-ours");
        world
            .dbbackup("notify --test")
            .run()
            .exits(1)
            .prints("535")
            .prints("look at user and password");
        world.config(&format!(
            "[store]\npath = 'store'\n{}",
            tables.replace("ca_file", "#ca_file")
        ));
        let refused = world.dbbackup("notify --test").run().exits(1);
        refused.prints("ertificate").never_says(PASSWORD);
        assert_eq!(server.mails().len(), 2);
    }
}

/// The parts of a mail as a program that reads mail has them, each as its type, its file's name and
/// its text.
fn parts(mail: &str) -> Vec<(String, String, String)> {
    const READER: &str = "import email, email.policy, json, sys\n\
                          mail = email.message_from_binary_file(sys.stdin.buffer, \
                          policy=email.policy.default)\n\
                          print(json.dumps([(part.get_content_type(), part.get_filename() or '', \
                          part.get_content()) for part in mail.walk() if not \
                          part.is_multipart()]))\n";
    let (_envelope, mail) = mail.split_once('\n').unwrap();
    let mut reader = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = reader.stdin.take().unwrap();
    stdin.write_all(mail.as_bytes()).unwrap();
    drop(stdin);
    serde_json::from_slice(&reader.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn the_page_goes_with_mails_that_ask_for_it() {
    let place = tempfile::tempdir().unwrap();
    let Some(server) = MailServer::start(place.path(), "open") else {
        return lack("aiosmtpd");
    };
    let mail = |name: &str, port: &str, line: &str| {
        format!(
            "[notify.{name}]\ntype = 'mail'\nto = '{name}@example.org'\nfrom = \
             'backup@example.org'\nserver = 'smtp://localhost:{port}'\n{line}\n"
        )
    };
    const SECRET: &str = "correct-horse-battery";
    // Its password is in a path, which the error names, and nobody reads it before.
    let hostile = format!(
        "[sources.hostile]\nkind = 'sqlite'\npath = '{SECRET}.db'\n[notify.pager]\ntype = \
         'webhook'\nurl = 'http://127.0.0.1:1/'\nsecret = '{SECRET}'\non = ['digest']\n"
    );
    let tables = |port: &str| {
        let with = mail("chief", port, "attach_report = true");
        format!("{with}{}{hostile}", mail("ops", port, ""))
    };
    let world = world(&tables(&server.port()));
    back_up(&world).exits(3).never_says("nobody was told");
    let mails = server.mails();
    let [with, without] = &mails[..] else {
        panic!("{mails:?}");
    };
    let with = parts(with);
    let types: Vec<&str> = with.iter().map(|(kind, _, _)| kind.as_str()).collect();
    assert_eq!(types, ["text/plain", "text/html", "text/html"]);
    let (_, name, page) = &with[2];
    assert_eq!(name, "report.html");
    // It is whole, and knows the run that it tells of.
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(
        page.contains("shop.db") && page.contains("***.db"),
        "{page}"
    );
    let without = parts(without);
    assert_eq!(without.len(), 2);
    for (_, _, text) in with.iter().chain(&without) {
        assert!(!text.contains(SECRET), "{text}");
    }
    world
        .dbbackup("notify --test chief")
        .run()
        .exits(0)
        .prints("taken as number 3");
    assert_eq!(parts(&server.mails()[2])[2].1, "report.html");

    // What waits has no page, and what waits is small.
    let wrong = tables("1").replace("[notify.", "[notify.late-");
    let late = self::world(&wrong);
    back_up(&late).exits(3).says("the message waits");
    assert_eq!(waiting(&late), 2);
    for file in std::fs::read_dir(late.path("spool")).unwrap().flatten() {
        assert!(file.metadata().unwrap().len() < 8192, "{file:?}");
    }
    let right = wrong.replace("localhost:1'", &format!("localhost:{}'", server.port()));
    late.config(&format!(
        "[store]\npath = 'store'\n[notify]\nspool = 'spool'\n{right}"
    ));
    late.dbbackup("notify").run().exits(0);
    let mails = server.mails();
    assert_eq!(mails.len(), 5);
    // Both were written in one second: which goes first is chance.
    for mail in &mails[3..] {
        let found = parts(mail);
        assert_eq!(found.len(), 2);
        let is_for_chief = mail.lines().next().unwrap().contains("chief@");
        let says_so = found[0].2.contains("(The report is not attached: ");
        assert_eq!(says_so, is_for_chief, "{mail}");
    }

    // A store that can't be read is what the page says, too.
    let nowhere = tables(&server.port());
    world.config(&format!(
        "[store]\npath = 'nowhere/store'\n[sources.app]\nkind = 'sqlite'\npath = 'app.db'\n\
         [notify]\nspool = 'spool'\n{nowhere}"
    ));
    back_up(&world).never_says("nobody was told");
    let mails = server.mails();
    let page = &parts(&mails[5])[2].2;
    assert!(
        page.contains("it can&#39;t be read") || page.contains("it can't be read"),
        "{page}"
    );
}

/// As Debian's servers of mail are: with a certificate that nobody signed, and for this machine
/// without a login.
#[test]
fn a_server_of_this_machine_needs_no_signed_certificate() {
    let place = tempfile::tempdir().unwrap();
    let Some(server) = MailServer::start(place.path(), "open") else {
        return lack("aiosmtpd");
    };
    let world = world(&format!(
        "[notify.ops]\ntype = 'mail'\nto = 'ops@example.org'\nfrom = \
         'backup@example.org'\nserver = 'smtp://localhost:{}'\n",
        server.port()
    ));
    world.dbbackup("notify --test").run().exits(0);
    assert!(server.mails()[0].starts_with("user=None tls=True"));
}

#[test]
fn mail_that_nobody_takes_waits() {
    let world = world(
        "[notify.ops]\ntype = 'mail'\nto = 'ops@example.org'\nserver = 'smtp://127.0.0.1:1'\n",
    );
    back_up(&world)
        .exits(3)
        .says("nobody was told by `ops`: mail by `127.0.0.1`: ");
    assert_eq!(waiting(&world), 1);
}

#[test]
fn sendmail_gets_mail_and_addresses() {
    let world = world(
        "[notify.ops]\ntype = 'mail'\nto = ['ops@example.org']\nfrom = 'b@example.org'\nvia = \
         'sendmail'\n",
    );
    world.script(
        "sendmail",
        "#!/bin/sh\necho \"$@\" > \"${0%/*}/words\"\ncat > \"${0%/*}/mail\"\n",
    );
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", world.path("").display());
    world.dbbackup("backup").env("PATH", &path).run().exits(3);
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert_eq!(read("words"), "-i -f b@example.org -- ops@example.org\n");
    assert!(read("mail").contains("To: ops@example.org"));
}
