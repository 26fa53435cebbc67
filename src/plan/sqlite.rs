//! Paths of SQLite databases as people and applications write them: plain, or as one of the URLs
//! that frameworks have in `DATABASE_URL`.

use super::{PathKind, absolute};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The path that is meant, absolute, and what is there.
///
/// `sqlite:///app.db` is `app.db` to SQLAlchemy and Django, and `/app.db` to sqlx: what is there
/// tells.
pub fn look_for(
    text: &str,
    cwd: &Path,
    look: &dyn Fn(&Path) -> PathKind,
) -> Result<(PathBuf, PathKind)> {
    let paths: Vec<PathBuf> = paths_of(text)?
        .into_iter()
        .map(|path| absolute(cwd, path))
        .collect();
    let mut found = paths
        .iter()
        .map(|path| (path, look(path)))
        .filter(|(_, there)| *there != PathKind::Missing);
    match (found.next(), found.next()) {
        (Some((first, _)), Some((second, _))) if first != second => Err(Error::usage(format!(
            "`{text}` may mean `{}` or `{}`, and both are there",
            first.display(),
            second.display()
        ))
        .with_hint("name the path itself")),
        (Some((path, there)), _) => Ok((path.clone(), there)),
        // The first is what most frameworks mean.
        (None, _) => Ok((paths[0].clone(), PathKind::Missing)),
    }
}

/// The paths that a text may mean, the likelier one first; never none.
pub fn paths_of(text: &str) -> Result<Vec<PathBuf>> {
    let bare = text.strip_prefix("jdbc:").unwrap_or(text);
    let (scheme, rest) = match bare.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => return plain(text),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    match scheme
        .split_once('+')
        .map_or(scheme, |(database, _)| database)
    {
        "sqlite" | "sqlite3" => {}
        // As SQLite itself reads it: with an authority, and percent-encoded.
        "file" => {
            return in_place(decoded(
                rest.strip_prefix("//localhost")
                    .or_else(|| rest.strip_prefix("//"))
                    .unwrap_or(rest),
            ));
        }
        _ => return plain(text),
    }
    match rest.strip_prefix("//") {
        // `sqlite:app.db`
        None => in_place(rest.to_owned()),
        Some(path) => match path.strip_prefix('/') {
            // `sqlite:////srv/app.db`
            Some(inner) if inner.starts_with('/') => in_place(inner.to_owned()),
            Some(inner) if !inner.is_empty() && !inner.starts_with(":memory:") => {
                Ok(vec![PathBuf::from(inner), PathBuf::from(path)])
            }
            // `sqlite://app.db`
            None => in_place(path.to_owned()),
            Some(inner) => in_place(inner.to_owned()),
        },
    }
}

/// Letters, digits and what joins a driver to them; a path that has a colon in it has a scheme as
/// little as one on Windows.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+_-".contains(c))
}

fn plain(text: &str) -> Result<Vec<PathBuf>> {
    match text.split_once("://") {
        Some((scheme, _)) => Err(Error::usage(format!(
            "this version of dbbackup can't back up \
            `{scheme}://` addresses"
        ))
        .with_hint(
            "it knows paths, `sqlite:` and `file:` URLs, and `postgresql://` addresses, as \
             `postgresql://user@host/database`",
        )),
        None => Ok(vec![PathBuf::from(text)]),
    }
}

fn in_place(path: String) -> Result<Vec<PathBuf>> {
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(Error::usage(
            "the URL names a database in memory, of which nothing can be saved",
        )
        .with_hint("name the file of the database, as in `sqlite:////srv/app.db`"));
    }
    Ok(vec![PathBuf::from(path)])
}

/// `%20` as what it stands for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        rest = if code.is_some() { &after[2..] } else { after };
        bytes.push(code.unwrap_or(*first));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_mean_what_applications_mean() {
        for (text, paths) in [
            ("app.db", &["app.db"][..]),
            ("/srv/app.db", &["/srv/app.db"]),
            ("C:odd/name", &["C:odd/name"]),
            ("sqlite:////srv/app.db", &["/srv/app.db"]),
            (
                "sqlite+aiosqlite:////srv/app.db?timeout=5",
                &["/srv/app.db"],
            ),
            ("sqlite:///app.db", &["app.db", "/app.db"]),
            (
                "sqlite+aiosqlite:///data/app.db",
                &["data/app.db", "/data/app.db"],
            ),
            ("sqlite:///./app.db", &["./app.db", "/./app.db"]),
            ("sqlite://app.db", &["app.db"]),
            ("sqlite:app.db?mode=rwc", &["app.db"]),
            ("sqlite3:db/app.sqlite3", &["db/app.sqlite3"]),
            ("jdbc:sqlite:/srv/app.db", &["/srv/app.db"]),
            ("file:./dev.db", &["./dev.db"]),
            ("file:///srv/my%20app.db?mode=ro", &["/srv/my app.db"]),
            ("file://localhost/srv/app.db", &["/srv/app.db"]),
            ("file:/srv/app.db", &["/srv/app.db"]),
        ] {
            let expected: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            assert_eq!(paths_of(text).unwrap(), expected, "{text}");
        }
        for text in [
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite::memory:",
            "sqlite:///",
            "file::memory:?cache=shared",
        ] {
            assert!(
                paths_of(text).unwrap_err().message().contains("in memory"),
                "{text}"
            );
        }
        let other = paths_of("mysql://u:hunter2@h/d").unwrap_err();
        assert!(
            !format!("{other:?}").contains("hunter2") && other.message().contains("`mysql://`"),
            "{other:?}"
        );
    }

    #[test]
    fn what_is_there_tells_which_is_meant() {
        let look = |there: &'static [&'static str]| {
            move |path: &Path| {
                if there.iter().any(|known| Path::new(known) == path) {
                    PathKind::File
                } else {
                    PathKind::Missing
                }
            }
        };
        let found = |there: &'static [&'static str]| {
            look_for("sqlite:///app.db", Path::new("/srv"), &look(there))
        };
        assert_eq!(found(&["/srv/app.db"]).unwrap().0, Path::new("/srv/app.db"));
        assert_eq!(found(&["/app.db"]).unwrap().0, Path::new("/app.db"));
        assert_eq!(
            found(&[]).unwrap(),
            (PathBuf::from("/srv/app.db"), PathKind::Missing)
        );
        assert!(
            found(&["/app.db", "/srv/app.db"])
                .unwrap_err()
                .message()
                .ends_with("and both are there")
        );
    }
}
