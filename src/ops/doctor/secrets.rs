//! The files that hold secrets: who may read them?

use super::Diagnosis;
use crate::config::KindSettings;
use crate::error::Error;
use crate::ops::Session;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Checks every file that the configuration names.
pub fn check_files(session: &Session, diagnosis: &mut Diagnosis) {
    let Some(config) = &session.config else {
        return;
    };
    // Whether it holds a password, and may be read by others then, was judged when it was loaded.
    if let Ok(found) = config.path.metadata() {
        diagnosis.ok(
            "configuration",
            "mode",
            format!("{:04o}", found.mode() & 0o7777),
        );
    }
    for (name, entry) in config
        .sources
        .iter()
        .filter(|(_, entry)| entry.common.enabled)
    {
        if let Some(path) = &entry.common.env_file {
            check_file(name, "env_file", path, diagnosis);
        }
        let password_file = match &entry.kind {
            KindSettings::Postgres(own) => own.password_file.as_ref(),
            KindSettings::Sqlite(_) | KindSettings::Files(_) => None,
        };
        if let Some(path) = password_file {
            check_file(name, "password_file", path, diagnosis);
        }
    }
}

fn check_file(source: &str, key: &'static str, path: &Path, diagnosis: &mut Diagnosis) {
    let shown = path.display();
    match path.metadata() {
        Err(error) => {
            let error = Error::from(error)
                .context(format!("`{shown}`"))
                .with_hint("it must be there, and readable for this user");
            diagnosis.problem(source, key, &error);
        }
        Ok(found) if found.mode() & 0o077 != 0 => {
            let text = format!(
                "`{shown}` can be read by others (mode {:04o})",
                found.mode() & 0o7777
            );
            diagnosis.warning(source, key, text, format!("chmod 0600 {shown}"));
        }
        Ok(found) => diagnosis.ok(
            source,
            key,
            format!("{shown}, mode {:04o}", found.mode() & 0o7777),
        ),
    }
}
