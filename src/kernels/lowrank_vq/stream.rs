//! Indices and pixels packed in `u32` words.

/// Words that hold this many indices.
pub(super) fn word_count(indices: u64, bits: usize) -> u64 {
    indices.saturating_mul(bits as u64).div_ceil(32)
}

/// Index `n` of the words. The bit offset is split, as in the kernels, where n · bits may not fit.
pub(super) fn index(words: &[u32], n: u64, bits: usize) -> u32 {
    let position = (n % 32) * bits as u64;
    let word = (n / 32 * bits as u64 + position / 32) as usize;
    let next = words.get(word + 1).copied().unwrap_or(0);
    let both = words[word] as u64 | (next as u64) << 32;
    (both >> (position % 32) & ((1 << bits) - 1)) as u32
}

/// Packs indices below 2^bits, lowest bit first; what an index has above its bits is dropped. `bits` is 1 to 32.
pub fn pack_indices(indices: &[u32], bits: usize) -> Vec<u32> {
    assert!((1..=32).contains(&bits), "bits = {bits}; expected 1 to 32");
    let mut words = Vec::with_capacity(word_count(indices.len() as u64, bits) as usize);
    let (mut pending, mut held) = (0u64, 0);
    for &index in indices {
        pending |= (index as u64 & ((1 << bits) - 1)) << held;
        held += bits;
        if held >= 32 {
            words.push(pending as u32);
            pending >>= 32;
            held -= 32;
        }
    }
    if held > 0 {
        words.push(pending as u32);
    }
    words
}

/// The first `count` indices of the words; `None` where there are fewer. `bits` is 1 to 32.
pub fn unpack_indices(words: &[u32], count: usize, bits: usize) -> Option<Vec<u32>> {
    assert!((1..=32).contains(&bits), "bits = {bits}; expected 1 to 32");
    let enough = word_count(count as u64, bits) <= words.len() as u64;
    enough.then(|| (0..count as u64).map(|n| index(words, n, bits)).collect())
}

/// The bytes `[height, width, channels]` out of the words `[height, ceil(width · channels / 4)]` of
/// [`record_u8`](super::LowRankVq::record_u8), whose rows start at a word.
pub fn unpack_pixels(words: &[u32], width: usize, channels: usize) -> Vec<u8> {
    let bytes = width * channels;
    let row =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).take(bytes).collect() };
    words.chunks_exact(bytes.div_ceil(4).max(1)).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams whose last index ends in the middle of a word among them.
    #[test]
    fn what_is_packed_comes_back() {
        for bits in 1..=32 {
            for count in [0, 1, 31, 32, 33, 1001] {
                let indices: Vec<u32> = (0..count)
                    .map(|n: u32| (n.wrapping_mul(0x9e37_79b9) as u64 & ((1 << bits) - 1)) as u32)
                    .collect();
                let words = pack_indices(&indices, bits);
                assert_eq!(words.len(), (indices.len() * bits).div_ceil(32));
                assert_eq!(unpack_indices(&words, indices.len(), bits).unwrap(), indices, "{bits} bits");
                assert_eq!(unpack_indices(&words, indices.len() + 32, bits), None);
            }
        }
    }

    #[test]
    fn indices_straddle_words_lowest_bit_first() {
        // 9 bits each: the fourth begins at bit 27.
        assert_eq!(pack_indices(&[1, 0, 0, 0b1_0101_0011], 9), [1 | 0b10011 << 27, 0b1010]);
        assert_eq!(pack_indices(&[7, 0, 7], 1), [0b101]);
    }

    #[test]
    fn rows_of_pixels_start_at_a_word() {
        let words = [0x04030201, 0x0605, 0x0a090807, 0x0c0b];
        assert_eq!(unpack_pixels(&words, 2, 3), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert!(unpack_pixels(&[], 0, 3).is_empty());
    }
}
