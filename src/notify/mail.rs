//! `type = "mail"`: a mail with a plain and an HTML part, handed to a server by SMTP or to the
//! program sendmail.

use super::command::hand_over;
use super::http::is_this_machine;
use super::notification::Notification;
use super::report_page::{REPORT_FILE, ReportPage};
use super::settings::{MailSettings, MailVia};
use super::transport::MessageTransport;
use crate::error::{Context, Error, Result};
use crate::secret::{Secret, mask_known};
use crate::units;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message, SmtpTransport, Transport as _};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// Sends mail.
pub struct MailTransport<'a> {
    settings: &'a MailSettings,
    /// Where one is to be attached.
    page: Option<&'a ReportPage>,
}

impl<'a> MailTransport<'a> {
    /// The mail of these settings; the page is attached where they say so.
    pub fn new(settings: &'a MailSettings, page: Option<&'a ReportPage>) -> Self {
        let page = page.filter(|_| settings.attach_report);
        MailTransport { settings, page }
    }
}

/// A server of mail, as `server` names it.
#[derive(PartialEq)]
struct MailServer {
    /// It speaks TLS from the start.
    is_tls: bool,
    host: String,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
}

/// Looks at addresses and the server without speaking to anybody; an error is the key and a
/// sentence about it.
pub fn check_mail(settings: &MailSettings) -> std::result::Result<(), (&'static str, String)> {
    for address in &settings.to {
        mailbox(address).map_err(|why| ("to", why))?;
    }
    if let Some(from) = &settings.from {
        mailbox(from).map_err(|why| ("from", why))?;
    }
    if let Some(server) = &settings.server {
        let server = parse_server(server).map_err(|why| ("server", why))?;
        let has_password = server.password.is_some() || settings.password_source().count() > 0;
        if has_password && server.user.is_none() {
            let text = "there is a password, and no user: smtps://USER@HOST".to_owned();
            return Err(("server", text));
        }
        if server.user.is_some() && !has_password {
            let text = "there is a user, and no password: password_file".to_owned();
            return Err(("server", text));
        }
    }
    Ok(())
}

fn mailbox(text: &str) -> std::result::Result<Mailbox, String> {
    text.parse()
        .map_err(|_| format!("`{}` is no address of mail", text.escape_debug()))
}

/// Reads `smtps://USER:PASSWORD@HOST:PORT`. A user's `@` may stand there as it is.
fn parse_server(text: &str) -> std::result::Result<MailServer, String> {
    let wrong = || "expected smtps://USER@HOST:465 or smtp://USER@HOST:587".to_owned();
    let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
    let is_tls = match scheme {
        "smtps" => true,
        "smtp" => false,
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => {
            (host, Some(port.parse().map_err(|_| wrong())?))
        }
        _ => (place, None),
    };
    if host.is_empty() || host.contains(['/', '?', '#']) {
        return Err(wrong());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, "")) => (Some(decoded(user)), None),
        Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
    };
    Ok(MailServer {
        is_tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        user: user.filter(|user| !user.is_empty()),
        password,
    })
}

impl MessageTransport for MailTransport<'_> {
    fn check(&self) -> Result<String> {
        let to = self.settings.to.join(", ");
        self.written(&Notification::on_trial(&this_host(), chrono::Utc::now()))?;
        if self.settings.via == MailVia::Sendmail {
            let program = sendmail_program();
            return match program.is_file() {
                true => Ok(format!("to {to} by `{}`", program.display())),
                false => Err(Error::usage("there is no program `sendmail`")
                    .with_hint("install a server of mail, or name one with `server`")),
            };
        }
        let server = self.server()?;
        let host = server.host.clone();
        self.transport_to(server, Duration::from_secs(1))?;
        Ok(format!("to {to} by `{host}`"))
    }

    fn send(&self, notification: &Notification, limit: Duration) -> Result<String> {
        let settings = self.settings;
        let mail = self.written(notification)?;
        if settings.via == MailVia::Sendmail {
            return self.hand_to_sendmail(&mail, limit);
        }
        let server = self.server()?;
        let host = server.host.clone();
        let transport = self.transport_to(server, limit)?;
        // Each answer has its time; a server that answers slowly and for ever has not more.
        let (answer, answers) = mpsc::channel();
        std::thread::spawn(move || {
            // Whoever waited may be gone.
            _ = answer.send(transport.send(&mail));
        });
        let answer = answers.recv_timeout(limit).map_err(|_| {
            let limit = units::elapsed(limit.as_secs_f64().ceil());
            Error::failed(format!("mail by `{host}`: no end within {limit}"))
        })?;
        match answer {
            Ok(response) => {
                let said = response.message().collect::<Vec<_>>().join(" ");
                Ok(mask_known(&units::printable(&format!(
                    "{} {said}",
                    response.code()
                ))))
            }
            Err(error) => Err(explained(&error, &host)),
        }
    }
}

