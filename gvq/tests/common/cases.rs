//! Small files of every kind, the same on every machine.

use gristmill_gvq::{CodebookHash, CodebookType, Header, write};

/// A header; the tests change what they need.
pub fn header() -> Header {
    Header {
        height: 13,
        width: 21,
        channels: 3,
        patch: 8,
        rank: 1,
        iterations: 2,
        mean: false,
        bits: 5,
        codewords: 17,
        codebook_type: CodebookType::F16,
        inline: false,
        codebook_hash: CodebookHash([0x5a; 16]),
    }
}

/// Codewords whose bytes are finite in either type.
pub fn codebook(header: &Header) -> Vec<u8> {
    (0..header.codebook_bytes()).map(|n| (n * 37 % 59) as u8).collect()
}

/// A stream of indices below the number of codewords.
pub fn words(header: &Header) -> Vec<u32> {
    let mut words = vec![0u32; header.words() as usize];
    for n in 0..header.indices() {
        let index = n * 7919 % u64::from(header.codewords);
        for bit in 0..u64::from(header.bits) {
            let at = n * u64::from(header.bits) + bit;
            words[at as usize / 32] |= ((index >> bit & 1) as u32) << (at % 32);
        }
    }
    words
}

/// The bytes of a file with these parameters.
pub fn file(header: &Header) -> Vec<u8> {
    let codebook = codebook(header);
    write(header, header.inline.then_some(codebook.as_slice()), &words(header)).unwrap()
}

/// Every kind of file, by name.
pub fn cases() -> Vec<(&'static str, Header)> {
    vec![
        ("named-rgb", header()),
        ("inline-rgb", Header { inline: true, ..header() }),
        ("inline-f32", Header { inline: true, codebook_type: CodebookType::F32, ..header() }),
        ("mean-grey", Header { channels: 1, mean: true, rank: 2, iterations: 3, ..header() }),
        ("one-pixel", Header { height: 1, width: 1, patch: 4, bits: 1, codewords: 2, ..header() }),
        ("preset-a", Header { patch: 8, iterations: 1, bits: 12, codewords: 4096, ..header() }),
        ("preset-b", Header { patch: 16, rank: 2, bits: 12, codewords: 4096, ..header() }),
        ("preset-c", Header { patch: 32, rank: 4, iterations: 1, bits: 13, codewords: 8192, ..header() }),
        ("one-codeword", Header { inline: true, bits: 1, codewords: 1, patch: 4, ..header() }),
        ("wide-index", Header { bits: 32, codewords: 65536, ..header() }),
    ]
}
