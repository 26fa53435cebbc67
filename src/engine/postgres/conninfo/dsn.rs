//! The two forms of an address: `postgresql://` URLs and `key=value` strings, read by libpq's
//! rules.
//!
//! Nothing is resolved here. Errors name the fault and its place but never repeat the text: a
//! password that was not percent-encoded ends up in the host, the port or the database name.

use crate::error::{Error, Result};

/// The parameters of an address, in order. Of two with the same name the later one counts.
pub type ParamPairs = Vec<(String, String)>;

/// The hint for special characters in a URL.
const ENCODE: &str = "in a URL, percent-encode special characters of user and password: `@` is \
                      %40, `/` %2F, `:` %3A, `?` %3F, `#` %23, `%` %25";

/// Parses a URL or a `key=value` string.
pub fn parse(text: &str) -> Result<ParamPairs> {
    let text = text.trim();
    match behind_scheme(text) {
        Some(rest) => parse_url(rest),
        None if text.contains("://") && !text.contains('=') => Err(Error::usage(
            "the URL of a PostgreSQL database begins with `postgresql://`",
        )),
        None if text.contains('=') || text.is_empty() => parse_keys(text),
        None => Err(
            Error::usage("`url` is neither `postgresql://…` nor `key=value` pairs").with_hint(
                "to give only the database's name, use `dbname`, or write `postgresql:///name`",
            ),
        ),
    }
}

/// The value of one parameter in a URL or a `key=value` string; `None` where it is not given, or is
/// empty.
pub fn parameter(text: &str, name: &str) -> Result<Option<String>> {
    let pairs = parse(text)?;
    let last = pairs.into_iter().rev().find(|(key, _)| key == name);
    Ok(last
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty()))
}

/// Whether an argument is meant as a PostgreSQL URL.
pub fn is_url(text: &str) -> bool {
    behind_scheme(text).is_some()
}

/// The rest of a URL after its scheme. Beside libpq's schemes this accepts those of applications,
/// whose libraries name their driver there: `postgresql+asyncpg://`, `jdbc:postgresql://`,
/// `psql://`.
fn behind_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text
        .strip_prefix("jdbc:")
        .unwrap_or(text)
        .split_once("://")?;
    let (database, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    let known = ["postgresql", "postgres", "psql", "pgsql", "postgis"].contains(&database);
    (known
        && driver
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)))
    .then_some(rest)
}

/// Parses the part after `postgresql://`:
/// `[user[:password]@][host[:port],…][/dbname][?key=value&…]`.
fn parse_url(rest: &str) -> Result<ParamPairs> {
    let mut pairs = ParamPairs::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            pairs.push((name.to_owned(), value));
        }
    };
    let slash = rest.find('/').unwrap_or(rest.len());
    let (userinfo, rest) = match rest[..slash].find('@') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => ("", rest),
    };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    put("user", decode(user)?);
    put("password", decode(password)?);

    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, ports) = parse_hosts(&rest[..end])?;
    put("host", decode(&hosts)?);
    put("port", decode(&ports)?);

    let (path, query) = rest[end..].split_once('?').unwrap_or((&rest[end..], ""));
    let dbname = path.strip_prefix('/').unwrap_or(path);
    if dbname.contains('@') {
        return Err(Error::usage("the database name in the URL has an `@`").with_hint(ENCODE));
    }
    put("dbname", decode(dbname)?);
    parse_query(query, &mut pairs)?;
    Ok(pairs)
}

/// Splits `h1:1,[::1]:2,h3` into the lists `h1,::1,h3` and `1,2,`.
fn parse_hosts(text: &str) -> Result<(String, String)> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(inside) => match inside.split_once(']') {
                Some(("", _)) | None => {
                    return Err(Error::usage(
                        "the URL has an IPv6 address without its `]`, or an empty one",
                    ));
                }
                Some((host, after)) => (host, after),
            },
            None => one.split_at(one.find(':').unwrap_or(one.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port,
            None if port.is_empty() => "",
            None => {
                return Err(Error::usage(
                    "the URL has something other than a port after an IPv6 address",
                ));
            }
        };
        if host.contains('@') || !port.chars().all(|c| c.is_ascii_digit() || c == '%') {
            return Err(Error::usage("the URL's host or port makes no sense").with_hint(ENCODE));
        }
        hosts.push(host);
        ports.push(port);
    }
    let ports = if ports.iter().all(|port| port.is_empty()) {
        String::new()
    } else {
        ports.join(",")
    };
    Ok((
        if hosts.iter().all(|host| host.is_empty()) {
            String::new()
        } else {
            hosts.join(",")
        },
        ports,
    ))
}

/// Parses `key=value&key=value`.
fn parse_query(query: &str, pairs: &mut ParamPairs) -> Result<()> {
    for one in query.split('&').filter(|one| !one.is_empty()) {
        let Some((key, value)) = one.split_once('=') else {
            return Err(Error::usage(
                "a parameter after the `?` of the URL has no `=`",
            ));
        };
        if value.contains('=') {
            return Err(
                Error::usage("a parameter after the `?` of the URL has two `=`")
                    .with_hint("write %3D for a `=` in a value"),
            );
        }
        let (key, value) = (decode(key)?, decode(value)?);
        // The form of JDBC's URLs, which libpq reads, too.
        if key == "ssl" && value == "true" {
            pairs.push(("sslmode".into(), "require".into()));
        } else {
            pairs.push((key, value));
        }
    }
    Ok(())
}

