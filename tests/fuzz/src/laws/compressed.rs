//! Compressed streams: as the formats' own libraries read them, on one thread and on several.

use super::{Dice, Pieces};
use dbbackup::fuzzing::{Codec, decoder, encoder};
use std::io::{Cursor, Read, Write};

/// Of a stream that says that it holds more than this only so much is read.
const MOST: u64 = 4 << 20;

/// What came out, and whether it was whole.
type Decoded = (Vec<u8>, Result<(), String>);

fn read(input: impl Read) -> Decoded {
    let mut content = Vec::new();
    let end = input.take(MOST).read_to_end(&mut content);
    (content, end.map(drop).map_err(|error| error.to_string()))
}

/// Neither threads nor pieces change anything, and only what the library takes is taken, with the
/// same content.
fn hold(codec: Codec, data: &[u8], library: impl FnOnce() -> Decoded) {
    let (content, end) = read(decoder(codec, 1, Cursor::new(data.to_vec())));
    for threads in [1, 3] {
        let (other, other_end) = read(decoder(codec, threads, Pieces::of(data)));
        assert_eq!(other_end.is_ok(), end.is_ok(), "{end:?} {other_end:?}");
        if end.is_ok() {
            assert!(other == content, "{threads} threads: another content");
        }
    }
    if end.is_ok() && !content.is_empty() && (content.len() as u64) < MOST {
        let (expected, expected_end) = library();
        assert_eq!(expected_end, Ok(()), "the library refuses it");
        assert!(expected == content, "another content than the library's");
    }
}

pub fn gzip(data: &[u8]) {
    // gunzip passes over zeros at the end, as tapes have them; the library does not.
    let end = data
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let padded = (end + 8).min(data.len());
    let whole = |length: usize| read(flate2::read::MultiGzDecoder::new(&data[..length]));
    let library = || {
        (end..=padded)
            .map(whole)
            .find(|(_, ended)| ended.is_ok())
            .unwrap_or_else(|| whole(data.len()))
    };
    hold(Codec::Gzip { level: 6 }, data, library);
}

pub fn zstd(data: &[u8]) {
    let library = || match ::zstd::stream::read::Decoder::new(data) {
        // As `zstd --long=31` does.
        Ok(mut decoder) => match decoder.window_log_max(31) {
            Ok(()) => read(decoder),
            Err(error) => (Vec::new(), Err(error.to_string())),
        },
        Err(error) => (Vec::new(), Err(error.to_string())),
    };
    hold(Codec::Zstd { level: 3 }, data, library);
}

/// What was packed comes back, the library reads it, too, and a changed byte is an error or changes
/// nothing.
pub fn packed(data: &[u8]) {
    let mut dice = Dice(data);
    let codec = match dice.byte() % 3 {
        0 => Codec::Zstd {
            level: (1 + dice.byte() % 9).cast_signed(),
        },
        _ => Codec::Gzip {
            level: 1 + dice.byte() % 9,
        },
    };
    let (threads, at, flip) = (1 + dice.byte() % 3, dice.number(), dice.byte());
    // Blocks are long; a few bytes often make more than one.
    let content = dice.0.repeat(1 + usize::from(dice.byte()) * 16);
    let mut encoder = encoder(codec, threads.into(), Vec::new());
    encoder.write_all(&content).unwrap();
    let mut bytes = encoder.finish().unwrap();
    hold(codec, &bytes, || (content.clone(), Ok(())));
    let place = (at % bytes.len().max(1) as u64) as usize;
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= flip.max(1);
    }
    let (changed, end) = read(decoder(codec, threads.into(), Cursor::new(bytes)));
    assert!(
        end.is_err() || changed == content || content.len() as u64 >= MOST,
        "a changed byte at {place} passes"
    );
}
