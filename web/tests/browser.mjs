// The package in headless Chromium: golden vectors, bad input, and the examples of its README. One line per case.

import { readFile } from "node:fs/promises";
import { decode } from "./safetensors.js";
import { golden, withPage } from "./chromium.mjs";
import { examples, runExample } from "./readme.mjs";

const CASE_MILLISECONDS = 120_000;
const GOOD = "sqa_attn_cross.safetensors"; // q [1, 10, 4, 16], k and v [1, 37, 2, 16]

// What each does to the good file, and what its one line of error must name.
const BAD = [
  { name: "NaN in q", nan: { tensor: "q", index: 5 }, says: ["`q`", "5"] },
  { name: "infinity in v", nan: { tensor: "v", index: 1183, value: Infinity }, says: ["`v`", "1183"] },
  { name: "file cut in its data", cut: 0.5, says: [] },
  { name: "file cut in its header", cut: 0.01, says: [] },
  { name: "empty file", cut: 0, says: [] },
  { name: "k of another head dim", reshape: { tensor: "k", shape: [1, 37, 4, 8] }, says: ["`k`", "8", "16"] },
  {
    name: "mask of another shape", file: "lla_mask_d32.safetensors", reshape: { tensor: "mask", shape: [37, 20] },
    says: ["`mask`", "[37, 20]", "[20, 37]"],
  },
  { name: "fewer iterations than none", file: "lla_tiny_d4.safetensors", config: '{"max_iters": -1}', says: ["`max_iters`", "-1"] },
  {
    name: "gates of another shape", file: "nsa_mha_g1.safetensors", reshape: { tensor: "gates", shape: [1, 3, 50, 3] },
    says: ["`gates`", "[1, 3, 50, 3]", "[1, 50, 3, 3]"],
  },
  {
    name: "blocks that the stride does not divide", file: "nsa_mha_g1.safetensors", config: '{"cmp_stride": 3}',
    says: ["`cmp_block`", "4", "cmp_stride = 3"],
  },
  {
    name: "index past the codebook", file: "lrvq_ragged.safetensors", nan: { tensor: "words", index: 0, value: 0xffffffff },
    says: ["`words`", "index 511", "less than 300"],
  },
  { name: "patch of no size", file: "lrvq_basic.safetensors", config: '{"patch": 12}', says: ["`patch`", "12", "4, 8, 16 or 32"] },
  { name: "unknown configuration key", config: '{"widnow": 3}', says: ["widnow"] },
  { name: "configuration that is no JSON", config: "causal", says: [] },
  { name: "unknown kernel", kernel: "no_such_kernel", says: ["no_such_kernel"] },
  { name: "unknown variant", variant: "no_such_variant", says: ["no_such_variant"] },
];

/** In the page: runs a golden file and compares every expected output. Answers with the worst error of each. */
async function runGolden({ file, tolerance }) {
  const { run } = window;
  const { decode } = await import("/tests/safetensors.js");
  const bytes = new Uint8Array(await (await fetch(`/golden/${file}`)).arrayBuffer());
  const expected = decode(bytes);
  const actual = decode(await run(expected.metadata.kernel, bytes, ""));
  const worsts = [];
  for (const [name, limit] of Object.entries(tolerance)) {
    const [want, got] = [expected.tensors[name], actual.tensors[name]];
    if (!want) throw new Error(`the file has no expected \`${name}\``);
    if (!got) throw new Error(`\`${name}\` is missing from the outputs (${Object.keys(actual.tensors).join(", ")})`);
    if (String(want.shape) !== String(got.shape)) throw new Error(`\`${name}\` has shape [${got.shape}], expected [${want.shape}]`);
    let worst = 0, at = 0;
    want.data.forEach((value, index) => {
      const equal = value === got.data[index]; // -inf, where a row sees no key
      const error = equal ? 0 : Math.abs(Number(value) - Number(got.data[index]));
      if (error > worst || (Number.isNaN(error) && !Number.isNaN(worst))) [worst, at] = [error, index]; // NaN is the worst
    });
    if (!(worst <= limit)) {
      throw new Error(`\`${name}\`[${at}] is ${got.data[at]}, expected ${want.data[at]}: ${worst} is over ${limit}`);
    }
    worsts.push(`${name} ${worst.toExponential(1)}`);
  }
  return `${actual.metadata.variant}, ${worsts.join(", ")}`;
}

