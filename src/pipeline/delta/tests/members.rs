//! The laws of content whose parts are copied from the base, or laid beside a part of it, as those
//! of a tree are.

use super::*;
use crate::pipeline::{Codec, Encoding};
use sha2::{Digest, Sha256};
use std::process::Command;

/// What becomes of the next bytes of the base.
#[derive(Debug, Clone)]
enum MemberPart {
    Copied(usize),
    Beside(usize, AlignmentKind, Vec<Edit>),
    New(usize),
    Skipped(usize),
}

fn parts() -> impl Strategy<Value = Vec<MemberPart>> {
    let size = || {
        prop_oneof![
            0..40_usize,
            Just(512_usize),
            500..9000_usize,
            1_000_000..2_000_000_usize
        ]
    };
    let part = prop_oneof![
        4 => size().prop_map(MemberPart::Copied),
        4 => (size(), prop_oneof![Just(AlignmentKind::Pages(4096)), kind()], edits())
            .prop_map(|(size, kind, edits)| MemberPart::Beside(size, kind, edits)),
        2 => size().prop_map(|size| {
            MemberPart::Beside(size, AlignmentKind::Pages(4096), Vec::new())
        }),
        1 => size().prop_map(MemberPart::New),
        1 => size().prop_map(MemberPart::Skipped),
    ];
    proptest::collection::vec(part, 0..20)
}

/// The content of these parts and its delta, both measured as they are stored.
fn encode_parts(base: &[u8], parts: &[MemberPart]) -> (Vec<u8>, Vec<u8>) {
    let encoding = Encoding::new(Codec::None);
    let mut writer = encoding
        .start_delta(Vec::new(), base, Alignment::None)
        .unwrap();
    let (mut content, mut at) = (Vec::new(), 0);
    for part in parts {
        let next = |size: usize| at..base.len().min(at + size);
        let stretch = |range: &std::ops::Range<usize>| Stretch {
            offset: range.start as u64,
            length: range.len() as u64,
        };
        match part {
            MemberPart::Copied(size) => {
                let range = next(*size);
                writer.copy_base(stretch(&range)).unwrap();
                content.extend_from_slice(&base[range.clone()]);
                at = range.end;
            }
            MemberPart::Beside(size, kind, edits) => {
                let range = next(*size);
                let new = apply(base[range.clone()].to_vec(), edits);
                writer.align(alignment(*kind), stretch(&range)).unwrap();
                writer.write_all(&new).unwrap();
                content.extend_from_slice(&new);
                at = range.end;
            }
            MemberPart::New(size) => {
                let new = noise(77, *size);
                writer.align(Alignment::None, Stretch::default()).unwrap();
                writer.write_all(&new).unwrap();
                content.extend_from_slice(&new);
            }
            MemberPart::Skipped(size) => at = next(*size).end,
        }
    }
    let (delta, measured) = writer.finish().unwrap();
    assert_eq!(measured.content.size, content.len() as u64);
    let sum = Sha256::digest(&content);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(measured.content.sha256, sum);
    (content, delta)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What was copied and what was written come back, and both were measured.
    #[test]
    fn parts_come_back(rows in any::<bool>(), parts in parts()) {
        let base = if rows { lines(3, 150_000) } else { noise(5, 5_000_000) };
        let (content, delta) = encode_parts(&base, &parts);
        prop_assert!(decode(&base, &delta, 100_000).unwrap() == content);
    }
}

/// Members that are read although nothing of them has changed take no window each.
#[test]
fn parts_that_follow_one_another_share_windows() {
    let base = noise(6, 3 << 20);
    let parts = vec![MemberPart::Beside(1536, AlignmentKind::Pages(4096), Vec::new()); 2048];
    let (content, delta) = encode_parts(&base, &parts);
    assert!(content == base);
    assert!(delta.len() < 150, "{}", delta.len());
    let copied = vec![MemberPart::Copied(1536); 2048];
    let (_, delta) = encode_parts(&base, &copied);
    assert!(delta.len() < 50, "{}", delta.len());
}

/// Stretches above the 16 MiB that a window may copy, by other decoders, too.
#[test]
fn large_stretches_have_checksums_that_xdelta3_knows() {
    let base = noise(7, 40 << 20);
    let parts = [
        MemberPart::Copied(35 << 20),
        MemberPart::New(1000),
        MemberPart::Copied(5000),
    ];
    let (content, delta) = encode_parts(&base, &parts);
    assert!(decode(&base, &delta, 1 << 20).unwrap() == content);
    let mut other = base.clone();
    other[20 << 20] ^= 1;
    assert!(decode(&other, &delta, 1 << 20).is_err());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base"), &base).unwrap();
    std::fs::write(directory.path().join("other"), &other).unwrap();
    std::fs::write(directory.path().join("delta"), &delta).unwrap();
    let undelta = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pipeline/delta/undelta.py");
    for (command, is_whole) in [
        ("xdelta3 -d -c -s base delta".to_owned(), true),
        ("xdelta3 -d -c -s <(cat base) <(cat delta)".to_owned(), true),
        (format!("python3 {undelta} <(cat base) delta"), true),
        (
            "xdelta3 -d -c -s <(cat other) <(cat delta)".to_owned(),
            false,
        ),
        (format!("python3 {undelta} other delta"), false),
    ] {
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert_eq!(output.status.success(), is_whole, "{command}");
        assert!(!is_whole || output.stdout == content, "{command}");
    }
}
