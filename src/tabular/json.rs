//! JSON: one array, an object for each row on a line of its own, so that both a parser and `grep`
//! are served.
//!
//! Numbers keep every digit that they have. What JSON has no word for (`NaN`, `Infinity`) is a
//! string, and so is everything else but booleans, JSON columns, which are put in as they are, and
//! arrays.

use super::OpenTable;
use crate::engine::postgres::array::{self, ArrayElement};
use crate::engine::{Cell, Shape};
use std::borrow::Cow;
use std::io::{self, Write};

pub fn begin_array(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"[")
}

pub fn write_row(
    out: &mut impl Write,
    table: &mut OpenTable,
    cells: &[Cell<'_>],
) -> io::Result<()> {
    out.write_all(if table.rows > 0 { b",\n{" } else { b"{" })?;
    for (at, (name, cell)) in table.columns.iter().zip(cells).enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write_string(out, name)?;
        out.write_all(b":")?;
        let Some(text) = cell.text else {
            out.write_all(b"null")?;
            continue;
        };
        let text = String::from_utf8_lossy(text);
        table.mended += u64::from(matches!(text, Cow::Owned(_)));
        write_value(out, &text, cell.shape)?;
    }
    out.write_all(b"}")
}

pub fn end_array(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"]\n")
}

fn write_string(out: &mut impl Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn write_value(out: &mut impl Write, text: &str, shape: &Shape) -> io::Result<()> {
    match shape {
        Shape::Number if is_number(text) => out.write_all(text.as_bytes()),
        Shape::Boolean if text == "t" => out.write_all(b"true"),
        Shape::Boolean if text == "f" => out.write_all(b"false"),
        // A line break can only stand between its words, where a blank does as well.
        Shape::Json if is_json(text) => out.write_all(text.replace(['\n', '\r'], " ").as_bytes()),
        Shape::Array(of) => match array::parse(text) {
            Some(elements) => write_array(out, &elements, of),
            None => write_string(out, text),
        },
        _ => write_string(out, text),
    }
}

fn write_array(out: &mut impl Write, elements: &[ArrayElement], of: &Shape) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        match element {
            ArrayElement::Null => out.write_all(b"null")?,
            ArrayElement::Value(text) => write_value(out, text, of)?,
            ArrayElement::Array(inner) => write_array(out, inner, of)?,
        }
    }
    out.write_all(b"]")
}

/// The server has made sure of it, but a dump can be written by hand.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether JSON reads these very characters as a number (RFC 8259).
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, shape: &Shape) -> String {
        let mut out = Vec::new();
        write_value(&mut out, text, shape).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_what_they_mean() {
        let digits = "123456789012345678901234567890.10";
        assert_eq!(written(digits, &Shape::Number), digits);
        assert_eq!(written("1e+300", &Shape::Number), "1e+300");
        for odd in [
            "NaN",
            "Infinity",
            "-Infinity",
            "007",
            ".5",
            "1.",
            "",
            "-",
            "0x10",
            "1e",
        ] {
            assert_eq!(written(odd, &Shape::Number), format!("\"{odd}\""));
        }
        assert_eq!(
            (written("t", &Shape::Boolean), written("f", &Shape::Boolean)),
            ("true".into(), "false".into())
        );
        assert_eq!(written("{\"a\":\n 1.10}", &Shape::Json), "{\"a\":  1.10}");
        assert_eq!(written("{\"a\":", &Shape::Json), r#""{\"a\":""#);
        assert_eq!(
            written("{{1,NULL},{NaN,2}}", &Shape::Array(Box::new(Shape::Number))),
            r#"[[1,null],["NaN",2]]"#
        );
        assert_eq!(
            written("not an array", &Shape::Array(Box::new(Shape::Number))),
            "\"not an array\""
        );
        assert_eq!(written("a\u{1}\"\n", &Shape::Text), r#""a\u0001\"\n""#);
    }

    proptest! {
        #[test]
        fn a_number_is_what_serde_takes_for_one(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,1})?") {
            prop_assert_eq!(is_number(&text),
                serde_json::from_str::<serde_json::Number>(&text).is_ok());
        }
    }
}
