//! What never leaves this machine: every secret that the configuration has.

use crate::config::{Config, KindSettings, masked_line};
use crate::notify::NotifierWay;
use crate::secret::{Secret, mask_known};
use crate::units;
use std::path::Path;

/// The longest file that is taken for one with a secret.
const LONGEST_FILE: u64 = 64 * 1024;

/// Makes the secrets of the configuration known, also those that nobody has used yet: an error may
/// show one before. Commands are not run for it; what they gave is known since.
pub fn remember(config: &Config) {
    for (_, source) in &config.sources {
        let variables = &source.hooks.variables;
        for (name, value) in variables {
            let line = format!("{name}={value}");
            match masked_line(&line) == line {
                true => forget_password_of(value),
                false => forget(value),
            }
        }
        if let KindSettings::Postgres(own) = &source.kind {
            own.password.iter().for_each(|value| forget(value));
            own.password_file.iter().for_each(|path| forget_file(path));
            let urls = [&own.url, &own.prefix_url, &own.drill_url];
            urls.into_iter()
                .flatten()
                .for_each(|url| forget_password_of(url));
        }
    }
    for (_, store) in config.all_stores() {
        let connection = &store.connection;
        connection.secret_key.iter().for_each(|value| forget(value));
        let files = [&connection.secret_key_file, &connection.access_key_file];
        files
            .into_iter()
            .flatten()
            .for_each(|path| forget_file(path));
    }
    for notifier in &config.notify.notifiers {
        for source in notifier.way.secret_sources() {
            source.value.iter().for_each(|value| forget(value));
            source.file.iter().for_each(|path| forget_file(path));
        }
        if let NotifierWay::Mail(own) = &notifier.way {
            own.server.iter().for_each(|url| forget_password_of(url));
        }
    }
    let keys = &config.encryption;
    let files = [
        &keys.passphrase_file,
        &keys.identity_file,
        &keys.sign_key_file,
    ];
    files
        .into_iter()
        .flatten()
        .for_each(|path| forget_file(path));
}

/// Makes a secret known, and wipes it.
fn forget(value: &str) {
    drop(Secret::new(value));
}

fn forget_file(path: &Path) {
    let is_small = path
        .metadata()
        .is_ok_and(|found| found.is_file() && found.len() <= LONGEST_FILE);
    let Some(text) = is_small
        .then(|| std::fs::read_to_string(path).ok())
        .flatten()
    else {
        return;
    };
    let text = Secret::new(text);
    for line in text.expose().lines() {
        forget(line);
    }
}

/// The password in a URL, as it is written there.
fn forget_password_of(url: &str) {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
    if let Some((_, password)) = login.split_once(':') {
        forget(password);
    }
}

/// A text as it may leave: on one line, with every secret masked, and nothing in it that drives a
/// terminal.
pub fn clean(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    units::printable(&masked_line(&mask_known(&line))).into_owned()
}
