// Codeword index `n` of the bit stream, the bits n * bits to (n + 1) * bits of the words, lowest bit first. A wrong index
// becomes the last codeword.
//
// n * bits may not fit in 32 bits: whole runs of 32 indices fill whole words, and only the rest is counted in bits.
fn codeword_index(n: u32) -> u32 {
    let bit = (n % 32u) * params.bits;
    let word = n / 32u * params.bits + bit / 32u;
    let next = min(word + 1u, arrayLength(&words) - 1u);
    let shift = bit % 32u;
    // Two shifts, as one by 32 would be undefined.
    let index = (words[word] >> shift) | ((words[next] << 1u) << (31u - shift));
    return min(index & params.index_mask, params.codewords - 1u);
}
