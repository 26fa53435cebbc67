//! Keys: new ones, and the page that says what a restore needs.

use super::Session;
use crate::config::{Config, MAIN_STORE};
use crate::durable;
use crate::encryption::{EncryptionSettings, NewIdentity};
use crate::error::{Context, Error, Hint, Result};
use crate::secret::Secret;
use crate::signature::SigningKey;
use crate::store::StoreSettings;
use crate::units;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Which keys are made, and where.
#[derive(Debug, Default)]
pub struct KeyInitRequest {
    /// A directory for both.
    pub dir: Option<PathBuf>,
    /// The file for the identity, in place of one in the directory.
    pub identity: Option<PathBuf>,
    /// The file for the signing key, in place of one in the directory.
    pub sign_key: Option<PathBuf>,
}

/// The keys that were made; of each where it is, and its public half.
#[derive(Debug, Default)]
pub struct NewKeys {
    /// The file with the identity.
    pub identity_file: Option<PathBuf>,
    /// Who can read what is encrypted to it: `age1…`.
    pub recipient: Option<String>,
    /// The file with the signing key.
    pub sign_key_file: Option<PathBuf>,
    /// Its public key: `RW…`.
    pub public_key: Option<String>,
}

/// Makes the keys that are asked for. No file is replaced: where one is there, none is made.
pub fn create_keys(request: &KeyInitRequest) -> Result<NewKeys> {
    let within = |name: &str| request.dir.as_ref().map(|dir| dir.join(name));
    if request.dir.is_none() && request.identity.is_none() && request.sign_key.is_none() {
        return Err(
            Error::usage("it is not said where the keys are to be").with_hint(
                Hint::new()
                    .text("name a directory for both, or a file for each: ")
                    .command(["key", "init", "--identity", "FILE", "--sign-key", "FILE"]),
            ),
        );
    }
    let identity_file = request.identity.clone().or_else(|| within("backup.key"));
    let sign_key_file = request.sign_key.clone().or_else(|| within("sign.key"));
    let public_file = sign_key_file
        .as_ref()
        .map(|file| file.with_extension("pub"));
    for file in [&identity_file, &sign_key_file, &public_file]
        .into_iter()
        .flatten()
    {
        must_be_free(file)?;
    }
    if let Some(dir) = &request.dir {
        make_dir(dir)?;
    }
    let mut keys = NewKeys::default();
    if let Some(file) = identity_file {
        let identity = NewIdentity::generate();
        write_new(&file, identity.file_text.expose())?;
        keys.recipient = Some(identity.recipient);
        keys.identity_file = Some(file);
    }
    if let (Some(file), Some(public_file)) = (sign_key_file, public_file) {
        let key = SigningKey::generate()?;
        write_new(&file, key.to_text()?.expose())?;
        write_new(&public_file, &key.verifying_key().to_file_text())?;
        keys.public_key = Some(key.verifying_key().to_string());
        keys.sign_key_file = Some(file);
    }
    Ok(keys)
}

