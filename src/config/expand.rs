//! `${NAME}`: replaced in text from a source's env_file, the environment, and the host's name.

use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeValue;

/// Why a text could not be expanded.
#[derive(Debug, PartialEq)]
pub(super) enum ExpansionFault {
    /// The variable is not set anywhere.
    Unset(String),
    /// Not of the form `${NAME}`; the text from `${` on.
    Malformed(String),
}

/// The text with every `${NAME}` replaced and every `$${` made `${`; `None` where there is neither.
///
/// What is put in is not looked at again, so that a password may hold any character.
pub(super) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, ExpansionFault> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let body = &from[2..];
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = body;
            continue;
        }
        out.push_str(before);
        let name = body
            .split_once('}')
            .map(|(name, _)| name)
            .filter(|name| is_variable(name));
        let name = name.ok_or_else(|| {
            ExpansionFault::Malformed(from.split_inclusive('}').next().unwrap_or(from).to_owned())
        })?;
        out.push_str(&lookup(name).ok_or_else(|| ExpansionFault::Unset(name.to_owned()))?);
        rest = &body[name.len() + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// Expands every text in `value`, arrays' elements too; whether there was one to expand.
pub(super) fn expand_value(
    value: &mut Spanned<DeValue<'_>>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<bool, ExpansionFault> {
    match value.get_mut() {
        DeValue::String(text) => {
            let expanded = expand(text, lookup)?;
            let changed = expanded.is_some();
            if let Some(expanded) = expanded {
                *text = expanded.into();
            }
            Ok(changed)
        }
        DeValue::Array(items) => {
            let mut changed = false;
            for item in items.iter_mut() {
                changed |= expand_value(item, lookup)?;
            }
            Ok(changed)
        }
        // Tables are sections of their own, which expand their keys one by one.
        _ => Ok(false),
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The host's name as the system has it, for `${HOSTNAME}`: few shells export theirs.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The variables of an env_file: `KEY=VALUE` lines, with `export`, quotes and comments as dotenv
/// files have them.
///
/// Values are never expanded, and what is no assignment is passed over: the file belongs to an
/// application, which may read more into it than we do.
pub(super) fn env_file(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let Some((name, value)) = assignment(line) else {
            rest = after;
            continue;
        };
        // A quoted value may go on over further lines, so it is looked for in all that follows.
        let from = &rest[line.len() - value.len()..];
        let (value, next) = match quoted(from) {
            Some((value, end)) => (
                value,
                from[end..].split_once('\n').map_or("", |(_, after)| after),
            ),
            None => (unquoted(value), after),
        };
        variables.insert(name.to_owned(), value);
        rest = next;
    }
    variables
}

/// The name of an assignment, and its line's text from the value on.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let name = name.strip_prefix("export").map_or(name, |tail| {
        if tail.starts_with([' ', '\t']) {
            tail.trim()
        } else {
            name
        }
    });
    is_variable(name).then(|| (name, value.trim_start_matches([' ', '\t'])))
}

/// A value that begins with a quote, and the offset behind its closing one.
fn quoted(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return Some((value, at + 1)),
            '\\' if quote == '"' => match letters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(letter),
        }
    }
    None
}

/// A bare value: up to a comment, which begins with a `#` after a space.
fn unquoted(text: &str) -> String {
    let comment = text
        .find(" #")
        .or_else(|| text.find("\t#"))
        .unwrap_or(text.len());
    let text = if text.starts_with('#') {
        ""
    } else {
        &text[..comment]
    };
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "A").then(|| "${B}$".to_owned())
    }

    #[test]
    fn variables_are_replaced_once() {
        assert_eq!(expand("plain $A", &lookup), Ok(None));
        assert_eq!(
            expand("x${A}y${A}", &lookup),
            Ok(Some("x${B}$y${B}$".to_owned()))
        );
        assert_eq!(
            expand("$${A} $$${A}", &lookup),
            Ok(Some("${A} $${A}".to_owned()))
        );
        assert_eq!(
            expand("${B}", &lookup),
            Err(ExpansionFault::Unset("B".to_owned()))
        );
        assert_eq!(
            expand("a ${A:-x} b", &lookup),
            Err(ExpansionFault::Malformed("${A:-x}".to_owned()))
        );
        assert_eq!(
            expand("a ${A", &lookup),
            Err(ExpansionFault::Malformed("${A".to_owned()))
        );
        assert_eq!(
            expand("${1}", &lookup),
            Err(ExpansionFault::Malformed("${1}".to_owned()))
        );
    }

    #[test]
    fn env_files_as_applications_write_them() {
        let text = "\u{feff}# comment\nA=1\r\nexport B = two words # why\nC='sin#gle $A \
                    \\n'\nD=\"dou\\\"ble\\n\" # x\n\
                    E=\"two\nlines\"\nF=\nG=#\nH=a#b$c\nnot an \
                    assignment\n1=x\nexported=yes\nI=\"open\nJ=last";
        let read = env_file(text);
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "sin#gle $A \\n"),
            ("D", "dou\"ble\n"),
            ("E", "two\nlines"),
            ("F", ""),
            ("G", ""),
            ("H", "a#b$c"),
            ("exported", "yes"),
            ("I", "\"open"),
            ("J", "last"),
        ];
        assert_eq!(
            read,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!hostname().is_empty());
    }
}
