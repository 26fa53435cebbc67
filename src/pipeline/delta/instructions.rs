//! The instructions of a window: the part of VCDIFF's default code table that is used.
//!
//! Only ADD (opcodes 1 to 18) and COPY by a plain address or by one of the near cache (opcodes 19
//! to 114) are written and read. The packing that follows shrinks runs, pairs of instructions and
//! repeated addresses just as well, and a decoder written by hand stays short.

use super::format::{damaged, integer_size, push_integer, take_byte, take_integer};
use std::io;

/// The opcode of an ADD whose size follows; the next ones are those of the sizes 1 to 17.
const ADD: u8 = 1;
/// The largest size of an ADD that is part of its opcode.
const MAX_SHORT_ADD: usize = 17;
/// The opcode of a COPY by a plain address whose size follows; the next ones are those of the
/// sizes 4 to 18. Each further way of addressing has 16 opcodes of its own.
const COPY: u8 = 19;
/// The sizes of a COPY that are part of its opcode.
const SHORT_COPIES: std::ops::RangeInclusive<usize> = 4..=18;
/// The first and the last way of addressing by the near cache. 0 is a plain address, 1 would be
/// one counted back from the content's end.
const NEAR: std::ops::RangeInclusive<u8> = 2..=5;

/// One step towards a window's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Take so many new bytes.
    Add { length: usize },
    /// Take so many bytes of the segment, from this offset in it on.
    Copy { offset: u64, length: usize },
}

/// The addresses of the last four copies, to which the next is often close.
#[derive(Debug, Default)]
struct NearCache {
    addresses: [u64; 4],
    next: usize,
}

impl NearCache {
    fn push(&mut self, address: u64) {
        self.addresses[self.next] = address;
        self.next = (self.next + 1) % 4;
    }

    /// Returns the shortest way to say `address`: its number and the integer to write.
    fn shorten(&self, address: u64) -> (u8, u64) {
        let near = NEAR.zip(self.addresses.iter());
        let ways = near.filter_map(|(way, near)| Some((way, address.checked_sub(*near)?)));
        ways.chain([(0, address)])
            .min_by_key(|(way, integer)| (integer_size(*integer), *integer, *way))
            .unwrap_or((0, address))
    }

    fn resolve(&self, way: u8, integer: u64) -> io::Result<u64> {
        let address = match way {
            0 => Some(integer),
            _ if NEAR.contains(&way) => {
                integer.checked_add(self.addresses[usize::from(way - NEAR.start())])
            }
            _ => None,
        };
        address.ok_or_else(|| damaged("it has a copy that we never write"))
    }
}

/// Writes the instructions of one window.
#[derive(Debug, Default)]
pub struct InstructionWriter {
    near: NearCache,
    /// The opcodes, and the sizes that are no part of them.
    pub opcodes: Vec<u8>,
    /// The addresses of the copies.
    pub addresses: Vec<u8>,
}

impl InstructionWriter {
    /// Begins another window; the buffers keep their memory.
    pub fn clear(&mut self) {
        self.near = NearCache::default();
        self.opcodes.clear();
        self.addresses.clear();
    }

    /// Appends an instruction of at least one byte.
    pub fn push(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Add { length } if length <= MAX_SHORT_ADD => {
                self.opcodes.push(ADD + length as u8);
            }
            Instruction::Add { length } => {
                self.opcodes.push(ADD);
                push_integer(&mut self.opcodes, length as u64);
            }
            Instruction::Copy { offset, length } => {
                let (way, integer) = self.near.shorten(offset);
                let opcode = COPY + 16 * way;
                if SHORT_COPIES.contains(&length) {
                    self.opcodes
                        .push(opcode + 1 + (length - SHORT_COPIES.start()) as u8);
                } else {
                    self.opcodes.push(opcode);
                    push_integer(&mut self.opcodes, length as u64);
                }
                push_integer(&mut self.addresses, integer);
                self.near.push(offset);
            }
        }
    }
}

/// Reads the instructions of one window.
pub struct InstructionReader<'a> {
    near: NearCache,
    opcodes: &'a [u8],
    addresses: &'a [u8],
}

impl<'a> InstructionReader<'a> {
    /// Begins to read these two parts of a window.
    pub fn new(opcodes: &'a [u8], addresses: &'a [u8]) -> Self {
        InstructionReader {
            near: NearCache::default(),
            opcodes,
            addresses,
        }
    }

    /// Returns the next instruction; `None` after the last one.
    ///
    /// # Errors
    /// It is none that we write, or the parts do not end together.
    pub fn next_instruction(&mut self) -> io::Result<Option<Instruction>> {
        if self.opcodes.is_empty() {
            return match self.addresses {
                [] => Ok(None),
                _ => Err(damaged("it has more addresses than copies")),
            };
        }
        let opcode = take_byte(&mut self.opcodes)?;
        let instruction = match opcode {
            ADD..COPY => Instruction::Add {
                length: self.take_length(opcode - ADD, 1)?,
            },
            COPY..115 => {
                let (way, size) = ((opcode - COPY) / 16, (opcode - COPY) % 16);
                let length = self.take_length(size, *SHORT_COPIES.start())?;
                let offset = self.near.resolve(way, take_integer(&mut self.addresses)?)?;
                self.near.push(offset);
                Instruction::Copy { offset, length }
            }
            _ => return Err(damaged(format!("it has the instruction {opcode}"))),
        };
        Ok(Some(instruction))
    }

    /// Returns the size that the opcode's `number` means, where 1 is the size `first`, and 0 that
    /// the size follows.
    fn take_length(&mut self, number: u8, first: usize) -> io::Result<usize> {
        if number > 0 {
            return Ok(first + usize::from(number) - 1);
        }
        match usize::try_from(take_integer(&mut self.opcodes)?) {
            Ok(length) if length > 0 => Ok(length),
            _ => Err(damaged("it has an instruction of an impossible size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_those_of_the_default_code_table() {
        let mut writer = InstructionWriter::default();
        let instructions = [
            Instruction::Add { length: 1 },
            Instruction::Add { length: 17 },
            Instruction::Add { length: 18 },
            Instruction::Copy {
                offset: 300,
                length: 4,
            },
            Instruction::Copy {
                offset: 301,
                length: 19,
            },
            Instruction::Copy {
                offset: 2,
                length: 18,
            },
            Instruction::Copy {
                offset: 1 << 20,
                length: 1 << 20,
            },
            Instruction::Copy {
                offset: 2,
                length: 3,
            },
        ];
        for instruction in instructions {
            writer.push(instruction);
        }
        assert_eq!(
            writer.opcodes,
            [2, 18, 1, 18, 20, 51, 19, 34, 67, 0xc0, 0x80, 0, 83, 3]
        );
        let mut reader = InstructionReader::new(&writer.opcodes, &writer.addresses);
        for instruction in instructions {
            assert_eq!(reader.next_instruction().unwrap(), Some(instruction));
        }
        assert_eq!(reader.next_instruction().unwrap(), None);
    }

    #[test]
    fn foreign_instructions_are_refused() {
        for opcodes in [
            &[0, 1][..],
            &[35, 4],
            &[115],
            &[163],
            &[1, 0],
            &[19, 0],
            &[1],
        ] {
            let mut reader = InstructionReader::new(opcodes, &[0, 0]);
            assert!(reader.next_instruction().is_err(), "{opcodes:?}");
        }
        assert!(
            InstructionReader::new(&[], &[0])
                .next_instruction()
                .is_err()
        );
    }
}
