// Tensors in files: eight bytes of header length, a JSON header, then the data. Needs nothing of the page or of Node.

const ARRAYS = {
  F64: Float64Array, F32: Float32Array, I64: BigInt64Array, I32: Int32Array, U32: Uint32Array, I8: Int8Array, U8: Uint8Array, BOOL: Uint8Array,
};

/** The metadata and, by name, every tensor of a file: { dtype, shape, data }. Halves become floats. */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const { __metadata__: metadata = {}, ...header } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
    // A copy, because a typed array must be aligned; not by slice, which copies nothing of a Buffer of Node.
    const { buffer } = new Uint8Array(bytes.subarray(start + begin, start + end));
    const data = dtype === "F16" ? Float32Array.from(new Uint16Array(buffer), half) : ARRAYS[dtype] && new ARRAYS[dtype](buffer);
    tensors[name] = { dtype, shape, data };
  }
  return { metadata, tensors };
}

/** A file of tensors { dtype, shape, data } with metadata of strings. */
export function encode(tensors, metadata = {}) {
  const header = { __metadata__: metadata };
  let length = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [length, length + data.byteLength] };
    length += data.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 + Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(start + length).fill(0x20, 8, start); // spaces pad the header
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(text, 8);
  for (const [name, { data }] of Object.entries(tensors)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), start + header[name].data_offsets[0]);
  }
  return bytes;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
