//! The codec around the decoder of [`lowrank_vq`](crate::kernels::lowrank_vq): pictures to indices, pictures to a codebook, and
//! `.gvq` files of both.
//!
//! The paper (arXiv 2510.01407) trains a network that writes the indices. Here nothing is trained but the codebook: the factors of a
//! patch come out of singular value decompositions of what is left to encode, are replaced by the codewords nearest to them, and are
//! then improved one by one, each as the exact minimum of the squared error while the others stay. The searches run on the GPU
//! ([`VqNearest`](crate::kernels::lowrank_vq::VqNearest)), the decompositions on the host.
#![doc = include_str!("../../docs/lowrank_vq.md")]

mod blocks;
mod cluster;
mod codebook;
mod decode;
mod encode;
mod factors;
mod file;
mod search;
mod train;

pub use codebook::Codebook;
pub use decode::decode;
pub use encode::{Encoded, Encoder, EncoderConfig};
pub use file::{read_gvq, write_gvq};
pub use gristmill_gvq::{CodebookHash, GvqError};
pub use train::{Trained, TrainingConfig, train_codebook};

use crate::error::{Error, Result};
use crate::models::picture::Picture;
use std::ops::ControlFlow;

const NAME: &str = "codec";

/// Tells a caller's function the share done. Errors: `Cancelled` where it says so.
fn report(progress: &mut impl FnMut(f64) -> ControlFlow<()>, share: f64) -> Result<()> {
    match progress(share) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}

/// Grey or RGB, as many values as pixels, every one finite. Errors: `Config`, `Shape`, `NonFinite`.
fn check_picture(picture: Picture<'_>) -> Result<()> {
    let Picture { pixels, height, width, channels } = picture;
    if channels != 1 && channels != 3 {
        return Err(Error::config(NAME, "channels", channels, "1 or 3"));
    }
    if Some(pixels.len()) != height.checked_mul(width).and_then(|area| area.checked_mul(channels)) {
        let found = format!("has {} values", pixels.len());
        return Err(Error::shape(NAME, "image", found, format!("{height} x {width} x {channels}")));
    }
    match pixels.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NonFinite { tensor: "image".into(), index: index as u64 }),
        None => Ok(()),
    }
}