impl MailTransport<'_> {
    fn server(&self) -> Result<MailServer> {
        let server = self.settings.server.as_deref().unwrap_or_default();
        parse_server(server).map_err(|why| Error::usage(format!("`server`: {why}")))
    }

    /// The connection to a server, which is not made yet.
    fn transport_to(&self, server: MailServer, limit: Duration) -> Result<SmtpTransport> {
        let host = server.host.as_str();
        let mut tls = TlsParameters::builder(host.to_owned());
        if let Some(path) = &self.settings.ca_file {
            let what = || format!("`ca_file` `{}`", path.display());
            let text = std::fs::read(path).with_context(what)?;
            let added = Certificate::from_pem(&text)
                .map_err(|_| Error::usage(format!("{} holds no certificate", what())))?;
            tls = tls.add_root_certificate(added);
        }
        let may_go_in_the_clear = is_this_machine(host) && !server.is_tls && server.user.is_none();
        if may_go_in_the_clear && self.settings.ca_file.is_none() {
            // A server of mail on this machine mostly has a certificate that nobody signed. Without
            // TLS at all the mail would be as safe. A password would not be.
            tls = tls
                .dangerous_accept_invalid_certs(true)
                .dangerous_accept_invalid_hostnames(true);
        }
        let tls = tls
            .build_rustls()
            .map_err(|error| Error::failed(format!("TLS for `{host}`: {error}")))?;
        let (tls, port) = match server.is_tls {
            true => (Tls::Wrapper(tls), 465),
            // What stays on this machine is seen by nobody else.
            false if is_this_machine(host) => (Tls::Opportunistic(tls), 25),
            false => (Tls::Required(tls), 587),
        };
        let mut builder = SmtpTransport::builder_dangerous(host)
            .port(server.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(limit))
            .hello_name(ClientId::Domain(this_host()));
        if let Some(user) = server.user {
            let own = self
                .settings
                .password_source()
                .read_within("password", limit);
            let own = own.context("its password")?;
            let password = server.password.map(Secret::new).or(own);
            let password = password.map(|password| password.expose().to_owned());
            builder = builder.credentials(Credentials::new(user, password.unwrap_or_default()));
        }
        Ok(builder.build())
    }

    /// The mail, as it goes.
    fn written(&self, notification: &Notification) -> Result<Message> {
        let wrong = |why: String| Error::usage(why);
        let from = match &self.settings.from {
            Some(from) => mailbox(from).map_err(wrong)?,
            None => {
                let address = Address::new("dbbackup", this_host()).map_err(|_| {
                    Error::usage("this machine's name is none for a mail's sender")
                        .with_hint("name one: from = \"backup@example.org\"")
                })?;
                Mailbox::new(Some("dbbackup".to_owned()), address)
            }
        };
        let mut builder = Message::builder()
            .from(from)
            .subject(notification.subject.as_str())
            .date(notification.at.into())
            .message_id(Some(format!("<{}@dbbackup>", notification.id)));
        for address in &self.settings.to {
            builder = builder.to(mailbox(address).map_err(wrong)?);
        }
        // So that no holiday answers it.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let mut text = notification.text.clone();
        if let Some(ReportPage::Missing(why)) = self.page {
            text = format!("{text}\n\n(The report is not attached: {why}.)");
        }
        let html = SinglePart::builder().header(ContentType::TEXT_HTML);
        let html = html.body(html_of(&notification.subject, &text));
        let mut parts = MultiPart::alternative()
            .singlepart(SinglePart::plain(format!("{text}\n")))
            .singlepart(html);
        if let Some(ReportPage::Made(page)) = self.page {
            let page =
                Attachment::new(REPORT_FILE.to_owned()).body(page.clone(), ContentType::TEXT_HTML);
            parts = MultiPart::mixed().multipart(parts).singlepart(page);
        }
        builder
            .multipart(parts)
            .map_err(|error| Error::failed(format!("writing the mail: {error}")))
    }

    /// Hands the mail to the program, which knows where it goes.
    fn hand_to_sendmail(&self, mail: &Message, limit: Duration) -> Result<String> {
        let envelope: &Envelope = mail.envelope();
        let mut command = Command::new(sendmail_program());
        command.arg("-i");
        if let Some(from) = envelope.from() {
            command.args(["-f", from.as_ref()]);
        }
        command
            .arg("--")
            .args(envelope.to().iter().map(AsRef::<str>::as_ref));
        hand_over(command, &mail.formatted(), limit).context("`sendmail`")
    }
}

