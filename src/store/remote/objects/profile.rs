//! The profiles of AWS's own configuration: `~/.aws/credentials` and `~/.aws/config`.

use crate::error::{Context, Error, Result};
use crate::secret::Secret;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a profile gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsProfile {
    /// The name of the key and the key.
    pub keys: Option<(String, Secret)>,
    /// The token of a session.
    pub token: Option<Secret>,
    /// The region.
    pub region: Option<String>,
}

/// What gives keys in ways that only AWS's own programs know.
const UNSUPPORTED: &[&str] = &[
    "credential_process",
    "sso_session",
    "sso_start_url",
    "role_arn",
    "login_session",
];

impl AwsProfile {
    /// Reads a profile by its name; `None` where neither file has it.
    pub fn read(
        name: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<AwsProfile>> {
        let home = variable("HOME").map(PathBuf::from);
        let path = |override_: &str, file: &str| {
            variable(override_)
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".aws").join(file)))
        };
        let mut values = HashMap::new();
        let mut is_there = false;
        let config = path("AWS_CONFIG_FILE", "config");
        let credentials = path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        for (file, prefixed) in [(config, true), (credentials, false)] {
            let Some(text) = file.as_deref().map(read_file).transpose()?.flatten() else {
                continue;
            };
            if let Some(section) = section(&text, name, prefixed) {
                is_there = true;
                values.extend(section);
            }
        }
        if !is_there {
            return Ok(None);
        }
        AwsProfile::from_values(name, values).map(Some)
    }

    fn from_values(name: &str, mut values: HashMap<String, String>) -> Result<AwsProfile> {
        let mut value = |key: &str| values.remove(key).filter(|value| !value.is_empty());
        let keys = match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some((id, Secret::new(secret))),
            (None, None) => None,
            _ => {
                return Err(Error::usage(format!(
                    "the AWS profile `{name}` has only one of `aws_access_key_id` and \
                     `aws_secret_access_key`"
                )));
            }
        };
        let token = value("aws_session_token").map(Secret::new);
        let region = value("region");
        if keys.is_none()
            && let Some(way) = UNSUPPORTED.iter().find(|key| values.contains_key(**key))
        {
            return Err(Error::usage(format!(
                "the AWS profile `{name}` gets its keys by `{way}`, which only AWS's own programs \
                 know"
            ))
            .with_hint(format!(
                "run dbbackup with the keys in its environment: `eval \"$(aws configure \
                 export-credentials --profile {name} --format env)\"`"
            )));
        }
        Ok(AwsProfile {
            keys,
            token,
            region,
        })
    }
}

/// The text of a file; `None` where there is none.
fn read_file(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading `{}`", path.display())),
    }
}

/// The values of a profile in a file; in `config` all sections but the default one are called
/// `profile NAME`.
fn section(text: &str, name: &str, prefixed: bool) -> Option<HashMap<String, String>> {
    let mut values = None;
    let mut is_inside = false;
    for line in text.lines() {
        // What is indented belongs to the setting before it.
        if line.starts_with([' ', '\t', '#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            is_inside = match header.strip_prefix("profile").map(str::trim) {
                Some(rest) if prefixed => rest.trim_matches('"') == name,
                _ if prefixed => header == "default" && name == "default",
                _ => header == name,
            };
            if is_inside {
                values.get_or_insert_with(HashMap::new);
            }
            continue;
        }
        if let (true, Some((key, value))) = (is_inside, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            if let Some(values) = &mut values {
                values.insert(key.trim().to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(credentials: &str, config: &str, name: &str) -> Result<Option<AwsProfile>> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        AwsProfile::read(name, &|variable: &str| {
            (variable == "HOME").then(|| path.clone())
        })
    }

    #[test]
    fn profiles_are_read_from_both_files() {
        let credentials = "[default]\naws_access_key_id=D\naws_secret_access_key=d=/+\n\
                           [backup]\naws_access_key_id = B\naws_secret_access_key = s3cret\n\
                           aws_session_token = t\n";
        let config = "[default]\nregion = eu-west-1\ns3 =\n  region = x\n\
                      [profile backup]\nregion = eu-north-1 # comment\n[profile other]\nregion=y\n";
        let backup = read(credentials, config, "backup").unwrap().unwrap();
        let (id, secret) = backup.keys.clone().unwrap();
        assert_eq!((id.as_str(), secret.expose()), ("B", "s3cret"));
        assert_eq!(backup.region.as_deref(), Some("eu-north-1"));
        assert_eq!(backup.token.as_ref().unwrap().expose(), "t");
        assert!(!format!("{backup:?}").contains("s3cret"));
        let default = read(credentials, config, "default").unwrap().unwrap();
        assert_eq!(default.keys.unwrap().1.expose(), "d=/+");
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        assert_eq!(read(credentials, config, "none").unwrap(), None);
        assert!(
            read(credentials, config, "other")
                .unwrap()
                .unwrap()
                .keys
                .is_none()
        );
    }

    #[test]
    fn what_only_aws_programs_know_is_refused() {
        let error = read("", "[profile p]\ncredential_process = x\n", "p").unwrap_err();
        assert!(error.message().contains("credential_process"), "{error:?}");
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains("export-credentials")
        );
        assert!(read("[p]\naws_access_key_id=x\n", "", "p").is_err());
    }
}
