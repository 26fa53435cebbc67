//! Colours: how they are carried in a text among whatever strangers have written into it, and what
//! becomes of them at the end.

use crate::units::printable;
use std::borrow::Cow;
use std::sync::LazyLock;

/// How a colour of ours begins. The number is another one in every process, so that nobody else can
/// write one; to those that measure a text it looks like any escape sequence, up to its `m`.
static BEGIN: LazyLock<String> =
    LazyLock::new(|| format!("\x1b[{};", uuid::Uuid::new_v4().as_u128()));

/// The text in a colour.
pub fn marked(code: &str, text: &str) -> String {
    format!("{0}{code}m{text}{0}0m", *BEGIN)
}

/// The text as it may be printed: with our colours, and nothing else that drives a terminal.
pub fn shown(text: &str) -> Cow<'_, str> {
    with_colours(text, |code| format!("\x1b[{code}m"))
}

/// The text as it may be printed where colours have no place.
pub fn removed(text: &str) -> Cow<'_, str> {
    with_colours(text, |_| String::new())
}

fn with_colours(text: &str, colour: impl Fn(&str) -> String) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return printable(text);
    }
    let mut parts = text.split(BEGIN.as_str());
    let mut out = printable(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let (code, rest) = part.split_once('m').unwrap_or(("0", part));
        out.push_str(&colour(code));
        out.push_str(&printable(rest));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_colours_are_colours() {
        let text = format!("{} \x1b[31mred\x1b[0m", marked("32", "o\x1bk"));
        assert_eq!(
            shown(&text),
            "\x1b[32mo\\u{1b}k\x1b[0m \\u{1b}[31mred\\u{1b}[0m"
        );
        assert_eq!(removed(&text), "o\\u{1b}k \\u{1b}[31mred\\u{1b}[0m");
        assert!(matches!(shown("plain"), Cow::Borrowed("plain")));
    }
}
