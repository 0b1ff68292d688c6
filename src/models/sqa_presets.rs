//! The named variants of Sparse Query Attention (SQA, arXiv 2510.01817) and the paper's times.

/// A variant of the paper, or one of the baselines that it compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqaPreset {
    /// Multi-head attention: H query heads, H kv heads.
    Mha,
    /// Grouped-query attention: H query heads share the kv heads.
    Gqa,
    /// Multi-query attention: one kv head.
    Mqa,
    /// Half the query heads, the kv heads of GQA.
    Sqa,
    /// Symmetric: half the query heads, as many kv heads.
    Ssqa,
    /// Extreme: a quarter of the query heads, as many kv heads.
    Xsqa,
    /// Extreme with one kv head.
    Xsmqa,
    /// Light: three quarters of the query heads, the kv heads of GQA (future work in the paper).
    Lsqa,
    /// Reverse: half as many query heads as the kv heads of GQA (future work in the paper).
    Rsqa,
}

impl SqaPreset {
    /// Every preset, in the order of the paper.
    pub const ALL: [Self; 9] = [
        Self::Mha,
        Self::Gqa,
        Self::Mqa,
        Self::Sqa,
        Self::Ssqa,
        Self::Xsqa,
        Self::Xsmqa,
        Self::Lsqa,
        Self::Rsqa,
    ];

    /// The paper's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mha => "MHA",
            Self::Gqa => "GQA",
            Self::Mqa => "MQA",
            Self::Sqa => "SQA",
            Self::Ssqa => "sSQA",
            Self::Xsqa => "xSQA",
            Self::Xsmqa => "xSMQA",
            Self::Lsqa => "lSQA",
            Self::Rsqa => "rSQA",
        }
    }

    /// The preset of a name in any case; the error lists the names.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no SQA preset `{name}`; expected one of {names}")
        })
    }

    /// The (query heads, kv heads) for a baseline of `heads` heads, whose grouped form has `gqa_kv_heads`.
    ///
    /// Fractions are rounded down. The error says why these counts have no such variant: a count would be 0,
    /// the larger is no multiple of the smaller, or their order isn't that of the variant.
    pub fn heads(self, heads: usize, gqa_kv_heads: usize) -> Result<(usize, usize), String> {
        let (query_heads, kv_heads) = match self {
            Self::Mha => (heads, heads),
            Self::Gqa => (heads, gqa_kv_heads),
            Self::Mqa => (heads, 1),
            Self::Sqa => (heads / 2, gqa_kv_heads),
            Self::Ssqa => (heads / 2, heads / 2),
            Self::Xsqa => (heads / 4, heads / 4),
            Self::Xsmqa => (heads / 4, 1),
            Self::Lsqa => (3 * heads / 4, gqa_kv_heads),
            Self::Rsqa => (gqa_kv_heads / 2, gqa_kv_heads),
        };
        let refuse = |reason: &str| {
            let name = self.name();
            Err(format!(
                "{name} of heads = {heads}, kv_heads = {gqa_kv_heads} has {query_heads} query and {kv_heads} kv heads; {reason}"
            ))
        };
        let (larger, smaller) = (query_heads.max(kv_heads), query_heads.min(kv_heads));
        if smaller == 0 {
            return refuse("at least one of each is needed");
        }
        if larger % smaller != 0 {
            return refuse("the larger must be a multiple of the smaller");
        }
        if (query_heads < kv_heads) != (self == Self::Rsqa) {
            return refuse("only rSQA has fewer query heads than kv heads");
        }
        Ok((query_heads, kv_heads))
    }
}

impl std::fmt::Display for SqaPreset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for SqaPreset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::from_name(name)
    }
}

/// The dense model of the paper's benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaperModel {
    /// Elements of a token.
    pub model_dim: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of the MHA baseline.
    pub heads: usize,
    /// Key and value heads of its GQA form.
    pub gqa_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

/// The model of [`PAPER_TIMES`].
pub const PAPER_MODEL: PaperModel =
    PaperModel { model_dim: 256, layers: 8, heads: 16, gqa_kv_heads: 4, head_dim: 16 };

/// The columns of [`PAPER_TIMES`]. SWA is sliding-window attention over 128 tokens, a loop over windows in
/// Python, and so no measure for a window kernel.
pub const PAPER_COLUMNS: [&str; 7] = ["xSQA", "SQA", "sSQA", "SWA", "MQA", "GQA", "MHA"];

/// One row of Table 3 of the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperTime {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Sequences.
    pub batch: usize,
    /// Seconds per step in the order of [`PAPER_COLUMNS`].
    pub seconds: [f64; 7],
}

/// Seconds per forward step of [`PAPER_MODEL`] (Table 3 of the paper; batch sizes of the authors' report):
/// one A100 40 GB, PyTorch 2.6.0, FlashAttention 2.7.4.post1.
pub const PAPER_TIMES: [PaperTime; 5] = [
    PaperTime { tokens: 1024, batch: 128, seconds: [0.0570, 0.0642, 0.0669, 0.0759, 0.0760, 0.0785, 0.0869] },
    PaperTime { tokens: 4096, batch: 32, seconds: [0.0637, 0.0750, 0.0793, 0.0794, 0.1001, 0.1027, 0.1114] },
    PaperTime { tokens: 32768, batch: 4, seconds: [0.1348, 0.1991, 0.2117, 0.1871, 0.3612, 0.3637, 0.3727] },
    PaperTime { tokens: 131072, batch: 1, seconds: [0.3759, 0.6308, 0.6630, 0.7531, 1.2530, 1.2558, 1.2648] },
    PaperTime { tokens: 200000, batch: 1, seconds: [0.8194, 1.4116, 1.4824, 1.1871, 2.8555, 2.8596, 2.8734] },
];

