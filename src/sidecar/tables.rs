//! A sidecar's list of tables, passed over. In a sidecar of many tables it is nearly all of the
//! bytes, and who lists a hundred thousand backups wants only their number. What is not written
//! exactly as this program writes it is left to the JSON parser.

use memchr::{memchr2, memmem};

const BEGIN: &str = "\n  \"manifest\": {\n    \"tables\": [";

/// The text with the tables of its manifest taken out, and how many they were; `None` where they
/// are not all in the form that this program gives them, or where there are too few to be worth it.
pub fn without_tables(text: &str) -> Option<(String, u64)> {
    let from = memmem::find(text.as_bytes(), BEGIN.as_bytes())? + BEGIN.len();
    let (rest, count) = pass_over(&text[from..])?;
    let mut short = String::with_capacity(from + rest.len());
    short.push_str(&text[..from]);
    short.push_str(rest);
    Some((short, count))
}

/// What follows the last table, from the closing bracket on.
fn pass_over(mut text: &str) -> Option<(&str, u64)> {
    let mut count = 0;
    loop {
        text = text.strip_prefix("\n      {\n        \"name\": \"")?;
        text = string(text)?.strip_prefix(",\n        \"kind\": \"")?;
        text = number(string(text)?.strip_prefix(",\n        \"rows\": ")?)?;
        text = text
            .strip_prefix(",\n        \"compare\": false")
            .unwrap_or(text);
        text = text.strip_prefix("\n      }")?;
        count += 1;
        match text.strip_prefix(',') {
            Some(more) => text = more,
            None => {
                return text
                    .strip_prefix("\n    ")
                    .filter(|rest| rest.starts_with(']'))
                    .map(|rest| (rest, count));
            }
        }
    }
}

/// What follows the closing quote; none where something is escaped or had to be.
fn string(text: &str) -> Option<&str> {
    let end = memchr2(b'"', b'\\', text.as_bytes())?;
    let plain =
        text.as_bytes()[end] == b'"' && text.as_bytes()[..end].iter().all(|byte| *byte >= b' ');
    plain.then(|| &text[end + 1..])
}

/// What follows a number that surely is one of 64 bits.
fn number(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let plain = (1..=18).contains(&digits) && (digits == 1 || !text.starts_with('0'));
    plain.then(|| &text[digits..])
}
