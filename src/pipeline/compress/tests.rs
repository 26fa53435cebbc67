//! What must hold for every codec, the block size made small so that streams have many blocks.

use super::blocks::Encoder;
use super::*;
use proptest::prelude::*;
use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

const GZIP: Codec = Codec::Gzip { level: 1 };
const ZSTD: Codec = Codec::Zstd { level: 1 };

fn small_encoder<W: Write + Send + 'static>(
    codec: Codec,
    block: usize,
    threads: usize,
    sink: W,
) -> Encoder<W> {
    match codec {
        Codec::None => Encoder::start(plain::Packer, threads, sink),
        Codec::Gzip { level } => Encoder::start(gzip::Packer::new(level, block), threads, sink),
        Codec::Zstd { level } => Encoder::start(zstd::Packer::new(level, block), threads, sink),
    }
}

fn encode(codec: Codec, block: usize, threads: usize, content: &[u8]) -> Vec<u8> {
    let mut encoder = small_encoder(codec, block, threads, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn decode(codec: Codec, threads: usize, stored: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decoder(codec, threads, io::Cursor::new(stored.to_vec())).read_to_end(&mut content)?;
    Ok(content)
}

/// Content that compresses, differently in each part.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24
    };
    (0..length)
        .map(|at| {
            if at % 7 < 4 {
                b"abcd"[at % 4]
            } else {
                next() as u8
            }
        })
        .collect()
}

/// Fails the test rather than hang.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_secs(120))
        .expect("no hang and no panic")
}

/// Takes `room` bytes and then fails with an error that has a kind and an inside.
struct Full {
    room: usize,
}

#[derive(Debug)]
struct Inside;

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("inside")
    }
}

impl std::error::Error for Inside {}

fn is_original(error: &io::Error) -> bool {
    error.kind() == ErrorKind::StorageFull
        && error.get_ref().is_some_and(|inner| inner.is::<Inside>())
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::Error::new(ErrorKind::StorageFull, Inside));
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Full {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.write(buffer)?;
        buffer[..taken].fill(7);
        Ok(taken)
    }
}

