//! Arrays as the server writes them: `{1,NULL,"a \"b\""}`, nested ones, and ones whose bounds are
//! given because they do not begin at 1.

/// An element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrayElement {
    /// A NULL.
    Null,
    /// A value without its quotes.
    Value(String),
    /// A nested array.
    Array(Vec<ArrayElement>),
}

/// Parses an array; `None` if the text is not written as one.
pub fn parse(text: &str) -> Option<Vec<ArrayElement>> {
    // `[0:1][-1:0]={…}`
    let body = if text.starts_with('[') {
        text.split_once("]={")
            .map(|(bounds, _)| &text[bounds.len() + 2..])?
    } else {
        text
    };
    let (elements, rest) = parse_elements(body, 0)?;
    rest.is_empty().then_some(elements)
}

/// The greatest number of dimensions that the server allows.
const DEEPEST: usize = 6;

fn parse_elements(text: &str, depth: usize) -> Option<(Vec<ArrayElement>, &str)> {
    let mut rest = text.strip_prefix('{').filter(|_| depth < DEEPEST)?;
    let mut found = Vec::new();
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((found, rest));
    }
    loop {
        let element;
        (element, rest) = match rest.as_bytes().first()? {
            b'{' => parse_elements(rest, depth + 1)
                .map(|(inner, rest)| (ArrayElement::Array(inner), rest))?,
            b'"' => parse_quoted(&rest[1..])?,
            _ => parse_plain(rest)?,
        };
        found.push(element);
        match rest.as_bytes().first()? {
            b',' => rest = &rest[1..],
            b'}' => return Some((found, &rest[1..])),
            _ => return None,
        }
    }
}

fn parse_plain(text: &str) -> Option<(ArrayElement, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ',' | '}' => {
                let element = if value.eq_ignore_ascii_case("null") {
                    ArrayElement::Null
                } else {
                    ArrayElement::Value(value)
                };
                return Some((element, &text[at..]));
            }
            '{' | '"' => return None,
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

fn parse_quoted(text: &str) -> Option<(ArrayElement, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((ArrayElement::Value(value), &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> ArrayElement {
        ArrayElement::Value(text.to_owned())
    }

    #[test]
    fn what_the_server_writes_is_read() {
        assert_eq!(parse("{}"), Some(vec![]));
        assert_eq!(
            parse("{1,NULL,\"NULL\"}"),
            Some(vec![value("1"), ArrayElement::Null, value("NULL")])
        );
        assert_eq!(
            parse(r#"{"a \"b\" \\",é,""}"#),
            Some(vec![value("a \"b\" \\"), value("é"), value("")])
        );
        assert_eq!(parse("{{1,2},{3,NULL}}").map(|found| found.len()), Some(2));
        assert_eq!(parse("[0:1]={7,8}"), Some(vec![value("7"), value("8")]));
        assert_eq!(
            parse("[1:1][-2:-1]={{7,8}}"),
            Some(vec![ArrayElement::Array(vec![value("7"), value("8")])])
        );
        for wrong in [
            "",
            "{",
            "{1",
            "{1,",
            "{1}x",
            "1",
            "{\"a}",
            "[0:1]",
            "{{{{{{{1}}}}}}}",
            "(1,2)",
            "{1;2\"}",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn quoted_elements_come_back(texts in proptest::collection::vec("\\PC{0,6}|[{},\"\\\\ \
            ]{0,4}", 1..5)) {
            let quoted: Vec<String> = texts.iter().map(|text| format!("\"{}\"", text.replace('\\',
                "\\\\").replace('"', "\\\""))).collect();
            let found = parse(&format!("{{{}}}", quoted.join(","))).unwrap();
            prop_assert_eq!(found, texts.iter().map(|text| value(text)).collect::<Vec<_>>());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{},\"\\\\a\\[\\]=é]{0,12}") {
            let _ = parse(&text);
        }
    }
}
