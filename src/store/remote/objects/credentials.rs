//! Whose keys a store is reached with: those of the configuration, else those of the environment or
//! of a profile, else those that the machine itself is given.

use super::profile::AwsProfile;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::ConnectionSettings;
use std::path::Path;

/// The name of a key and the key, as the configuration has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfiguredKeys {
    /// `access_key`.
    pub name: Option<String>,
    /// `secret_key`.
    pub key: Option<Secret>,
}

/// The keys of an S3 store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The name of the key.
    pub name: String,
    /// The key.
    pub key: Secret,
    /// The token of a session.
    pub token: Option<Secret>,
}

/// What is known of an S3 store's user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Identity {
    /// The keys; `None` where only the machine may have some.
    pub keys: Option<S3Keys>,
    /// The region of the environment or of a profile.
    pub region: Option<String>,
}

/// Reads a variable of the environment; what is empty is not set.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// One of a setting's three forms.
fn configured(
    name: &str,
    value: Option<&String>,
    file: Option<&Path>,
    command: Option<&String>,
) -> Result<Option<Secret>> {
    let (file_setting, command_setting) = (format!("{name}_file"), format!("{name}_command"));
    match (value, file, command) {
        (None, None, None) => Ok(None),
        (Some(value), None, None) => Ok(Some(Secret::new(value.as_str()))),
        (None, Some(path), None) => Secret::from_file(path, &file_setting).map(Some),
        (None, None, Some(line)) => Secret::from_command(line, &command_setting).map(Some),
        _ => Err(Error::usage(format!(
            "only one of `{name}`, `{file_setting}` and `{command_setting}` can be set"
        ))),
    }
}

impl ConfiguredKeys {
    /// Reads the keys of the configuration: files are read, commands are run.
    pub fn read(settings: &ConnectionSettings) -> Result<ConfiguredKeys> {
        let name = configured(
            "access_key",
            settings.access_key.as_ref(),
            settings.access_key_file.as_deref(),
            settings.access_key_command.as_ref(),
        )?;
        let key = configured(
            "secret_key",
            settings.secret_key.as_ref(),
            settings.secret_key_file.as_deref(),
            settings.secret_key_command.as_ref(),
        )?;
        Ok(ConfiguredKeys {
            name: name.map(|name| name.expose().to_owned()),
            key,
        })
    }
}

