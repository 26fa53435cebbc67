//! Pages of lists, read by ourselves: an answer that is no list must not be taken for an empty one,
//! a page that is cut short must not be taken for the last one, and a single key of somebody else
//! must not spoil all others.

use super::failure::{RequestFailure, TryAgain};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::collections::HashSet;

/// So many pages without anything on them, one after the other, come of no honest service: those
/// that walk over removed versions give some.
const MOST_EMPTY_PAGES: u32 = 1000;

/// No list has more pages.
const MOST_PAGES: u32 = 100_000;

/// The way through the pages of a list, which ends.
#[derive(Debug, Default)]
pub struct PageWalk {
    tokens: HashSet<String>,
    pages: u32,
    empty: u32,
}

/// A list without an end.
#[derive(Debug)]
pub struct EndlessList;

impl PageWalk {
    /// What asks for the page after this one; `None` after the last one.
    pub fn next(&mut self, page: &ListPage) -> Result<Option<String>, EndlessList> {
        let is_empty = page.objects.is_empty() && page.prefixes.is_empty();
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        self.pages += 1;
        let Some(next) = &page.next else {
            return Ok(None);
        };
        let is_new = self.tokens.insert(next.clone());
        match is_new && self.empty <= MOST_EMPTY_PAGES && self.pages <= MOST_PAGES {
            true => Ok(Some(next.clone())),
            false => Err(EndlessList),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, with their whole keys.
    pub objects: Vec<ListedObject>,
    /// What keys have in common up to the next slash, where that was asked for.
    pub prefixes: Vec<String>,
    /// What asks for the next page; `None` with the last one.
    pub next: Option<String>,
}

/// An object of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Option<DateTime<Utc>>,
}

/// A page of S3 and Google.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketPage {
    #[serde(default)]
    is_truncated: Option<String>,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<BucketEntry>,
    #[serde(default)]
    common_prefixes: Vec<BucketPrefix>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketEntry {
    key: String,
    size: u64,
    #[serde(default)]
    last_modified: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketPrefix {
    prefix: String,
}

/// A page of Azure.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerPage {
    #[serde(default)]
    next_marker: Option<String>,
    blobs: BlobEntries,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobEntries {
    #[serde(default)]
    blob: Vec<BlobEntry>,
    #[serde(default)]
    blob_prefix: Vec<BlobPrefix>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobEntry {
    name: String,
    properties: BlobProperties,
}

#[derive(Debug, Deserialize)]
struct BlobProperties {
    #[serde(rename = "Content-Length")]
    length: u64,
    #[serde(rename = "Last-Modified", default)]
    modified: Option<String>,
    #[serde(rename = "ResourceType", default)]
    resource: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobPrefix {
    name: String,
}

const BUCKET_PAGE: &str = "ListBucketResult";
const CONTAINER_PAGE: &str = "EnumerationResults";

impl ListPage {
    /// Reads an answer; the error says why it can't be believed.
    pub fn parse(body: &[u8]) -> Result<ListPage, RequestFailure> {
        // Keys with such bytes are left out later.
        let text = String::from_utf8_lossy(body);
        let root = root_name(&text).unwrap_or_default();
        if !text.trim_end().ends_with(&format!("</{root}>")) && !text.trim_end().ends_with("/>") {
            return Err(unreadable("it has no end"));
        }
        match root {
            BUCKET_PAGE => bucket_page(&text),
            CONTAINER_PAGE => container_page(&text),
            _ => Err(unreadable("it is no list")),
        }
    }

    /// An answer that says nothing but that it is one of the same kind as `body`.
    pub fn placeholder(body: &[u8]) -> &'static str {
        match root_name(&String::from_utf8_lossy(body)) {
            Some(CONTAINER_PAGE) => "<EnumerationResults><Blobs></Blobs></EnumerationResults>",
            _ => "<ListBucketResult></ListBucketResult>",
        }
    }
}

fn unreadable(why: &str) -> RequestFailure {
    let text = format!("the answer to a request for a list can't be read: {why}");
    RequestFailure::transport(text, TryAgain::Briefly)
}

/// The name of a document's root.
fn root_name(text: &str) -> Option<&str> {
    text.split('<').skip(1).find_map(|tag| {
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric())?;
        (end > 0).then(|| &tag[..end])
    })
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, RequestFailure> {
    quick_xml::de::from_str(text).map_err(|error| unreadable(&error.to_string()))
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn bucket_page(text: &str) -> Result<ListPage, RequestFailure> {
    let page: BucketPage = parsed(text)?;
    let next = filled(page.next_continuation_token);
    match (page.is_truncated.as_deref().map(str::trim), &next) {
        (Some("true"), None) => return Err(unreadable("it is cut short and names no next page")),
        (Some("true" | "false") | None, _) => {}
        (Some(_), _) => return Err(unreadable("it does not say whether there is more")),
    }
    let is_last = page.is_truncated.as_deref().map(str::trim) == Some("false");
    Ok(ListPage {
        objects: (page.contents.into_iter())
            .map(|entry| ListedObject {
                key: entry.key,
                size: entry.size,
                modified: entry.last_modified.as_deref().and_then(parse_time),
            })
            .collect(),
        prefixes: (page.common_prefixes.into_iter())
            .map(|common| common.prefix)
            .collect(),
        next: next.filter(|_| !is_last),
    })
}

fn container_page(text: &str) -> Result<ListPage, RequestFailure> {
    let page: ContainerPage = parsed(text)?;
    let is_file = |entry: &BlobEntry| entry.properties.resource.as_deref() != Some("directory");
    Ok(ListPage {
        objects: (page.blobs.blob.into_iter())
            .filter(is_file)
            .map(|entry| ListedObject {
                key: entry.name,
                size: entry.properties.length,
                modified: entry.properties.modified.as_deref().and_then(parse_time),
            })
            .collect(),
        prefixes: (page.blobs.blob_prefix.into_iter())
            .map(|common| common.name)
            .collect(),
        next: filled(page.next_marker),
    })
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text.trim())
        .or_else(|_| DateTime::parse_from_rfc2822(text.trim()))
        .ok()
        .map(|time| time.to_utc())
}

/// Whether a key can be one of ours: it is text, without control characters.
pub fn is_plain(key: &str) -> bool {
    !key.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_ends() {
        let page = |next: String| ListPage {
            next: Some(next),
            ..ListPage::default()
        };
        let mut walk = PageWalk::default();
        assert!(walk.next(&page("a".to_owned())).is_ok());
        assert!(walk.next(&page("b".to_owned())).is_ok());
        assert!(walk.next(&page("a".to_owned())).is_err(), "round and round");
        let mut walk = PageWalk::default();
        let mut tokens = (0..).map(|number: u32| number.to_string());
        let steps = std::iter::from_fn(|| walk.next(&page(tokens.next()?)).ok());
        assert_eq!(steps.count() as u32, MOST_EMPTY_PAGES, "nothing, for ever");
        assert!(matches!(
            PageWalk::default().next(&ListPage::default()),
            Ok(None)
        ));
    }

    const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

    fn bucket(inner: &str) -> Result<ListPage, RequestFailure> {
        let text = format!(
            "{HEAD}\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}\
             </ListBucketResult>"
        );
        ListPage::parse(text.as_bytes())
    }

    #[test]
    fn pages_are_read() {
        let page = bucket(
            "<Name>b</Name><IsTruncated>true</IsTruncated><Contents><Key>a/b&amp;c</Key>\
             <LastModified>2026-11-20T02:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag>\
             <Size>12</Size></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>\
             <Contents><Key>a//../d</Key><Size>0</Size></Contents>\
             <NextContinuationToken>t</NextContinuationToken>",
        )
        .unwrap();
        let keys: Vec<&str> = page.objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(keys, ["a/b&c", "a//../d"]);
        assert_eq!(page.objects[0].size, 12);
        assert!(page.objects[0].modified.is_some());
        assert_eq!(page.prefixes, ["p/"]);
        assert_eq!(page.next.as_deref(), Some("t"));
        assert_eq!(bucket("").unwrap(), ListPage::default());
        let azure = ListPage::parse(
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><EnumerationResults><Blobs><Blob><Name>a</Name>\
              <Properties><Last-Modified>Fri, 20 Nov 2026 02:00:00 GMT</Last-Modified>\
              <Content-Length>7</Content-Length></Properties></Blob><BlobPrefix><Name>p/</Name>\
              </BlobPrefix></Blobs><NextMarker>m</NextMarker></EnumerationResults>",
        )
        .unwrap();
        assert_eq!(azure.objects[0].size, 7);
        assert!(azure.objects[0].modified.is_some());
        assert_eq!(azure.prefixes, ["p/"]);
        assert_eq!(azure.next.as_deref(), Some("m"));
    }

    #[test]
    fn what_is_no_whole_list_is_no_empty_one() {
        for body in [
            "",
            "<html><body>Welcome</body></html>",
            "<Error><Code>InternalError</Code></Error>",
            "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
            "<EnumerationResults></EnumerationResults>",
        ] {
            assert!(ListPage::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn foreign_keys_are_told_apart() {
        let page = ListPage::parse(
            b"<ListBucketResult><Contents><Key>a\xffb</Key><Size>1</Size></Contents><Contents>\
              <Key>c&#x1;d</Key><Size>1</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        assert_eq!(page.objects.len(), 2);
        assert!(page.objects.iter().all(|object| !is_plain(&object.key)));
        assert!(is_plain("ü b"));
    }
}
