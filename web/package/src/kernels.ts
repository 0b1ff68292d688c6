// The kernels by name: their tensors, configuration and outputs, as `gristmill run --list` describes them.

import type { FloatTensor, MaskTensor, Tensor } from "./types.js";

type Float = Tensor<Float32Array>;
type Index = Tensor<Int32Array>;
type Count = Tensor<Uint32Array>;
type Byte = Tensor<Uint8Array>;

/** Weights of a network by their names in the file, `model.*`. */
export type Weights = { readonly [name: `model.${string}`]: FloatTensor };

interface SparseInputs {
  q: FloatTensor;
  k: FloatTensor;
  v: FloatTensor;
  /** `[B, Tq, HQ, 3]`, in the order compressed, selected, window. */
  gates?: FloatTensor;
  /** Gates before their sigmoid; `gates` win. */
  gate_logits?: FloatTensor;
}

interface SparseConfig {
  top_n?: number;
  window?: number;
  n_init?: number;
  n_local?: number;
  scale?: number;
}

interface SqaConfig {
  heads: number;
  query_heads: number;
  kv_heads: number;
  head_dim: number;
  causal?: boolean;
  window?: number | null;
  rope?: boolean;
}

/** Inputs, configuration and outputs of every kernel. Attention tensors are `[batch, tokens, heads, dim]`. */
export interface Kernels {
  attention: {
    inputs: { q: FloatTensor; k: FloatTensor; v: FloatTensor; key_mask?: MaskTensor; key_bias?: FloatTensor };
    config: { causal?: boolean; window?: number | null; q_offset?: number; scale?: number };
    outputs: { out: Float; lse: Float };
  };
  sqa_layer: {
    inputs: { x: FloatTensor; Wq: FloatTensor; Wk: FloatTensor; Wv: FloatTensor; Wo: FloatTensor; bo?: FloatTensor };
    config: SqaConfig;
    outputs: { out: Float; q: Float; k: Float; v: Float; heads: Float; lse: Float };
  };
  flash_lla: {
    inputs: { q: FloatTensor; k: FloatTensor; v: FloatTensor; mask?: MaskTensor; key_bias?: FloatTensor };
    config: {
      causal?: boolean;
      q_offset?: number;
      scale?: number;
      ridge?: number;
      ridge_floor?: number;
      rtol?: number;
      max_iters?: number;
    };
    outputs: { out: Float; lse: Float; iterations: Count; status: Count };
  };
  native_sparse: {
    inputs: SparseInputs & { idx?: Index };
    config: SparseConfig & { cmp_block?: number; cmp_stride?: number; sel_block?: number; q_offset?: number };
    outputs: { out: Float; o_cmp: Float; o_slc: Float; o_swa: Float; idx: Index; lse_cmp: Float };
  };
  video_nsa: {
    inputs: SparseInputs & { is_vision: MaskTensor };
    config: SparseConfig & { cmp_block?: number; cmp_stride?: number; sel_block?: number };
    outputs: { out: Float };
  };
  cluster_merge: {
    inputs: { x: FloatTensor; w1: FloatTensor; b1: FloatTensor; w2: FloatTensor; b2: FloatTensor; ids?: Index };
    config: { K: number; gate?: "image" | "batch" | "none" };
    outputs: { ids: Index; counts: Tensor; keep_rank: Tensor; row_map: Tensor; means: Float; packed: Float; cu_seqlens: Tensor };
  };
  cluster_regenerate: {
    inputs: {
      original: FloatTensor;
      processed: FloatTensor;
      ids: Index;
      row_map: Tensor;
      cu_seqlens: Tensor;
      w1: FloatTensor;
      b1: FloatTensor;
      w2: FloatTensor;
      b2: FloatTensor;
    };
    config: { K: number };
    outputs: { out: Float };
  };
  clustvit: {
    inputs: { img: FloatTensor } & Weights;
    config: {
      patch: number;
      heads: number;
      ip: number;
      K: number;
      eps?: number;
      gate?: "image" | "batch" | "none";
      outputs?: readonly number[];
    };
    outputs: { out: Float; ids: Index };
  };
  pure_pass_mask: {
    /** `[H, W, 3]`. */
    inputs: { img: Byte };
    config: { colors?: number; window?: number };
    outputs: { labels: Byte; mask: Byte };
  };
  atd: {
    inputs: { img: FloatTensor } & Weights;
    config: {
      scale?: number;
      window?: number;
      group?: number;
      heads?: number;
      pure_pass?: null | { colors?: number; window?: number; comp?: "v" | "proj_v" | "zero" };
    };
    outputs: { out: Float; mask?: Byte };
  };
  lowrank_vq: {
    inputs: { codebook: FloatTensor; words: Count };
    config: {
      height: number;
      width: number;
      channels?: number;
      patch: number;
      rank: number;
      iterations?: number;
      bits?: number;
      combine?: "sum" | "mean";
    };
    outputs: { image: Float; image_u8: Byte };
  };
  vq_nearest: {
    inputs: { z: FloatTensor; codebook: FloatTensor };
    config: Record<string, never>;
    outputs: { idx: Count };
  };
}

export type KernelName = keyof Kernels;
