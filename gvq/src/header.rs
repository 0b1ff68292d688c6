//! The parameters of a file: 52 bytes, their rules, and the sizes that follow from them.

use crate::error::{GvqError, Result, Section};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a header with its checksum.
pub const HEADER_BYTES: usize = 52;

/// Most codewords of a codebook.
pub const MOST_CODEWORDS: u32 = 1 << 16;

/// The version of the format that is written, and the only one that is read.
pub(crate) const VERSION: u16 = 1;

/// Like PNG's signature: a byte past ASCII, the name, and line ends that a transfer as text would change.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89GVQ\r\n\x1a\n";

/// How the elements of the codewords are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodebookType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats (IEEE 754 binary16).
    F16,
}

impl CodebookType {
    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            CodebookType::F32 => 4,
            CodebookType::F16 => 2,
        }
    }

    /// The first element of little-endian `bytes` whose exponent is all ones: a NaN or an infinity.
    pub(crate) fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            CodebookType::F32 => bytes.chunks_exact(4).position(|b| b[3] & 0x7f == 0x7f && b[2] & 0x80 != 0),
            CodebookType::F16 => bytes.chunks_exact(2).position(|b| b[1] & 0x7c == 0x7c),
        }
    }
}

/// What tells codebooks apart: the first 16 bytes of the SHA-256 of the elements, little-endian, codeword by codeword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodebookHash(pub [u8; 16]);

impl CodebookHash {
    /// The hash of a codebook's bytes.
    pub fn of(codebook: &[u8]) -> Self {
        let digest = Sha256::digest(codebook);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        CodebookHash(hash)
    }
}

impl fmt::Display for CodebookHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Every parameter of an encoded image.
///
/// Indices stand in the order `[patch][iteration][channel][2 rank]`, patches row by row, the vertical factors of an iteration's
/// ranks before the horizontal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Rows of pixels, at least 1.
    pub height: u32,
    /// Pixels of a row, at least 1.
    pub width: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u8,
    /// Pixels along a patch's side, and elements of a codeword: 4, 8, 16 or 32.
    pub patch: u8,
    /// Outer products of an iteration, at least 1.
    pub rank: u16,
    /// Iterations, at least 1.
    pub iterations: u16,
    /// The image is the mean of the iterations instead of their sum.
    pub mean: bool,
    /// Bits of an index: enough for all codewords, at most 32.
    pub bits: u8,
    /// Codewords, 1 to 65536.
    pub codewords: u32,
    /// Elements of the codewords.
    pub codebook_type: CodebookType,
    /// Whether the file holds the codebook. Otherwise its reader has it, and knows it by the hash.
    pub inline: bool,
    /// Hash of the codebook.
    pub codebook_hash: CodebookHash,
}

impl Header {
    /// Whether every parameter is in its range. Errors: `Field`, `TooManyIndices`.
    pub fn check(&self) -> Result<()> {
        let field = |field, found: u64, expected| Err(GvqError::Field { field, found, expected });
        for (name, value) in [("height", self.height), ("width", self.width)] {
            if value == 0 {
                return field(name, 0, "at least 1");
            }
        }
        if ![1, 3].contains(&self.channels) {
            return field("channels", self.channels.into(), "1 or 3");
        }
        if ![4, 8, 16, 32].contains(&self.patch) {
            return field("patch", self.patch.into(), "4, 8, 16 or 32");
        }
        for (name, value) in [("rank", self.rank), ("iterations", self.iterations)] {
            if value == 0 {
                return field(name, 0, "at least 1");
            }
        }
        if self.codewords == 0 || self.codewords > MOST_CODEWORDS {
            return field("codewords", self.codewords.into(), "1 to 65536");
        }
        if self.bits == 0 || self.bits > 32 || (self.codewords as u64) > 1 << self.bits {
            return field("bits", self.bits.into(), "1 to 32, and enough for the number of codewords");
        }
        let found = self.all_indices();
        if found > u32::MAX as u128 {
            let &Header { width, height, patch, .. } = self;
            return Err(GvqError::TooManyIndices { width, height, patch, found });
        }
        Ok(())
    }

