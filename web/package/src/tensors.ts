// safetensors: 8 bytes with the header's length, the header (JSON), then the tensors' bytes.

import { InputError } from "./errors.js";
import type { Tensor, TensorData } from "./types.js";

const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array, // the bits
  I32: Int32Array,
  U32: Uint32Array,
  U8: Uint8Array,
} as const;

type Dtype = keyof typeof ARRAYS;

interface Entry {
  dtype: Dtype;
  shape: number[];
  data_offsets: [number, number];
}

type Header = Record<string, Entry> & { __metadata__?: Record<string, string> };

/** The bytes of a file with these tensors; those that are `undefined` are left out. */
export function encodeTensors(tensors: object, metadata: Record<string, string> = {}): Uint8Array {
  const named = Object.entries(tensors).filter((entry): entry is [string, Tensor] => entry[1] !== undefined);
  const header: Record<string, unknown> = Object.keys(metadata).length > 0 ? { __metadata__: metadata } : {};
  // Wide elements first, so that every tensor is aligned.
  named.sort(([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  let end = 0;
  for (const [name, { shape, data }] of named) {
    const size = shape.reduce((product, side) => product * side, 1);
    if (size !== data.length) {
      throw new InputError(`tensor \`${name}\` has ${data.length} values; expected ${size}, the product of [${shape.join(", ")}]`, "Shape", {
        tensor: name,
        found: `${data.length} values`,
        expected: `${size}`,
      });
    }
    header[name] = { dtype: dtypeOf(name, data), shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = Math.ceil((8 + text.length) / 8) * 8;
  const file = new Uint8Array(start + end).fill(0x20, 8, start);
  new DataView(file.buffer).setBigUint64(0, BigInt(start - 8), true);
  file.set(text, 8);
  let at = start;
  for (const [, { data }] of named) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}

/** The tensors of a file, each with its own memory. Throws an `InputError` for a broken one. */
export function decodeTensors(file: Uint8Array): { tensors: Record<string, Tensor>; metadata: Record<string, string> } {
  const { entries, metadata, start } = readHeader(file);
  const tensors: Record<string, Tensor> = {};
  for (const [name, { dtype, shape, data_offsets: [first, end] }] of Object.entries(entries)) {
    const array = ARRAYS[dtype];
    const size = shape.reduce((product, side) => product * side, 1);
    if (array === undefined || end - first !== size * array.BYTES_PER_ELEMENT || start + end > file.length) {
      throw new InputError(`not a whole safetensors file: tensor \`${name}\` (${dtype}) does not fit its ${end - first} bytes`, "Input");
    }
    // A copy, since a typed array must be aligned; not by `slice`, which copies nothing of Node's Buffer.
    tensors[name] = { shape, data: new array(Uint8Array.from(file.subarray(start + first, start + end)).buffer) };
  }
  return { tensors, metadata };
}

function readHeader(file: Uint8Array): { entries: Record<string, Entry>; metadata: Record<string, string>; start: number } {
  const length = file.length < 8 ? NaN : Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  if (!(8 + length <= file.length)) {
    throw new InputError(`not a whole safetensors file: it has ${file.length} bytes, its header would end at ${8 + length}`, "Input");
  }
  try {
    const { __metadata__: metadata = {}, ...entries } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Header;
    return { entries: entries as Record<string, Entry>, metadata, start: 8 + length };
  } catch {
    throw new InputError("not a whole safetensors file: its header is no JSON", "Input");
  }
}

function dtypeOf(name: string, data: TensorData): Dtype {
  const found = (Object.keys(ARRAYS) as Dtype[]).find((dtype) => data instanceof ARRAYS[dtype]);
  if (found) return found;
  throw new InputError(`tensor \`${name}\` is a ${Object.prototype.toString.call(data)}; expected a typed array of ${Object.keys(ARRAYS).join(", ")}`, "Input");
}
