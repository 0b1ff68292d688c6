//! From parameters, codebook and indices to the bytes of a file.

use crate::error::{GvqError, Result};
use crate::header::{CodebookHash, Header};
use crate::parse::{check_codebook, check_stream};

/// The bytes of a file. `codebook` holds the elements of all codewords, little-endian, in the type that `header` names: it goes
/// into the file. Without it the file names its codebook by `header.codebook_hash` alone. `words` is the bit stream, its bits
/// behind the last index 0.
///
/// Errors: a [`GvqError`] where [`GvqFile::parse`](crate::GvqFile::parse) would not take the result back.
pub fn write(header: &Header, codebook: Option<&[u8]>, words: &[u32]) -> Result<Vec<u8>> {
    let mut header = Header { inline: codebook.is_some(), ..header.clone() };
    header.check()?;
    if let Some(codebook) = codebook {
        header.codebook_hash = CodebookHash::of(codebook);
        let (found, expected) = (codebook.len() as u64, header.codebook_bytes());
        if found != expected {
            return Err(GvqError::CodebookLength { found, expected });
        }
        check_codebook(&header, codebook)?;
    }
    let (found, expected) = (words.len() as u64, header.words());
    if found != expected {
        return Err(GvqError::Words { found, expected });
    }
    check_stream(&mut words.iter().copied(), &header)?;

    let mut bytes = header.to_bytes().to_vec();
    if let Some(codebook) = codebook {
        bytes.extend_from_slice(codebook);
        bytes.extend_from_slice(&crc32fast::hash(codebook).to_le_bytes());
    }
    let start = bytes.len();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let checksum = crc32fast::hash(&bytes[start..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}
