//! Connection service files: `~/.pg_service.conf` and the system's, which define the parameters of
//! `service=name`.

use super::dsn::ParamPairs;
use crate::error::{Context, Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the libpq of distributions looks: Debian's, that of the PostgreSQL project's packages for
/// Red Hat, one built from source, Homebrew's.
const SYSTEM: &[&str] = &[
    "/etc/postgresql-common",
    "/etc/sysconfig/pgsql",
    "/usr/local/pgsql/etc",
    "/opt/homebrew/etc",
    "/usr/local/etc",
];

/// Loads the parameters of the service `name`: from `file` where the user named one, else from the
/// file in the home directory, else from the system's.
pub fn load_service(
    name: &str,
    file: Option<&Path>,
    home: Option<&Path>,
    sysconfdir: Option<&str>,
) -> Result<ParamPairs> {
    if let Some(pairs) = file
        .map(|file| read_section(file, name))
        .transpose()?
        .flatten()
    {
        return Ok(pairs);
    }
    let own = home
        .filter(|_| file.is_none())
        .map(|home| home.join(".pg_service.conf"));
    let system = sysconfdir.map_or_else(|| SYSTEM.to_vec(), |dir| vec![dir]);
    let candidates = own.into_iter().chain(
        system
            .iter()
            .map(|dir| Path::new(dir).join("pg_service.conf")),
    );
    let looked: Vec<PathBuf> = candidates.filter(|path| path.exists()).collect();
    for path in &looked {
        if let Some(pairs) = read_section(path, name)? {
            return Ok(pairs);
        }
    }
    let looked: Vec<_> = file
        .into_iter()
        .chain(looked.iter().map(PathBuf::as_path))
        .map(|path| path.display().to_string())
        .collect();
    let place = if looked.is_empty() {
        "there is no service file".into()
    } else {
        format!("looked in {}", looked.join(", "))
    };
    Err(Error::usage(format!(
        "connection service `{name}` is not defined: {place}"
    ))
    .with_hint(format!(
        "write `[{name}]` and its parameters into ~/.pg_service.conf"
    )))
}

/// Reads the section `[name]` of one file, if it has one.
fn read_section(path: &Path, name: &str) -> Result<Option<ParamPairs>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("service file `{}`", path.display()));
    let text = text.with_hint("see `servicefile` and PGSERVICEFILE")?;
    let wanted = format!("[{name}]");
    let mut found: Option<ParamPairs> = None;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let fault = |what: &str| {
            Error::usage(format!(
                "service file `{}`, line {number}: {what}",
                path.display()
            ))
            .with_hint("look at that line")
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            if found.is_some() {
                break;
            }
            if line.starts_with(&wanted) {
                found = Some(ParamPairs::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        if line.starts_with("ldap") {
            return Err(fault("looking services up by LDAP is not supported"));
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| fault("there is no `=`"))?;
        if key == "service" || key == "servicefile" {
            return Err(fault("a service can't name another"));
        }
        // libpq, too, reads every parameter only the first time.
        if !pairs.iter().any(|(known, _)| known == key) {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_section() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(".pg_service.conf");
        fs::write(
            &own,
            "# mine\n[other]\nhost=no\n[shop]\nhost=db\n  port=5433 \
                         \nhost=late\npassword=a=b$\n[later]\nhost=no\n",
        )
        .unwrap();
        let nowhere = Some("/nowhere");
        let pairs = load_service("shop", None, Some(dir.path()), nowhere).unwrap();
        assert_eq!(
            pairs,
            [("host", "db"), ("port", "5433"), ("password", "a=b$")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        let error = load_service("none", None, Some(dir.path()), nowhere).unwrap_err();
        assert!(
            error.message().contains("`none` is not defined")
                && error.message().contains(".pg_service.conf"),
            "{error}"
        );
        assert!(
            load_service(
                "shop",
                Some(Path::new("/nowhere/x")),
                Some(dir.path()),
                nowhere
            )
            .is_err()
        );
        // The system's file is asked where the user's own has no such section.
        let system = dir.path().join("system");
        fs::create_dir(&system).unwrap();
        fs::write(system.join("pg_service.conf"), "[far]\nhost=f\n").unwrap();
        assert_eq!(
            load_service("far", None, Some(dir.path()), system.to_str())
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            load_service("far", Some(&own), None, system.to_str())
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn faults_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        for (line, says) in [
            ("service=x", "another"),
            ("host", "no `=`"),
            ("ldap://x", "LDAP"),
        ] {
            fs::write(&file, format!("[a]\n{line}\n")).unwrap();
            let error = load_service("a", Some(&file), None, Some("/nowhere")).unwrap_err();
            assert!(
                error.message().contains(says) && error.message().contains("line 2"),
                "{error}"
            );
        }
    }
}
