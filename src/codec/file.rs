//! `.gvq` files: docs/gvq.md describes them byte by byte.

use super::{Codebook, Encoded};
use crate::error::{Error, Result};
use crate::kernels::lowrank_vq::{Combine, LowRankVqConfig};
use crate::tensor::Dtype;
use gristmill_gvq::{CodebookType, GvqError, GvqFile, Header};

/// The bytes of a file. It holds the codebook where `inline` says so; else it names it by its hash, and a reader must have it.
///
/// Errors: `Config` where a number of the configuration is past the format's, `Gvq` where words and configuration don't fit.
pub fn write_gvq(encoded: &Encoded, codebook: &Codebook, inline: bool) -> Result<Vec<u8>> {
    let config = &encoded.config;
    let header = Header {
        height: field("height", config.height)?,
        width: field("width", config.width)?,
        channels: field("channels", config.channels)?,
        patch: field("patch", config.patch)?,
        rank: field("rank", config.rank)?,
        iterations: field("iterations", config.iterations)?,
        mean: config.combine == Combine::Mean,
        bits: field("bits", config.bits_per_index(codebook.codewords())?)?,
        codewords: field("codewords", codebook.codewords())?,
        codebook_type: if codebook.dtype() == Dtype::F16 { CodebookType::F16 } else { CodebookType::F32 },
        inline,
        codebook_hash: codebook.hash(),
    };
    if usize::from(header.patch) != codebook.patch() {
        let found = format!("has codewords of {} elements", codebook.patch());
        return Err(Error::shape("gvq", "codebook", found, format!("{}, the patch's side", header.patch)));
    }
    Ok(gristmill_gvq::write(&header, inline.then(|| codebook.bytes()), &encoded.words)?)
}

/// A number of the configuration in the width that the header has for it.
fn field<T: TryFrom<usize>>(key: &str, value: usize) -> Result<T> {
    let most = 8 * size_of::<T>();
    T::try_from(value).map_err(|_| Error::config("gvq", key, value, format!("less than 2^{most}")))
}

/// The image and the codebook of a file. A codebook that the file only names is looked for in `known`.
///
/// Errors: `Gvq` for any broken file, before anything is allocated; `UnknownCodebook`.
pub fn read_gvq(bytes: &[u8], known: &[Codebook]) -> Result<(Encoded, Codebook)> {
    let file = GvqFile::parse(bytes)?;
    let header = file.header();
    let dtype = if header.codebook_type == CodebookType::F16 { Dtype::F16 } else { Dtype::F32 };
    let codebook = match file.codebook() {
        Some(bytes) => Codebook::from_bytes(header.patch.into(), dtype, bytes.to_vec())?,
        None => {
            let hash = header.codebook_hash;
            let codebook = known.iter().find(|codebook| codebook.hash() == hash);
            codebook.cloned().ok_or_else(|| Error::UnknownCodebook { hash: hash.to_string() })?
        }
    };
    // A hash says nothing about the shape: the parameters of the file must be those of its codebook.
    let found = (codebook.patch(), codebook.codewords(), codebook.dtype());
    if found != (header.patch.into(), header.codewords as usize, dtype) {
        let (patch, codewords) = (header.patch, header.codewords);
        let expected = format!("[{codewords}, {patch}] {}, as the file says", dtype.name());
        return Err(Error::shape("gvq", "codebook", format!("is {codebook:?}"), expected));
    }
    let config = LowRankVqConfig {
        height: header.height as usize,
        width: header.width as usize,
        channels: header.channels.into(),
        patch: header.patch.into(),
        rank: header.rank.into(),
        iterations: header.iterations.into(),
        bits: Some(header.bits.into()),
        combine: if header.mean { Combine::Mean } else { Combine::Sum },
        variant: None,
    };
    Ok((Encoded { config, words: file.words().collect() }, codebook))
}

impl From<GvqError> for Error {
    fn from(error: GvqError) -> Self {
        Error::Gvq(error)
    }
}
