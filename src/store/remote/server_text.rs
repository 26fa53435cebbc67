//! Texts of servers, which are a stranger's: whoever shows one takes it from here.

use crate::units;

/// The longest text of a server that is shown, in characters.
const LONGEST_TEXT: usize = 300;

/// A stranger's text, fit to be shown: on one line, bounded in length, and without the queries of
/// URLs, which may be keys.
pub fn bounded(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(without_query).collect();
    let text = words.join(" ");
    let text = units::printable(text.trim_end_matches('.'));
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The word without the query of a URL.
fn without_query(word: &str) -> String {
    match word.split_once("://").and_then(|_| word.split_once('?')) {
        Some((before, _)) => before.to_owned(),
        None => word.to_owned(),
    }
}
