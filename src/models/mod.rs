//! Compositions of operators: a layer, an image filter, an experiment.

pub mod atd;
pub mod branch_gates;
pub mod clustvit;
pub mod denoise;
pub mod frame_search;
pub mod named_tensors;
pub mod native_sparse_cost;
pub mod non_local_means;
pub mod picture;
pub mod segmenter;
pub mod sqa;
pub mod sqa_cost;
pub mod sqa_presets;
pub mod test_time_regression;
pub mod video_nsa;
pub mod vqvae_decoder;
