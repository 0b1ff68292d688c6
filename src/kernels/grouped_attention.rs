//! Attention within groups of pixels: windows of a picture, and runs of a sorted list.

use super::category_sort::SortedCategories;
use super::{Constants, dims, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// The longest side of a window: its table of biases lies in workgroup memory, beside keys.
pub const LARGEST_ATTENTION_WINDOW: usize = 24;

/// The largest head, as a workgroup has room for a few keys at least.
pub const MOST_HEAD_DIM: usize = 64;

/// Configuration of a [`WindowAttention`].
#[derive(Clone, Debug)]
pub struct WindowAttentionConfig {
    /// Pixels along a window's side: 2 to [`LARGEST_ATTENTION_WINDOW`].
    pub window: usize,
    /// Heads.
    pub heads: usize,
    /// Roll the picture by half a window first, and back afterwards.
    pub shifted: bool,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// Attention of the pixels of a window with a bias by relative position, in windows from the corner or shifted by half a window
/// (Swin, arXiv 2103.14030): softmax(q kᵀ / sqrt(dim) + bias + mask) v.
///
/// Shapes: qkv `[height, width, 3 · channels]` f32 as [`CategoryAttention`] has it, height and width multiples of the window, out
/// `[height · width, channels]` f32. In shifted windows pixels that the roll brought together see each other with a bias of -100.
/// Error bound: 2e-6 relative to the largest value. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct WindowAttention {
    config: WindowAttentionConfig,
    variant: Variant,
}

/// A table of biases on the GPU, made by [`WindowAttention::upload_bias`].
#[derive(Clone, Debug)]
pub struct RelativeBias(Tensor);

impl WindowAttention {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: WindowAttentionConfig) -> Result<Self> {
        const NAME: &str = "window_attention";
        if !(2..=LARGEST_ATTENTION_WINDOW).contains(&config.window) {
            let expected = format!("2 to {LARGEST_ATTENTION_WINDOW}");
            return Err(Error::config(NAME, "window", config.window, expected));
        }
        check_heads(NAME, config.heads)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Copies a table of biases `[(2 window - 1)², heads]` to the GPU; a query's at row dy · (2 window - 1) + dx, with the
    /// query's position minus the key's, plus window - 1, for dy and dx. Errors: `Shape`, `OutOfMemory`.
    pub fn upload_bias(&self, gpu: &Gpu, table: &[f32]) -> Result<RelativeBias> {
        let WindowAttentionConfig { window, heads, .. } = self.config;
        let places = (2 * window - 1) * (2 * window - 1);
        if table.len() != places * heads {
            let found = format!("has {} elements", table.len());
            return Err(Error::shape("window_attention", "bias", found, format!("[{places}, {heads}]")));
        }
        let entry =
            |i: usize| (table[i % places * heads + i / places] as f64 * std::f64::consts::LOG2_E) as f32;
        let by_head: Vec<f32> = (0..table.len()).map(entry).collect();
        Ok(RelativeBias(Tensor::upload(gpu, "relative bias", &[heads, places], &by_head)?))
    }

    /// Records the attention. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, qkv: &Tensor, bias: &RelativeBias) -> Result<Tensor> {
        const NAME: &str = "window_attention";
        let WindowAttentionConfig { window, heads, shifted, .. } = self.config;
        let [height, width, channels] = dims(NAME, "qkv", qkv, "[height, width, 3 · channels]")?;
        let whole = |side: usize| side > 0 && side.is_multiple_of(window);
        if !whole(height) || !whole(width) {
            let found = format!("has shape {:?}", qkv.shape());
            return Err(Error::shape(NAME, "qkv", found, format!("sides that are multiples of {window}")));
        }
        let places = (2 * window - 1) * (2 * window - 1);
        expect_shape(NAME, "bias", &bias.0, &[heads, places])?;
        let groups = Groups {
            heads,
            head_dim: head_dim(NAME, qkv, channels, heads)?,
            group: window * window,
            count: height * width / (window * window),
            window,
            shifted,
            size: [height, width],
            scale: 0.0,
        };
        let scale = (groups.head_dim as f32).powf(-0.5);
        groups.with_scale(scale).record(schedule, self.variant.kind, qkv, &[("bias_table", &bias.0)])
    }
}

