//! `~/.pgpass`: a line for each server, `hostname:port:database:username:password`, matched by
//! libpq's rules.

use crate::secret::Secret;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The usable lines of a password file.
#[derive(Clone, Default)]
pub struct PassFile {
    lines: Vec<String>,
}

impl std::fmt::Debug for PassFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PassFile({} lines)", self.lines.len())
    }
}

impl PassFile {
    /// Reads the file. A missing or unreadable file counts as empty. A file that others can read is
    /// not used, and `warnings` says so.
    pub fn read(path: &Path, warnings: &mut Vec<String>) -> PassFile {
        let Ok(facts) = fs::metadata(path) else {
            return PassFile::default();
        };
        if !facts.is_file() {
            warnings.push(format!(
                "password file `{}` is not a plain file: not used",
                path.display()
            ));
            return PassFile::default();
        }
        if facts.permissions().mode() & 0o077 != 0 {
            warnings.push(format!(
                "password file `{0}` has group or world access, so it is not used; run `chmod 0600 \
                 {0}`",
                path.display()
            ));
            return PassFile::default();
        }
        let bytes = fs::read(path).unwrap_or_default();
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok());
        PassFile {
            lines: lines
                .map(|line| line.trim_end_matches('\r'))
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The password of the first matching line. `hosts` are the names by which the server may be
    /// listed.
    pub fn find(&self, hosts: &[String], port: u16, dbname: &str, user: &str) -> Option<Secret> {
        let port = port.to_string();
        let fits = |line: &str| {
            let rest = hosts.iter().find_map(|host| match_field(line, host))?;
            let rest = match_field(match_field(match_field(rest, &port)?, dbname)?, user)?;
            Some(unescape(rest))
        };
        self.lines
            .iter()
            .find_map(|line| fits(line))
            .filter(|password| !password.is_empty())
            .map(Secret::new)
    }
}

/// The rest of `line` if its first field is `*` or, without its escapes, `wanted`.
fn match_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = wanted.chars();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == ':' {
            return wanted.next().is_none().then(|| &line[at + 1..]);
        }
        let c = if c == '\\' { chars.next()?.1 } else { c };
        if wanted.next() != Some(c) {
            return None;
        }
    }
    None
}

/// The password at the end of a line, up to an unescaped colon, without its escapes.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => break,
            '\\' => out.push(chars.next().unwrap_or('\\')),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (PassFile, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut warnings = Vec::new();
        (PassFile::read(&path, &mut warnings), warnings)
    }

    fn find(file: &PassFile, host: &str, dbname: &str, user: &str) -> Option<String> {
        file.find(&[host.to_owned()], 5432, dbname, user)
            .map(|password| password.expose().to_owned())
    }

    #[test]
    fn first_line_that_fits() {
        let (file, warnings) = file(
            "# \
             comment\nother:5432:*:u:no\ndb:5433:*:u:no\ndb:5432:shop:u:p$1\\:\\\\2:rest\r\ndb:*:*:*:any\n\
             a\\:b:*:*:u:colon\n::1:5432:x:u:no\n\\:\\:1:5432:x:u:six",
            0o600,
        );
        assert!(warnings.is_empty());
        assert_eq!(find(&file, "db", "shop", "u").as_deref(), Some("p$1:\\2"));
        assert_eq!(find(&file, "db", "else", "u").as_deref(), Some("any"));
        assert_eq!(find(&file, "a:b", "x", "u").as_deref(), Some("colon"));
        assert_eq!(find(&file, "::1", "x", "u").as_deref(), Some("six"));
        assert_eq!(find(&file, "d", "shop", "u"), None);
        assert_eq!(find(&file, "dbx", "shop", "u"), None);
    }

    #[test]
    fn others_must_not_read_it() {
        let (file, warnings) = file("*:*:*:*:p", 0o640);
        assert_eq!(find(&file, "db", "x", "u"), None);
        assert!(warnings[0].contains("chmod 0600"), "{warnings:?}");
        assert!(!format!("{file:?}").contains(":p"));
    }

    #[test]
    fn a_missing_file_is_no_fault() {
        let mut warnings = Vec::new();
        PassFile::read(Path::new("/nowhere/pgpass"), &mut warnings);
        assert!(warnings.is_empty());
        PassFile::read(Path::new("/dev/null"), &mut warnings);
        assert_eq!(warnings.len(), 1);
    }
}