/// Decodes `%40` to `@`.
fn decode(text: &str) -> Result<String> {
    let bad = || {
        Error::usage(
            "the URL has a `%` that is not followed by two hexadecimal digits (nor may it be %00)",
        )
        .with_hint(ENCODE)
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if high + low > 0 => out.push((high * 16 + low) as u8),
            _ => return Err(bad()),
        }
    }
    String::from_utf8(out)
        .map_err(|_| Error::usage("the URL is not UTF-8 after its percent-encoding is undone"))
}

/// Parses `host=x password='it\'s'`.
fn parse_keys(text: &str) -> Result<ParamPairs> {
    let mut pairs = ParamPairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(Error::usage(format!(
                "a word after {} of the connection string has no `=`",
                position(&pairs)
            ))
            .with_hint(
                "put a value that has spaces between single quotes: `password='two words'`",
            ));
        };
        if key.is_empty() {
            return Err(Error::usage(format!(
                "a `=` after {} of the connection string has no key",
                position(&pairs)
            )));
        }
        let (value, after) = parse_value(after.trim_start()).ok_or_else(|| {
            let whose = if password(&pairs).is_some() {
                format!("after {}", position(&pairs))
            } else {
                format!("of `{key}`")
            };
            Error::usage(format!(
                "the quotes {whose} in the connection string are not closed"
            ))
        })?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// A place in a connection string, described without any of its values: what follows a password
/// that has spaces may look like a key.
fn position(pairs: &ParamPairs) -> String {
    password(pairs)
        .or(pairs.last())
        .map_or_else(|| "the beginning".into(), |(key, _)| format!("`{key}`"))
}

/// The first password.
fn password(pairs: &ParamPairs) -> Option<&(String, String)> {
    pairs.iter().find(|(key, _)| key.ends_with("password"))
}

/// Parses a value, bare or quoted, and returns the rest. `None` where its quotes are not closed.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let text = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted.is_some() => return Some((value, &text[at + 1..])),
            c if quoted.is_none() && c.is_ascii_whitespace() => return Some((value, &text[at..])),
            c => value.push(c),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// Formats `key='value'` so that libpq reads the value back unchanged.
pub fn format_pair(key: &str, value: &str) -> String {
    format!(
        "{key}='{}'",
        value.replace('\\', r"\\").replace('\'', r"\'")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        parse(text)
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn urls() {
        for (url, read_as) in [
            ("postgresql://", ""),
            ("postgres://db", "host=db"),
            (
                "postgresql://u:p%40$w@db:5433/shop",
                "user=u password=p@$w host=db port=5433 dbname=shop",
            ),
            ("postgresql://h1:1,h2:2/x", "host=h1,h2 port=1,2 dbname=x"),
            ("postgresql://h1,h2:2/x", "host=h1,h2 port=,2 dbname=x"),
            (
                "postgresql://[::1]:5433,[fe80::1]/x",
                "host=::1,fe80::1 port=5433, dbname=x",
            ),
            (
                "postgresql://%2Fvar%2Frun%2Fpostgresql/x",
                "host=/var/run/postgresql dbname=x",
            ),
            (
                "postgresql:///x?host=/tmp&port=5434",
                "dbname=x host=/tmp port=5434",
            ),
            (
                "postgresql://u@/x?sslmode=require&application_name=a%20b",
                "user=u dbname=x sslmode=require application_name=a b",
            ),
            ("postgresql://h?ssl=true", "host=h sslmode=require"),
            ("postgresql://u:p?q@h", "user=u password=p?q host=h"),
            ("postgresql://:5433", "port=5433"),
        ] {
            assert_eq!(read(url), read_as, "{url}");
        }
    }

    #[test]
    fn bad_urls_do_not_repeat_the_password() {
        for url in [
            "postgresql://u:s3@cret@h/x",
            "postgresql://u:s3cret/x@h/x",
            "postgresql://u:12/s3cret@h/x",
            "postgresql://u:s3cret%zz@h/x",
            "postgresql://u:s3cret%00@h/x",
            "postgresql://[::1/s3cret",
            "postgresql://[::1]s3cret",
            "postgresql://h/x?s3cret",
            "postgresql://h/x?password=s3cret=1",
            "mysql://u:s3cret@h",
            "s3cret",
            "password=two s3cret",
            "password='s3cret",
            "password=x =s3cret",
            "password=two s3cret=words more",
            "password=two s3cret='words",
            "password=two s3cret=words =x",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error:?}").contains("s3"), "{url}: {error:?}");
        }
    }

    #[test]
    fn key_value_strings() {
        for (text, read_as) in [
            ("host=db dbname = shop", "host=db dbname=shop"),
            (r"password='it\'s a \\' user=u", r"password=it's a \ user=u"),
            (r"password=a\ b$c user=u", "password=a b$c user=u"),
            ("host='' port=1", "host= port=1"),
            ("user=", "user="),
        ] {
            assert_eq!(read(text), read_as, "{text}");
        }
    }

    #[test]
    fn quoting_reads_back() {
        for value in [
            "plain",
            "",
            "two words",
            r"it's \ x",
            "ü$`\"=",
            "tab\tnew\nline",
        ] {
            assert_eq!(
                parse(&format_pair("dbname", value)).unwrap(),
                [("dbname".to_owned(), value.to_owned())]
            );
        }
    }
}
