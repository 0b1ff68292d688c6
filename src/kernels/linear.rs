//! Linear layers: y = activation(x W + b) + residual.

use super::linear_types::{Activation, WeightLayout};
use super::{Constants, FLOATS, check_activation, check_row_count, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Configuration of a [`Linear`] layer. The default is y = x W with W `[inputs, outputs]`, in f32.
#[derive(Clone, Debug, Default)]
pub struct LinearConfig {
    /// Order of the weight in memory.
    pub layout: WeightLayout,
    /// Applied to x W + b.
    pub activation: Activation,
    /// Store y as f16, rounded from the f32 sums; `outputs` must be even.
    pub output_f16: bool,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// y = activation(x W + b) + residual, with f32 sums.
///
/// Shapes: x `[.., inputs]`, weight `[inputs, outputs]` or `[outputs, inputs]`, bias `[outputs]`, residual and y
/// `[.., outputs]`. x and weight are f32 or f16, bias and residual f32, y f32 (or f16). Error bound: 1e-6 · sqrt(inputs) relative to the
/// row's sum of absolute products; GELU adds 2e-7. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Linear {
    config: LinearConfig,
    variant: Variant,
}

#[derive(encase::ShaderType)]
struct LinearParams {
    rows: u32,
    inputs: u32,
    outputs: u32,
    row_tiles: u32,
    column_tiles: u32,
}

/// Row tiles that a workgroup takes one after the other on lavapipe, where the GPU counts the rows.
const ROW_TILES_IN_TURN: usize = 8;

/// Rows to add where a mask says so.
#[derive(Clone, Copy)]
pub(crate) struct MaskedRows<'a> {
    /// `[rows, width]` f32, of which the layer's outputs count from `column` on.
    pub rows: &'a Tensor,
    pub column: usize,
    /// `[rows]` u32: 1 adds the row.
    pub mask: &'a Tensor,
}

/// What a layer may have beside x and the weight.
#[derive(Default)]
struct Operands<'a> {
    bias: Option<&'a Tensor>,
    residual: Option<&'a Tensor>,
    row_count: Option<&'a Tensor>,
    /// The places of x's rows in a tensor, and that.
    placed: Option<[&'a Tensor; 2]>,
    addend: Option<MaskedRows<'a>>,
}

/// A kernel and the tile it cuts the output into.
#[derive(Clone, Debug, PartialEq)]
struct Tiling {
    kernel: &'static str,
    rows: usize,
    columns: usize,
    constants: Vec<(&'static str, usize)>,
}

impl MaskedRows<'_> {
    /// Elements of a row, once `outputs` of them fit.
    fn check(&self, rows: usize, outputs: usize) -> Result<usize> {
        const NAME: &str = "linear";
        let [_, width] = super::dims(NAME, "addend", self.rows, "[rows, width]")?;
        expect_dtype(NAME, "addend", self.rows, &[Dtype::F32])?;
        expect_shape(NAME, "addend", self.rows, &[rows, width.max(self.column + outputs)])?;
        expect_dtype(NAME, "mask", self.mask, &[Dtype::U32])?;
        expect_shape(NAME, "mask", self.mask, &[rows])?;
        let whole = [width, self.column].iter().all(|elements| elements.is_multiple_of(4));
        if outputs.is_multiple_of(4) && !whole {
            let found = format!("has rows of {width}, used from column {}", self.column);
            return Err(Error::shape(NAME, "addend", found, "multiples of 4, as the outputs are"));
        }
        Ok(width)
    }
}

