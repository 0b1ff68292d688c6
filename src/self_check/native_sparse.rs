//! Native sparse attention and VideoNSA.

use super::{Check, Checker, doubles, shape};
use crate::error::Result;
use crate::kernels::native_sparse::{
    Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs, NativeSparseOutput,
};
use crate::models::video_nsa::{VideoNsa, VideoNsaInputs};
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::twins;
use crate::twins::attention::AttentionShape;
use crate::twins::native_sparse::{NativeSparseOptions, NativeSparseSources};

/// q, k, v and gates.
struct Tensors {
    data: [Vec<f32>; 4],
    tensors: [Tensor; 4],
}

impl<F: FnMut(&Check)> Checker<'_, F> {
    fn sparse_tensors(&mut self, shape: &AttentionShape) -> Result<Tensors> {
        let &AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } =
            shape;
        let shapes = [
            [batch, query_tokens, query_heads, head_dim],
            [batch, tokens, kv_heads, head_dim],
            [batch, tokens, kv_heads, value_dim],
            [batch, query_tokens, query_heads, 3],
        ];
        let data = shapes.map(|shape| self.values(shape.iter().product()));
        let upload = |i: usize| self.upload(["q", "k", "v", "gates"][i], &shapes[i], &data[i]);
        let tensors = [upload(0)?, upload(1)?, upload(2)?, upload(3)?];
        Ok(Tensors { data, tensors })
    }

    pub(super) async fn native_sparse(&mut self) -> Result<()> {
        for (name, sizes) in [
            ("native sparse, groups of 3", [1, 133, 133, 6, 2, 20, 12]),
            ("native sparse, decode", [2, 1, 517, 16, 1, 20, 12]),
        ] {
            let shape = shape(sizes);
            let Tensors { data, tensors } = self.sparse_tensors(&shape)?;
            let config = NativeSparseConfig {
                cmp_block: 8,
                cmp_stride: 4,
                sel_block: 16,
                top_n: 4,
                window: 20,
                variant: self.variant,
                ..Default::default()
            };
            let [q, k, v, gates] = &tensors;
            let mut schedule = Schedule::new(self.gpu);
            let inputs = NativeSparseInputs::new(q, k, v, Gates::Logits(gates));
            let operator = NativeSparseAttention::new(self.gpu, config.clone())?;
            let NativeSparseOutput { out, blocks, .. } = operator.record(&mut schedule, &inputs)?;
            let found = self.run(schedule, &out).await?;
            let words = blocks.read::<u32>(self.gpu).await?;
            let blocks: Vec<i32> = words.into_iter().map(|block| block as i32).collect();

            let [q, k, v, gates] = data.map(doubles);
            let gates = twins::native_sparse::gate_values(&gates);
            let options = NativeSparseOptions::from(&config);
            let free = NativeSparseSources::new(&q, &k, &v, &gates);
            let selection = twins::native_sparse::native_sparse(&free, &shape, &options).selection;
            // Where two blocks score alike, either may be selected.
            let narrow = 1e-5 * (shape.query_heads / shape.kv_heads) as f64;
            let lists = blocks.chunks_exact(config.top_n).zip(selection.blocks.chunks_exact(config.top_n));
            let wrong = lists.zip(&selection.margin).filter(|((a, b), margin)| a != b && **margin > narrow);
            let (wrong, all) = (wrong.count(), selection.margin.len());
            self.push(&format!("{name}, blocks"), wrong == 0, format!("{wrong} of {all} lists are wrong"));
            let given = NativeSparseSources { blocks: Some(&blocks), ..free };
            let expected = twins::native_sparse::native_sparse(&given, &shape, &options).out;
            self.compare(name, &found, &expected, 2e-5);
        }
        Ok(())
    }

    pub(super) async fn video_nsa(&mut self) -> Result<()> {
        let shape = shape([2, 78, 78, 14, 2, 20, 12]);
        let Tensors { data, tensors } = self.sparse_tensors(&shape)?;
        let is_vision: Vec<bool> = (0..78).map(|token| (5..69).contains(&token)).collect();
        let marks: Vec<u32> = is_vision.iter().map(|mark| *mark as u32).collect();
        let marks = Tensor::upload(self.gpu, "is_vision", &[78], &marks)?;
        let config = NativeSparseConfig {
            top_n: 2,
            window: 12,
            variant: self.variant,
            ..NativeSparseConfig::video(16)
        };
        let [query, key, value, gates] = &tensors;
        let mut schedule = Schedule::new(self.gpu);
        let inputs = VideoNsaInputs { query, key, value, gates: Gates::Values(gates), is_vision: &marks };
        let out = VideoNsa::new(self.gpu, config.clone())?.record(&mut schedule, &inputs)?;
        let found = self.run(schedule, &out).await?;
        let [q, k, v, gates] = data.map(doubles);
        let options = NativeSparseOptions::from(&config);
        let expected = twins::video_nsa::video_nsa(&q, &k, &v, &gates, &is_vision, &shape, &options).out;
        self.compare("video and text (VideoNSA)", &found, &expected, 2e-5);
        Ok(())
    }
}
