//! What is damaged, cut, hostile or of another base is an error, and nothing else.

use super::*;
use std::process::Command;

/// Every flipped bit is found, or makes no difference. Only in a stretch that was not read, and so
/// has no checksum, other bytes of the base may come.
#[test]
fn flipped_bits_are_found() {
    let (base, content, delta) = sample();
    let mut found = 0;
    for bit in 0..delta.len() * 8 {
        let mut damaged = delta.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match decode(&base, &damaged, 1 << 20) {
            Ok(mut decoded) => {
                decoded.splice(3000..3500, content[3000..3500].iter().copied());
                assert!(decoded == content, "bit {bit}");
            }
            Err(error) => {
                assert!(is_damage(&error), "bit {bit}: {error}");
                found += 1;
            }
        }
    }
    assert!(
        found > delta.len() * 8 - 30,
        "{found} of {}",
        delta.len() * 8
    );
}

/// With checksums in every window, nothing wrong ever comes to its end.
#[test]
fn no_flipped_bit_gives_wrong_content() {
    let base = noise(1, 9000);
    let content = apply(
        base.clone(),
        &[(100, 5, 9), (300, 0, 40), (700, 8, 8), (999, 0, 300)],
    );
    let (delta, _) = encode(&base, &content, Alignment::Pages(1024), 0, 1 << 20);
    for bit in 0..delta.len() * 8 {
        let mut damaged = delta.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = decode(&base, &damaged, 1 << 14) {
            assert!(decoded == content, "bit {bit}");
        }
    }
    for bit in (0..base.len() * 8).step_by(5) {
        let mut damaged = base.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = decode(&damaged, &delta, 1 << 14) {
            assert!(decoded == content, "bit {bit} of the base");
        }
    }
}

#[test]
fn every_cut_is_found() {
    let (base, _, delta) = sample();
    for size in 0..delta.len() {
        let error = decode(&base, &delta[..size], 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            format!("the delta is truncated: it ends at byte {size}, before it is complete")
        );
    }
    let error = decode(&base[..6000], &delta, 1 << 20).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the base is not that of the delta: it ends at byte")
    );
}

#[test]
fn bytes_after_the_end_are_found() {
    let (base, _, mut delta) = sample();
    delta.push(0);
    let error = decode(&base, &delta, 1 << 20).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it is the last one, but bytes follow"),
        "{error}"
    );
}

