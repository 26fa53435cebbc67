//! The names of files that are not finished: `.<name>.<random>.part`, beside the name that they
//! will have.

const PART: &str = ".part";

/// How many hexadecimal digits tell two of them apart.
const DIGITS: usize = 16;

/// A new name for the file that will be the object of `key`, as a key.
pub fn new_key(key: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let (directory, name) = split(key);
    format!("{directory}.{name}.{}{PART}", &random[..DIGITS])
}

/// The name alone, without what leads to it.
pub fn name(key: &str) -> &str {
    split(key).1
}

/// The key of an unfinished file of `key`, by its name, which somebody else may have written:
/// `None` for any other name.
pub fn key_of(key: &str, name: &str) -> Option<String> {
    let (directory, object) = split(key);
    let random = name
        .strip_prefix('.')?
        .strip_prefix(object)?
        .strip_prefix('.')?
        .strip_suffix(PART)?;
    is_random(random).then(|| format!("{directory}{name}"))
}

/// Whether a file of this name is not finished.
pub fn is_part(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(PART)?.rsplit_once('.'))
        .is_some_and(|(object, random)| !object.is_empty() && is_random(random))
}

fn is_random(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == DIGITS && text.bytes().all(is_digit)
}

/// A key as its directory, with the slash, and its name.
fn split(key: &str) -> (&str, &str) {
    key.split_at(key.rfind('/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_unfinished_files() {
        let key = "app/app_daily_20261120T020000Z.sqlite3.gz";
        let part = new_key(key);
        let token = name(&part);
        assert!(is_part(token));
        assert_eq!(key_of(key, token), Some(part.clone()));
        assert_eq!(key_of("app/other", token), None);
        for name in [
            "",
            ".part",
            "..part",
            "app.0123456789abcdef.part",
            ".0123456789abcdef.part",
            ".app.0123456789ABCDEF.part",
            ".app.0123456789abcdef0.part",
            ".app.0123456789abcdef.par",
        ] {
            assert!(!is_part(name), "{name}");
            assert_eq!(
                key_of("app/app", name).is_some(),
                name.starts_with(".app.") && is_part(name)
            );
        }
        assert_eq!(key_of("a/b", "../x/.b.0123456789abcdef.part"), None);
        assert_eq!(new_key("top").rfind('/'), None);
    }
}
