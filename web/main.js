// The test page: a file or a random example through any kernel, and what came out.

import init, { info, kernels, run } from "./gristmill.js";
import { decode, encode } from "./safetensors.js";

const element = (id) => document.getElementById(id);
const form = document.forms[0];

// Inputs for those who have no file at hand.
const EXAMPLES = {
  attention: () => encode(
    { q: random(1, 256, 8, 64), k: random(1, 256, 2, 64), v: random(1, 256, 2, 64) },
    { config: '{"causal": true}' },
  ),
  flash_lla: () => encode(
    { q: random(1, 128, 4, 32), k: random(1, 128, 2, 32), v: random(1, 128, 2, 32) },
    { config: '{"causal": true, "rtol": 1e-3}' },
  ),
  native_sparse: () => encode(
    { q: random(1, 512, 8, 32), k: random(1, 512, 1, 32), v: random(1, 512, 1, 32), gate_logits: random(1, 512, 8, 3) },
    { config: '{"cmp_block": 16, "cmp_stride": 8, "sel_block": 32, "top_n": 4, "window": 64}' },
  ),
  sqa_layer: () => encode(
    { x: random(1, 256, 128), Wq: random(128, 64), Wk: random(128, 32), Wv: random(128, 32), Wo: random(64, 128) },
    { config: '{"heads": 8, "query_heads": 4, "kv_heads": 2, "head_dim": 16, "causal": true, "rope": true}' },
  ),
  video_nsa: () => encode(
    { q: random(1, 400, 7, 32), k: random(1, 400, 1, 32), v: random(1, 400, 1, 32), gate_logits: random(1, 400, 7, 3), is_vision: isVision },
    { config: '{"top_n": 2, "window": 32}' },
  ),
};

// 5 frames of 64 tokens between 20 tokens of text and 60 more.
const isVision = { dtype: "U8", shape: [400], data: Uint8Array.from({ length: 400 }, (_, token) => token >= 20 && token < 340) };

function random(...shape) {
  const length = shape.reduce((product, size) => product * size, 1);
  return { dtype: "F32", shape, data: Float32Array.from({ length }, () => Math.random() * 2 - 1) };
}

async function input() {
  const [file] = element("file").files;
  if (file) return new Uint8Array(await file.arrayBuffer());
  const example = EXAMPLES[element("kernel").value];
  if (!example) throw new Error("this kernel has no example here: choose a file");
  return example();
}

async function runOnce() {
  const bytes = await input();
  const start = performance.now();
  const output = decode(await run(element("kernel").value, bytes, element("config").value));
  const total = performance.now() - start;
  const { variant, milliseconds } = output.metadata;
  say(`variant ${variant}, ${Number(milliseconds).toFixed(1)} ms (${total.toFixed(1)} ms with reading and writing the files)`);
  element("outputs").tBodies[0].replaceChildren(...Object.entries(output.tensors).map(([name, tensor]) => row(name, tensor)));
  element("outputs").hidden = false;
}

function row(name, { dtype, shape, data }) {
  let least = Infinity, greatest = -Infinity, sum = 0;
  for (const value of data) {
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
    sum += value;
  }
  const cells = [name, dtype, shape.join(" × "), short(least), short(greatest), short(sum / data.length), Array.from(data.subarray(0, 4), short).join("  ")];
  const line = document.createElement("tr");
  line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
}

function short(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}

// Browsers name few adapters.
function title({ name, driver, type }) {
  return [name, driver].filter(Boolean).join(", ") || (type === "Cpu" ? "software adapter (no GPU)" : "GPU");
}

function say(text, state = "ready") {
  element("status").textContent = text;
  element("status").className = state;
  document.body.dataset.state = state;
}

function showInput() {
  const [file] = element("file").files;
  element("input").textContent = file ? "" : EXAMPLES[element("kernel").value] ? "none: a random example" : "this kernel needs a file";
}

form.addEventListener("change", showInput);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  form.querySelector("button").disabled = true;
  element("outputs").hidden = true;
  say("running …", "running");
  await runOnce().catch((error) => say(error.message, "error"));
  form.querySelector("button").disabled = false;
});

try {
  await init();
  const names = kernels();
  element("kernel").append(...names.map((name) => new Option(name)));
  // One that runs without a file.
  element("kernel").value = names.find((name) => EXAMPLES[name]);
  showInput();
  const { adapter } = JSON.parse(await info());
  element("adapter").textContent = title(adapter);
  form.querySelector("button").disabled = false;
  say("");
} catch (error) {
  element("adapter").textContent = "";
  say(navigator.gpu ? error.message : "this browser has no WebGPU", "error");
}
