//! `[notify]` and `[notify.NAME]`.

use super::SourceFault;
use super::parse::{check_name, part};
use super::section::{Scope, Section, TableItem};
use super::strict::suggestion;
use crate::error::{Error, Result};
use crate::notify::{
    CommandSettings, MailSettings, MailVia, NewsTopic, NotifierSettings, NotifierTopics,
    NotifierWay, NotifySettings, PingSettings, WebhookPreset, WebhookSettings, check_mail,
};
use crate::secret::SecretSource;
use crate::setting::SettingGroup;
use toml::de::DeValue;

/// Lists the keys of a type.
type KeyLister = fn() -> Vec<&'static str>;

/// The types of notifiers: their names, and the keys that only they have.
pub(super) const TYPES: &[(&str, KeyLister)] = &[
    ("mail", MailSettings::key_names),
    ("webhook", WebhookSettings::key_names),
    ("ping", PingSettings::key_names),
    ("command", CommandSettings::key_names),
];

/// Reads `[notify]`.
///
/// What the environment lacks makes one notifier unusable, which is a warning: who is to be told of
/// a backup must not keep it from being made.
pub(super) fn read_notify(
    item: TableItem<'_>,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> Result<NotifySettings> {
    let mut section = Section::open(item, "[notify]".to_owned(), scope)?;
    let mut settings = NotifySettings::default();
    section.apply(&mut settings)?;
    if settings.digest.is_some() && !settings.on.contains(&NewsTopic::Digest) {
        settings.on.push(NewsTopic::Digest);
    }
    for item in section.take_all() {
        if item.value.get_ref().as_table().is_none() {
            let text = format!("unknown key `{}` in [notify]", item.name.escape_debug());
            let keys = NotifySettings::key_names();
            let hint = suggestion(&item.name, &keys, "valid keys");
            return Err(scope.doc.error(item.offset, text).with_hint(hint));
        }
        check_name(&item, "notifier", scope)?;
        let forgiving = Scope {
            file: None,
            of_source: true,
            ..*scope
        };
        match read_notifier(item, &settings.on, &forgiving)? {
            Ok(notifier) => settings.notifiers.push(notifier),
            Err(fault) => warnings.push(format!("{}; nobody is told there", fault.message)),
        }
    }
    Ok(settings)
}

/// Reads `[notify.NAME]`; `topics` is what all are told.
fn read_notifier(
    item: TableItem<'_>,
    topics: &[NewsTopic],
    scope: &Scope<'_>,
) -> Result<std::result::Result<NotifierSettings, SourceFault>> {
    let name = item.name.clone();
    let header = format!("[notify.{}]", part(&name));
    let written = item.value.get_ref().as_table();
    let kind = written.and_then(|table| table.get("type")?.get_ref().as_str());
    // What a shell is given stands there as it is written.
    let mut section = match kind {
        Some("command") => Section::open_as_written(item, header, scope)?,
        _ => Section::open(item, header, scope)?,
    };
    let (kind, keys) = read_type(&mut section)?;
    let common = NotifierTopics::key_names();
    section.only(&[vec!["type"], common, keys], &|_| None)?;
    let mut own = NotifierTopics::default();
    section.apply(&mut own)?;
    let way = read_way(kind, &mut section);
    // What is missing may be missing because of the environment.
    if let Some(fault) = section.faults.into_iter().next() {
        return Ok(Err(fault));
    }
    Ok(Ok(NotifierSettings {
        name,
        topics: own.on.unwrap_or_else(|| topics.to_vec()),
        way: way?,
    }))
}

fn read_way(kind: &str, section: &mut Section<'_>) -> Result<NotifierWay> {
    Ok(match kind {
        "mail" => NotifierWay::Mail(Box::new(read_mail(section)?)),
        "webhook" => NotifierWay::Webhook(Box::new(read_webhook(section)?)),
        "ping" => NotifierWay::Ping(Box::new(read_ping(section)?)),
        _ => NotifierWay::Command(read_command(section)?),
    })
}

/// The type that a table names, and the keys that go with it.
fn read_type(section: &mut Section<'_>) -> Result<(&'static str, Vec<&'static str>)> {
    let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let listed: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let listed = listed.join(", ");
    let Some(item) = section.take("type") else {
        let keys = TYPES.iter().map(|(_, keys)| keys());
        let all: Vec<Vec<&str>> = keys.chain([NotifierTopics::key_names()]).collect();
        section.only(&[vec!["type"], all.concat()], &|_| None)?;
        let text = format!("{} has no `type`", section.header);
        return Err(section
            .error_here(text)
            .with_hint(format!("write type = one of {listed}")));
    };
    let wrong = |section: &Section<'_>, found: &str| {
        section
            .error("type", format!("expected one of {listed}, found {found}"))
            .with_hint(suggestion(found.trim_matches('`'), &names, "valid types"))
    };
    let DeValue::String(word) = item.value.get_ref() else {
        return Err(wrong(section, "something else"));
    };
    let found = TYPES.iter().find(|(name, _)| name == word);
    match found {
        Some((name, keys)) => Ok((name, keys())),
        None => Err(wrong(section, &format!("`{}`", word.escape_debug()))),
    }
}