/// Configuration of a [`CategoryAttention`].
#[derive(Clone, Debug)]
pub struct CategoryAttentionConfig {
    /// Pixels of a group; at least 1.
    pub group: usize,
    /// Heads.
    pub heads: usize,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// Attention within runs of `group` pixels of a list, sorted by category (ATD, arXiv 2401.08209, section 3.3): softmax(scale · q kᵀ) v.
///
/// Groups straddle categories; the last one has the list's end, read backwards, as further keys, and a list shorter than a group is one
/// group. Shapes: qkv `[pixels, 3 · channels]` f32: in a row the queries, keys and values of a pixel, `[3, heads, dim]`; out `[pixels,
/// channels]` f32, rows in the order of the list, those past its end undefined. How long the list is only the GPU knows.
/// Error bound: 1e-6 · (1 + the largest logit) relative to the largest value. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct CategoryAttention {
    config: CategoryAttentionConfig,
    variant: Variant,
}

impl CategoryAttention {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: CategoryAttentionConfig) -> Result<Self> {
        const NAME: &str = "category_attention";
        if config.group == 0 {
            return Err(Error::config(NAME, "group", 0, "at least 1"));
        }
        check_heads(NAME, config.heads)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the attention of the pixels that `sorted` lists before its `active_count`.
    ///
    /// Errors: `Shape`, `Config` for a scale that is not finite, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        qkv: &Tensor,
        sorted: &SortedCategories,
        scale: f32,
    ) -> Result<Tensor> {
        const NAME: &str = "category_attention";
        let CategoryAttentionConfig { group, heads, .. } = self.config;
        let [pixels, channels] = dims(NAME, "qkv", qkv, "[pixels, 3 · channels]")?;
        expect_dtype(NAME, "order", &sorted.order, &[Dtype::U32])?;
        expect_shape(NAME, "order", &sorted.order, &[pixels])?;
        expect_shape(NAME, "active_count", &sorted.active_count, &[1])?;
        if !scale.is_finite() {
            return Err(Error::config(NAME, "scale", scale, "a finite number"));
        }
        let groups = Groups {
            heads,
            head_dim: head_dim(NAME, qkv, channels, heads)?,
            group: group.min(pixels),
            count: pixels.div_ceil(group),
            window: 0,
            shifted: false,
            size: [1, pixels],
            scale,
        };
        let list = [("order", &sorted.order), ("active_count", &sorted.active_count)];
        groups.record(schedule, self.variant.kind, qkv, &list)
    }
}

fn check_heads(operator: &'static str, heads: usize) -> Result<()> {
    if heads > 0 {
        return Ok(());
    }
    Err(Error::config(operator, "heads", heads, "at least 1"))
}

/// Elements of a head, once rows of qkv fit.
fn head_dim(operator: &'static str, qkv: &Tensor, channels: usize, heads: usize) -> Result<usize> {
    let dim = channels / (3 * heads);
    expect_dtype(operator, "qkv", qkv, &[Dtype::F32])?;
    if qkv.elements() == 0 || !channels.is_multiple_of(3 * heads) || dim > MOST_HEAD_DIM {
        let found = format!("has shape {:?}", qkv.shape());
        let expected = format!("rows of 3 x {heads} heads of 1 to {MOST_HEAD_DIM} elements");
        return Err(Error::shape(operator, "qkv", found, expected));
    }
    Ok(dim)
}

/// One dispatch over all groups and heads.
struct Groups {
    heads: usize,
    head_dim: usize,
    /// Pixels of a group.
    group: usize,
    /// Groups, at most.
    count: usize,
    /// 0: a list.
    window: usize,
    shifted: bool,
    size: [usize; 2],
    scale: f32,
}

