//! The `.gvq` container: an image in low-rank vector-quantised code, with every parameter that its decoder needs.
//!
//! docs/gvq.md describes it byte by byte. [`GvqFile::parse`] accepts exactly the files that [`write`](fn@write) makes; anything else is
//! a [`GvqError`] that names the field, the value found and the value expected. It borrows from the bytes that it is given
//! and allocates nothing.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod error;
mod header;
mod parse;
mod write;

pub use error::{GvqError, Section};
pub use header::{CodebookHash, CodebookType, HEADER_BYTES, Header, MOST_CODEWORDS};
pub use parse::GvqFile;
pub use write::write;