impl S3Identity {
    /// Finds the keys: those of the configuration, those of the profile that it names, those of the
    /// environment, those of the environment's or the default profile.
    pub fn find(
        settings: &ConnectionSettings,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<S3Identity> {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let configured = ConfiguredKeys::read(settings)?;
        match (configured.name, configured.key) {
            (Some(name), Some(key)) => {
                let keys = Some(S3Keys {
                    name,
                    key,
                    token: None,
                });
                return Ok(S3Identity { keys, region });
            }
            (None, None) => {}
            _ => {
                return Err(Error::usage(
                    "`access_key` and `secret_key` go together, and one of them is not set",
                ));
            }
        }
        if let Some(name) = &settings.profile {
            let profile = AwsProfile::read(name, variable)?.ok_or_else(|| {
                Error::usage(format!("there is no AWS profile `{name}`"))
                    .with_hint("look at `~/.aws/credentials` and `~/.aws/config` of this user")
            })?;
            if profile.keys.is_none() {
                return Err(Error::usage(format!(
                    "the AWS profile `{name}` has no keys"
                )));
            }
            return Ok(S3Identity::from_profile(profile, region));
        }
        if let (Some(name), Some(key)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            let keys = Some(S3Keys {
                name,
                key: Secret::new(key),
                token: variable("AWS_SESSION_TOKEN").map(Secret::new),
            });
            return Ok(S3Identity { keys, region });
        }
        let named = variable("AWS_PROFILE");
        let profile = AwsProfile::read(named.as_deref().unwrap_or("default"), variable)?;
        match (profile, named) {
            (Some(profile), _) => Ok(S3Identity::from_profile(profile, region)),
            (None, Some(name)) => Err(Error::usage(format!(
                "there is no AWS profile `{name}`, which `$AWS_PROFILE` names"
            ))),
            (None, None) => Ok(S3Identity { keys: None, region }),
        }
    }

    fn from_profile(profile: AwsProfile, region: Option<String>) -> S3Identity {
        let token = profile.token;
        S3Identity {
            keys: profile.keys.map(|(name, key)| S3Keys { name, key, token }),
            region: region.or(profile.region),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn find(settings: &ConnectionSettings, environment: &[(&str, &str)]) -> Result<S3Identity> {
        let lookup = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        S3Identity::find(settings, &lookup)
    }

    const ENVIRONMENT: &[(&str, &str)] = &[
        ("AWS_ACCESS_KEY_ID", "E"),
        ("AWS_SECRET_ACCESS_KEY", "e"),
        ("AWS_SESSION_TOKEN", "t"),
        ("AWS_DEFAULT_REGION", "eu-west-3"),
    ];

    #[test]
    fn the_configuration_comes_before_the_environment() {
        let settings = ConnectionSettings {
            access_key: Some("K".to_owned()),
            secret_key_command: Some("echo s3cret".to_owned()),
            ..ConnectionSettings::default()
        };
        let identity = find(&settings, ENVIRONMENT).unwrap();
        let keys = identity.keys.clone().unwrap();
        assert_eq!((keys.name.as_str(), keys.key.expose()), ("K", "s3cret"));
        assert_eq!(keys.token, None);
        assert_eq!(identity.region.as_deref(), Some("eu-west-3"));
        assert!(!format!("{identity:?}").contains("s3cret"));
        let from_environment = find(&ConnectionSettings::default(), ENVIRONMENT).unwrap();
        let keys = from_environment.keys.unwrap();
        assert_eq!((keys.name.as_str(), keys.key.expose()), ("E", "e"));
        assert_eq!(keys.token.unwrap().expose(), "t");
        assert_eq!(
            find(&ConnectionSettings::default(), &[]).unwrap(),
            S3Identity::default()
        );
    }

    #[test]
    fn a_profile_of_the_configuration_comes_before_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let text = "[p]\naws_access_key_id=P\naws_secret_access_key=p\n[default]\n\
                    aws_access_key_id=D\naws_secret_access_key=d\n";
        fs::write(&file, text).unwrap();
        let mut environment = ENVIRONMENT.to_vec();
        environment.push(("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()));
        let named = |name: &str| ConnectionSettings {
            profile: Some(name.to_owned()),
            ..ConnectionSettings::default()
        };
        assert_eq!(
            find(&named("p"), &environment).unwrap().keys.unwrap().name,
            "P"
        );
        assert!(find(&named("none"), &environment).is_err());
        let only_file = &environment[environment.len() - 1..];
        let default = find(&ConnectionSettings::default(), only_file).unwrap();
        assert_eq!(default.keys.unwrap().name, "D");
    }

    #[test]
    fn half_a_key_and_two_forms_are_refused() {
        let half = ConnectionSettings {
            access_key: Some("K".to_owned()),
            ..ConnectionSettings::default()
        };
        assert!(
            find(&half, ENVIRONMENT)
                .unwrap_err()
                .message()
                .contains("secret_key")
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "s3cret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut both = ConnectionSettings {
            access_key: Some("K".to_owned()),
            secret_key_file: Some(file.clone()),
            ..ConnectionSettings::default()
        };
        assert_eq!(
            find(&both, &[]).unwrap().keys.unwrap().key.expose(),
            "s3cret"
        );
        both.secret_key = Some("s3cret".to_owned());
        let error = find(&both, &[]).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"));
        both.secret_key = None;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = find(&both, &[]).unwrap_err();
        assert!(error.message().contains("`secret_key_file`"), "{error:?}");
    }
}