#[derive(encase::ShaderType)]
struct GroupParams {
    heads: u32,
    kv_heads: u32,
    row_tiles: u32,
    group: u32,
    groups: u32,
    group_step: u32,
    height: u32,
    width: u32,
    scale: f32,
}

impl Groups {
    fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Kernel, queries of a workgroup, and constants.
    fn tiling(&self, kind: VariantKind) -> (&'static str, usize, Vec<(&'static str, usize)>) {
        if kind.is_cpu() {
            let (most, keys) = match (kind, self.head_dim) {
                (VariantKind::Cpu, ..=16) => (4, 4),
                (VariantKind::Cpu, ..=32) => (4, 2),
                (VariantKind::Cpu, _) => (2, 4),
                (_, ..=32) => (8, 1),
                _ => (4, 1),
            };
            let rows = self.group.div_ceil(8).next_power_of_two().min(most);
            let subgroup = (kind == VariantKind::Cpu) as usize;
            let constants = vec![("ROWS", rows), ("KEYS", keys), ("SUBGROUP", subgroup)];
            return ("grouped_attention/attention_cpu", 8 * rows, constants);
        }
        let rows = if self.group > 128 && self.head_dim <= 32 { 2 } else { 1 };
        let table = if self.window == 0 { 0 } else { 4 * (2 * self.window - 1) * (2 * self.window - 1) };
        let room = ((16 << 10) - table.next_multiple_of(16)) / (32 * self.head_dim.div_ceil(4));
        // Keys a step; a tile holds whole steps.
        const KEYS: usize = 8;
        let tile = self.group.next_multiple_of(KEYS).min(room / KEYS * KEYS).min(128);
        ("grouped_attention/attention", 128 * rows, vec![("ROWS", rows), ("KEYS", KEYS), ("KEY_TILE", tile)])
    }

    fn record(
        &self,
        schedule: &mut Schedule,
        kind: VariantKind,
        qkv: &Tensor,
        others: &[(&str, &Tensor)],
    ) -> Result<Tensor> {
        let (kernel, queries, tile) = self.tiling(kind);
        let mut constants = Constants::new()
            .set("HEAD_DIM", self.head_dim)
            .set("VALUE_DIM", self.head_dim)
            .set("WINDOW", self.window)
            .flag("SHIFTED", self.shifted)
            .set("QKV_TYPE", load_type(Dtype::F32, self.head_dim));
        for (name, value) in tile {
            constants = constants.set(name, value);
        }
        let pixels = self.size[0] * self.size[1];
        let row_tiles = self.group.div_ceil(queries);
        // Of a list, whose end only the GPU knows, a workgroup on a software adapter has up to 8 groups.
        let group_step = if kind.is_cpu() && self.window == 0 { self.count.div_ceil(8) } else { self.count };
        let params = GroupParams {
            heads: self.heads as u32,
            kv_heads: 3 * self.heads as u32,
            row_tiles: row_tiles as u32,
            group: self.group as u32,
            groups: self.count as u32,
            group_step: group_step as u32,
            height: self.size[0] as u32,
            width: self.size[1] as u32,
            scale: self.scale,
        };
        let label = if self.window == 0 { "category attention" } else { "window attention" };
        let out = schedule.tensor(label, &[pixels, self.heads * self.head_dim], Dtype::F32)?;
        let products = pixels * self.group * self.heads * self.head_dim;
        let cost = Cost { flops: 4.0 * products as f64, bytes: (qkv.bytes() + out.bytes()) as f64 };
        let mut recorder = schedule
            .kernel(label, kernel, &constants.pairs())?
            .params(&params)
            .bind("query", qkv)?
            .bind("key", qkv)?
            .bind("value", qkv)?
            .bind("out", &out)?;
        for (name, tensor) in others {
            recorder = recorder.bind(name, tensor)?;
        }
        if self.window == 0 {
            recorder = recorder.may_end_early();
        }
        recorder.dispatch(group_step * self.heads * row_tiles, cost)?;
        Ok(out)
    }
}
