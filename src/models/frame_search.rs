//! Frames of a video that look for each other: Native Sparse Attention whose blocks are frames.
//!
//! Nothing is trained. A frame of 64 x 64 pixels is 8 x 8 patches, and a patch is a token: its 4 x 4 cells in three colours, without the
//! mean of the video, whitened, and scaled to length 1. Queries and keys are the same tokens. The 16 query heads of a token are the 4 x 4
//! patches around it; as a group shares its list of blocks, a region of a picture asks for the frames in which that region was
//! seen. A frame stands for its tokens by their mean, scaled to length 1 as they are.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::native_sparse::{
    Compression, Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs,
};
use crate::models::native_sparse_cost::NativeSparseCost;
use crate::schedule::{Plan, Schedule};
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};

/// Pixels of a side of a frame.
pub const FRAME_SIDE: usize = 64;
/// Patches of a side of a frame.
pub const PATCHES: usize = 8;
/// Tokens of a frame, and of a block.
pub const FRAME_TOKENS: usize = PATCHES * PATCHES;
/// Elements of a token.
pub const TOKEN_DIM: usize = CELLS * CELLS * 3;

/// Cells of a side of a patch.
const CELLS: usize = 4;
/// Patches of a side of the region that asks together.
const REGION: usize = 4;
const HEADS: usize = REGION * REGION;
/// Added to the variances before whitening, as a share of their mean: the weakest directions are noise.
const RIDGE: f64 = 0.02;

const NAME: &str = "frame_search";

/// Tokens of a sequence of frames.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameTokens {
    /// Frames.
    pub frames: usize,
    /// `[frames · FRAME_TOKENS, TOKEN_DIM]`, rows of length 1.
    pub tokens: Vec<f32>,
}

impl FrameTokens {
    /// Tokens of frames `[frames, FRAME_SIDE, FRAME_SIDE, 3]`. Errors: `Config` for pixels that are not whole frames, or none.
    pub fn new(pixels: &[f32]) -> Result<Self> {
        let frame = FRAME_SIDE * FRAME_SIDE * 3;
        if pixels.is_empty() || !pixels.len().is_multiple_of(frame) {
            let found = format!("{} values", pixels.len());
            return Err(Error::config(NAME, "pixels", found, format!("whole frames of {frame}")));
        }
        let mut rows: Vec<f64> = pixels.chunks_exact(frame).flat_map(patches).collect();
        let mean = mean_row(&rows);
        for row in rows.chunks_exact_mut(TOKEN_DIM) {
            row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        }
        whiten(&mut rows);
        rows.chunks_exact_mut(TOKEN_DIM).for_each(normalise);
        Ok(Self {
            frames: pixels.len() / frame,
            tokens: rows.into_iter().map(|value| value as f32).collect(),
        })
    }

    /// Tokens of all frames.
    pub fn len(&self) -> usize {
        self.frames * FRAME_TOKENS
    }

    /// Never: there is at least one frame.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// The token of every head, `[len, HEADS, TOKEN_DIM]`: the patches of the region around each patch, moved into the frame at
    /// its border.
    fn queries(&self) -> Vec<f32> {
        let first = |at: usize| at.saturating_sub(REGION / 2).min(PATCHES - REGION);
        let mut queries = Vec::with_capacity(self.len() * HEADS * TOKEN_DIM);
        for token in 0..self.len() {
            let (frame, patch) = (token / FRAME_TOKENS, token % FRAME_TOKENS);
            let (top, left) = (first(patch / PATCHES), first(patch % PATCHES));
            for y in top..top + REGION {
                let start = (frame * FRAME_TOKENS + y * PATCHES + left) * TOKEN_DIM;
                queries.extend_from_slice(&self.tokens[start..start + REGION * TOKEN_DIM]);
            }
        }
        queries
    }

    /// The mean token of every frame, `[frames, TOKEN_DIM]`.
    fn means(&self) -> Vec<f64> {
        let wide: Vec<f64> = self.tokens.iter().map(|value| f64::from(*value)).collect();
        wide.chunks_exact(FRAME_TOKENS * TOKEN_DIM).flat_map(mean_row).collect()
    }
}

