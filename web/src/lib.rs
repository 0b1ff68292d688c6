//! Gristmill in a page: the kernels behind a small JavaScript API.
//!
//! Natively this crate is empty, so that the whole workspace builds and tests on one machine.

#[cfg(target_arch = "wasm32")]
mod api;
