//! The laws of deltas: what was written is read, by every decoder.

use super::*;
use std::process::Command;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What was written is read, however both are cut into pieces.
    #[test]
    fn content_comes_back(
        (base, content) in pair(),
        kind in kind(),
        threads in 0..4_usize,
        pieces in (1000..3_000_000_usize, 700..3_000_000_usize),
    ) {
        let (delta, _) = encode(&base, &content, alignment(kind), threads, pieces.0);
        prop_assert!(decode(&base, &delta, pieces.1).unwrap() == content);
        let (alone, _) = encode(&base, &content, alignment(kind), 0, 1 << 30);
        prop_assert!(alone == delta, "pieces and threads make no difference");
    }

    /// The same for small content, byte by byte.
    #[test]
    fn single_bytes_come_back(
        base in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\n')], 0..400),
        edits in edits(),
        kind in kind(),
    ) {
        let content = apply(base.clone(), &edits);
        let (delta, _) = encode(&base, &content, alignment(kind), 0, 1);
        prop_assert!(decode(&base, &delta, 1).unwrap() == content);
    }

    /// A delta of a delta of a delta, all in one pass.
    #[test]
    fn deltas_nest((base, second) in pair(), more in edits(), kind in kind()) {
        let third = apply(second.clone(), &more);
        let (one, _) = encode(&base, &second, alignment(kind), 2, 1 << 20);
        let base_of_third = DeltaReader::new(&base[..], &one[..]).with_whole_base();
        let mut writer = DeltaWriter::new(base_of_third, Vec::new(), alignment(kind), 2);
        writer.write_all(&third).unwrap();
        let (two, _) = writer.finish().unwrap();
        let nested = DeltaReader::new(&base[..], &one[..]).with_whole_base();
        let mut content = Vec::new();
        DeltaReader::new(nested, &two[..])
            .with_whole_base()
            .read_to_end(&mut content)
            .unwrap();
        prop_assert!(content == third);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// xdelta3 and the decoder that lies in every store read the same, of files and of pipes.
    #[test]
    fn other_decoders_agree((base, content) in pair(), kind in kind()) {
        let (delta, _) = encode(&base, &content, alignment(kind), 2, 1 << 20);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("base"), &base).unwrap();
        std::fs::write(directory.path().join("delta"), &delta).unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        let python = format!("python3 {root}/src/pipeline/delta/undelta.py");
        for command in [
            "xdelta3 -d -c -s base delta".to_owned(),
            "xdelta3 -d -c -s <(cat base) <(cat delta)".to_owned(),
            format!("{python} base delta"),
            format!("{python} <(cat base) <(cat delta)"),
        ] {
            let output = Command::new("bash")
                .args(["-c", &command])
                .current_dir(&directory)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            prop_assert!(output.status.success(), "{command}: {errors}");
            prop_assert!(output.stdout == content, "{command}");
        }
    }
}

#[test]
fn stretches_are_laid_one_after_the_other() {
    let (base, content, delta) = sample();
    assert_eq!(decode(&base, &delta, 1 << 20).unwrap(), content);
    let mut writer = DeltaWriter::new(&base[..], Vec::new(), Alignment::Pages(512), 0);
    let back = writer.copy_base(Stretch::default()).unwrap_err();
    assert_eq!(back.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn large_stretches_are_not_read() {
    let base = noise(2, (20 << 20) + 7);
    let whole = Stretch {
        offset: 0,
        length: base.len() as u64,
    };
    let mut writer = DeltaWriter::new(io::empty(), Vec::new(), Alignment::None, 0);
    // Those of single files follow one another.
    for offset in (0..whole.length).step_by(1000) {
        let length = (whole.length - offset).min(1000);
        writer.copy_base(Stretch { offset, length }).unwrap();
    }
    let (delta, statistics) = writer.finish().unwrap();
    assert_eq!((statistics.unread, statistics.added), (whole.length, 0));
    assert!(delta.len() < 64);
    assert!(decode(&base, &delta, 1 << 20).unwrap() == base);
}

#[test]
fn nothing_is_a_delta_too() {
    for base in [&b""[..], b"base"] {
        let (delta, statistics) = encode(base, b"", Alignment::Pages(4096), 2, 1);
        assert_eq!((delta.len(), statistics), (16, DeltaStatistics::default()));
        assert_eq!(decode(base, &delta, 1).unwrap(), b"");
    }
}

#[test]
fn both_directions_may_go_to_another_thread() {
    fn may_go<T: Send>() {}
    may_go::<DeltaWriter<io::Empty, io::Sink>>();
    may_go::<DeltaReader<io::Empty, io::Empty>>();
}
