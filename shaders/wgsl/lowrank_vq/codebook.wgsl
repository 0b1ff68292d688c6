@group(0) @binding(2) var<storage, read> codebook: array<{CODEBOOK_TYPE}>; // [codewords, PATCH]
@group(0) @binding(3) var<storage, read> words: array<u32>;                // the bit stream

#import shared/load tensor=codebook f16={CODEBOOK_F16} aligned=1
#import lowrank_vq/stream
