//! From bytes to a checked file, without allocating.

use crate::error::{GvqError, Result, Section};
use crate::header::{CodebookHash, HEADER_BYTES, Header, check_sum};

/// A file whose every byte has been checked, over the bytes it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GvqFile<'a> {
    header: Header,
    codebook: Option<&'a [u8]>,
    words: &'a [u8],
}

impl<'a> GvqFile<'a> {
    /// Checks a whole file: parameters, length, checksums, the codebook (finite, and the one that the header names) and
    /// every index. It allocates nothing and looks at nothing before the length is known to be the declared one.
    ///
    /// Errors: a [`GvqError`] for any bytes that [`write`](fn@crate::write) would not have made.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = Header::parse(bytes)?;
        let (found, expected) = (bytes.len() as u64, header.file_bytes());
        if found != expected {
            return Err(GvqError::Length { found, expected });
        }
        let rest = &bytes[HEADER_BYTES..];
        let (codebook, rest) = if header.inline {
            let (codebook, rest) = take(Section::Codebook, rest, header.codebook_bytes())?;
            check_codebook(&header, codebook)?;
            (Some(codebook), rest)
        } else {
            (None, rest)
        };
        let (words, _) = take(Section::Indices, rest, 4 * header.words())?;
        let file = GvqFile { header, codebook, words };
        check_stream(&mut file.words(), &file.header)?;
        Ok(file)
    }

    /// The parameters.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The codewords `[codewords, patch]` as little-endian floats of the header's type, all finite; `None` where the file only
    /// names them.
    pub fn codebook(&self) -> Option<&'a [u8]> {
        self.codebook
    }

    /// The bit stream: index n in the bits n · b to (n + 1) · b of the words, lowest bit first. Every index is below the number
    /// of codewords. As many bytes as the file has for them.
    pub fn words(&self) -> impl ExactSizeIterator<Item = u32> {
        self.words.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}

/// Whether every index of the stream is below the number of codewords, and nothing is behind the last one.
/// Errors: `Index`, `Padding`.
pub(crate) fn check_stream(words: &mut dyn Iterator<Item = u32>, header: &Header) -> Result<()> {
    let &Header { bits, codewords, .. } = header;
    let mask = u32::MAX >> (32 - bits);
    let (mut pending, mut held) = (0u64, 0);
    for place in 0..header.indices() {
        if held < bits {
            pending |= u64::from(words.next().unwrap_or(0)) << held;
            held += 32;
        }
        let found = pending as u32 & mask;
        if found >= codewords {
            return Err(GvqError::Index { place, found, codewords });
        }
        pending >>= bits;
        held -= bits;
    }
    if pending == 0 { Ok(()) } else { Err(GvqError::Padding) }
}

/// Errors: `CodebookHash`, `NotFinite`.
pub(crate) fn check_codebook(header: &Header, codebook: &[u8]) -> Result<()> {
    let found = CodebookHash::of(codebook);
    if found != header.codebook_hash {
        return Err(GvqError::CodebookHash { found, expected: header.codebook_hash });
    }
    match header.codebook_type.first_not_finite(codebook) {
        Some(element) => Err(GvqError::NotFinite { element: element as u64 }),
        None => Ok(()),
    }
}

/// The bytes of the next section once its checksum fits, and what follows it. Errors: `Length`, `Checksum`.
fn take(section: Section, bytes: &[u8], length: u64) -> Result<(&[u8], &[u8])> {
    let ends = GvqError::Length { found: bytes.len() as u64, expected: length + 4 };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (content, rest) = bytes.split_at_checked(length).ok_or(ends.clone())?;
    let (checksum, rest) = rest.split_first_chunk().ok_or(ends)?;
    check_sum(section, content, u32::from_le_bytes(*checksum))?;
    Ok((content, rest))
}
