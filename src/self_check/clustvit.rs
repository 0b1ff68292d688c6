//! Merging tokens by clusters, and giving them their rows back.

use super::{Check, Checker, doubles};
use crate::error::Result;
use crate::kernels::cluster_merge::{
    ClusterMerge, ClusterMergeConfig, ClusterWeights, Gate, Regenerate, RegenerateConfig, RegenerateWeights,
};
use crate::kernels::tome::{Tome, TomeConfig};
use crate::schedule::Schedule;
use crate::twins::cluster_merge::{self as twin, MergeShape, TwoLayers};
use crate::twins::tome::{tome_map, tome_match, tome_merge};

impl<F: FnMut(&Check)> Checker<'_, F> {
    pub(super) async fn cluster_merge(&mut self) -> Result<()> {
        let shape = MergeShape { batch: 2, tokens: 147, clusters: 3, width: 36 };
        let MergeShape { batch, tokens, clusters, width } = shape;
        let hidden = 50;
        let x = self.values(batch * (1 + tokens) * width);
        let [w1, b1, w2, b2] =
            [hidden * width, hidden, (clusters + 1) * hidden, clusters + 1].map(|count| self.values(count));
        let [v1, c1, v2, c2] =
            [2 * width * width, width, width * width, width].map(|count| self.values(count));
        // Sums of products of about 1.
        let [v1, v2] = [v1, v2].map(|weight| weight.iter().map(|value| value * 0.3).collect::<Vec<_>>());
        let half = |half: usize| -> Vec<f32> {
            let columns = |row: &[f32]| row[half * width..(half + 1) * width].to_vec();
            v1.chunks_exact(2 * width).flat_map(columns).collect()
        };
        let config = ClusterMergeConfig { clusters, gate: Gate::Image, variant: self.variant };
        let merge = ClusterMerge::new(self.gpu, config)?;
        let regenerate = Regenerate::new(self.gpu, RegenerateConfig { clusters, variant: self.variant })?;
        let tensors = [
            self.upload("w1", &[hidden, width], &w1)?,
            self.upload("b1", &[hidden], &b1)?,
            self.upload("w2", &[clusters + 1, hidden], &w2)?,
            self.upload("b2", &[clusters + 1], &b2)?,
        ];
        let back = [
            self.upload("v1a", &[width, width], &half(0))?,
            self.upload("v1b", &[width, width], &half(1))?,
            self.upload("c1", &[width], &c1)?,
            self.upload("v2", &[width, width], &v2)?,
            self.upload("c2", &[width], &c2)?,
        ];
        let x_tensor = self.upload("x", &[batch, 1 + tokens, width], &x)?;
        let [w1_tensor, b1_tensor, w2_tensor, b2_tensor] = &tensors;
        let weights = ClusterWeights { w1: w1_tensor, b1: b1_tensor, w2: w2_tensor, b2: b2_tensor };
        let [w1_original, w1_representative, c1_tensor, v2_tensor, c2_tensor] = &back;
        let layers =
            RegenerateWeights { w1_original, w1_representative, b1: c1_tensor, w2: v2_tensor, b2: c2_tensor };
        let mut schedule = Schedule::new(self.gpu);
        let merged = merge.record(&mut schedule, &x_tensor, weights)?;
        let part = regenerate.record_original(&mut schedule, &x_tensor, layers)?;
        let out = regenerate.record(&mut schedule, &part, &merged.packed, &merged.map, layers)?;
        let found = self.run(schedule, &out).await?;
        let ids = merged.ids.read::<u32>(self.gpu).await?;
        let packed = merged.packed.read::<f32>(self.gpu).await?;
        let row_map = merged.map.rows.read::<u32>(self.gpu).await?;

        // The twin merges by the ids found here: two logits may be closer than f32 tells.
        let [x, w1, b1, w2, b2] = [x, w1, b1, w2, b2].map(doubles);
        let logits = twin::cluster_logits(&x, &TwoLayers { w1: &w1, b1: &b1, w2: &w2, b2: &b2 });
        let choices = clusters + 1;
        let most = |row: &[f64]| row.iter().copied().fold(f64::MIN, f64::max);
        let rows = logits.chunks_exact(choices).enumerate().filter(|(row, _)| row % (1 + tokens) != 0);
        let behind = rows.zip(&ids).map(|((_, row), id)| most(row) - row[*id as usize]).fold(0.0, f64::max);
        let detail = format!("a logit is {behind:.1e} above that of the id chosen, tolerance 1e-4");
        self.push("cluster ids", behind <= 1e-4, detail);
        let map = twin::map_rows(&ids, &shape, Gate::Image);
        self.push("cluster row map", row_map == map.row_map, "exact".into());
        let expected = twin::merge_rows(&x, &twin::cluster_means(&x, &ids, &shape), &map, &shape);
        self.compare("cluster merge", &packed[..expected.len().min(packed.len())], &expected, 2e-6);
        let original: Vec<f64> =
            x.chunks_exact((1 + tokens) * width).flat_map(|image| image[width..].to_vec()).collect();
        let [v1, c1, v2, c2] = [v1, c1, v2, c2].map(doubles);
        let layers = TwoLayers { w1: &v1, b1: &c1, w2: &v2, b2: &c2 };
        let expected = twin::regenerate(&original, &expected, &map, &layers, &shape);
        self.compare("cluster regenerate", &found, &expected, 2e-5);
        Ok(())
    }

    pub(super) async fn tome(&mut self) -> Result<()> {
        let (tokens, width, metric_width, removed) = (93, 37, 20, 21);
        let (x, metric) = (self.values(tokens * width), self.values(tokens * metric_width));
        let sizes: Vec<f32> = (0..tokens).map(|token| 1.0 + (token % 4) as f32).collect();
        let tensors = [
            self.upload("x", &[1, tokens, width], &x)?,
            self.upload("metric", &[1, tokens, metric_width], &metric)?,
            self.upload("sizes", &[1, tokens], &sizes)?,
        ];
        let mut schedule = Schedule::new(self.gpu);
        let tome = Tome::new(TomeConfig { removed, class_token: true });
        let output = tome.record(&mut schedule, &tensors[0], &tensors[1], &tensors[2])?;
        let found = self.run(schedule, &output.merged).await?;
        let map = output.map.rows.read::<u32>(self.gpu).await?;
        let matching = tome_match(&doubles(metric), metric_width, removed, true);
        self.push("token merging, map", map == tome_map(tokens, &matching), "exact".into());
        let (expected, _) = tome_merge(&doubles(x), &doubles(sizes), width, &matching);
        self.compare("token merging", &found, &expected, 2e-6);
        Ok(())
    }
}
