//! Globs that choose from a tree. A pattern without a slash is for names, at any depth; one with a
//! slash is for paths below a top path; one that begins with a slash is for whole paths. `*` and
//! `?` stop at slashes, `**` does not. A slash at the end is for directories only.

use crate::error::{Error, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::Path;

/// Several patterns as one.
#[derive(Debug, Clone)]
pub struct Patterns {
    names: GlobSet,
    paths: GlobSet,
    whole: GlobSet,
    /// The same for patterns that are for directories only.
    directories: Option<Box<Patterns>>,
    count: usize,
}

impl Patterns {
    /// These patterns; a broken one is an error of kind usage.
    pub fn new(patterns: &[String]) -> Result<Patterns> {
        let (directories, any): (Vec<&String>, Vec<&String>) =
            patterns.iter().partition(|pattern| pattern.ends_with('/'));
        let directories: Vec<String> = directories
            .iter()
            .map(|pattern| pattern.trim_end_matches('/').to_owned())
            .collect();
        let mut built = Patterns::build(&any.into_iter().cloned().collect::<Vec<_>>())?;
        if !directories.is_empty() {
            built.directories = Some(Box::new(Patterns::build(&directories)?));
        }
        built.count = patterns.len();
        Ok(built)
    }

    fn build(patterns: &[String]) -> Result<Patterns> {
        let (mut names, mut paths, mut whole) = (
            GlobSetBuilder::new(),
            GlobSetBuilder::new(),
            GlobSetBuilder::new(),
        );
        for pattern in patterns {
            let wrong = |why: &dyn std::fmt::Display| {
                Error::usage(format!("`{pattern}` is no pattern: {why}")).with_hint(
                    "`*` stands for any part of a name, `**` for any part of a path; `[*]` \
                           is a plain `*`",
                )
            };
            if pattern.is_empty() {
                return Err(wrong(&"it is empty"));
            }
            let text = pattern.strip_prefix("./").unwrap_or(pattern);
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .build()
                .map_err(|error| wrong(error.kind()))?;
            match (text.starts_with('/'), text.contains('/')) {
                (true, _) => whole.add(glob),
                (_, true) => paths.add(glob),
                _ => names.add(glob),
            };
        }
        let built = |set: GlobSetBuilder| {
            set.build()
                .map_err(|error| Error::usage(format!("the patterns are too large: {error}")))
        };
        Ok(Patterns {
            names: built(names)?,
            paths: built(paths)?,
            whole: built(whole)?,
            directories: None,
            count: patterns.len(),
        })
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether one of them is for this: `whole` is the path from the root, `below` that part of it
    /// below its top path.
    pub fn matches(&self, whole: &Path, below: &Path, is_directory: bool) -> bool {
        let by_name = || {
            whole
                .file_name()
                .is_some_and(|name| self.names.is_match(Path::new(name)))
        };
        self.paths.is_match(below)
            || self.whole.is_match(whole)
            || by_name()
            || self
                .directories
                .as_ref()
                .is_some_and(|only| is_directory && only.matches(whole, below, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, below: &str, is_directory: bool) -> bool {
        let patterns = Patterns::new(&[pattern.to_owned()]).unwrap();
        patterns.matches(
            &Path::new("/srv/app").join(below),
            Path::new(below),
            is_directory,
        )
    }

    #[test]
    fn names_paths_and_whole_paths() {
        for (pattern, below, is_directory, expected) in [
            ("*.tmp", "a.tmp", false, true),
            ("*.tmp", "deep/down/a.tmp", false, true),
            ("*.tmp", "a.tmp.txt", false, false),
            ("cache/**", "cache/x", false, true),
            ("cache/**", "cache/x/y", false, true),
            ("cache/**", "cache", true, false),
            ("cache/**", "other/cache/x", false, false),
            ("**/cache/**", "other/cache/x", false, true),
            ("cache", "other/cache", true, true),
            ("./logs/*.log", "logs/a.log", false, true),
            ("logs/*.log", "logs/old/a.log", false, false),
            ("cache/", "other/cache", true, true),
            ("cache/", "other/cache", false, false),
            ("a/cache/", "a/cache", true, true),
            ("/srv/app/x*", "xyz", false, true),
            ("/srv/app/x*", "y", false, false),
            ("[*]", "*", false, true),
            ("[*]", "x", false, false),
        ] {
            assert_eq!(
                matches(pattern, below, is_directory),
                expected,
                "{pattern} on {below}"
            );
        }
    }

    #[test]
    fn a_broken_one_is_named() {
        let error = Patterns::new(&["a[".to_owned()]).unwrap_err();
        assert!(
            error.message().starts_with("`a[` is no pattern: "),
            "{error}"
        );
        assert!(Patterns::new(&[String::new()]).is_err() && Patterns::new(&[]).unwrap().is_empty());
    }
}