/// The cells of every patch of a frame, patch by patch.
fn patches(frame: &[f32]) -> Vec<f64> {
    let side = FRAME_SIDE / PATCHES / CELLS;
    let mut cells = vec![0.0; FRAME_TOKENS * TOKEN_DIM];
    for (at, value) in frame.iter().enumerate() {
        let (y, x, colour) = (at / 3 / FRAME_SIDE / side, at / 3 % FRAME_SIDE / side, at % 3);
        let patch = y / CELLS * PATCHES + x / CELLS;
        let cell = y % CELLS * CELLS + x % CELLS;
        cells[patch * TOKEN_DIM + cell * 3 + colour] += f64::from(*value) / (side * side) as f64;
    }
    cells
}

fn mean_row(rows: &[f64]) -> Vec<f64> {
    let mut mean = vec![0.0; TOKEN_DIM];
    for row in rows.chunks_exact(TOKEN_DIM) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let count = (rows.len() / TOKEN_DIM) as f64;
    mean.iter_mut().for_each(|sum| *sum /= count);
    mean
}

/// Makes the covariance of the rows, whose mean is 0, the unit matrix: with C = L Lᵀ, row ← L⁻¹ row.
fn whiten(rows: &mut [f64]) {
    const D: usize = TOKEN_DIM;
    let mut lower = vec![0.0; D * D];
    for row in rows.chunks_exact(D) {
        for i in 0..D {
            for j in 0..=i {
                lower[i * D + j] += row[i] * row[j];
            }
        }
    }
    let count = (rows.len() / D) as f64;
    lower.iter_mut().for_each(|sum| *sum /= count);
    let variance = (0..D).map(|i| lower[i * D + i]).sum::<f64>() / D as f64;
    // A video of one colour has no variance at all; its tokens are 0.
    let ridge = RIDGE * variance + 1e-12;
    for i in 0..D {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| lower[i * D + k] * lower[j * D + k]).sum();
            let rest = lower[i * D + j] - known;
            lower[i * D + j] = if i == j { (rest + ridge).sqrt() } else { rest / lower[j * D + j] };
        }
    }
    for row in rows.chunks_exact_mut(D) {
        for i in 0..D {
            let known: f64 = (0..i).map(|k| lower[i * D + k] * row[k]).sum();
            row[i] = (row[i] - known) / lower[i * D + i];
        }
    }
}

fn normalise(row: &mut [f64]) {
    let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    row.iter_mut().for_each(|value| *value /= length.max(1e-6));
}

