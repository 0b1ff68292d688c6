//! What is wrong with a file, in words that help.

use crate::header::CodebookHash;
use std::fmt;

/// A part of a file with a checksum of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The parameters, bytes 0 to 51.
    Header,
    /// The codewords, where the file holds them.
    Codebook,
    /// The packed indices.
    Indices,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Header => "header",
            Section::Codebook => "codebook",
            Section::Indices => "index",
        })
    }
}

/// Every way in which bytes are no `.gvq` file, or parameters make none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GvqError {
    /// The first bytes are those of another kind of file.
    #[error("not a .gvq file: it doesn't start with its eight signature bytes")]
    Signature,
    /// A version of the format that this reader doesn't know.
    #[error("version {found} of the .gvq format; expected {}", crate::header::VERSION)]
    Version {
        /// The file's version.
        found: u16,
    },
    /// A parameter out of its range.
    #[error("`{field}` = {found}; expected {expected}")]
    Field {
        /// The parameter.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it should be.
        expected: &'static str,
    },
    /// More indices than a file may have.
    #[error("{width} x {height} pixels in patches of {patch} take {found} indices; expected fewer than 2^32")]
    TooManyIndices {
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Pixels along a patch's side.
        patch: u8,
        /// The indices that the parameters ask for.
        found: u128,
    },
    /// The file ends before what its header declares, or goes on behind it.
    #[error("the file has {found} bytes; expected {expected}")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes by the header; those of a header where not even that is whole.
        expected: u64,
    },
    /// A section was altered.
    #[error("the {section} section has the checksum {found:08x}; expected {expected:08x}")]
    Checksum {
        /// Which one.
        section: Section,
        /// CRC-32 of its bytes.
        found: u32,
        /// CRC-32 that stands behind them.
        expected: u32,
    },
    /// The codebook is another one than the header names.
    #[error("the codebook has the hash {found}; expected {expected}")]
    CodebookHash {
        /// Hash of the codewords.
        found: CodebookHash,
        /// Hash in the header.
        expected: CodebookHash,
    },
    /// A codebook of another size than the parameters say.
    #[error("the codebook has {found} bytes; expected {expected}")]
    CodebookLength {
        /// Bytes there are.
        found: u64,
        /// Bytes of all codewords.
        expected: u64,
    },
    /// An element of the codebook is a NaN or an infinity.
    #[error("the codebook is not finite at element {element}")]
    NotFinite {
        /// The first such element, counted through all codewords.
        element: u64,
    },
    /// Another number of words than the indices fill.
    #[error("the indices have {found} words; expected {expected}")]
    Words {
        /// Words there are.
        found: u64,
        /// Words by the parameters.
        expected: u64,
    },
    /// An index past the codebook.
    #[error("index {place} is {found}; expected less than {codewords}, the number of codewords")]
    Index {
        /// Its place in the bit stream.
        place: u64,
        /// Its value.
        found: u32,
        /// Codewords there are.
        codewords: u32,
    },
    /// Bits behind the last index that are not 0.
    #[error("the bits behind the last index are not 0")]
    Padding,
}

/// Result with this crate's [`GvqError`].
pub(crate) type Result<T, E = GvqError> = std::result::Result<T, E>;
