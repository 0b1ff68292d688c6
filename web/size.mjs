// `node size.mjs FILE`: its bytes, and what a server sends of it, as one line: plain, gzip, brotli.

import { readFileSync } from "node:fs";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const bytes = readFileSync(process.argv[2]);
const quality = { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
console.log(bytes.length, gzipSync(bytes, { level: 9 }).length, brotliCompressSync(bytes, quality).length);
