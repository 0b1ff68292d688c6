//! The sizes of one convolution, and the tiles its kernels cut them into.

use super::weight::ConvolutionWeight;
use super::{ConvolutionConfig, ConvolutionKind};
use crate::variant::VariantKind;

/// All sizes of one convolution.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub kind: ConvolutionKind,
    pub stride: usize,
    pub padding: usize,
    /// Sides of the kernel: y, x.
    pub kernel: [usize; 2],
    pub batch: usize,
    /// Sides of x: y, x.
    pub size: [usize; 2],
    /// Sides of y: y, x.
    pub out_size: [usize; 2],
    pub inputs: usize,
    pub outputs: usize,
    pub weight_inputs: usize,
    pub weight_outputs: usize,
}

#[derive(encase::ShaderType)]
pub(super) struct ConvolutionParams {
    rows: u32,
    inputs: u32,
    outputs: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    weight_inputs: u32,
    weight_outputs: u32,
    phase_rows: u32,
    phase_height: u32,
    phase_width: u32,
    row_tiles: u32,
    column_tiles: u32,
}

/// A kernel, its constants, and how many tiles it cuts a phase into.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    pub kernel: &'static str,
    pub constants: Vec<(&'static str, usize)>,
    row_tiles: usize,
    column_tiles: usize,
    pub groups: usize,
}

impl Geometry {
    /// `None` where nothing would be left of y.
    pub fn new(
        config: &ConvolutionConfig,
        [batch, height, width]: [usize; 3],
        weight: &ConvolutionWeight,
    ) -> Option<Self> {
        let ConvolutionConfig { kind, stride, padding, .. } = *config;
        let kernel = weight.kernel();
        let side = |size: usize, kernel: usize| match kind {
            ConvolutionKind::Transposed => {
                (size - 1).saturating_mul(stride).saturating_add(kernel).checked_sub(2 * padding)
            }
            _ => Some((size + 2 * padding).checked_sub(kernel)? / stride + 1),
        };
        let out_size = [side(height, kernel[0])?, side(width, kernel[1])?];
        let [weight_inputs, weight_outputs] = weight.padded();
        (out_size[0] > 0 && out_size[1] > 0).then_some(Self {
            kind,
            stride,
            padding,
            kernel,
            batch,
            size: [height, width],
            out_size,
            inputs: weight.inputs(),
            outputs: weight.outputs(),
            weight_inputs,
            weight_outputs,
        })
    }

    /// The shape of y, with as many dimensions as x has.
    pub fn out_shape(&self, dimensions: usize) -> Vec<usize> {
        let [height, width] = self.out_size;
        let shape = [self.batch, height, width, self.outputs];
        shape[4 - dimensions..].to_vec()
    }

    /// Multiply-adds: every tap of the kernel, over the edge of the picture too.
    pub fn macs(&self) -> f64 {
        let product = |values: &[usize]| values.iter().map(|&value| value as f64).product::<f64>();
        let pixels = match self.kind {
            ConvolutionKind::Transposed => self.size,
            _ => self.out_size,
        };
        let inputs = if self.kind == ConvolutionKind::Depthwise { 1 } else { self.inputs };
        product(&[self.batch, inputs, self.outputs]) * product(&pixels) * product(&self.kernel)
    }

    /// Output pixels that are computed alike, in y and x: one phase in shaders/wgsl/convolution/geometry.wgsl.
    fn phase_size(&self) -> [usize; 2] {
        match self.kind {
            ConvolutionKind::Transposed => self.out_size.map(|side| side.div_ceil(self.stride)),
            _ => self.out_size,
        }
    }

    fn phases(&self) -> usize {
        if self.kind == ConvolutionKind::Transposed { self.stride * self.stride } else { 1 }
    }

    fn phase_rows(&self) -> usize {
        let [height, width] = self.phase_size();
        self.batch * height * width
    }

    pub fn params(&self, tiling: &Tiling) -> ConvolutionParams {
        let [phase_height, phase_width] = self.phase_size().map(|side| side as u32);
        let [height, width] = self.size.map(|side| side as u32);
        let [out_height, out_width] = self.out_size.map(|side| side as u32);
        ConvolutionParams {
            rows: (self.batch * self.out_size[0] * self.out_size[1]) as u32,
            inputs: self.inputs as u32,
            outputs: self.outputs as u32,
            height,
            width,
            out_height,
            out_width,
            kernel_height: self.kernel[0] as u32,
            kernel_width: self.kernel[1] as u32,
            stride: self.stride as u32,
            padding: self.padding as u32,
            weight_inputs: self.weight_inputs as u32,
            weight_outputs: self.weight_outputs as u32,
            phase_rows: self.phase_rows() as u32,
            phase_height,
            phase_width,
            row_tiles: tiling.row_tiles as u32,
            column_tiles: tiling.column_tiles as u32,
        }
    }
}

