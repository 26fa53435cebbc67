//! The files that hold secrets: who may read them?

use super::Checks;
use crate::config::KindSettings;
use crate::error::Error;
use crate::ops::Session;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Looks at every file that the configuration names.
pub fn look(session: &Session, checks: &mut Checks) {
    let Some(config) = &session.config else {
        return;
    };
    // Whether it holds a password, and may be read by others then, was judged when it was loaded.
    if let Ok(found) = config.path.metadata() {
        checks.ok(
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
            file(name, "env_file", path, checks);
        }
        if let KindSettings::Postgres(own) = &entry.kind
            && let Some(path) = &own.password_file
        {
            file(name, "password_file", path, checks);
        }
    }
}

fn file(source: &str, key: &'static str, path: &Path, checks: &mut Checks) {
    let shown = path.display();
    match path.metadata() {
        Err(error) => {
            let error = Error::from(error)
                .context(format!("`{shown}`"))
                .with_hint("it must be there, and readable for this user");
            checks.problem(source, key, &error);
        }
        Ok(found) if found.mode() & 0o077 != 0 => {
            let text = format!(
                "`{shown}` can be read by others (mode {:04o})",
                found.mode() & 0o7777
            );
            checks.warning(source, key, text, format!("chmod 0600 {shown}"));
        }
        Ok(found) => checks.ok(
            source,
            key,
            format!("{shown}, mode {:04o}", found.mode() & 0o7777),
        ),
    }
}