impl Linear {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: LinearConfig) -> Result<Self> {
        check_activation("linear", config.activation)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the layer: one kernel, bias, activation and residual included.
    ///
    /// Errors: `Shape`, `Config` for an f16 output of odd rows, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.record_with(schedule, x, weight, Operands { bias, residual, ..Default::default() })
    }

    /// The same for as many rows as only the GPU knows: `row_count` `[1]` u32 says how many of x's rows there are. Those past
    /// them cost next to nothing, and in y hold anything.
    ///
    /// Errors: those of [`record`](Self::record).
    pub fn record_rows(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
        row_count: &Tensor,
    ) -> Result<Tensor> {
        let operands = Operands { bias, residual, row_count: Some(row_count), ..Default::default() };
        self.record_with(schedule, x, weight, operands)
    }

    /// The same, f32, on top of rows of a tensor that is there already: row r is added to row `places[r]` of `y`; `places` `[rows]` u32,
    /// none twice. With a `row_count` only as many of x's rows are placed.
    ///
    /// Errors: those of [`record`](Self::record).
    pub(crate) fn record_placed(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        row_count: Option<&Tensor>,
        placed: [&Tensor; 2],
    ) -> Result<()> {
        let operands = Operands { bias: Some(bias), row_count, placed: Some(placed), ..Default::default() };
        self.record_with(schedule, x, weight, operands)?;
        Ok(())
    }

    /// The same with `addend` inside the activation: activation(x W + bias + addend) + residual.
    ///
    /// Errors: those of [`record`](Self::record).
    pub(crate) fn record_masked(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        [bias, residual]: [&Tensor; 2],
        addend: Option<MaskedRows>,
    ) -> Result<Tensor> {
        let (bias, residual) = (Some(bias), Some(residual));
        self.record_with(schedule, x, weight, Operands { bias, residual, addend, ..Default::default() })
    }

    fn record_with(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        operands: Operands,
    ) -> Result<Tensor> {
        let Operands { bias, residual, row_count, placed, addend } = operands;
        let (rows, inputs, outputs) = self.check(x, weight, bias, residual)?;
        check_row_count("linear", row_count)?;
        let addend_width = addend.map_or(Ok(0), |addend| addend.check(rows, outputs))?;
        let out_in = self.config.layout == WeightLayout::OutIn;
        let weight_row = if out_in { inputs } else { outputs };
        let output_f16 = self.config.output_f16;
        let tiling = self.tiling(rows, outputs);
        // So few rows are all computed: the kernel for them reads every weight in any case.
        let row_count = row_count.filter(|_| placed.is_some() || tiling.kernel != "linear/matvec");
        let mut constants = Constants::new()
            .flag("X_F16", x.dtype() == Dtype::F16)
            .flag("WEIGHT_F16", weight.dtype() == Dtype::F16)
            .flag("Y_F16", output_f16)
            .flag("X_ALIGNED", inputs.is_multiple_of(4))
            .flag("WEIGHT_ALIGNED", weight_row.is_multiple_of(4))
            .flag("Y_ALIGNED", outputs.is_multiple_of(4))
            .set("X_TYPE", load_type(x.dtype(), inputs))
            .set("WEIGHT_TYPE", load_type(weight.dtype(), weight_row))
            .set("Y_TYPE", if output_f16 { "u32" } else { load_type(Dtype::F32, outputs) })
            .flag("WEIGHT_OUT_IN", out_in)
            .flag("BIAS", bias.is_some())
            .flag("RESIDUAL", residual.is_some())
            .flag("COUNTED", row_count.is_some())
            .flag("PLACED", placed.is_some())
            .set("ADDEND_WIDTH", addend_width)
            .set("ADDEND_COLUMN", addend.map_or(0, |addend| addend.column))
            .activation(self.config.activation);
        for (name, value) in &tiling.constants {
            constants = constants.set(name, value);
        }
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("checked") = outputs;
        let y = match placed {
            None => schedule.tensor("linear", &shape, if output_f16 { Dtype::F16 } else { Dtype::F32 })?,
            Some([places, y]) => {
                expect_dtype("linear", "places", places, &[Dtype::U32])?;
                expect_shape("linear", "places", places, &[rows])?;
                expect_dtype("linear", "y", y, &[if output_f16 { Dtype::F16 } else { Dtype::F32 }])?;
                expect_shape("linear", "y", y, &shape)?;
                y.clone()
            }
        };
        let (mut row_tiles, column_tiles) = (rows.div_ceil(tiling.rows), outputs.div_ceil(tiling.columns));
        if row_count.is_some() && self.variant.kind.is_cpu() && self.variant.kind.uses_subgroups() {
            row_tiles = row_tiles.div_ceil(ROW_TILES_IN_TURN);
        }
        let params = LinearParams {
            rows: rows as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            row_tiles: row_tiles as u32,
            column_tiles: column_tiles as u32,
        };
        let cost = Cost {
            flops: 2.0 * (rows * inputs * outputs) as f64,
            bytes: (x.bytes() + weight.bytes() + y.bytes()) as f64,
        };
        let mut recorder = schedule
            .kernel("linear", tiling.kernel, &constants.pairs())?
            .params(&params)
            .bind("x", x)?
            .bind("weight", weight)?
            .bind("y", &y)?;
        if let Some(bias) = bias {
            recorder = recorder.bind("bias", bias)?;
        }
        if let Some(residual) = residual {
            recorder = recorder.bind("residual", residual)?;
        }
        if let Some(row_count) = row_count {
            recorder = recorder.bind("row_count", row_count)?.may_end_early();
        }
        if let Some([places, _]) = placed {
            recorder = recorder.bind("places", places)?;
        }
        if let Some(addend) = &addend {
            recorder = recorder.bind("addend", addend.rows)?.bind("chosen", addend.mask)?;
        }
        recorder.dispatch(row_tiles * column_tiles, cost)?;
        Ok(y)
    }

    /// Rows, inputs and outputs, once every shape fits.
    fn check(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<(usize, usize, usize)> {
        const NAME: &str = "linear";
        let inputs =
            *x.shape().last().ok_or_else(|| Error::shape(NAME, "x", "has no dimension", "[.., inputs]"))?;
        let rows = x.elements().checked_div(inputs).unwrap_or(0);
        let [first, second] = super::dims(NAME, "weight", weight, "two dimensions")?;
        let (weight_inputs, outputs) = match self.config.layout {
            WeightLayout::InOut => (first, second),
            WeightLayout::OutIn => (second, first),
        };
        if weight_inputs != inputs || rows == 0 || outputs == 0 {
            let found = format!("has shape {:?} ({:?})", weight.shape(), self.config.layout);
            let expected = format!("{inputs} inputs as in x {:?}, and no empty dimension", x.shape());
            return Err(Error::shape(NAME, "weight", found, expected));
        }
        expect_dtype(NAME, "x", x, &FLOATS)?;
        expect_dtype(NAME, "weight", weight, &FLOATS)?;
        if let Some(bias) = bias {
            expect_dtype(NAME, "bias", bias, &[Dtype::F32])?;
            expect_shape(NAME, "bias", bias, &[outputs])?;
        }
        if let Some(residual) = residual {
            let mut shape = x.shape().to_vec();
            *shape.last_mut().expect("x has a last dimension") = outputs;
            expect_dtype(NAME, "residual", residual, &[Dtype::F32])?;
            expect_shape(NAME, "residual", residual, &shape)?;
        }
        if self.config.output_f16 && !outputs.is_multiple_of(2) {
            let expected = format!("false, or an even number of outputs (it is {outputs})");
            return Err(Error::config(NAME, "output_f16", true, expected));
        }
        Ok((rows, inputs, outputs))
    }

    fn tiling(&self, rows: usize, outputs: usize) -> Tiling {
        let kind = self.variant.kind;
        let out_in = self.config.layout == WeightLayout::OutIn;
        if kind.is_cpu() {
            let subgroup = kind == VariantKind::Cpu;
            // On lavapipe 24 columns where 32 would compute more that nobody needs.
            let narrow = outputs.next_multiple_of(24) < outputs.next_multiple_of(32);
            let (most_rows, most_columns, step) = match (subgroup, narrow) {
                (true, false) => (4, 32, 8),
                (true, true) => (8, 24, 8),
                (false, _) => (8, 16, 4),
            };
            let columns = outputs.next_multiple_of(8).min(most_columns);
            // Fewer rows a lane where there are too few to give every lane its share.
            let lane_rows = rows.div_ceil(8).next_power_of_two().min(most_rows);
            let constants = vec![
                ("ROWS", lane_rows),
                ("COLUMNS", columns),
                ("STEP", step),
                ("SUBGROUP", subgroup as usize),
            ];
            return Tiling { kernel: "linear/matmul_cpu", rows: 8 * lane_rows, columns, constants };
        }
        if rows <= 8 {
            let (quads, workgroup) = match (out_in, rows) {
                (true, _) => (1, 64),
                (false, ..=4) => (8, 256),
                (false, _) => (8, 128),
            };
            let subgroup = out_in && kind.uses_subgroups();
            let constants = vec![
                ("ROWS", rows),
                ("COLUMN_QUADS", quads),
                ("WORKGROUP", workgroup),
                ("SUBGROUP", subgroup as usize),
            ];
            return Tiling { kernel: "linear/matvec", rows, columns: 4 * quads, constants };
        }
        let tile = if rows.div_ceil(64) * outputs.div_ceil(64) < 64 { 32 } else { 64 };
        Tiling { kernel: "linear/matmul", rows: tile, columns: tile, constants: vec![("TILE", tile)] }
    }
}