/// Where the program is that every server of mail brings: seldom in the path of a job.
fn sendmail_program() -> PathBuf {
    let of_path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&of_path).collect();
    dirs.extend(["/usr/sbin", "/usr/lib"].map(PathBuf::from));
    let places = dirs.into_iter().map(|dir| dir.join("sendmail"));
    let mut there = places.filter(|path| path.is_file());
    there.next().unwrap_or_else(|| PathBuf::from("sendmail"))
}

/// This machine's name.
fn this_host() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// The text for who reads HTML: the same words, in which nothing is markup.
fn html_of(subject: &str, text: &str) -> String {
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    format!(
        "<!DOCTYPE html><html><body><p><b>{}</b></p>\
         <pre style=\"white-space:pre-wrap\">{}</pre></body></html>\n",
        escaped(subject),
        escaped(text)
    )
}

/// What went wrong, without anything that was sent.
fn explained(error: &lettre::transport::smtp::Error, host: &str) -> Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        cause = inner.source();
    }
    let text = mask_known(&units::printable(&text));
    let told = Error::failed(format!("mail by `{host}`: {text}"));
    if error
        .status()
        .is_some_and(|code| code.to_string().starts_with("535"))
    {
        told.with_hint("look at user and password")
    } else if text.contains("ertificate") || text.contains("UnknownIssuer") {
        told.with_hint("`ca_file` names certificates that are trusted beside the system's")
    } else {
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a mail to which the page is to be attached, or is not.
    fn lines_of(page: &ReportPage, is_attached: bool) -> Vec<String> {
        let settings = MailSettings {
            to: vec!["ops@example.org".to_owned()],
            from: Some("backup@example.org".to_owned()),
            attach_report: is_attached,
            ..MailSettings::default()
        };
        let notification = Notification::on_trial("web1", chrono::Utc::now());
        let mail = MailTransport::new(&settings, Some(page)).written(&notification);
        let mail = String::from_utf8(mail.unwrap().formatted()).unwrap();
        mail.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_page_is_attached_where_that_is_asked_for() {
        let page = ReportPage::new("<!DOCTYPE html><p>all is well</p>".to_owned());
        let has = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
        let with = lines_of(&page, true);
        for part in [
            "Content-Type: multipart/mixed;",
            "Content-Disposition: attachment; filename=\"report.html\"",
            "<p>all is well</p>",
        ] {
            assert!(has(&with, part), "no {part}: {with:?}");
        }
        let without = lines_of(&page, false);
        assert!(!has(&without, "mixed") && !has(&without, "all is well"));
    }

    #[test]
    fn a_mail_says_why_it_has_no_page() {
        let page = ReportPage::Missing("the disk is < full".to_owned());
        let lines = lines_of(&page, true);
        let line = |text: &str| lines.iter().filter(|line| line.starts_with(text)).count();
        assert_eq!(
            line("(The report is not attached: the disk is < full.)"),
            1,
            "{lines:?}"
        );
        assert_eq!(
            line("(The report is not attached: the disk is &lt; full.)"),
            1
        );
        assert_eq!(line("Content-Disposition"), 0);
        let unasked = lines_of(&page, false);
        assert!(!unasked.iter().any(|line| line.contains("attached")));
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        let read = |text: &str| parse_server(text).ok();
        let server = read("smtps://ops@example.org:p%40ss@mail.example.org:465").unwrap();
        assert_eq!(server.user.as_deref(), Some("ops@example.org"));
        assert_eq!(server.password.as_deref(), Some("p@ss"));
        assert_eq!(
            (server.host.as_str(), server.port),
            ("mail.example.org", Some(465))
        );
        assert!(server.is_tls);
        let server = read("smtp://[::1]").unwrap();
        assert_eq!(
            (server.host.as_str(), server.port, server.is_tls),
            ("::1", None, false)
        );
        assert!(server.user.is_none());
        for wrong in [
            "mail.example.org",
            "smtp://",
            "http://x",
            "smtp://x:y",
            "smtps://u@h/x",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
