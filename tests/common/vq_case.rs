//! A random image in low-rank code, its twin, and every way to decode it here.

use crate::common::{Random, doubles, gpu, variants};
use gristmill::kernels::lowrank_vq::{
    Combine, LowRankVq, LowRankVqConfig, LowRankVqSteps, pack_indices, unpack_indices, unpack_pixels,
};
use gristmill::twins::lowrank_vq::{VqShape, lowrank_vq, to_bytes};
use gristmill::{Schedule, Tensor, no_progress};
use half::f16;

#[derive(Clone, Debug)]
pub struct Case {
    pub config: LowRankVqConfig,
    pub codewords: usize,
    pub f16: bool,
    /// Indices past the codebook among them, where the bits allow it.
    pub wrong_indices: bool,
    pub seed: u64,
}

/// A codebook and a bit stream, on the host.
#[derive(Clone, Debug)]
pub struct Data {
    pub codebook: Vec<f32>,
    pub words: Vec<u32>,
}

/// What a decoder gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub image: Vec<f32>,
    pub bytes: Vec<u8>,
}

impl Case {
    pub fn new(config: LowRankVqConfig, codewords: usize) -> Case {
        Case { config, codewords, f16: false, wrong_indices: false, seed: 1 }
    }

    pub fn shape(&self) -> VqShape {
        let LowRankVqConfig { height, width, channels, patch, rank, iterations, .. } = self.config;
        let bits = self.config.bits_per_index(self.codewords).unwrap();
        let mean = self.config.combine == Combine::Mean;
        VqShape { height, width, channels, patch, rank, iterations, bits, mean }
    }

    /// Codewords whose sums of products mostly lie in 0..1, some outside.
    pub fn data(&self) -> Data {
        let mut random = Random::new(self.seed);
        let scale = (self.config.rank * self.config.iterations) as f32;
        let mut codebook = random.normal(self.codewords * self.config.patch, 0.4 / scale.powf(0.25));
        codebook.iter_mut().for_each(|value| *value += 0.55 / scale.sqrt());
        if self.f16 {
            codebook.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        let bits = self.shape().bits;
        let end = if self.wrong_indices { 1 << bits.min(40) } else { self.codewords };
        let indices: Vec<u32> = (0..self.config.indices()).map(|_| random.below(end) as u32).collect();
        Data { codebook, words: pack_indices(&indices, bits) }
    }

    /// The same codebook with other indices.
    pub fn with_indices(&self, data: &Data, indices: &[u32]) -> Data {
        assert_eq!(indices.len() as u64, self.config.indices());
        Data { codebook: data.codebook.clone(), words: pack_indices(indices, self.shape().bits) }
    }

    pub fn indices(&self, data: &Data) -> Vec<u32> {
        unpack_indices(&data.words, self.config.indices() as usize, self.shape().bits).unwrap()
    }

    pub fn upload(&self, data: &Data) -> (Tensor, Tensor) {
        let shape = [data.codebook.len() / self.config.patch, self.config.patch];
        let codebook = if self.f16 {
            let halves: Vec<f16> = data.codebook.iter().map(|&value| f16::from_f32(value)).collect();
            Tensor::upload(gpu(), "codebook", &shape, &halves)
        } else {
            Tensor::upload(gpu(), "codebook", &shape, &data.codebook)
        };
        let words = Tensor::upload(gpu(), "words", &[data.words.len()], &data.words);
        (codebook.unwrap(), words.unwrap())
    }

    /// Image before the clamp, by the twin.
    pub fn twin(&self, data: &Data) -> Vec<f64> {
        lowrank_vq(&doubles(&data.codebook), &data.words, &self.shape())
    }

    /// Through memory full of NaN.
    pub fn decode(&self, data: &Data, kind: gristmill::VariantKind) -> Decoded {
        let decoder =
            LowRankVq::new(gpu(), LowRankVqConfig { variant: Some(kind), ..self.config.clone() }).unwrap();
        let (codebook, words) = self.upload(data);
        let mut schedule = Schedule::new(gpu());
        let image = decoder.record(&mut schedule, &codebook, &words).unwrap();
        let bytes = decoder.record_u8(&mut schedule, &codebook, &words).unwrap();
        self.run(schedule, &image, &bytes)
    }

    pub fn decode_in_steps(&self, data: &Data) -> Decoded {
        let decoder = LowRankVqSteps::new(gpu(), self.config.clone()).unwrap();
        let (codebook, words) = self.upload(data);
        let mut schedule = Schedule::new(gpu());
        let (image, _) = decoder.record(&mut schedule, &codebook, &words).unwrap();
        let (bytes, _) = decoder.record_u8(&mut schedule, &codebook, &words).unwrap();
        self.run(schedule, &image, &bytes)
    }

    fn run(&self, schedule: Schedule, image: &Tensor, bytes: &Tensor) -> Decoded {
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        let image = pollster::block_on(image.read(gpu())).unwrap();
        let words = pollster::block_on(bytes.read::<u32>(gpu())).unwrap();
        let LowRankVqConfig { width, channels, .. } = self.config;
        let row_bytes = width * channels;
        if !row_bytes.is_multiple_of(4) {
            let last = words.chunks(row_bytes.div_ceil(4)).map(|row| row[row.len() - 1]);
            assert!(last.into_iter().all(|word| word >> (8 * (row_bytes % 4)) == 0), "bytes behind a row");
        }
        Decoded { image, bytes: unpack_pixels(&words, width, channels) }
    }

    /// Every build and the four steps against the twin.
    #[track_caller]
    pub fn check(&self) {
        let data = self.data();
        let raw = self.twin(&data);
        for kind in variants() {
            self.compare(&format!("{self:?} by {kind}"), &self.decode(&data, kind), &raw);
        }
        self.compare(&format!("{self:?} in steps"), &self.decode_in_steps(&data), &raw);
    }

    #[track_caller]
    pub fn compare(&self, what: &str, found: &Decoded, raw: &[f64]) {
        let clamped: Vec<f64> = raw.iter().map(|x| x.clamp(0.0, 1.0)).collect();
        let products = (self.config.rank * self.config.iterations) as f64;
        crate::common::assert_close(what, &found.image, &clamped, 1e-6 * products.max(1.0));
        let expected = to_bytes(raw);
        assert_eq!(found.bytes.len(), expected.len(), "{what}");
        for (i, (&byte, &wanted)) in found.bytes.iter().zip(&expected).enumerate() {
            let to_half = ((255.0 * clamped[i]).fract() - 0.5).abs();
            let allowed = (to_half < 1e-4 * products.max(1.0)) as u8;
            assert!(byte.abs_diff(wanted) <= allowed, "{what}: byte {i} is {byte}, expected {wanted}");
        }
    }
}
