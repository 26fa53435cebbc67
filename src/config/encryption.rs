//! `[encryption]`, and what other tables say of it.

use super::section::{Scope, Section, TableItem};
use super::strict::suggestion;
use super::{Config, MAIN_STORE};
use crate::encryption::EncryptionSettings;
use crate::error::{Error, Result};
use crate::setting::SettingGroup;
use crate::signature::Signer;

/// Reads `[encryption]`.
pub(super) fn read_encryption(
    item: TableItem<'_>,
    scope: &Scope<'_>,
) -> Result<EncryptionSettings> {
    let mut section = Section::open(item, "[encryption]".to_owned(), scope)?;
    section.only(&[EncryptionSettings::key_names()], &|_| None)?;
    let mut settings = EncryptionSettings::default();
    section.apply(&mut settings)?;
    if section.has("recipients")
        && settings.recipients.is_empty()
        && settings.recipients_file.is_none()
    {
        return Err(section.error(
            "recipients",
            "`recipients` in [encryption] names nobody, so nothing would be encrypted".to_owned(),
        ));
    }
    let has_recipients = !settings.recipients.is_empty() || settings.recipients_file.is_some();
    for (first, second) in [
        ("passphrase_file", "passphrase_command"),
        ("identity_file", "identity_command"),
        ("sign_key_file", "sign_key_command"),
    ] {
        if section.has(first) && section.has(second) {
            let text = format!("[encryption] has `{first}` or `{second}`, not both");
            return Err(section.error(second, text));
        }
    }
    if settings.host_key && settings.has_passphrase() {
        let text = "[encryption] has a passphrase, with which this machine reads its backups: it \
                    has no use for `host_key`";
        return Err(section.error("host_key", text));
    }
    if settings.host_key && !has_recipients {
        let text = "[encryption] has a key of this machine alone, which would be lost with it: \
                    name the `recipients`";
        return Err(section.error("host_key", text));
    }
    if has_recipients && settings.has_passphrase() {
        // age itself allows no other recipient beside a passphrase.
        return Err(section.error_here(
            "[encryption] has recipients and a passphrase: an encrypted file has one or the other",
        ));
    }
    Ok(settings)
}

/// An error where something is to be encrypted and nobody could read it, or where `[encryption]`
/// names a store that is not there.
pub(super) fn check_encryption(config: &Config) -> Result<()> {
    let settings = &config.encryption;
    let unknown = settings.stores.iter().flatten().find(|name| {
        let is_main = *name == MAIN_STORE && config.store.is_some();
        !is_main && !config.stores.contains_key(*name)
    });
    if let Some(unknown) = unknown {
        let text = format!(
            "{}: `stores` in [encryption] names `{unknown}`, and there is no such store",
            config.path.display()
        );
        let known: Vec<&str> = config
            .all_stores()
            .map(|(name, _)| name.unwrap_or(MAIN_STORE))
            .collect();
        return Err(Error::usage(text).with_hint(suggestion(unknown, &known, "stores")));
    }
    let nobody = "name who can read the backups: `recipients`";
    if settings.stores.iter().flatten().next().is_some() && !settings.names_recipients() {
        let text = format!(
            "{}: [encryption] has `stores` to encrypt, and no `recipients`",
            config.path.display()
        );
        return Err(Error::usage(text).with_hint(nobody));
    }
    let wanting = config
        .all_stores()
        .find(|(_, store)| store.encrypt == Some(true));
    match wanting {
        Some((name, _)) if !settings.names_recipients() => {
            let text = format!(
                "{}: the store `{}` says `encrypt = true`, and [encryption] has no `recipients`",
                config.path.display(),
                name.unwrap_or(MAIN_STORE)
            );
            Err(Error::usage(text).with_hint(nobody))
        }
        _ => Ok(()),
    }
}

/// Gives every store the key that signs.
pub(super) fn give_signer(config: &mut Config) {
    let settings = &config.encryption;
    config.signer = Signer::new(
        settings.sign_key_file.clone(),
        settings.sign_key_command.clone(),
    );
    let named = config.stores.values_mut().map(|store| &mut store.settings);
    for settings in config.store.iter_mut().chain(named) {
        settings.signer.clone_from(&config.signer);
    }
}