/** In the page: `run` of a spoilt file must be rejected with an Error of one line, and the next good run must succeed. */
async function runBad({ file, nan, cut, reshape, config = "", kernel, variant, says }) {
  const { run } = window;
  const { decode, encode } = await import("/tests/safetensors.js");
  const good = new Uint8Array(await (await fetch(`/golden/${file}`)).arrayBuffer());
  const { metadata, tensors } = decode(good);
  if (nan) tensors[nan.tensor].data[nan.index] = nan.value ?? NaN;
  if (reshape) tensors[reshape.tensor].shape = reshape.shape;
  const spoilt = encode(tensors, metadata);
  const bytes = cut === undefined ? spoilt : spoilt.subarray(0, Math.floor(cut * spoilt.length));
  const error = await run(kernel ?? metadata.kernel, bytes, config, variant).then(() => null, (reason) => reason);
  if (error === null) throw new Error("was accepted");
  if (!(error instanceof Error)) throw new Error(`was rejected with ${typeof error}, not an Error`);
  if (!error.message.trim() || error.message.includes("\n")) throw new Error(`the message is not one line: ${JSON.stringify(error.message)}`);
  const missing = says.filter((words) => !error.message.includes(words));
  if (missing.length) throw new Error(`the message does not name ${missing.join(", ")}: ${error.message}`);
  await run(metadata.kernel, good, "");
  return error.message;
}

/** In the page: local linear attention without an iteration is softmax attention, and later keys don't change earlier rows. */
async function runLocalLinear({ file }) {
  const { run } = window;
  const { decode, encode } = await import("/tests/safetensors.js");
  const bytes = new Uint8Array(await (await fetch(`/golden/${file}`)).arrayBuffer());
  const { metadata, tensors } = decode(bytes);
  const out = async (input, config) => decode(await run(metadata.kernel, input, config)).tensors.out.data;
  const softmax = await out(bytes, '{"max_iters": 0}');
  const worst = Math.max(...softmax.map((value, index) => Math.abs(value - tensors.o_softmax.data[index])));
  if (!(worst < 2e-5)) throw new Error(`no iteration is off from softmax by ${worst}`);
  const before = await out(bytes, "");
  const [, keys, , dim] = tensors.k.shape;
  const kept = keys - 10, rows = kept - JSON.parse(metadata.config).q_offset;
  for (const name of ["k", "v"]) tensors[name].data.fill(3, kept * dim);
  const after = await out(encode(tensors, metadata), "");
  const same = after.findIndex((value, index) => value !== before[index]);
  if (same < rows * dim) throw new Error(`element ${same} of row ${Math.floor(same / dim)} changed`);
  return `softmax ${worst.toExponential(1)}, ${rows} rows unchanged`;
}

