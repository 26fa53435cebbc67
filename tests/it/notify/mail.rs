//! Mail, through a real server with TLS and a login, and through the program sendmail.

use super::smtp::{MailServer, PASSWORD, USER};
use super::{back_up, waiting, world};
use crate::tools::lack;

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
