//! Secrets in a configuration's text: whether there are any, and the text without them.
//!
//! A secret is the value of a key such as `password`, the password in a URL, or a `password=` in
//! any text. What comes from the environment is not in the text and so is none; nor is a command or
//! a file that yields one.

use crate::secret::MASK;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The last words of keys that hold secrets.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "access_key",
    "secret_key",
    "private_key",
    "credentials",
];

/// The text with its secrets masked and all else as it was; still TOML, for the copy in the store.
pub fn masked(text: &str) -> String {
    let Ok(table) = DeTable::parse(text) else {
        return unmaskable();
    };
    let mut found = Found::default();
    found.table(table.get_ref(), false);
    found.comments(text);
    found.edits.sort_by_key(|(range, _)| range.start);
    let mut out = text.to_owned();
    for (range, replacement) in found.edits.into_iter().rev() {
        out.replace_range(range, &replacement);
    }
    if DeTable::parse(&out).is_ok() {
        out
    } else {
        unmaskable()
    }
}

/// Rather no copy than one with a secret in it.
fn unmaskable() -> String {
    "# this configuration could not be copied without its secrets\n".to_owned()
}

/// Whether the text itself holds a secret; what is not TOML holds none that could be used.
pub(super) fn holds_secret(text: &str) -> bool {
    let mut found = Found::default();
    if let Ok(table) = DeTable::parse(text) {
        found.table(table.get_ref(), false);
    }
    !found.edits.is_empty()
}

/// What is to be masked in a text, and where its keys and values are.
#[derive(Default)]
struct Found {
    edits: Vec<(Range<usize>, String)>,
    tokens: Vec<Range<usize>>,
}

impl Found {
    fn table(&mut self, table: &DeTable<'_>, secret: bool) {
        for (key, value) in table.iter() {
            self.tokens.push(key.span());
            if key.get_ref() == "notify" {
                self.notify(value.get_ref(), value.span(), secret);
                continue;
            }
            if !key.get_ref().ends_with("_command") {
                self.value(
                    value.get_ref(),
                    value.span(),
                    secret || is_secret(key.get_ref()),
                );
            } else {
                self.tokens.push(value.span());
            }
        }
    }

    /// `[notify]`: who knows the URL of a webhook can write there.
    fn notify(&mut self, value: &DeValue<'_>, span: Range<usize>, secret: bool) {
        self.value(value, span, secret);
        let Some(notifiers) = value.as_table() else {
            return;
        };
        for notifier in notifiers
            .values()
            .filter_map(|value| value.get_ref().as_table())
        {
            if let Some((_, command)) = notifier.get_key_value("command") {
                self.notifier_command(command.get_ref(), command.span());
            }
            let url = notifier.get_key_value("url");
            let text = url.and_then(|(_, value)| Some((value.span(), value.get_ref().as_str()?)));
            if let Some((span, text)) = text
                && has_literal_path(text)
            {
                self.edits.retain(|(known, _)| *known != span);
                let masked = toml::Value::String(MASK.to_owned()).to_string();
                self.edits.push((span, masked));
            }
        }
    }

    /// A program such as apprise is given addresses that let whoever knows them write there.
    fn notifier_command(&mut self, command: &DeValue<'_>, span: Range<usize>) {
        match command {
            DeValue::Array(items) => items
                .iter()
                .for_each(|item| self.notifier_command(item.get_ref(), item.span())),
            DeValue::String(text) => {
                if let Some(masked) = mask_addresses(text) {
                    self.edits.retain(|(known, _)| *known != span);
                    let masked = toml::Value::String(masked).to_string();
                    self.edits.push((span, masked));
                }
            }
            _ => {}
        }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, secret: bool) {
        match value {
            DeValue::Table(table) => return self.table(table, secret),
            DeValue::Array(items) => {
                return items
                    .iter()
                    .for_each(|item| self.value(item.get_ref(), item.span(), secret));
            }
            DeValue::String(text) => {
                let masked = if secret {
                    is_literal(text).then(|| MASK.to_owned())
                } else {
                    mask_within(text)
                };
                if let Some(masked) = masked {
                    self.edits
                        .push((span.clone(), toml::Value::String(masked).to_string()));
                }
            }
            _ if secret => self.edits.push((span.clone(), format!("\"{MASK}\""))),
            _ => {}
        }
        self.tokens.push(span);
    }

    /// Comments hold old settings, and those old secrets. They are what begins with a `#` outside
    /// of any key or value.
    fn comments(&mut self, text: &str) {
        self.tokens.sort_by_key(|range| range.start);
        let mut tokens = self.tokens.iter().peekable();
        let mut at = 0;
        while let Some(found) = text[at..].find('#') {
            let start = at + found;
            while tokens.next_if(|token| token.end <= start).is_some() {}
            if let Some(token) = tokens.peek().filter(|token| token.start <= start) {
                at = token.end;
                continue;
            }
            let end = text[start..]
                .find('\n')
                .map_or(text.len(), |length| start + length);
            let masked = masked_line(&text[start..end]);
            if masked != text[start..end] {
                self.edits.push((start..end, masked));
            }
            at = end;
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| key.ends_with(word))
}

/// The name that a text ends with.
fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .next()
        .unwrap_or(text)
}