fn read_mail(section: &mut Section<'_>) -> Result<MailSettings> {
    let mut settings = MailSettings::default();
    section.apply(&mut settings)?;
    check_source(section, "password", &settings.password_source())?;
    if settings.to.is_empty() {
        return Err(missing(section, "to", "to = [\"ops@example.org\"]"));
    }
    match (settings.via, settings.server.is_some()) {
        (MailVia::Smtp, false) => {
            let example = "server = \"smtps://user@mail.example.org\", or via = \"sendmail\"";
            return Err(missing(section, "server", example));
        }
        (MailVia::Sendmail, _) => {
            let of_smtp = [
                "server",
                "password",
                "password_file",
                "password_command",
                "ca_file",
            ];
            if let Some(key) = of_smtp.into_iter().find(|key| section.has(key)) {
                let text = format!("`{key}` is of a server, and `via` says \"sendmail\"");
                return Err(section.error(key, text));
            }
        }
        (MailVia::Smtp, true) => {}
    }
    check_mail(&settings).map_err(|(key, why)| section.error(key, why))?;
    Ok(settings)
}

fn read_webhook(section: &mut Section<'_>) -> Result<WebhookSettings> {
    let mut settings = WebhookSettings::default();
    section.apply(&mut settings)?;
    check_source(section, "token", &settings.token_source())?;
    check_source(section, "secret", &settings.secret_source())?;
    demand_url(
        section,
        &settings.url_source(),
        settings.preset.default_url(),
    )?;
    if settings.preset.needs_addressee() && settings.to.is_none() {
        let example = "to = \"…\": Telegram's chat, Matrix's room, or Pushover's user key";
        return Err(missing(section, "to", example));
    }
    if settings.preset.needs_token() && settings.token_source().count() == 0 {
        return Err(missing(
            section,
            "token",
            "token_file = \"/etc/dbbackup/token\"",
        ));
    }
    for (key, is_used) in [
        ("to", settings.preset.needs_addressee()),
        ("token", settings.preset.takes_token()),
        ("token_file", settings.preset.takes_token()),
        ("token_command", settings.preset.takes_token()),
        ("secret", settings.preset == WebhookPreset::Json),
        ("secret_file", settings.preset == WebhookPreset::Json),
        ("secret_command", settings.preset == WebhookPreset::Json),
    ] {
        if section.has(key) && !is_used {
            let text = format!("the preset does not use `{key}`");
            return Err(section.error(key, text).with_hint("leave it out"));
        }
    }
    Ok(settings)
}

fn read_ping(section: &mut Section<'_>) -> Result<PingSettings> {
    if section.has("on") {
        let text = "a ping tells how every run ended: a check waits for it";
        return Err(section.error("on", text).with_hint("leave it out"));
    }
    let mut settings = PingSettings::default();
    section.apply(&mut settings)?;
    demand_url(section, &settings.url_source(), None)?;
    Ok(settings)
}

fn read_command(section: &mut Section<'_>) -> Result<CommandSettings> {
    let mut settings = CommandSettings::default();
    section.apply(&mut settings)?;
    if settings.command.is_none() {
        return Err(missing(
            section,
            "command",
            "command = [\"apprise\", \"…\"]",
        ));
    }
    section.scope.directory.clone_into(&mut settings.directory);
    Ok(settings)
}

fn missing(section: &Section<'_>, key: &str, example: &str) -> Error {
    section
        .error_here(format!("{} has no `{key}`", section.header))
        .with_hint(format!("write {example}"))
}

/// An error where a secret is given in more than one way.
fn check_source(section: &Section<'_>, key: &str, source: &SecretSource) -> Result<()> {
    if source.count() > 1 {
        let text = format!("{} gives `{key}` in more than one way", section.header);
        return Err(section.error_here(text));
    }
    Ok(())
}