/** In the page: what must hold of a low-rank code, out of a file with several iterations and its image before the clamp. */
async function runLowRank({ file }) {
  const { run } = window;
  const { decode, encode } = await import("/tests/safetensors.js");
  const { metadata, tensors } = decode(new Uint8Array(await (await fetch(`/golden/${file}`)).arrayBuffer()));
  const { codebook, words, idx, image_raw: raw } = tensors;
  const { bits, combine, height, width, patch } = JSON.parse(metadata.config);
  const [patches, iterations, channels, slots] = idx.shape;
  const image = async (changed, config = "") => decode(await run(metadata.kernel, encode({ codebook, words, ...changed }, metadata), config)).tensors.image;
  const check = async (what, changed, config, factor) => {
    const { data } = await image(changed, config);
    const worst = Math.max(...data.map((value, index) => Math.abs(value - Math.min(Math.max(raw.data[index] * factor, 0), 1))));
    if (!(worst <= 1e-5)) throw new Error(`${what}: off by ${worst}`);
  };
  const pack = (indices) => {
    const data = new Uint32Array(Math.ceil(indices.length * bits / 32));
    indices.forEach((value, n) => {
      for (let bit = 0; bit < bits; bit++) data[(n * bits + bit) >> 5] |= ((value >> bit) & 1) << ((n * bits + bit) & 31);
    });
    return { dtype: "U32", shape: [data.length], data };
  };
  if (String(pack(idx.data).data) !== String(words.data)) throw new Error("the words are not the packed indices");
  const size = channels * slots, rank = slots / 2;
  const place = (n) => { // iterations backwards, and ranks of both sides
    const [slot, channel, round, patch] = [n % slots, Math.floor(n / slots) % channels, Math.floor(n / size) % iterations, Math.floor(n / size / iterations)];
    const other = (slot < rank ? 0 : rank) + rank - 1 - slot % rank;
    return ((patch * iterations + iterations - 1 - round) * channels + channel) * slots + other;
  };
  await check("iterations and ranks backwards", { words: pack(idx.data.map((_, n) => idx.data[place(n)])) }, "", 1);
  await check("half the codebook", { codebook: { ...codebook, data: codebook.data.map((value) => value / 2) } }, "", 0.25);
  // Left and right change places on a transposed grid: so do rows and columns of the image.
  const [rows, columns] = [Math.ceil(height / patch), Math.ceil(width / patch)];
  const turned = pack(idx.data.map((_, n) => {
    const [inside, patchOf] = [n % (size * iterations), Math.floor(n / (size * iterations))];
    const from = (patchOf % rows) * columns + Math.floor(patchOf / rows);
    return idx.data[from * size * iterations + inside - inside % slots + (inside % slots + rank) % slots];
  }));
  const [upright, transposed] = [await image({}), await image({ words: turned }, JSON.stringify({ height: width, width: height }))];
  upright.data.forEach((value, n) => {
    const [c, x, y] = [n % channels, Math.floor(n / channels) % width, Math.floor(n / channels / width)];
    if (!(Math.abs(value - transposed.data[(x * height + y) * channels + c]) <= 1e-6)) throw new Error(`transposed: pixel ${y}, ${x} differs`);
  });
  const [other, factor] = combine === "mean" ? ["sum", iterations] : ["mean", 1 / iterations];
  await check(other, {}, `{"combine": "${other}"}`, factor);
  const empty = await image({ words: { dtype: "U32", shape: [0], data: new Uint32Array(0) } }, '{"height": 0}');
  if (empty.data.length !== 0 || empty.shape[0] !== 0) throw new Error(`an empty image has shape [${empty.shape}]`);
  return `${patches} patches backwards, halved, transposed, by ${other}, and none at all`;
}

/** In the page: a codebook with the factors of a patch gives that patch to the last digit, a matrix of rank 1. */
async function runExactPatch() {
  const { run } = window;
  const { decode, encode } = await import("/tests/safetensors.js");
  const data = Float32Array.from({ length: 32 }, (_, n) => ((n * 37 + 11) % 64) / 64);
  const input = encode({
    codebook: { dtype: "F32", shape: [4, 8], data },
    words: { dtype: "U32", shape: [1], data: Uint32Array.of(0b01_10) }, // left 2, right 1
  });
  const config = '{"height": 8, "width": 8, "channels": 1, "patch": 8, "rank": 1}';
  const { image } = decode(await run("lowrank_vq", input, config)).tensors;
  const at = (y, x) => image.data[8 * y + x];
  for (let n = 0; n < 64; n++) {
    const [y, x] = [n >> 3, n & 7];
    if (at(y, x) !== data[16 + y] * data[8 + x]) throw new Error(`pixel ${y}, ${x} is ${at(y, x)}, expected ${data[16 + y] * data[8 + x]}`);
    if (at(0, 0) * at(y, x) !== at(0, x) * at(y, 0)) throw new Error(`rows 0 and ${y} are no multiples of each other`);
  }
  return "64 exact products";
}

