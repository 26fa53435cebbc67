//! How small the deltas of pages are. That they are right is the matter of the laws.

use crate::pipeline::delta::tests::{decode, encode, noise};
use crate::pipeline::delta::{Alignment, DeltaStatistics};

const PAGE: usize = 4096;

fn encode_pages(base: &[u8], content: &[u8]) -> (Vec<u8>, DeltaStatistics) {
    let (delta, statistics) = encode(base, content, Alignment::Pages(PAGE), 2, 1 << 20);
    assert!(decode(base, &delta, 1 << 20).unwrap() == content);
    (delta, statistics)
}

#[test]
fn equal_content_costs_25_bytes_a_window() {
    let base = noise(1, 5 << 20);
    let (delta, statistics) = encode_pages(&base, &base);
    assert_eq!((statistics.copied, statistics.added), (5 << 20, 0));
    assert!(delta.len() <= 16 + 5 * 25, "{}", delta.len());
}

#[test]
fn changed_bytes_cost_themselves() {
    let base = noise(1, 64 * PAGE);
    let mut content = base.clone();
    content[5 * PAGE + 70..][..3].copy_from_slice(b"new");
    content[9 * PAGE + 4090..][..6].copy_from_slice(b"border");
    let (_, statistics) = encode_pages(&base, &content);
    assert_eq!(statistics.added, 9);
}

/// A row that grows moves those between it and the free space of its page.
#[test]
fn moved_rows_are_found() {
    let base = noise(1, 64 * PAGE);
    let mut content = base.clone();
    content.copy_within(5 * PAGE + 1000..5 * PAGE + 2000, 5 * PAGE + 993);
    content[5 * PAGE + 1993..][..7].copy_from_slice(b"changed");
    let (_, statistics) = encode_pages(&base, &content);
    assert_eq!(statistics.added, 7);
}

#[test]
fn grown_and_shrunk_content_is_right() {
    let base = noise(1, 300 * PAGE + 100);
    for size in [0, 1, PAGE, 256 * PAGE, 300 * PAGE, 300 * PAGE + 99] {
        let (_, statistics) = encode_pages(&base, &base[..size]);
        // Single bytes at the end are not worth a copy.
        assert!(statistics.added < 8, "{size}");
        let (_, statistics) = encode_pages(&base[..size], &base);
        assert_eq!(
            statistics.added as usize / 8,
            (base.len() - size) / 8,
            "{size}"
        );
    }
}

#[test]
fn largest_pages_are_indexed() {
    let base = noise(1, 4 << 16);
    let mut content = base.clone();
    content.copy_within((1 << 16) + 9..(2 << 16), 1 << 16);
    let (delta, statistics) = encode(&base, &content, Alignment::Pages(1 << 16), 0, 1 << 20);
    assert!(decode(&base, &delta, 1 << 20).unwrap() == content);
    assert!(statistics.added < 32, "{}", statistics.added);
}