/// Settings of a [`FrameSearch`].
#[derive(Clone, Debug, PartialEq)]
pub struct FrameSearchConfig {
    /// Frames that a query reads, its own included.
    pub top_n: usize,
    /// Tokens of the window.
    pub window: usize,
    /// Factor of the cosine of two tokens.
    pub scale: f32,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for FrameSearchConfig {
    /// 8 frames, a window of two, logits up to 16.
    fn default() -> Self {
        Self { top_n: 8, window: 2 * FRAME_TOKENS, scale: 16.0, variant: None }
    }
}

/// Sparse attention of frames to earlier frames, and dense attention of the same tokens to compare it with.
#[derive(Debug)]
pub struct FrameSearch {
    /// Native Sparse Attention, all branches.
    pub sparse: Plan,
    /// Dense causal attention.
    pub dense: Plan,
    operator: NativeSparseAttention,
    cost: NativeSparseCost,
    frames: usize,
    blocks: Tensor,
    lse_slc: Tensor,
    lse_dense: Tensor,
}

impl FrameSearch {
    /// Uploads the tokens and compiles both plans; [`selection`](Self::selection) reads what they computed.
    ///
    /// Errors: `Config`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, tokens: &FrameTokens, config: &FrameSearchConfig) -> Result<Self> {
        let (rows, frames) = (tokens.len(), tokens.frames);
        let query = Tensor::upload(gpu, "q", &[1, rows, HEADS, TOKEN_DIM], &tokens.queries())?;
        let key = Tensor::upload(gpu, "k", &[1, rows, 1, TOKEN_DIM], &tokens.tokens)?;
        let mut means = tokens.means();
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|value| *value as f32).collect() };
        let shape = [1, frames, 1, TOKEN_DIM];
        let cmp_value = Tensor::upload(gpu, "compressed value", &shape, &narrow(&means))?;
        means.chunks_exact_mut(TOKEN_DIM).for_each(normalise);
        let cmp_key = Tensor::upload(gpu, "compressed key", &shape, &narrow(&means))?;
        let third = vec![1.0 / 3.0; rows * HEADS * 3];
        let gates = Tensor::upload(gpu, "gates", &[1, rows, HEADS, 3], &third)?;

        let sparse = NativeSparseConfig {
            top_n: config.top_n,
            window: config.window,
            scale: Some(config.scale),
            variant: config.variant,
            ..NativeSparseConfig::video(FRAME_TOKENS)
        };
        let cost = NativeSparseCost::new(&sparse, HEADS, 1, TOKEN_DIM, TOKEN_DIM);
        let operator = NativeSparseAttention::new(gpu, sparse)?;
        let mut schedule = Schedule::new(gpu);
        let inputs = NativeSparseInputs {
            compression: Compression::Given { key: &cmp_key, value: &cmp_value },
            ..NativeSparseInputs::new(&query, &key, &key, Gates::Values(&gates))
        };
        let output = operator.record(&mut schedule, &inputs)?;
        let (blocks, lse_slc) = (output.blocks.clone(), output.lse_slc.clone());
        drop(output);
        let sparse = schedule.compile()?;

        let dense = AttentionConfig {
            causal: true,
            scale: Some(config.scale),
            variant: config.variant,
            ..Default::default()
        };
        let mut schedule = Schedule::new(gpu);
        let inputs = AttentionInputs::new(&query, &key, &key);
        let lse_dense = Attention::new(gpu, dense)?.record(&mut schedule, inputs)?.lse;
        let dense = schedule.compile()?;
        Ok(Self { sparse, dense, operator, cost, frames, blocks, lse_slc, lse_dense })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.operator.explain()
    }

    /// FLOPs and keys of the search, for its number of tokens.
    pub fn cost(&self) -> &NativeSparseCost {
        &self.cost
    }

    /// What both plans computed when they ran last. Errors: those of [`Tensor::read`].
    pub async fn selection(&self, gpu: &Gpu) -> Result<FrameSelection> {
        let lists = self.blocks.read::<u32>(gpu).await?;
        let lse_slc = self.lse_slc.read::<f32>(gpu).await?;
        let lse_dense = self.lse_dense.read::<f32>(gpu).await?;
        // The softmax of dense attention, summed over the keys that the selected branch sees.
        let share = |(selected, dense): (&f32, &f32)| f64::from(selected - dense).exp();
        let shares: Vec<f64> = lse_slc.iter().zip(&lse_dense).map(share).collect();
        let weight = shares.chunks_exact(HEADS).map(|heads| heads.iter().sum::<f64>() / HEADS as f64);
        Ok(FrameSelection { frames: self.frames, lists, weight: weight.collect() })
    }
}

/// The frames that every token reads.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameSelection {
    /// Frames.
    pub frames: usize,
    /// `[frames · FRAME_TOKENS, top_n]`, ascending; [`EMPTY_SLOT`](crate::kernels::native_sparse::EMPTY_SLOT) behind the last.
    pub lists: Vec<u32>,
    /// Share of dense attention's weight that lies in the listed frames, `[frames · FRAME_TOKENS]`, mean over the heads.
    pub weight: Vec<f64>,
}

impl FrameSelection {
    /// The list of one token.
    pub fn list(&self, frame: usize, patch: usize) -> &[u32] {
        let width = self.lists.len() / (self.frames * FRAME_TOKENS);
        &self.lists[(frame * FRAME_TOKENS + patch) * width..][..width]
    }

    /// Share of the given patches of a frame that list each frame, `[frames]`.
    pub fn shares(&self, frame: usize, patches: &[usize]) -> Vec<f64> {
        let mut shares = vec![0.0; self.frames];
        for block in patches.iter().flat_map(|&patch| self.list(frame, patch)) {
            if let Some(share) = shares.get_mut(*block as usize) {
                *share += 1.0 / patches.len() as f64;
            }
        }
        shares
    }

