//! PostgreSQL's own programs: where they are, which version fits, and how they are started, in a
//! container too.

use super::prerequisite::MissingPrerequisite;
use crate::error::{Error, Kind, Result};
use crate::process::Process;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of a server or a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostgresVersion {
    /// 13 to 18, and later ones.
    pub major: u32,
    /// The number after the dot; 0 for a version that has not been released.
    pub minor: u32,
}

impl PostgresVersion {
    /// Parses `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `15.18` or `18beta1`.
    pub fn parse(text: &str) -> Option<PostgresVersion> {
        let numbers = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let digits = |text: &str| {
            text.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        };
        let major = digits(numbers);
        let minor = numbers[major.len()..]
            .strip_prefix('.')
            .map(digits)
            .unwrap_or_default();
        Some(PostgresVersion {
            major: major.parse().ok()?,
            minor: minor.parse().unwrap_or(0),
        })
    }

    /// Converts `server_version_num`, as 150018.
    pub fn from_number(number: u32) -> PostgresVersion {
        PostgresVersion {
            major: number / 10_000,
            minor: number % 10_000,
        }
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Where the programs are looked for, and how they are started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramSearch {
    /// The only directory to look in.
    pub bin_dir: Option<PathBuf>,
    /// Words that precede every program, as `docker exec -i db`. The programs are then looked up by
    /// their names inside.
    pub prefix: Vec<String>,
}

/// A program that was found.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program's name, as `pg_dump`.
    pub name: String,
    path: PathBuf,
    prefix: Vec<String>,
    /// The version that `--version` prints.
    pub version: PostgresVersion,
}

impl Program {
    /// A command that starts the program. `environment` is set for it; the variables in `cleared`
    /// are not inherited.
    pub fn command(&self, environment: &[(String, String)], cleared: &[&str]) -> Command {
        let mut words: Vec<OsString> = self.prefix.iter().map(OsString::from).collect();
        if let Some(at) = self
            .prefix
            .iter()
            .position(|word| word == "exec")
            .filter(|_| passes_variables(&self.prefix))
        {
            // The variables are passed without their values: the container's runtime takes those
            // from its own environment, so that no argument list shows them.
            let names = environment
                .iter()
                .map(|(name, _)| name.as_str())
                .chain(["LC_ALL"]);
            let passed = names.flat_map(|name| ["-e".into(), name.into()]);
            words.splice(at + 1..at + 1, passed);
        }
        words.push(self.path.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for name in cleared {
            command.env_remove(name);
        }
        // The messages are read here, so they must be in English; a pager or a startup file of the
        // user's must not interfere.
        command
            .env("LC_ALL", "C")
            .env("PSQLRC", "/dev/null")
            .env_remove("LANGUAGE");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Whether the program runs where signals do not reach it.
    pub fn is_remote(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The same program by its real path, without links.
    pub fn with_real_path(self) -> Program {
        let path = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        Program { path, ..self }
    }

    /// The directories of the program's installation and libraries, which it needs beside the
    /// system's own.
    pub fn required_directories(&self) -> Result<Vec<PathBuf>> {
        let bin = self.path.parent().unwrap_or(Path::new("/"));
        let beside = ["lib", "lib64", "share"].map(|name| bin.parent().unwrap_or(bin).join(name));
        let mut found: Vec<PathBuf> = std::iter::once(bin.to_path_buf()).chain(beside).collect();
        // With this variable the loader lists the libraries and starts nothing. A program without a
        // loader prints its version.
        let mut command = self.command(&[], &[]);
        command.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1");
        for line in Process::output(command, &self.name, None)?.lines() {
            let path = line
                .split_whitespace()
                .map(Path::new)
                .find(|word| word.is_absolute());
            for path in path
                .into_iter()
                .flat_map(|path| [Some(path.to_path_buf()), path.canonicalize().ok()])
            {
                found.extend(
                    path.as_deref()
                        .and_then(Path::parent)
                        .map(Path::to_path_buf),
                );
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The program's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn passes_variables(prefix: &[String]) -> bool {
    let name = prefix
        .first()
        .and_then(|first| Path::new(first).file_name())
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    ["docker", "podman", "nerdctl"].contains(&name.as_str())
}

impl ProgramSearch {
    /// Finds the program of the smallest major version that is at least `major`, in its newest
    /// minor version. Where `major` is 0, unknown, the newest program is returned.
    pub fn find(&self, name: &str, major: u32) -> Result<Program> {
        if major == 0 {
            return self.find_newest(name);
        }
        let found = self.find_all(name)?;
        let fits = found
            .iter()
            .filter(|program| program.version.major >= major);
        let best =
            fits.min_by_key(|program| (program.version.major, u32::MAX - program.version.minor));
        best.cloned()
            .ok_or_else(|| self.none_fits(name, major, &found))
    }

    /// Finds the newest program.
    pub fn find_newest(&self, name: &str) -> Result<Program> {
        let found = self.find_all(name)?;
        found
            .iter()
            .max_by_key(|program| program.version.clone())
            .cloned()
            .ok_or_else(|| self.none_fits(name, 0, &found))
    }

    /// Finds all programs of this name.
    pub fn find_all(&self, name: &str) -> Result<Vec<Program>> {
        if !self.prefix.is_empty() {
            let path = self
                .bin_dir
                .as_ref()
                .map_or_else(|| PathBuf::from(name), |dir| dir.join(name));
            return Ok(vec![self.inspect_program(name, path).map_err(|error| {
                error.with_hint(
                    "`command_prefix` must start a program in there without asking anything: try \
                     it by hand with `--version`",
                )
            })?]);
        }
        let mut found: Vec<Program> = Vec::new();
        for dir in self.directories() {
            let path = dir.join(name);
            if !is_real_program(&path, name)
                || found.iter().any(|known| same_file(&known.path, &path))
            {
                continue;
            }
            match self.inspect_program(name, path) {
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                asked => found.extend(asked.ok()),
            }
        }
        Ok(found)
    }

    fn inspect_program(&self, name: &str, path: PathBuf) -> Result<Program> {
        let mut program = Program {
            name: name.to_owned(),
            path,
            prefix: self.prefix.clone(),
            version: PostgresVersion { major: 0, minor: 0 },
        };
        let mut command = program.command(&[], &[]);
        command.arg("--version");
        let text = Process::output(command, name, None)?;
        program.version = PostgresVersion::parse(&text).ok_or_else(|| {
            Error::failed(format!(
                "`{} --version` says `{}`",
                program.path.display(),
                text.trim()
            ))
        })?;
        Ok(program)
    }

    fn directories(&self) -> Vec<PathBuf> {
        if let Some(dir) = &self.bin_dir {
            return vec![dir.clone()];
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs: Vec<PathBuf> = std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .collect();
        for (parent, beginning, inside) in PLACES {
            let Ok(entries) = std::fs::read_dir(parent) else {
                continue;
            };
            let names = entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
            dirs.extend(names.map(|entry| entry.path().join(inside)));
        }
        dirs.extend(["/usr/local/pgsql/bin", "/opt/homebrew/bin"].map(PathBuf::from));
        dirs
    }

    fn none_fits(&self, name: &str, major: u32, found: &[Program]) -> Error {
        let versions: Vec<String> = found
            .iter()
            .map(|program| format!("{} ({})", program.version, program.path.display()))
            .collect();
        let place = match &self.bin_dir {
            Some(dir) => format!("`{}`", dir.display()),
            None => "PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin and Homebrew's directories"
                .to_owned(),
        };
        let name = name.to_owned();
        let missing = if versions.is_empty() {
            MissingPrerequisite::Program { name, place }
        } else {
            MissingPrerequisite::NewerProgram {
                name,
                major,
                found: versions,
                place,
            }
        };
        let package = if major > 0 {
            format!("postgresql-client-{major}")
        } else {
            "postgresql-client".to_owned()
        };
        Error::from(missing).with_hint(format!(
            "install `{package}` (Debian, Ubuntu: from apt.postgresql.org where the distribution \
             lacks it), or set `bin_dir`"
        ))
    }
}

/// The parent directory, the beginning of the names in it, and the subdirectory with the programs:
/// Debian, Red Hat, Homebrew, the macOS installer.
const PLACES: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/opt/homebrew/opt", "libpq", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];

/// Debian's `/usr/bin/pg_dump` is a wrapper that chooses a version by its own rules. The real
/// programs are found elsewhere.
fn is_real_program(path: &Path, name: &str) -> bool {
    path.canonicalize()
        .is_ok_and(|real| real.is_file() && real.file_name().is_some_and(|found| found == name))
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok() == b.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = |text| PostgresVersion::parse(text).map(|version| version.to_string());
        assert_eq!(
            version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)").unwrap(),
            "15.18"
        );
        assert_eq!(version("pg_dump (PostgreSQL) 18beta1").unwrap(), "18.0");
        assert_eq!(version("pg_dump (PostgreSQL) 19devel").unwrap(), "19.0");
        assert_eq!(version("nonsense"), None);
        assert_eq!(PostgresVersion::from_number(150_018).to_string(), "15.18");
    }

    fn fake(dir: &Path, version: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join("pg_dump");
        std::fs::write(
            &path,
            format!("#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n"),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn too_old_a_program_is_named_with_the_package() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "15.3");
        let search = ProgramSearch {
            bin_dir: Some(dir.path().to_owned()),
            ..ProgramSearch::default()
        };
        // Another test's fork may hold the new script open for a moment ("text file busy").
        while search.find_all("pg_dump").unwrap().is_empty() {}
        assert_eq!(
            search.find("pg_dump", 13).unwrap().version.to_string(),
            "15.3"
        );
        let error = search.find("pg_dump", 18).unwrap_err();
        assert!(
            error.message().contains("for PostgreSQL 18: found 15.3 ("),
            "{error}"
        );
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains("postgresql-client-18")
        );
        let error = search.find("pg_restore", 18).unwrap_err();
        assert!(
            error.message().starts_with("there is no `pg_restore` in `"),
            "{error}"
        );
    }

    #[test]
    fn a_containers_runtime_passes_variables_by_name() {
        let prefix = ["docker", "exec", "-i", "db"].map(str::to_owned).to_vec();
        let version = PostgresVersion {
            major: 15,
            minor: 0,
        };
        let program = Program {
            name: "pg_dump".into(),
            path: "pg_dump".into(),
            prefix,
            version,
        };
        let command = program.command(&[("PGPASSWORD".into(), "hunter2".into())], &["PGHOST"]);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_str().unwrap())
            .collect();
        assert_eq!(
            words,
            [
                "exec",
                "-e",
                "PGPASSWORD",
                "-e",
                "LC_ALL",
                "-i",
                "db",
                "pg_dump"
            ]
        );
        assert!(
            command.get_envs().any(|(name, value)| name == "PGPASSWORD"
                && value.is_some_and(|value| value == "hunter2"))
        );
    }
}
