//! What the tests of deltas share: content that has something in common with its base, and both
//! directions in one call.

use crate::pipeline::delta::*;
use proptest::prelude::*;
use std::io::{self, Read, Write};

mod damage;
mod laws;
mod members;

/// How a test aligns.
#[derive(Debug, Clone, Copy)]
pub enum AlignmentKind {
    None,
    Pages(usize),
    Rows,
}

fn copy_name(line: &[u8]) -> Option<&[u8]> {
    line.split(|byte| *byte == b' ').nth(1)
}

/// Rows whose sections begin with `COPY name`.
pub fn rows(base_names: &[&str]) -> Alignment {
    Alignment::Rows(RowOptions {
        finder: Box::new(|| Box::new(LineSections::new("COPY ", copy_name))),
        base_names: base_names
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect(),
        shortest_line: 1,
        reopen_base: None,
    })
}

fn alignment(kind: AlignmentKind) -> Alignment {
    match kind {
        AlignmentKind::None => Alignment::None,
        AlignmentKind::Pages(size) => Alignment::Pages(size),
        AlignmentKind::Rows => rows(&[]),
    }
}

/// A reader that gives so many bytes at a time, at most.
pub struct Piecewise<'a>(pub &'a [u8], pub usize);

impl Read for Piecewise<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

/// The delta of `content`, written in pieces of this size.
pub fn encode(
    base: &[u8],
    content: &[u8],
    alignment: Alignment,
    threads: usize,
    piece: usize,
) -> (Vec<u8>, DeltaStatistics) {
    let mut writer = DeltaWriter::new(Piecewise(base, piece), Vec::new(), alignment, threads);
    for piece in content.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    assert_eq!(writer.drain_base().unwrap(), base.len() as u64);
    let (delta, statistics) = writer.finish().unwrap();
    assert_eq!(statistics.content(), content.len() as u64);
    (delta, statistics)
}

/// What the reader makes of a delta, in pieces of this size.
pub fn decode(base: &[u8], delta: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    let mut reader =
        DeltaReader::new(Piecewise(base, piece), Piecewise(delta, piece)).with_whole_base();
    let mut content = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
    assert_eq!(reader.base_size(), Some(base.len() as u64));
    assert_eq!(reader.statistics().content(), content.len() as u64);
    Ok(content)
}

/// Bytes of which no eight are like eight others.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut words = Vec::with_capacity(count + 8);
    while words.len() < count {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        words.extend_from_slice(&(state >> 32).to_le_bytes()[..4]);
    }
    words.truncate(count);
    words
}

/// Lines with numbers, and sections.
fn lines(seed: u64, count: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..count as u64 {
        if number.is_multiple_of(97) {
            text += &format!("COPY t{}\n", number / 97);
        }
        let value = (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text += &format!("{number}\t{value:x}\tsome text\n");
    }
    text.into_bytes()
}

/// A change of content: at a place (in thousandths), this many bytes are replaced by so many.
type Edit = (usize, usize, usize);

fn apply(mut content: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for (number, &(place, removed, added)) in edits.iter().enumerate() {
        let from = content.len() * place / 1000;
        let to = (from + removed).min(content.len());
        content.splice(from..to, noise(number as u64, added));
    }
    content
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let size = || prop_oneof![Just(0_usize), 1..40_usize, 100..5000_usize];
    proptest::collection::vec((0..=1000_usize, size(), size()), 0..12)
}

/// A base of up to 3 MiB and content that has something in common with it.
fn pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let noisy = (
        0..4_u64,
        prop_oneof![0..3000_usize, 900_000..3_000_000_usize],
    )
        .prop_map(|(seed, count)| noise(seed, count));
    let rows = (0..4_u64, prop_oneof![0..200_usize, 20_000..60_000_usize])
        .prop_map(|(seed, count)| lines(seed, count));
    let few = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\n')], 0..2000);
    (prop_oneof![noisy, rows, few], edits())
        .prop_map(|(base, edits)| (base.clone(), apply(base, &edits)))
}

fn kind() -> impl Strategy<Value = AlignmentKind> {
    prop_oneof![
        Just(AlignmentKind::None),
        (9..=16_u32).prop_map(|bits| AlignmentKind::Pages(1 << bits)),
        Just(AlignmentKind::Rows),
    ]
}

/// A small delta with windows of every kind, its base, and its content.
fn sample() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let base = noise(1, 9000);
    let mut content = apply(
        base.clone(),
        &[(100, 5, 9), (300, 0, 40), (700, 8, 8), (999, 0, 300)],
    );
    let mut writer = DeltaWriter::new(&base[..], Vec::new(), Alignment::None, 0);
    let stretch = |offset, length| Stretch { offset, length };
    writer
        .align(Alignment::Pages(512), stretch(0, 3000))
        .unwrap();
    writer.write_all(&content[..3000]).unwrap();
    writer.copy_base(stretch(3000, 500)).unwrap();
    writer.write_all(b"some new bytes").unwrap();
    writer
        .align(Alignment::Pages(4096), stretch(3600, 5000))
        .unwrap();
    writer.write_all(&content[3000..]).unwrap();
    let (delta, _) = writer.finish().unwrap();
    content.splice(3000..3000, [&base[3000..3500], b"some new bytes"].concat());
    (base, content, delta)
}
