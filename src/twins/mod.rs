//! Twins: every kernel once more, on the CPU in f64.
//!
//! A twin has the name of its kernel and takes the inputs in the order of the kernel's bindings. It is
//! written from the equations as plainly as possible, so that it can be checked by reading; it serves the
//! tests, `gristmill run --twin` and the self-check. Tensors are row-major slices, shapes stand in the
//! documentation of each function. A twin trusts its caller (the host has checked shapes and values) and
//! panics on a slice of the wrong length.

pub mod atd;
pub mod attention;
pub mod cluster_merge;
pub mod clustvit;
pub mod convolution;
pub mod denoise;
pub mod flash_lla;
pub mod linear;
pub mod lowrank_vq;
pub mod native_sparse;
pub mod non_local_means;
pub mod norm;
pub mod pure_pass;
pub mod rope;
pub mod sqa;
pub(crate) mod symmetric;
pub mod tome;
pub mod video_nsa;
pub mod vqvae_decoder;

/// Uniform noise in [-1, 1), the same for the same seed (splitmix64).
#[cfg(test)]
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Asserts that two tensors agree: equal elements (infinities included), or a difference of at most
/// `tolerance`.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "lengths");
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(f == e || (f - e).abs() <= tolerance, "element {index}: {f} instead of {e} ± {tolerance}");
    }
}