fn must_be_free(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Error::usage(format!(
            "`{}` is there already, and no key is ever replaced",
            path.display()
        ))
        .with_hint("name another file; what is encrypted to an old key needs that key")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("looking at `{}`", path.display())),
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the directory `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file that is not there, readable by its owner alone, durable on return.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut file = durable::create_new(path)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing `{}`", path.display()))?;
    durable::sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// A page to keep in a safe.
#[derive(Debug)]
pub struct KeySheet {
    /// The host that makes the backups.
    pub host: String,
    /// When the page was composed.
    pub printed: String,
    /// The stores, by their names, and where they are.
    pub stores: Vec<String>,
    /// The names of the sources.
    pub sources: Vec<String>,
    /// Who can read what is encrypted.
    pub recipients: Vec<String>,
    /// A passphrase stands in place of recipients.
    pub needs_passphrase: bool,
    /// The public keys whose signatures count.
    pub public_keys: Vec<String>,
    /// What restores a backup without this program.
    pub commands: Vec<String>,
    /// The identity itself, where it was asked for.
    pub identity: Option<Secret>,
}

/// Composes the page from the configuration; `with_secret` puts the identity itself on it, that of
/// the file `named` before that of the configuration.
pub fn compose_sheet(
    session: &Session,
    with_secret: bool,
    named: Option<&Path>,
) -> Result<KeySheet> {
    let Some(config) = &session.config else {
        return Err(
            Error::usage("there is no configuration to make a sheet of").with_hint(
                Hint::new()
                    .text("name it with `--config FILE`; ")
                    .command(["init"])
                    .text(" writes one"),
            ),
        );
    };
    let settings = &config.encryption;
    let public_keys = public_keys(config);
    Ok(KeySheet {
        host: session.host.clone(),
        printed: units::stamp(session.now),
        stores: config
            .all_stores()
            .map(|(name, store)| format!("{}: {}", name.unwrap_or(MAIN_STORE), store.location))
            .collect(),
        recipients: recipients(settings)?,
        sources: config
            .sources
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
        commands: recovery_commands(config, &public_keys),
        needs_passphrase: settings.has_passphrase(),
        public_keys,
        identity: match with_secret {
            true => Some(identity(settings, named)?),
            false => None,
        },
    })
}

/// The keys that the stores trust, and the one that signs here, where this user can read it.
fn public_keys(config: &Config) -> Vec<String> {
    let trusted = config.all_stores().flat_map(|(_, store)| &store.trust);
    let mut keys: Vec<String> = trusted.map(ToString::to_string).collect();
    let own = config.signer.as_ref().and_then(|signer| signer.key().ok());
    keys.extend(own.map(|key| key.verifying_key().to_string()));
    keys.sort();
    keys.dedup();
    keys
}

fn recipients(settings: &EncryptionSettings) -> Result<Vec<String>> {
    let mut all = settings.recipients.clone();
    if let Some(file) = &settings.recipients_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading `recipients_file` `{}`", file.display()))?;
        let lines = text.lines().map(str::trim);
        let named = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(named.map(str::to_owned));
    }
    Ok(all)
}

/// The identity, as its file has it.
fn identity(settings: &EncryptionSettings, named: Option<&Path>) -> Result<Secret> {
    let variable = std::env::var_os("DBBACKUP_IDENTITY_FILE").map(PathBuf::from);
    let named = named.or(variable.as_deref());
    match (
        named.or(settings.identity_file.as_deref()),
        &settings.identity_command,
    ) {
        (Some(file), _) => Secret::from_file(file, "identity_file"),
        (None, Some(command)) => Secret::from_whole_output(command, "identity_command"),
        (None, None) => Err(Error::usage("there is no identity to print").with_hint(
            "name it: `--identity FILE`, or `identity_file` in [encryption]; without \
             `--with-secret` the page has room to write it in",
        )),
    }
}

/// What restores the newest backup of a source by hand, one command a line.
fn recovery_commands(config: &Config, public_keys: &[String]) -> Vec<String> {
    let fetch: Vec<String> = config
        .all_stores()
        .map(|(name, store)| {
            let name = name.unwrap_or(MAIN_STORE);
            format!("from {name}: {}", fetch_command(store))
        })
        .collect();
    let signature = public_keys.first().map(|key| {
        let others = match public_keys.len() {
            1 => "",
            _ => "   or with another one of these keys",
        };
        vec![format!("minisign -Vm SOURCE/ID.json -P {key}{others}")]
    });
    let decrypt = match config.encryption.has_passphrase() {
        true => {
            "age -d SOURCE/ID.….age > ID.…   where the name ends with .age; it asks for the \
                 passphrase"
        }
        false => "age -d -i backup.key SOURCE/ID.….age > ID.…   where the name ends with .age",
    };
    let steps = [
        Some(fetch),
        Some(vec![
            "ls SOURCE; the newest ID.json tells the dump's file, its sha256, and its format"
                .into(),
        ]),
        signature,
        Some(vec![
            "sha256sum SOURCE/ID.*   must print the sha256 that ID.json says".into(),
        ]),
        Some(vec![decrypt.into()]),
        Some(vec![
            "gunzip ID.….gz, or: unzstd ID.….zst".into(),
            ".sqlite3 is the database; .dump: pg_restore --create -d postgres; .sql: psql -f; \
             .tar: tar -x"
                .into(),
        ]),
    ];
    let mut lines = Vec::new();
    for (number, step) in steps.into_iter().flatten().enumerate() {
        for (at, line) in step.into_iter().enumerate() {
            lines.push(match at {
                0 => format!("{}. {line}", number + 1),
                _ => format!("   {line}"),
            });
        }
    }
    lines
}

/// What brings the files of a source here from a store.
fn fetch_command(store: &StoreSettings) -> String {
    let place = store.location.to_string();
    let option = |name: &str, value: &Option<String>| match value {
        Some(value) => format!(" {name} {}", units::shell_word(value)),
        None => String::new(),
    };
    match place.split_once("://") {
        Some(("s3", _)) => {
            let connection = &store.connection;
            let endpoint = option("--endpoint-url", &connection.endpoint);
            let region = option("--region", &connection.region);
            format!("aws s3 cp --recursive {place}/SOURCE/ ./SOURCE/{endpoint}{region}")
        }
        Some(("gs", _)) => format!("gcloud storage cp -r {place}/SOURCE/ ./"),
        Some(("az", rest)) => {
            let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            };
            format!(
                "az storage blob download-batch --account-name ACCOUNT -s {container} -d . \
                 --pattern \
                 '{prefix}SOURCE/*'"
            )
        }
        Some(("sftp", _)) => format!("sftp -r {place}/SOURCE/ ./SOURCE/"),
        _ => match place.strip_prefix("rclone:") {
            Some(remote) => format!("rclone copy {remote}/SOURCE/ ./SOURCE/"),
            None => format!("cp -r {}/SOURCE/ ./SOURCE/", units::shell_word(&place)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_for_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let request = KeyInitRequest {
            dir: Some(dir.path().join("keys")),
            ..KeyInitRequest::default()
        };
        let keys = create_keys(&request).unwrap();
        for name in ["backup.key", "sign.key", "sign.pub"] {
            let path = dir.path().join("keys").join(name);
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
        assert!(keys.recipient.unwrap().starts_with("age1"));
        assert!(keys.public_key.unwrap().starts_with("RW"));
        let error = create_keys(&request).unwrap_err();
        assert!(error.message().contains("is there already") && error.hint().is_some());
        let only = KeyInitRequest {
            sign_key: Some(dir.path().join("other.key")),
            ..KeyInitRequest::default()
        };
        let keys = create_keys(&only).unwrap();
        assert!(keys.identity_file.is_none() && dir.path().join("other.pub").exists());
    }
}