#[test]
fn another_base_is_found() {
    let (_, _, delta) = sample();
    let error = decode(&noise(3, 9000), &delta, 1 << 20).unwrap_err();
    assert!(
        error.to_string().contains("or the base is another one"),
        "{error}"
    );
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Errors of either side come out as they are, and stay.
#[test]
fn errors_of_both_sides_come_out() {
    struct SilentServer;
    impl Read for SilentServer {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        }
    }
    let (base, _, delta) = sample();
    let mut reader = DeltaReader::new(SilentServer, &delta[..]);
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let error = reader.read(&mut [0]).unwrap_err();
    assert_eq!(error.to_string(), "the delta has failed before");
    let mut reader = DeltaReader::new(&base[..], (&delta[..40]).chain(SilentServer));
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    for threads in [0, 2] {
        let mut writer = DeltaWriter::new(SilentServer, Vec::new(), Alignment::Pages(512), threads);
        assert!(writer.drain_base().is_err());
        assert!(
            writer.finish().is_err(),
            "what has failed can't be finished"
        );
        let mut writer = DeltaWriter::new(SilentServer, Vec::new(), Alignment::Pages(512), threads);
        let written = writer
            .write_all(&base)
            .and_then(|()| writer.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let full = &mut [0; 64][..];
        let mut writer = DeltaWriter::new(&base[..], full, Alignment::Pages(512), threads);
        let written = writer
            .write_all(&noise(9, 99))
            .and_then(|()| writer.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}

/// A window of these bytes after the header.
fn window(parts: &[&[u8]]) -> Vec<u8> {
    [&[0xd6, 0xc3, 0xc4, 0, 0][..], &parts.concat()].concat()
}

/// Windows that we never write are refused before anything is read or kept for them.
#[test]
fn hostile_windows_are_refused() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x7f];
    let above_16: &[u8] = &[0x88, 0x80, 0x80, 1];
    let mib2: &[u8] = &[0x81, 0x80, 0x80, 0];
    for (bytes, text) in [
        (window(&[&[2]]), "it is of the unknown kind 0x02"),
        (
            window(&[&[5], &huge, &[0]]),
            "it claims 34359738367 bytes of its base at byte 0",
        ),
        (window(&[&[5], above_16, &[0]]), "it claims 16777217 bytes"),
        (
            window(&[&[4], &huge]),
            "it claims a body of 34359738367 bytes",
        ),
        (
            window(&[&[4, 12], mib2, &[0, 0, 0, 0, 0, 0, 0, 0]]),
            "it claims 2097152 bytes",
        ),
        (
            window(&[&[4, 10, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]]),
            "its parts are compressed",
        ),
        (
            window(&[&[4, 9, 1, 0, 1, 0, 0, 0, 0, 0, 0]]),
            "the sizes of its parts do not add up",
        ),
        (
            window(&[&[4, 10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 7]]),
            "it has less content than it says",
        ),
        (
            window(&[&[4, 10, 1, 0, 0, 1, 0, 0, 0, 0, 0, 2]]),
            "it has too few new bytes",
        ),
        (
            window(&[&[4, 12, 1, 0, 2, 1, 0, 0, 0, 0, 0, 7, 7, 3]]),
            "it has more content than",
        ),
        (
            window(&[&[5, 4, 0, 11, 4, 0, 0, 1, 1, 0, 0, 0, 0, 20, 1]]),
            "what is not in its",
        ),
        (
            window(&[&[1, 2, 0, 8, 4, 0, 0, 2, 1, 19, 4, 0]]),
            "whole stretch may be like it",
        ),
        (window(&[&[0x81; 11]]), "it is of the unknown kind 0x81"),
        (
            window(&[&[1], &[0xff; 10], &[0]]),
            "it has an integer of more than 64 bits",
        ),
    ] {
        let error = DeltaReader::new(io::repeat(0), &bytes[..])
            .read_to_end(&mut Vec::new())
            .unwrap_err();
        assert!(error.to_string().contains(text), "{error}, not {text}");
    }
    let copy: &[u8] = &[1, 4, 9, 7, 4, 0, 0, 1, 1, 20, 0];
    let back: &[u8] = &[1, 4, 8, 7, 4, 0, 0, 1, 1, 20, 0];
    let error = decode(&[7; 20], &window(&[copy, back]), 100).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the delta is damaged: the window at byte 16: it goes back in its base, from byte 13 to \
         byte 8"
    );
}

proptest! {
    #[test]
    fn hostile_bytes_do_no_harm(
        mut delta in proptest::collection::vec(
            prop_oneof![Just(0_u8), Just(4), Just(5), Just(1), 0..40_u8, any::<u8>()], 0..400
        ),
        has_header in any::<bool>(),
        base_size in 0..200_u16,
    ) {
        if has_header {
            delta.splice(0..0, [0xd6, 0xc3, 0xc4, 0, 0]);
        }
        let base = vec![7; usize::from(base_size)];
        let mut reader = DeltaReader::new(&base[..], &delta[..]).with_whole_base();
        let read = io::copy(&mut reader, &mut io::sink());
        // The smallest window has 13 bytes.
        let most = (delta.len() / 13 + 1) * MAX_WINDOW + base.len();
        prop_assert!(reader.statistics().content() <= most as u64);
        if read.is_err() {
            prop_assert!(reader.read(&mut [0]).is_err());
        }
    }
}

/// The decoder that lies in every store gives the content or an error, too.
#[test]
fn python_decoder_finds_damage_too() {
    let (base, content, delta) = sample();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base"), &base).unwrap();
    let decode = |name: &str, delta: &[u8]| {
        std::fs::write(directory.path().join("delta"), delta).unwrap();
        let output = Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/pipeline/delta/undelta.py"
            ))
            .args([name, "delta"])
            .current_dir(&directory)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    };
    assert_eq!(decode("base", &delta).as_deref(), Some(&content[..]));
    for at in (0..delta.len()).step_by(197) {
        let mut damaged = delta.clone();
        damaged[at] ^= 4;
        let decoded = decode("base", &damaged);
        assert!(
            decoded.is_none_or(|decoded| decoded == content),
            "byte {at}"
        );
        assert_eq!(decode("base", &delta[..at]), None, "cut at {at}");
    }
    std::fs::write(directory.path().join("other"), noise(3, 9000)).unwrap();
    assert_eq!(decode("other", &delta), None);
}
