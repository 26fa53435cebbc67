//! Deltas that anybody may have written, and those that we write.

use dbbackup::fuzzing::{Alignment, DeltaReader, DeltaWriter, LineSections, RowOptions};
use std::io::{self, Read, Write};

/// A window has at most so many bytes.
const MAX_WINDOW: usize = 1 << 20;

/// Reads a delta that may be hostile. The first two bytes say how much of the rest is its base.
/// Whatever the bytes are: it ends, it gives no more than each window may have, and once it has
/// failed it gives nothing any more.
pub fn hostile(bytes: &[u8]) {
    let Some((size, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (base, delta) = rest.split_at(usize::from(u16::from_le_bytes(*size)).min(rest.len()));
    let mut reader = DeltaReader::new(base, delta).with_whole_base();
    let read = io::copy(&mut reader, &mut io::sink());
    // The smallest window has 13 bytes.
    let most = (delta.len() / 13 + 1) * MAX_WINDOW + base.len();
    assert!(reader.statistics().content() <= most as u64);
    match read {
        Ok(size) => assert_eq!(size, reader.statistics().content()),
        Err(_) => assert!(reader.read(&mut [0]).is_err()),
    }
}

/// Makes a delta and reads it back. The first byte says how, the next two how much of the rest is
/// the base.
pub fn round_trip(bytes: &[u8]) {
    let Some(([kind, size @ ..], rest)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let (base, content) = rest.split_at(usize::from(u16::from_le_bytes(*size)).min(rest.len()));
    let mut writer = DeltaWriter::new(base, Vec::new(), alignment(*kind), 0);
    let written = writer.write_all(content).and_then(|()| writer.finish());
    let (delta, statistics) = written.expect("neither a slice nor a vector fails");
    assert_eq!(statistics.content(), content.len() as u64);
    let mut decoded = Vec::new();
    let read = DeltaReader::new(base, &delta[..]).read_to_end(&mut decoded);
    read.expect("what we wrote can be read");
    assert_eq!(decoded, content);
}

/// Rows for odd kinds, pages for even ones.
fn alignment(kind: u8) -> Alignment {
    fn name(line: &[u8]) -> Option<&[u8]> {
        line.get(1..)
    }
    if kind & 1 == 0 {
        return Alignment::Pages(512 << (kind >> 1 & 7));
    }
    Alignment::Rows(RowOptions {
        finder: Box::new(|| Box::new(LineSections::new("#", name))),
        base_names: [b"a".to_vec(), b"b".to_vec()].into(),
        shortest_line: if kind & 2 == 0 { 1 } else { 6 },
        reopen_base: None,
    })
}
