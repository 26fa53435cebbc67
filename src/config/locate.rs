//! Where the configuration is, and whether its permissions allow trusting it.
//!
//! Whoever can write the file can have this program, often root, read and replace any database, so
//! nobody but root and the caller may. The open file is judged, not its name: what was checked is
//! what is read.

use super::mask::holds_secret;
use super::{Config, parse};
use crate::error::{Context, Error, Result};
use crate::units;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// The configuration to use: the one that the flag or `$DBBACKUP_CONFIG` names, which must be
/// there, or the first that is there of `./dbbackup.toml`, `$XDG_CONFIG_HOME/dbbackup/config.toml`
/// and `/etc/dbbackup/config.toml`.
pub fn find(flag: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<PathBuf>> {
    if let Some(path) = flag {
        return named(path, "--config").map(Some);
    }
    if let Some(path) = env("DBBACKUP_CONFIG").filter(|path| !path.is_empty()) {
        return named(Path::new(&path), "$DBBACKUP_CONFIG").map(Some);
    }
    // One that is there and can't be looked at is returned too: reading it then says why, and going
    // on to the next would silently run with another configuration.
    let there = |path: &PathBuf| match path.metadata() {
        Ok(found) => !found.is_dir(),
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    Ok(places(env).into_iter().find(there))
}

/// Where a configuration that nobody names is looked for, the first one first.
pub fn places(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let absolute = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let user =
        absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let mut paths = vec![PathBuf::from("dbbackup.toml")];
    paths.extend(user.map(|directory| directory.join("dbbackup/config.toml")));
    paths.push(PathBuf::from("/etc/dbbackup/config.toml"));
    paths
}

fn named(path: &Path, by: &str) -> Result<PathBuf> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(Error::usage(format!(
            "the configuration `{}` (from {by}) is a directory",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!(
                "the configuration `{}` (from {by}) does not exist",
                path.display()
            );
            Err(Error::usage(message).with_hint("check the path"))
        }
        _ => Ok(path.to_owned()),
    }
}

/// Reads a configuration file, if its permissions are such that it can be trusted.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
    let reading = || format!("reading the configuration `{}`", path.display());
    let as_usage = |error: std::io::Error| Error::from(error).with_kind(crate::error::Kind::Usage);
    let mut file = File::open(path).map_err(as_usage).with_context(reading)?;
    let found = file.metadata().map_err(as_usage).with_context(reading)?;
    let access = FileAccess {
        owner: found.uid(),
        mode: found.mode(),
        caller: rustix::process::geteuid().as_raw(),
    };
    access.check_writers(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(as_usage)
        .with_context(reading)?;
    if holds_secret(&text) {
        access.check_readers(path)?;
    }
    parse(&text, path, env)
}

/// Whether this is a plain file of TOML in which nothing is set, as packages install it: nothing is
/// lost where another one takes its place.
pub fn sets_nothing(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
        && std::fs::read_to_string(path)
            .is_ok_and(|text| DeTable::parse(&text).is_ok_and(|table| table.get_ref().is_empty()))
}

/// Who may do what with the file, and who asks.
struct FileAccess {
    owner: u32,
    mode: u32,
    caller: u32,
}

impl FileAccess {
    fn check_writers(&self, path: &Path) -> Result<()> {
        if self.owner != 0 && self.owner != self.caller {
            let message = format!(
                "`{}` belongs to user {}, neither to root nor to you",
                path.display(),
                self.owner
            );
            return Err(Error::usage(message).with_hint(format!(
                "if it is yours: chown {} {}",
                self.caller,
                shell_path(path)
            )));
        }
        if self.mode & 0o022 != 0 {
            let message = format!(
                "`{}` can be written by others (mode {:04o})",
                path.display(),
                self.mode & 0o7777
            );
            return Err(Error::usage(message).with_hint(format!("chmod go-w {}", shell_path(path))));
        }
        Ok(())
    }

    fn check_readers(&self, path: &Path) -> Result<()> {
        if self.mode & 0o004 == 0 {
            return Ok(());
        }
        let mode = self.mode & 0o7777;
        let message = format!(
            "`{}` holds a password and can be read by others (mode {mode:04o})",
            path.display()
        );
        Err(Error::usage(message).with_hint(format!("chmod o-r {}", shell_path(path))))
    }
}

/// The path as an argument in a shell: none that begins with a dash, which would be an option.
fn shell_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let dots = if text.starts_with('-') { "./" } else { "" };
    units::shell_word(&format!("{dots}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dbbackup.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn others_must_not_write() {
        for mode in [0o664, 0o646] {
            let (_directory, path) = file("", mode);
            let error = load(&path, &none).unwrap_err();
            let shown = path.display();
            assert_eq!(
                error.message(),
                format!("`{shown}` can be written by others (mode {mode:04o})")
            );
            assert_eq!(
                error.hint().unwrap().to_string(),
                format!("chmod go-w {shown}")
            );
            assert_eq!(error.kind().exit_code(), 2);
        }
        let (directory, path) = file("", 0o644);
        assert!(load(&path, &none).is_ok());
        // A link is as good as what it leads to.
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load(&link, &none).is_ok());
    }

    #[test]
    fn others_must_not_read_a_password() {
        // No kind of source has a password yet, so the check is made on its own.
        let access = FileAccess {
            owner: 0,
            mode: 0o100_644,
            caller: 1000,
        };
        let error = access
            .check_readers(Path::new("/etc/my conf.toml"))
            .unwrap_err();
        assert_eq!(
            error.message(),
            "`/etc/my conf.toml` holds a password and can be read by others (mode 0644)"
        );
        assert_eq!(error.hint(), Some(&"chmod o-r '/etc/my conf.toml'".into()));
        assert!(
            FileAccess {
                mode: 0o640,
                ..access
            }
            .check_readers(Path::new("x"))
            .is_ok()
        );
        let (_directory, path) = file(
            "[sources.a]\nkind = \"sqlite\"\npassword = \"hunter2\"\n",
            0o644,
        );
        assert!(
            load(&path, &none)
                .unwrap_err()
                .message()
                .contains("holds a password")
        );
    }

    #[test]
    fn strangers_must_not_own() {
        let access = FileAccess {
            owner: 1001,
            mode: 0o600,
            caller: 1000,
        };
        let error = access.check_writers(Path::new("c.toml")).unwrap_err();
        assert_eq!(
            error.message(),
            "`c.toml` belongs to user 1001, neither to root nor to you"
        );
        assert_eq!(
            error.hint(),
            Some(&"if it is yours: chown 1000 c.toml".into())
        );
        assert!(
            FileAccess { owner: 0, ..access }
                .check_writers(Path::new("c.toml"))
                .is_ok()
        );
        assert!(
            FileAccess {
                owner: 1000,
                mode: 0o600,
                caller: 1000
            }
            .check_writers(Path::new("c.toml"))
            .is_ok()
        );
    }

    #[test]
    fn a_file_of_comments_sets_nothing() {
        for (text, nothing) in [
            ("", true),
            ("# [store]\n\n#path = \"/x\"\n", true),
            ("[store]\n", false),
            ("a = 1\n", false),
            ("no TOML", false),
        ] {
            let (directory, path) = file(text, 0o644);
            assert_eq!(sets_nothing(&path), nothing, "{text}");
            let link = directory.path().join("link.toml");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(!sets_nothing(&link) && !sets_nothing(directory.path()));
        }
    }

    #[test]
    fn a_named_one_must_be_there() {
        let missing = Path::new("/nonexistent/c.toml");
        let error = find(Some(missing), &none).unwrap_err();
        assert_eq!(
            error.message(),
            "the configuration `/nonexistent/c.toml` (from --config) does not exist"
        );
        let env =
            |name: &str| (name == "DBBACKUP_CONFIG").then(|| "/nonexistent/c.toml".to_owned());
        let error = find(None, &env).unwrap_err();
        assert_eq!(
            error.message(),
            "the configuration `/nonexistent/c.toml` (from $DBBACKUP_CONFIG) does not exist"
        );
        assert_eq!(error.kind().exit_code(), 2);
        assert!(
            find(Some(Path::new("/")), &none)
                .unwrap_err()
                .message()
                .ends_with("is a directory")
        );
    }

    #[test]
    fn the_users_comes_before_the_systems() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".config/dbbackup");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("config.toml"), "").unwrap();
        let home_only = |name: &str| (name == "HOME").then(|| home.path().display().to_string());
        assert_eq!(
            find(None, &home_only).unwrap(),
            Some(directory.join("config.toml"))
        );
        let paths = places(&|name| (name == "XDG_CONFIG_HOME").then(|| "/xdg".to_owned()));
        let expected = [
            "dbbackup.toml",
            "/xdg/dbbackup/config.toml",
            "/etc/dbbackup/config.toml",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
        let relative = places(&|name| (name == "XDG_CONFIG_HOME").then(|| "xdg".to_owned()));
        assert_eq!(relative.len(), 2);
    }
}