/// A source that gives `step` bytes at a time.
struct Slow {
    stored: io::Cursor<Vec<u8>>,
    step: usize,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = self.step.min(buffer.len());
        self.stored.read(&mut buffer[..step])
    }
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::None),
        (1..=12_u8).prop_map(|level| Codec::Gzip { level }),
        (1..=12_i8).prop_map(|level| Codec::Zstd { level }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(
        codec in codecs(),
        blocks in 0_usize..5,
        beyond in -2_isize..3,
        block in 1_usize..3000,
        threads in 1_usize..5,
        steps in prop::collection::vec(1_usize..5000, 1..20),
        step in 1_usize..3000,
    ) {
        let content = text((blocks * block).saturating_add_signed(beyond));
        let mut encoder = small_encoder(codec, block, threads, Vec::new());
        let mut rest = &content[..];
        for step in steps.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*step));
            encoder.write_all(now).unwrap();
            encoder.flush().unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let stored = encoder.finish().unwrap();
        let mut decoder = decoder(codec, threads, Slow { stored: io::Cursor::new(stored), step });
        let mut back = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match decoder.read(&mut buffer).unwrap() {
                0 => break,
                n => back.extend_from_slice(&buffer[..n]),
            }
        }
        prop_assert!(back == content);
        prop_assert_eq!(decoder.read(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn whole_blocks() {
    for (codec, length) in [
        (Codec::None, (3 << 20) + 5),
        (GZIP, (3 << 20) + 5),
        (ZSTD, (9 << 20) + 5),
    ] {
        let content = text(length);
        let mut encoder = encoder(codec, 2, Vec::new());
        encoder.write_all(&content).unwrap();
        assert!(
            decode(codec, 2, &encoder.finish().unwrap()).unwrap() == content,
            "{codec:?}"
        );
    }
}

#[test]
fn nothing_is_a_stream_too() {
    for codec in [Codec::None, GZIP, ZSTD] {
        let stored = encode(codec, 10, 2, b"");
        assert_eq!(stored.is_empty(), codec == Codec::None);
        assert_eq!(decode(codec, 2, &stored).unwrap(), b"");
    }
}

#[test]
fn streams_may_follow_one_another() {
    for codec in [GZIP, ZSTD] {
        let mut stored = encode(codec, 10, 2, b"first, longer than a block; ");
        stored.extend(encode(codec, 10, 2, b""));
        stored.extend(encode(codec, 10, 2, b"second"));
        assert_eq!(
            decode(codec, 2, &stored).unwrap(),
            b"first, longer than a block; second"
        );
    }
}

#[test]
fn every_truncation_is_found() {
    for codec in [GZIP, ZSTD] {
        for content in [&text(700)[..], b""] {
            let stored = encode(codec, 256, 1, content);
            for length in 0..stored.len() {
                let error = decode(codec, 1, &stored[..length]).expect_err("truncated");
                assert_eq!(
                    error.kind(),
                    ErrorKind::UnexpectedEof,
                    "{codec:?} cut to {length}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_missing_block_is_found() {
    let content = text(768);
    // Each block as a stream of its own tells where it lies in the stream of all.
    let of = |codec, range: std::ops::Range<usize>| encode(codec, 256, 1, &content[range]).len();
    for (codec, frame) in [(GZIP, of(GZIP, 0..0)), (ZSTD, of(ZSTD, 0..0) + 8)] {
        let opening = if codec == ZSTD { 20 } else { 0 };
        let stored = encode(codec, 256, 1, &content);
        let first = opening + of(codec, 0..256) - frame;
        let second = first + of(codec, 256..512) - frame;
        let without: Vec<u8> = [&stored[..first], &stored[second..]].concat();
        let error = decode(codec, 1, &without).expect_err("a block is missing");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{codec:?}: {error}");
    }
}

#[test]
fn a_flipped_byte_never_changes_the_content() {
    for codec in [GZIP, ZSTD] {
        let content = text(600);
        let stored = encode(codec, 256, 1, &content);
        let mut found = 0;
        for at in 0..stored.len() {
            for flip in [1, 4, 0x10, 0x20, 0x80, 0xff] {
                let mut other = stored.clone();
                other[at] ^= flip;
                match decode(codec, 1, &other) {
                    Ok(back) => assert!(
                        back == content,
                        "{codec:?}: byte {at} ^ {flip:#x} changed the content silently"
                    ),
                    Err(_) => found += 1,
                }
            }
        }
        assert!(
            found > stored.len() * 5,
            "{codec:?}: {found} of {}",
            stored.len() * 6
        );
    }
}

#[test]
fn absurd_sizes_are_damage() {
    let stored = encode(GZIP, 256, 1, &text(600));
    let mut huge = stored.clone();
    huge[16..20].fill(0xff);
    assert!(
        decode(GZIP, 1, &huge)
            .unwrap_err()
            .to_string()
            .contains("claims a size")
    );
    huge[16..20].fill(0);
    assert!(
        decode(GZIP, 1, &huge)
            .unwrap_err()
            .to_string()
            .contains("claims a size")
    );
    let mut stored = encode(ZSTD, 256, 1, b"x");
    // The first frame's header: its content is said to be of 2^64 bytes less one.
    stored.splice(
        24..26,
        [0xe4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    );
    assert!(
        decode(ZSTD, 1, &stored)
            .unwrap_err()
            .to_string()
            .contains("absurd")
    );
}

#[test]
fn what_follows_the_end_is_an_error() {
    for codec in [GZIP, ZSTD] {
        for tail in [&b"x"[..], b"some more text that is no stream", &[0; 40]] {
            let mut stored = encode(codec, 256, 1, b"content");
            stored.extend_from_slice(tail);
            assert!(decode(codec, 1, &stored).is_err(), "{codec:?} and {tail:?}");
        }
    }
}

#[test]
fn errors_of_the_sink_come_back_as_they_were() {
    for codec in [Codec::None, GZIP, ZSTD] {
        let length = if codec == Codec::None { 3 << 20 } else { 2000 };
        let stored = encode(codec, 100, 2, &text(length)).len();
        for room in (0..stored).step_by((stored / 40).max(1)) {
            let error = in_time(move || {
                let mut encoder = small_encoder(codec, 100, 2, Full { room });
                if let Err(error) = encoder.write_all(&text(length)) {
                    assert!(
                        !is_original(&encoder.write(b"more").unwrap_err()),
                        "reported once"
                    );
                    assert!(encoder.finish().is_err());
                    return error;
                }
                encoder.finish().err().expect("the sink is too small")
            });
            assert!(is_original(&error), "{codec:?}, {room}: {error}");
        }
    }
}

#[test]
fn errors_of_the_source_come_out_as_they_were() {
    let foreign = gzipped(&text(5000));
    for (codec, stored) in [
        (Codec::None, text(5000)),
        (GZIP, encode(GZIP, 100, 2, &text(5000))),
        (ZSTD, encode(ZSTD, 100, 2, &text(5000))),
        (GZIP, foreign),
        (
            ZSTD,
            ::zstd::stream::encode_all(&text(5000)[..], 1).unwrap(),
        ),
    ] {
        for length in [0, 1, 30, stored.len() / 2, stored.len()] {
            let source = io::Cursor::new(stored[..length].to_vec()).chain(Full { room: 0 });
            let mut decoder = decoder(codec, 2, source);
            let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
            assert!(is_original(&error), "{codec:?}, {length}: {error}");
            assert!(decoder.read(&mut [0; 10]).is_err(), "an error is no end");
        }
    }
}

#[test]
fn dropping_early_does_not_hang() {
    for codec in [Codec::None, GZIP, ZSTD] {
        in_time(move || {
            for length in [0, 1, 5000] {
                let mut encoder = small_encoder(codec, 100, 3, Vec::new());
                encoder.write_all(&text(length)).unwrap();
                drop(encoder);
                let mut failing = small_encoder(codec, 100, 3, Full { room: 10 });
                let _ = failing.write_all(&text(length));
            }
            let stored = encode(codec, 100, 2, &text(100_000));
            for reads in [0, 1, 10] {
                let mut decoder = decoder(codec, 3, io::Cursor::new(stored.clone()));
                for _ in 0..reads {
                    decoder.read_exact(&mut [0; 99]).unwrap();
                }
            }
        });
    }
}

#[test]
fn a_panicking_sink_is_an_error() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    in_time(|| {
        let mut encoder = small_encoder(GZIP, 100, 2, Panics);
        assert!(
            encoder
                .write_all(&text(5000))
                .and_then(|()| encoder.finish().map(drop))
                .is_err()
        );
        drop(small_encoder(ZSTD, 100, 2, Panics));
    });
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .filename("x")
        .write(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_that_others_made() {
    let content = text(600_000);
    let one = gzipped(&content);
    assert!(decode(GZIP, 2, &one).unwrap() == content);
    let several = [
        gzipped(b"a"),
        gzipped(b""),
        gzipped(b"b"),
        encode(GZIP, 2, 2, b"ours"),
        gzipped(b"c"),
    ]
    .concat();
    assert_eq!(decode(GZIP, 2, &several).unwrap(), b"aboursc");
    assert_eq!(
        decode(GZIP, 2, &[&several[..], &[0; 1000]].concat()).unwrap(),
        b"aboursc",
        "padded"
    );
    for tail in [&b"x"[..], b"\0\0\0x", b"\x1f\x8bxxxxxxxxxxxxxx"] {
        assert!(decode(GZIP, 2, &[&several[..], tail].concat()).is_err());
    }
    let small = gzipped(b"some content");
    for length in 0..small.len() {
        assert_eq!(
            decode(GZIP, 1, &small[..length]).unwrap_err().kind(),
            ErrorKind::UnexpectedEof,
            "cut to {length}"
        );
    }
    assert_eq!(
        decode(GZIP, 1, b"not gzip, but long enough")
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn zstd_that_others_made() {
    let content = text(600_000);
    let unsized_frame = |content: &[u8]| ::zstd::stream::encode_all(content, 1).unwrap();
    let sized = |content: &[u8]| ::zstd::bulk::compress(content, 1).unwrap();
    let skippable = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
    assert!(decode(ZSTD, 2, &unsized_frame(&content)).unwrap() == content);
    assert!(decode(ZSTD, 2, &sized(&content)).unwrap() == content);
    let several = [
        skippable.clone(),
        sized(b""),
        sized(b"a"),
        encode(ZSTD, 2, 2, b"ours"),
        sized(b"b"),
        unsized_frame(b"c"),
        skippable,
        unsized_frame(b""),
        sized(b"d"),
    ];
    assert_eq!(decode(ZSTD, 2, &several.concat()).unwrap(), b"aoursbcd");
    assert!(decode(ZSTD, 2, &[several.concat(), b"xxxxxxxx".to_vec()].concat()).is_err());
    for small in [sized(b"some content"), unsized_frame(b"some content")] {
        for length in 0..small.len() {
            assert_eq!(
                decode(ZSTD, 1, &small[..length]).unwrap_err().kind(),
                ErrorKind::UnexpectedEof,
                "cut to {length}"
            );
        }
    }
    assert_eq!(
        decode(ZSTD, 1, b"not zstd").unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn a_large_window_is_read() {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(b"content").unwrap();
    assert_eq!(
        decode(ZSTD, 1, &encoder.finish().unwrap()).unwrap(),
        b"content"
    );
}

/// What `program` makes of `stored`; `None` where it is not installed.
fn through(program: &str, arguments: &[&str], stored: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: `{program}` is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let stored = stored.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&stored));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} says {}", output.status);
    Some(output.stdout)
}

#[test]
fn the_usual_tools_read_it() {
    for content in [text(300_000), Vec::new()] {
        let stored = encode(GZIP, 70_000, 2, &content);
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(&stored[..])
            .read_to_end(&mut back)
            .unwrap();
        assert!(back == content);
        let python =
            "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
        for (program, arguments) in [
            ("gzip", vec!["-dc"]),
            ("pigz", vec!["-dc"]),
            ("python3", vec!["-c", python]),
        ] {
            assert!(
                through(program, &arguments, &stored).is_none_or(|back| back == content),
                "{program}"
            );
        }
        let stored = encode(ZSTD, 70_000, 2, &content);
        assert!(::zstd::stream::decode_all(&stored[..]).unwrap() == content);
        assert!(
            through("zstd", &["-dc"], &stored).is_none_or(|back| back == content),
            "zstd"
        );
    }
}

#[test]
fn names_and_levels() {
    for (text, codec) in [
        ("none", Codec::None),
        ("gzip", Codec::Gzip { level: GZIP_LEVEL }),
        ("gzip:12", Codec::Gzip { level: 12 }),
        ("zstd", Codec::Zstd { level: ZSTD_LEVEL }),
        ("zstd:19", Codec::Zstd { level: 19 }),
    ] {
        assert_eq!(Codec::parse(text).unwrap(), codec);
        assert_eq!(codec.name(), text.split(':').next().unwrap());
        assert_eq!(
            codec
                .extension()
                .and_then(Codec::from_extension)
                .map(Codec::name),
            codec.extension().map(|_| codec.name())
        );
    }
    for text in [
        "", "lz4", "GZIP", "none:1", "gzip:0", "gzip:13", "gzip:", "gzip:x", "zstd:20", "zstd:-1",
        "zstd:256",
    ] {
        assert!(Codec::parse(text).is_err(), "{text}");
    }
    assert!(Codec::parse("lz4").unwrap_err().contains("`gzip:LEVEL`"));
    assert!(
        Codec::parse("gzip:13")
            .unwrap_err()
            .contains("from 1 to 12")
    );
}