/** In the page: two runs at once answer like two in a row. */
async function runTwice({ file }) {
  const { run } = window;
  const { decode } = await import("/tests/safetensors.js");
  const bytes = new Uint8Array(await (await fetch(`/golden/${file}`)).arrayBuffer());
  const { kernel } = decode(bytes).metadata;
  const outputs = [await run(kernel, bytes, ""), ...await Promise.all([run(kernel, bytes, ""), run(kernel, bytes, "")])];
  const [first, ...others] = outputs.map((output) => String(decode(output).tensors.out.data));
  if (others.some((other) => other !== first)) throw new Error("the answers differ");
  return "equal answers";
}

/** In the page: `window.run` as the tests call it, `(kernel, bytes, config text, variant)`. Answers with the adapter. */
async function start() {
  const { Gristmill } = await import("/package/gristmill.js");
  const gristmill = await Gristmill.create();
  window.gristmill = gristmill;
  // Text that is no JSON goes as it is.
  const parsed = (text) => { try { return JSON.parse(text || "{}"); } catch { return text; } };
  window.run = (kernel, bytes, config, variant) => gristmill.run(kernel, bytes, parsed(config), variant === undefined ? {} : { variant });
  return gristmill.report.adapter;
}

const failures = await withPage(async (page) => {
  let passed = 0, failed = 0, interrupt = () => {};
  // A trap or a panic in wasm leaves its promise open for ever; the page tells of it here.
  page.on("pageerror", (error) => interrupt(new Error(`nobody caught: ${error.message}`)));

  const run = async (name, work) => {
    const start = performance.now();
    const interrupted = new Promise((_, reject) => { interrupt = reject; });
    const timer = setTimeout(() => interrupt(new Error("no answer")), CASE_MILLISECONDS);
    let detail, ok = true;
    try {
      detail = await Promise.race([interrupted, work()]);
    } catch (error) {
      ok = false;
      detail = error.message.replace(/^page\.\w+: (Error: )?/, "").split("\n")[0]; // without the browser's stack
    }
    clearTimeout(timer);
    ok ? passed++ : failed++;
    console.log(`${ok ? "ok    " : "FAILED"} ${name}: ${detail} (${Math.round(performance.now() - start)} ms)`);
  };

  const adapter = await page.evaluate(start);
  console.log(`adapter: ${[adapter.name, adapter.driver, adapter.type].filter(Boolean).join(", ")}`);
  const names = await page.evaluate(() => window.gristmill.kernels());
  const tolerances = JSON.parse(await readFile(`${golden}/tolerances.json`, "utf8"));
  for (const [file, { source, ...tolerance }] of Object.entries(tolerances)) {
    const { kernel } = decode(await readFile(`${golden}/${file}`)).metadata;
    if (names.includes(kernel)) await run(file, () => page.evaluate(runGolden, { file, tolerance }));
  }
  for (const { name, ...spoil } of BAD) {
    await run(name, () => page.evaluate(runBad, { file: GOOD, ...spoil }));
  }
  await run("local linear attention", () => page.evaluate(runLocalLinear, { file: "lla_cgtrace_d32.safetensors" }));
  for (const file of ["lrvq_mean_gray.safetensors", "lrvq_ragged.safetensors"]) {
    await run(`low-rank code, ${file}`, () => page.evaluate(runLowRank, { file }));
  }
  await run("low-rank code, exact patch", () => page.evaluate(runExactPatch));
  await run("two runs at once", () => page.evaluate(runTwice, { file: GOOD }));
  for (const example of await examples()) await run(example.name, () => runExample(page, example));

  console.log(`${passed} passed, ${failed} failed`);
  return failed;
});
process.exitCode = failures ? 1 : 0;

