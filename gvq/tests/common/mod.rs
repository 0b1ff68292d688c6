//! What must hold for any bytes; the fuzz target says the same.
#![allow(dead_code)]

use gristmill_gvq::{CodebookHash, GvqError, GvqFile, HEADER_BYTES, Header, write};

/// The bytes are a file, which is then written back as it was, or a typed error.
pub fn parses_or_fails(bytes: &[u8]) -> Result<(), GvqError> {
    let file = GvqFile::parse(bytes)?;
    let words: Vec<u32> = file.words().collect();
    assert_eq!(write(file.header(), file.codebook(), &words).as_deref(), Ok(bytes));
    Ok(())
}

/// The same after the checksums and the length were made to fit, so that what lies behind them is reached.
pub fn repaired_parses_or_fails(bytes: &[u8]) -> Result<(), GvqError> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(HEADER_BYTES), 0);
    seal(&mut bytes, 0, 48);
    let header = Header::parse(&bytes)?;
    if header.file_bytes() > 1 << 20 {
        return parses_or_fails(&bytes);
    }
    bytes.resize(header.file_bytes() as usize, 0);
    let mut at = HEADER_BYTES;
    if header.inline {
        let end = at + header.codebook_bytes() as usize;
        let hash = CodebookHash::of(&bytes[at..end]);
        bytes[32..48].copy_from_slice(&hash.0);
        seal(&mut bytes, 0, 48);
        seal(&mut bytes, at, end);
        at = end + 4;
    }
    let end = bytes.len() - 4;
    seal(&mut bytes, at, end);
    parses_or_fails(&bytes)
}

/// Writes the checksum of a section behind it.
fn seal(bytes: &mut [u8], start: usize, end: usize) {
    let checksum = crc32fast::hash(&bytes[start..end]);
    bytes[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
}