/// An error where there is no URL and none is known, or one that nothing could be sent to.
fn demand_url(section: &Section<'_>, url: &SecretSource, known: Option<&str>) -> Result<()> {
    check_source(section, "url", url)?;
    match &url.value {
        Some(text) if !text.starts_with("https://") && !text.starts_with("http://") => Err(section
            .error("url", "expected a URL that begins with `https://`")
            .with_hint("its text is not shown, as it may be a secret")),
        None if url.count() == 0 && known.is_none() => {
            Err(missing(section, "url", "url = \"https://…\", or url_file"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{masked, parse};
    use crate::notify::{DigestInterval, NewsTopic, NotifierWay};
    use std::path::Path;

    fn read(text: &str) -> crate::error::Result<crate::config::Config> {
        parse(text, Path::new("/etc/dbbackup/config.toml"), &|_| None)
    }

    fn refused(lines: &str) -> String {
        let error = read(lines).unwrap_err();
        let hint = error.hint().map(ToString::to_string);
        format!("{error}; {}", hint.unwrap_or_default())
    }

    #[test]
    fn each_notifier_is_told_what_it_wants() {
        let config = read(
            "[notify]\ndigest = \"daily\"\n[notify.hook]\ntype = \"webhook\"\nurl = \
             \"https://x.example.org/h\"\n[notify.pager]\ntype = \"command\"\ncommand = \"page \
             ${KEPT}\"\non = [\"failure\"]\n",
        )
        .unwrap();
        let [hook, pager] = &config.notify.notifiers[..] else {
            panic!("{:?}", config.notify.notifiers);
        };
        assert!(hook.topics.contains(&NewsTopic::Digest) && hook.topics.len() == 4);
        assert_eq!(config.notify.digest_interval(), Some(DigestInterval::Daily));
        assert_eq!(pager.topics, [NewsTopic::Failure]);
        let NotifierWay::Command(own) = &pager.way else {
            panic!("{pager:?}");
        };
        assert_eq!(own.command.as_ref().unwrap().to_string(), "page ${KEPT}");
        assert_eq!(own.directory, Path::new("/etc/dbbackup"));
    }

    #[test]
    fn what_can_not_work_is_refused_with_its_line() {
        for (lines, why) in [
            (
                "[notify]\nno = 1",
                "config.toml:2: unknown key `no` in [notify]; the valid keys are",
            ),
            (
                "[notify.x]\nurl = \"a\"",
                "[notify.x] has no `type`; write type = one of \"mail\"",
            ),
            (
                "[notify.x]\ntype = \"mial\"",
                "found `mial`; did you mean `mail`?",
            ),
            (
                "[notify.x]\ntype = \"mail\"",
                "[notify.x] has no `to`; write to = ",
            ),
            (
                "[notify.x]\ntype = \"mail\"\nto = \"a@b\"",
                "has no `server`; write server = ",
            ),
            (
                "[notify.x]\ntype = \"mail\"\nto = \"a@b\"\nserver = \"smtps://u@h\"",
                "there is a user, and no password",
            ),
            (
                "[notify.x]\ntype = \"mail\"\nto = \"a@b\"\nvia = \"sendmail\"\nserver = \
                 \"smtp://h\"",
                "`server` is of a server, and `via` says \"sendmail\"",
            ),
            (
                "[notify.x]\ntype = \"mail\"\nto = \"nobody\"\nvia = \"sendmail\"",
                "no address of mail",
            ),
            (
                "[notify.x]\ntype = \"webhook\"",
                "has no `url`; write url = \"https://…\"",
            ),
            (
                "[notify.x]\ntype = \"webhook\"\nurl = \"ftp://s3cret\"",
                "expected a URL that begins with `https://`; its text is not shown",
            ),
            (
                "[notify.x]\ntype = \"webhook\"\nurl = \"https://h\"\nurl_file = \"x\"",
                "gives `url` in more than one way",
            ),
            (
                "[notify.x]\ntype = \"webhook\"\npreset = \"telegram\"\nurl = \"https://h\"",
                "has no `to`",
            ),
            (
                "[notify.x]\ntype = \"webhook\"\npreset = \"slack\"\nurl = \"https://h\"\ntoken = \
                 \"t\"",
                "the preset does not use `token`; leave it out",
            ),
            (
                "[notify.x]\ntype = \"ping\"\non = [\"stale\"]",
                "a ping tells how every run ended",
            ),
            ("[notify.x]\ntype = \"command\"", "has no `command`"),
            (
                "[notify.\"a b\"]\ntype = \"command\"",
                "can't be the name of a notifier",
            ),
        ] {
            let said = refused(lines);
            assert!(said.contains(why), "{lines}: {said}");
            assert!(!said.contains("s3cret"));
        }
    }

    #[test]
    fn what_the_environment_lacks_is_a_warning() {
        let config = read(
            "[notify.a]\ntype = \"webhook\"\nurl = \"${NOWHERE}\"\n[notify.b]\ntype = \
             \"command\"\ncommand = [\"page\"]\n",
        )
        .unwrap();
        assert_eq!(config.notify.notifiers.len(), 1);
        assert!(config.warnings[0].contains("needs ${NOWHERE}, which is not set; nobody is told"));
    }

    #[test]
    fn addresses_that_let_people_in_are_not_copied() {
        let text = "[notify.a]\ntype = \"webhook\"\nurl = \"https://hooks.example.org/T/s3cret\"\n\
                    token = \"t0ken\"\n[notify.b]\nurl = \"https://x.example.org/${KEY}\"\n\
                    server = \"smtps://u:p4ss@h\"\n[notify.c]\ntype = \"command\"\n\
                    command = [\"apprise\", \"tgram://b0t/chat\"]\n[notify.d]\ntype = \
                    \"command\"\ncommand = \"apprise 'slack://k3y/x' && echo ${A}://${B}\"\n";
        let shown = masked(text);
        for secret in ["s3cret", "t0ken", "p4ss", "b0t", "k3y"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for kept in [
            "https://x.example.org/${KEY}",
            "tgram://***",
            "&& echo ${A}://${B}",
        ] {
            assert!(shown.contains(kept), "{shown}");
        }
    }
}