impl Tiling {
    fn of_product(
        geometry: &Geometry,
        kernel: &'static str,
        [rows, columns]: [usize; 2],
        mut constants: Vec<(&'static str, usize)>,
    ) -> Self {
        constants.push(("TRANSPOSED", (geometry.kind == ConvolutionKind::Transposed) as usize));
        constants.push(("COLUMNS", columns));
        let row_tiles = geometry.phase_rows().div_ceil(rows);
        let column_tiles = geometry.outputs.div_ceil(columns);
        let groups = geometry.phases() * row_tiles * column_tiles;
        Self { kernel, constants, row_tiles, column_tiles, groups }
    }

    /// The product of pixels and weight.
    pub fn product(geometry: &Geometry, kind: VariantKind) -> Self {
        let outputs = geometry.outputs;
        if kind.is_cpu() || outputs <= 8 {
            let subgroup = kind == VariantKind::Cpu;
            let workgroup = if kind.is_cpu() { 8 } else { 64 };
            let (most_rows, columns) = lane_tile(outputs, kind);
            // Fewer pixels a lane where there are too few to give every lane its share.
            let rows = geometry.phase_rows().div_ceil(workgroup).next_power_of_two().min(most_rows);
            let step = if subgroup && geometry.weight_inputs.is_multiple_of(8) { 8 } else { 4 };
            let constants = vec![
                ("ROWS", rows),
                ("STEP", step),
                ("SUBGROUP", subgroup as usize),
                ("WORKGROUP", workgroup),
            ];
            let kernel = "convolution/implicit_matmul_cpu";
            return Self::of_product(geometry, kernel, [rows * workgroup, columns], constants);
        }
        let tiles = |rows: usize, columns: usize| {
            geometry.phases() * geometry.phase_rows().div_ceil(rows) * outputs.div_ceil(columns)
        };
        let [rows, columns] = match outputs {
            _ if tiles(64, 64) < 64 => [32, 32],
            ..=32 => [128, 32],
            _ => [64, 64],
        };
        let column_lanes = if rows == 128 { 4 } else { 8 };
        let constants =
            vec![("ROWS", rows), ("COLUMN_LANES", column_lanes), ("KERNEL_WIDTH", geometry.kernel[1])];
        Self::of_product(geometry, "convolution/implicit_matmul", [rows, columns], constants)
    }

    /// Channels on their own.
    pub fn depthwise(geometry: &Geometry) -> Self {
        const WORKGROUP: usize = 64;
        let pixels = if geometry.stride == 1 { 8 } else { 4 };
        let [out_height, out_width] = geometry.out_size;
        let invocations =
            geometry.batch * out_height * out_width.div_ceil(pixels) * (geometry.weight_outputs / 4);
        let constants = vec![
            ("KERNEL_WIDTH", geometry.kernel[1]),
            ("STRIDE", geometry.stride),
            ("PIXELS", pixels),
            ("WORKGROUP", WORKGROUP),
        ];
        let groups = invocations.div_ceil(WORKGROUP);
        Self { kernel: "convolution/depthwise", constants, row_tiles: 0, column_tiles: 0, groups }
    }
}

/// Pixels a lane and outputs of a tile of implicit_matmul_cpu: as wide as pays, with as little of it past the last output as may be.
fn lane_tile(outputs: usize, kind: VariantKind) -> (usize, usize) {
    // (pixels, outputs, time per sum): see the kernel's header.
    let tiles: &[(usize, usize, f64)] = match kind {
        VariantKind::Cpu => &[(8, 32, 1.0), (8, 24, 1.12), (8, 16, 1.3), (8, 8, 1.8), (8, 4, 2.8)],
        VariantKind::CpuPlain => &[(8, 16, 1.0), (8, 8, 1.6), (8, 4, 2.5)],
        _ => &[(4, 8, 1.0), (4, 4, 1.5)],
    };
    let time =
        |&(_, columns, each): &(usize, usize, f64)| (outputs.div_ceil(columns) * columns) as f64 * each;
    let best = tiles.iter().min_by(|a, b| time(a).total_cmp(&time(b))).expect("not empty");
    (best.0, best.1)
}
