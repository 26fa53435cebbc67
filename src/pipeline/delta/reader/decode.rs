//! The content of one window.

use super::super::format::{WindowBody, damaged};
use super::super::instructions::{Instruction, InstructionReader};
use super::super::statistics::DeltaStatistics;
use super::super::stretch::Stretch;
use std::io;

/// Whether the window is its whole segment and nothing else.
pub fn is_lone_copy(segment: Stretch, parts: &WindowBody, body: &[u8]) -> io::Result<bool> {
    if segment.length != parts.content || !parts.data.is_empty() {
        return Ok(false);
    }
    let mut instructions = instructions(parts, body);
    let whole = Instruction::Copy {
        offset: 0,
        length: segment.length as usize,
    };
    let is_first = instructions.next_instruction()? == Some(whole);
    Ok(is_first && instructions.next_instruction()?.is_none())
}

fn instructions<'a>(parts: &WindowBody, body: &'a [u8]) -> InstructionReader<'a> {
    InstructionReader::new(
        &body[parts.instructions.clone()],
        &body[parts.addresses.clone()],
    )
}

/// Fills `content`, which has the size that the window says, with what it makes of its segment.
pub fn decode_window(
    parts: &WindowBody,
    body: &[u8],
    segment: &[u8],
    content: &mut [u8],
) -> io::Result<DeltaStatistics> {
    let mut left = content;
    let mut statistics = DeltaStatistics::default();
    let mut data = &body[parts.data.clone()];
    let mut instructions = instructions(parts, body);
    while let Some(instruction) = instructions.next_instruction()? {
        let bytes = match instruction {
            Instruction::Add { length } => {
                let (new, rest) = data
                    .split_at_checked(length)
                    .ok_or_else(|| damaged("it has too few new bytes"))?;
                statistics.added += length as u64;
                data = rest;
                new
            }
            Instruction::Copy { offset, length } => {
                statistics.copied += length as u64;
                usize::try_from(offset)
                    .ok()
                    .and_then(|offset| segment.get(offset..)?.get(..length))
                    .ok_or_else(|| damaged("it copies what is not in its segment"))?
            }
        };
        let (next, rest) = std::mem::take(&mut left)
            .split_at_mut_checked(bytes.len())
            .ok_or_else(|| damaged("it has more content than it says"))?;
        next.copy_from_slice(bytes);
        left = rest;
    }
    if !left.is_empty() || !data.is_empty() {
        return Err(damaged("it has less content than it says"));
    }
    Ok(statistics)
}
