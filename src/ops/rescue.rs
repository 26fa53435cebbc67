//! What a store has with it for those who recover by hand: a page, a script and a decoder of
//! deltas, at its top. So its backups come back where there is neither dbbackup nor a network.
//!
//! Only a store in a directory has them. Whoever recovers from another machine fetches the files
//! first, as the manual says, and each run would ask there what it never changes.

use super::Observer;
use crate::error::{Kind, Result};
use crate::pipeline::delta::PYTHON_DECODER;
use crate::store::Store;
use std::collections::BTreeSet;

/// Raised with each change of these texts, which say it. A store is also written to by other
/// versions, and none puts an older text in the place of a newer one.
const EDITION: u32 = 1;

/// The page; `{sources}` stands for the list of them.
const PAGE: &str = include_str!("rescue/RECOVERY.md");

/// Writes what a backup holds to stdout.
const SCRIPT: &str = include_str!("rescue/recover.sh");

/// Writes the files where they are missing or old. `sources` are those that the store is about to
/// hold. Without them no backup is worse, so an error is only told.
pub fn write_rescue_files(store: &dyn Store, sources: &[String], observer: &dyn Observer) {
    if store.local_path().is_none() {
        return;
    }
    if let Err(error) = try_write(store, sources) {
        observer.detail(format!(
            "what helps to recover by hand could not be written to the store: {error}"
        ));
    }
}

fn try_write(store: &dyn Store, sources: &[String]) -> Result<()> {
    let there = store.sources()?;
    let page = page_of(there.iter().chain(sources));
    for (name, text) in [
        ("RECOVERY.md", page.as_str()),
        ("recover.sh", SCRIPT),
        ("undelta.py", PYTHON_DECODER),
    ] {
        let old = match store.read_common(name) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        if old.is_none_or(|old| is_old(&old, text)) {
            store.replace_common(name, text.as_bytes())?;
        }
    }
    Ok(())
}

/// The page of a store that holds these sources.
fn page_of<'a>(sources: impl Iterator<Item = &'a String>) -> String {
    let sources: BTreeSet<&String> = sources.collect();
    let lines: Vec<String> = (sources.iter())
        .map(|source| format!("- `{source}`"))
        .collect();
    PAGE.replace("{sources}", &lines.join("\n"))
}

/// Whether the text takes the place of what is there: another one, that no newer version wrote.
fn is_old(there: &[u8], text: &str) -> bool {
    there != text.as_bytes() && edition_of(there).is_none_or(|edition| edition <= EDITION)
}

/// The edition that a text says it is.
fn edition_of(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("Edition ")?;
    rest.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::Recorder;
    use crate::store::{self, Access, Location};

    #[test]
    fn texts_say_their_edition() {
        for text in [PAGE, SCRIPT, PYTHON_DECODER] {
            assert_eq!(edition_of(text.as_bytes()), Some(EDITION));
        }
    }

    #[test]
    fn files_are_written_where_they_are_missing_or_old() {
        let heard = Recorder::default();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let location = Location::from(root.clone());
        let store = store::open(&location.into(), Access::Write).unwrap();
        let write = |source: &str| write_rescue_files(&*store, &[source.to_owned()], &heard);
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        write("app");
        assert!(read("RECOVERY.md").contains("\n- `app`\n"));
        assert_eq!(read("recover.sh"), SCRIPT);
        std::fs::remove_file(root.join("undelta.py")).unwrap();
        for (old, is_replaced) in [
            ("# half of it", true),
            ("# Edition 0.", true),
            ("# Edition 1. With other words", true),
            ("# Edition 2. Of a newer version", false),
        ] {
            std::fs::write(root.join("recover.sh"), old).unwrap();
            // Left by a run that was killed.
            std::fs::write(root.join(".recover.sh.aBc123.new"), "half").unwrap();
            write("shop");
            assert_eq!(root.join(".recover.sh.aBc123.new").exists(), !is_replaced);
            assert_eq!(read("recover.sh") == SCRIPT, is_replaced, "{old}");
        }
        assert_eq!(read("undelta.py"), PYTHON_DECODER);
        assert!(read("RECOVERY.md").contains("\n- `shop`\n"));
    }
}