    /// Share of the tokens of each frame (row) that list each frame (column), `[frames, frames]`.
    pub fn heat(&self) -> Vec<f64> {
        let all: Vec<usize> = (0..FRAME_TOKENS).collect();
        (0..self.frames).flat_map(|frame| self.shares(frame, &all)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::native_sparse::EMPTY_SLOT;

    /// Frames of noise that differ from each other.
    fn noise(frames: usize) -> Vec<f32> {
        let mut state = 7u32;
        let value = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..frames * FRAME_SIDE * FRAME_SIDE * 3).map(value).collect()
    }

    #[test]
    fn tokens_are_white_and_of_length_1() {
        let tokens = FrameTokens::new(&noise(8)).unwrap();
        assert_eq!((tokens.frames, tokens.len()), (8, 512));
        for row in tokens.tokens.chunks_exact(TOKEN_DIM) {
            let length: f32 = row.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        // White: every direction has its share of the length.
        for at in 0..TOKEN_DIM {
            let squares: f32 =
                tokens.tokens.iter().skip(at).step_by(TOKEN_DIM).map(|value| value * value).sum();
            let share = squares / 512.0 * TOKEN_DIM as f32;
            assert!((share - 1.0).abs() < 0.2, "element {at}: {share}");
        }
    }

    #[test]
    fn a_patch_is_its_cells() {
        let mut frame = vec![0.0; FRAME_SIDE * FRAME_SIDE * 3];
        // Patch (1, 2), cell (3, 1), green: pixels 14 and 15 down, 18 and 19 across.
        for (y, x) in [(14, 18), (14, 19), (15, 18), (15, 19)] {
            frame[(y * FRAME_SIDE + x) * 3 + 1] = 1.0;
        }
        let cells = patches(&frame);
        let lit: Vec<_> = cells.iter().enumerate().filter(|(_, value)| **value != 0.0).collect();
        assert_eq!(lit, [((PATCHES + 2) * TOKEN_DIM + (3 * CELLS + 1) * 3 + 1, &1.0)]);
    }

    #[test]
    fn heads_are_the_region_around_a_patch() {
        let tokens = FrameTokens::new(&noise(2)).unwrap();
        let queries = tokens.queries();
        let head = |token: usize, head: usize| &queries[(token * HEADS + head) * TOKEN_DIM..][..TOKEN_DIM];
        let token = |frame: usize, y: usize, x: usize| {
            &tokens.tokens[(frame * FRAME_TOKENS + y * PATCHES + x) * TOKEN_DIM..][..TOKEN_DIM]
        };
        assert_eq!(head(FRAME_TOKENS + 3 * PATCHES + 4, 0), token(1, 1, 2));
        assert_eq!(head(FRAME_TOKENS + 3 * PATCHES + 4, HEADS - 1), token(1, 4, 5));
        assert_eq!(head(0, 5), token(0, 1, 1));
        assert_eq!(head(FRAME_TOKENS - 1, HEADS - 1), token(0, 7, 7));
    }

    #[test]
    fn one_colour_gives_tokens_of_zero() {
        let tokens = FrameTokens::new(&vec![0.3; 2 * FRAME_SIDE * FRAME_SIDE * 3]).unwrap();
        assert!(tokens.tokens.iter().all(|value| value.abs() < 1e-3));
        for count in [0, 7] {
            let error = FrameTokens::new(&vec![0.3; count]).unwrap_err().to_string();
            assert!(error.contains("whole frames of 12288"), "{error}");
        }
    }

    #[test]
    fn shares_count_the_patches_that_list_a_frame() {
        let mut lists = vec![EMPTY_SLOT; 2 * FRAME_TOKENS * 2];
        for token in 0..2 * FRAME_TOKENS {
            lists[token * 2] = (token / FRAME_TOKENS) as u32;
        }
        lists[(FRAME_TOKENS + 5) * 2..][..2].copy_from_slice(&[0, 1]);
        let selection = FrameSelection { frames: 2, lists, weight: vec![] };
        assert_eq!(selection.list(1, 5), [0, 1]);
        assert_eq!(selection.shares(1, &[5, 6]), [0.5, 1.0]);
        assert_eq!(selection.heat(), [1.0, 0.0, 1.0 / 64.0, 1.0]);
    }
}