    /// At most 2^30 · 2^30 patches of 2^16 · 2^16 · 3 · 2 indices: below 2^95.
    fn all_indices(&self) -> u128 {
        let patches = |pixels: u32| u128::from(pixels.div_ceil(self.patch.into()));
        let products = u128::from(self.rank) * u128::from(self.iterations);
        patches(self.height) * patches(self.width) * products * 2 * u128::from(self.channels)
    }

    /// Indices of the image, below 2^32. The parameters must have passed [`check`](Self::check).
    pub fn indices(&self) -> u64 {
        self.all_indices() as u64
    }

    /// 32-bit words that the indices fill, below 2^32. The parameters must have passed [`check`](Self::check).
    pub fn words(&self) -> u64 {
        (self.indices() * u64::from(self.bits)).div_ceil(32)
    }

    /// Bytes of all codewords, at most 8 MiB.
    pub fn codebook_bytes(&self) -> u64 {
        u64::from(self.codewords) * u64::from(self.patch) * self.codebook_type.size() as u64
    }

    /// Bytes of the whole file. The parameters must have passed [`check`](Self::check).
    pub fn file_bytes(&self) -> u64 {
        let codebook = if self.inline { self.codebook_bytes() + 4 } else { 0 };
        HEADER_BYTES as u64 + codebook + 4 * self.words() + 4
    }

    pub(crate) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SIGNATURE);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.channels;
        bytes[11] = self.mean.into();
        bytes[12..16].copy_from_slice(&self.height.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.width.to_le_bytes());
        bytes[20] = self.patch;
        bytes[21] = self.bits;
        bytes[22..24].copy_from_slice(&self.rank.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.iterations.to_le_bytes());
        bytes[26] = (self.codebook_type == CodebookType::F16).into();
        bytes[27] = self.inline.into();
        bytes[28..32].copy_from_slice(&self.codewords.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.codebook_hash.0);
        let checksum = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The parameters at the start of a file, checked; how long the rest is follows from them. Reads the first 52 bytes alone.
    ///
    /// Errors: `Signature`, `Version`, `Length` where there are fewer bytes, `Checksum`, `Field`, `TooManyIndices`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(&SIGNATURE) {
            return Err(GvqError::Signature);
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(GvqError::Length { found: bytes.len() as u64, expected: HEADER_BYTES as u64 });
        };
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        // The version first: another one may have its checksum elsewhere.
        let found = u16_at(8);
        if found != VERSION {
            return Err(GvqError::Version { found });
        }
        check_sum(Section::Header, &header[..48], u32_at(48))?;
        let flag = |field, at: usize, expected| match header[at] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(GvqError::Field { field, found: other.into(), expected }),
        };
        let mut hash = [0; 16];
        hash.copy_from_slice(&header[32..48]);
        let half = flag("codebook type", 26, "0 (f32) or 1 (f16)")?;
        let header = Header {
            height: u32_at(12),
            width: u32_at(16),
            channels: header[10],
            patch: header[20],
            rank: u16_at(22),
            iterations: u16_at(24),
            mean: flag("combine", 11, "0 (sum) or 1 (mean)")?,
            bits: header[21],
            codewords: u32_at(28),
            codebook_type: if half { CodebookType::F16 } else { CodebookType::F32 },
            inline: flag("codebook place", 27, "0 (known by its hash) or 1 (in the file)")?,
            codebook_hash: CodebookHash(hash),
        };
        header.check()?;
        Ok(header)
    }
}

/// Errors: `Checksum`.
pub(crate) fn check_sum(section: Section, bytes: &[u8], expected: u32) -> Result<()> {
    let found = crc32fast::hash(bytes);
    if found == expected { Ok(()) } else { Err(GvqError::Checksum { section, found, expected }) }
}