impl PaperTime {
    /// Seconds per step of a preset; none where the paper has no such column.
    pub fn seconds(&self, preset: SqaPreset) -> Option<f64> {
        let column = PAPER_COLUMNS.iter().position(|name| *name == preset.name())?;
        Some(self.seconds[column])
    }

    /// How many times faster than MHA a preset is; none where the paper has no such column.
    pub fn speedup(&self, preset: SqaPreset) -> Option<f64> {
        Some(self.seconds(SqaPreset::Mha)? / self.seconds(preset)?)
    }

    /// How many times faster than MHA each of [`PAPER_COLUMNS`] is.
    pub fn speedups(&self) -> [f64; 7] {
        let [.., mha] = self.seconds;
        self.seconds.map(|seconds| mha / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_mixture_models_have_the_published_heads() {
        let dense = [(16, 16), (16, 4), (16, 1), (8, 4), (8, 8), (4, 4), (4, 1), (12, 4), (2, 4)];
        for (preset, expected) in SqaPreset::ALL.into_iter().zip(dense) {
            assert_eq!(preset.heads(16, 4), Ok(expected), "{preset}");
        }
        let mixture = [("GQA", (8, 2)), ("MQA", (8, 1)), ("SQA", (4, 2)), ("sSQA", (4, 4)), ("xSQA", (2, 2))];
        for (name, expected) in mixture {
            assert_eq!(SqaPreset::from_name(name).unwrap().heads(8, 2), Ok(expected), "{name}");
        }
        // The example of a large model: GQA-8 of 32 heads becomes xSQA 8/8.
        assert_eq!(SqaPreset::Xsqa.heads(32, 8), Ok((8, 8)));
    }

    #[test]
    fn names_are_found_in_any_case_and_an_unknown_one_lists_them() {
        for preset in SqaPreset::ALL {
            assert_eq!(SqaPreset::from_name(&preset.name().to_lowercase()), Ok(preset));
            assert_eq!(preset.name().to_uppercase().parse(), Ok(preset));
        }
        let error = SqaPreset::from_name("SQ").unwrap_err();
        assert!(error.contains("`SQ`") && SqaPreset::ALL.iter().all(|p| error.contains(p.name())), "{error}");
    }

    #[test]
    fn head_counts_without_the_variant_are_refused() {
        let error = |preset: SqaPreset, heads, kv_heads| preset.heads(heads, kv_heads).unwrap_err();
        assert!(error(SqaPreset::Xsqa, 3, 1).contains("0 query"));
        assert!(error(SqaPreset::Gqa, 8, 0).contains("0 kv"));
        assert!(error(SqaPreset::Gqa, 16, 5).contains("multiple"));
        assert!(error(SqaPreset::Lsqa, 16, 8).contains("12 query and 8 kv heads"));
        assert!(error(SqaPreset::Sqa, 8, 8).contains("rSQA"));
        assert!(error(SqaPreset::Rsqa, 8, 1).contains("0 query"));
    }

    #[test]
    fn speedups_are_the_published_ones() {
        // xSQA, SQA, sSQA, SWA, MQA, GQA
        let published = [
            [1.52, 1.35, 1.30, 1.14, 1.14, 1.11],
            [1.75, 1.49, 1.40, 1.40, 1.11, 1.08],
            [2.76, 1.87, 1.76, 1.99, 1.03, 1.02],
            [3.36, 2.01, 1.91, 1.68, 1.01, 1.01],
            [3.51, 2.04, 1.94, 2.42, 1.01, 1.00],
        ];
        for (row, published) in PAPER_TIMES.iter().zip(published) {
            for (column, expected) in published.into_iter().enumerate() {
                let found = row.speedups()[column];
                let place = format!("{} at {} tokens", PAPER_COLUMNS[column], row.tokens);
                assert!((found - expected).abs() <= 0.006, "{place}: {found}, published {expected}");
            }
            assert_eq!(row.speedups()[6], 1.0);
        }
        assert_eq!(PAPER_TIMES[4].seconds(SqaPreset::Sqa), Some(1.4116));
        assert_eq!(PAPER_TIMES[4].seconds(SqaPreset::Lsqa), None);
        assert_eq!(PAPER_TIMES[4].speedup(SqaPreset::Lsqa), None);
        assert_eq!(PAPER_TIMES[4].speedup(SqaPreset::Sqa), Some(PAPER_TIMES[4].speedups()[1]));
    }

    /// time = a + b · query heads, fitted from xSQA and GQA, predicts SQA in every row; the largest
    /// deviation, at 200 000 tokens, is 6.22 %.
    #[test]
    fn time_grows_linearly_with_the_query_heads() {
        for row in PAPER_TIMES {
            let [xsqa, sqa, gqa] =
                [SqaPreset::Xsqa, SqaPreset::Sqa, SqaPreset::Gqa].map(|preset| row.seconds(preset).unwrap());
            let predicted = xsqa + (gqa - xsqa) * (8.0 - 4.0) / (16.0 - 4.0);
            assert!((predicted / sqa - 1.0).abs() < 0.0623, "{} tokens: {predicted} and {sqa}", row.tokens);
        }
    }
}