/// Whether anything is left of a text beside its `${NAME}`s.
fn is_literal(text: &str) -> bool {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("${") {
        let Some((_, after)) = after.split_once('}') else {
            return true;
        };
        rest = after;
    }
    !rest.is_empty()
}

/// Whether anything behind the host of a URL is written out.
fn has_literal_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at + 1..]);
    path.split('/').any(is_literal)
}

/// The text with the passwords of URLs and the values of `password=` masked; `None` where there are
/// none.
fn mask_within(text: &str) -> Option<String> {
    let mut secrets: Vec<Range<usize>> = url_passwords(text).chain(parameters(text)).collect();
    secrets.retain(|range| is_literal(&text[range.clone()]));
    secrets.sort_by_key(|range| range.start);
    let mut out = String::new();
    let mut at = 0;
    for range in &secrets {
        if range.start >= at {
            out.push_str(&text[at..range.start]);
            out.push_str(MASK);
            at = range.end;
        }
    }
    out.push_str(&text[at..]);
    (!secrets.is_empty()).then_some(out)
}

/// The text with what follows the scheme of each address in it masked; `None` where there is none.
fn mask_addresses(text: &str) -> Option<String> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + "://".len());
        let end = address
            .find([' ', '\t', '\n', '"', '\'', '`', ';', '|'])
            .unwrap_or(address.len());
        masked.push_str(before);
        match is_literal(&address[..end]) {
            true => masked.push_str(MASK),
            false => masked.push_str(&address[..end]),
        }
        rest = &address[end..];
    }
    masked.push_str(rest);
    (masked != text).then_some(masked)
}

/// `scheme://user:PASSWORD@host`, wherever one begins.
fn url_passwords(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let url = &text[start..];
        let url = &url[..url
            .find([' ', '\t', '\n', '"', '\'', '`', '<', '>'])
            .unwrap_or(url.len())];
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        let colon = url[..authority].find(':')?;
        // A password with a raw `/` in it: behind the colon is no port, and the `@` comes later.
        let port = url[colon + 1..authority]
            .chars()
            .all(|c| c.is_ascii_digit());
        let at = url[..authority]
            .rfind('@')
            .or_else(|| if port { None } else { url.rfind('@') })?;
        (colon < at).then(|| start + colon + 1..start + at)
    })
}

/// `password=VALUE` in a query or a list of settings.
fn parameters(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices('=').filter_map(|(at, _)| {
        let name = text[..at].trim_end();
        if !is_secret(last_word(name)) {
            return None;
        }
        let space = text[at + 1..].len() - text[at + 1..].trim_start().len();
        let value = &text[at + 1 + space..];
        let length = match value.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            Some(quote) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
            None => value
                .find(['&', ' ', '\t', '\n', ';'])
                .unwrap_or(value.len()),
        };
        Some(at + 1 + space..at + 1 + space + length)
    })
}

/// One line that may be anything, a comment or a slip, with whatever looks like a secret masked.
pub fn masked_line(line: &str) -> String {
    for (at, _) in line.match_indices(['=', ':']) {
        let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
        if is_secret(last_word(name)) {
            return format!("{} {MASK}", &line[..=at]);
        }
    }
    mask_within(line).unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_all_else_stays() {
        let text = r###"# shop: password = "old"   # see postgres://u:old@h
[sources.shop]   # a comment, café
url = "postgres://shop:p#w@d@db/shop?sslmode=require"
dsn = 'host=db password=hunter2 user=x'
other = "${DATABASE_URL}"
from_env = "postgres://u:${PW}@h/d"
password = """
multi
line # no comment"""
api_token = ["one", "two"]
pin_secret = 1234
password_command = "pass show --password=shop"
password_file = "/etc/shop.pass"
plain = "http://host:8080/a@b # no comment"
"###;
        let expected = r###"# shop: password = ***
[sources.shop]   # a comment, café
url = "postgres://shop:***@db/shop?sslmode=require"
dsn = "host=db password=*** user=x"
other = "${DATABASE_URL}"
from_env = "postgres://u:${PW}@h/d"
password = "***"
api_token = ["***", "***"]
pin_secret = "***"
password_command = "pass show --password=shop"
password_file = "/etc/shop.pass"
plain = "http://host:8080/a@b # no comment"
"###;
        assert_eq!(masked(text), expected);
        assert_eq!(masked(expected).lines().count(), expected.lines().count());
    }

    #[test]
    fn what_is_not_toml_is_not_copied() {
        assert!(!masked("password = hunter2").contains("hunter2"));
    }

    #[test]
    fn only_what_the_text_holds_counts() {
        assert!(holds_secret("password = \"x\"") && holds_secret("a.url = \"postgres://u:p@h/d\""));
        assert!(
            holds_secret("password = \"x${A}\"") && holds_secret("url = \"postgres://u:a/b@h/d\"")
        );
        for text in [
            "password = \"${A}\"",
            "url = \"postgres://u:${A}@h\"",
            "url = \"postgres://u@h\"",
            "password_file = \"x\"",
        ] {
            assert!(!holds_secret(text), "{text}");
        }
    }

    #[test]
    fn a_line_shown_in_an_error_holds_no_secret() {
        assert_eq!(masked_line("password = hunter2"), "password = ***");
        assert_eq!(
            masked_line("url = postgres://u:p@h/d"),
            "url = postgres://u:***@h/d"
        );
        assert_eq!(masked_line("path = /srv/app.db"), "path = /srv/app.db");
    }
}
