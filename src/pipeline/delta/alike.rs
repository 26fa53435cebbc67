//! How far two slices are alike.

/// The number of bytes in which both begin alike.
pub fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    // Large chunks for speed, then small ones for precision.
    let equal = equal_chunks::<512>(one, other);
    let equal = equal + equal_chunks::<8>(&one[equal..], &other[equal..]);
    equal + equal_chunks::<1>(&one[equal..], &other[equal..])
}

/// The number of bytes in the whole chunks in which both begin alike.
fn equal_chunks<const SIZE: usize>(one: &[u8], other: &[u8]) -> usize {
    let (ones, others) = (one.as_chunks::<SIZE>().0, other.as_chunks::<SIZE>().0);
    SIZE * ones.iter().zip(others).take_while(|(a, b)| a == b).count()
}

/// The number of bytes in which both end alike.
pub fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_compared_to_the_byte() {
        for size in [0, 1, 7, 8, 9, 511, 512, 513, 2000] {
            let one = vec![7; size];
            let (mut before, mut after) = (vec![1], vec![7; size]);
            before.extend_from_slice(&one);
            after.push(1);
            assert_eq!(common_prefix(&one, &after), size);
            assert_eq!(common_suffix(&one, &before), size);
            for place in 0..size {
                let mut other = one.clone();
                other[place] = 1;
                assert_eq!(common_prefix(&one, &other), place);
                assert_eq!(common_suffix(&one, &other), size - 1 - place);
            }
        }
    }
}
