//! The one loop that reads a stream to its end, block by block.

use crate::error::Result;
use crate::interrupt;
use std::io::{ErrorKind, Read, Write};

/// What is read at once: large, as each block may be hashed, locked for and sent through a pipe.
pub const BLOCK: usize = 1 << 20;

/// Reads `from` to its end and hands each block to `take`. It ends early with an error of either,
/// or when a signal comes.
pub fn for_each_block(
    from: &mut (impl Read + ?Sized),
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check()?;
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&block[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes all that `from` gives to `to` and returns how many bytes that were.
pub fn copy(from: &mut (impl Read + ?Sized), to: &mut (impl Write + ?Sized)) -> Result<u64> {
    let mut copied = 0;
    for_each_block(from, |block| {
        to.write_all(block)?;
        copied += block.len() as u64;
        Ok(())
    })?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_blocks_arrive_in_order() {
        let content: Vec<u8> = (0..BLOCK * 2 + 17).map(|at| (at % 251) as u8).collect();
        let mut copied = Vec::new();
        let count = copy(&mut &content[..], &mut copied).unwrap();
        assert_eq!((count, &copied), (content.len() as u64, &content));
    }

    #[test]
    fn errors_of_either_side_end_the_copy() {
        let mut full = [0; 4];
        assert!(copy(&mut &[1; 8][..], &mut &mut full[..]).is_err());
        let refused = for_each_block(&mut &[1; 8][..], |_| {
            Err(crate::error::Error::damaged("not this"))
        });
        assert_eq!(refused.unwrap_err().message(), "not this");
    }
}
