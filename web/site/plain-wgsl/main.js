// A kernel of Gristmill from its WGSL and its JSON alone: plain JavaScript, nothing built, nothing imported.
//
// The kernel decodes a picture in low-rank code. The JSON file says what it binds, where the values of its parameters stand and how many
// workgroups it needs; the code below reads all of that from there, so `Kernel` runs any other kernel of buffers just the same.

const SHADERS = "../shaders/";
const SHADER = "lowrank_vq-decode.p16_f16"; // patches of 16 x 16 pixels, the codebook in halves
const PICTURE = "coffee.gvq"; // as `gristmill encode --inline` writes it

/** A kernel of the bundle on a device. */
class Kernel {
  static async load(device, name) {
    const [wgsl, metadata] = await Promise.all([
      fetched(`${SHADERS}${name}.wgsl`).then((response) => response.text()),
      fetched(`${SHADERS}${name}.json`).then((response) => response.json()),
    ]);
    const kernel = new Kernel();
    Object.assign(kernel, { device, wgsl, metadata });
    for (const feature of metadata.features) {
      if (!device.features.has(feature)) throw new Error(`${name} needs the feature ${feature}, which this device lacks`);
    }
    for (const [limit, needed] of Object.entries(metadata.limits)) {
      if (device.limits[limit] < needed) throw new Error(`${name} needs ${limit} ${needed}, this device allows ${device.limits[limit]}`);
    }
    const types = { uniform: "uniform", read: "read-only-storage", read_write: "storage" };
    const entries = metadata.bindings.map(({ binding, access }) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type: types[access] } }));
    kernel.group = device.createBindGroupLayout({ entries });
    kernel.pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [kernel.group] }),
      compute: { module: device.createShaderModule({ code: wgsl }), entryPoint: metadata.entry_point },
    });
    return kernel;
  }

  /** Runs it with the values of its parameters and its buffers, both by their names. */
  run(parameters, buffers) {
    const { device, metadata } = this;
    const workgroups = evaluate(metadata.dispatch, { ...metadata.constants, ...parameters });
    // All workgroups in one dispatch; more than 65535 would have to be folded into two dimensions.
    const uniforms = { grid: { first: 0, end: workgroups }, params: parameters };
    const entries = metadata.bindings.map(({ binding, name, fields }) => ({
      binding,
      resource: { buffer: fields ? this.uniform(fields, uniforms[name]) : buffers[name] },
    }));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: this.group, entries }));
    pass.dispatchWorkgroups(Math.min(workgroups, 65535), Math.ceil(workgroups / 65535));
    pass.end();
    device.queue.submit([encoder.finish()]);
    return workgroups;
  }

  /** A uniform buffer: every value at the byte and in the type that the JSON file names. */
  uniform(fields, values) {
    const bytes = new DataView(new ArrayBuffer(4 * fields.length));
    for (const { name, type, offset } of fields) {
      if (!(name in values)) throw new Error(`no value for the parameter ${name}`);
      if (type === "f32") bytes.setFloat32(offset, values[name], true);
      else bytes.setInt32(offset, values[name], true); // the same bits for u32
    }
    return bufferOf(this.device, bytes, GPUBufferUsage.UNIFORM);
  }
}

/** The value of a formula such as `strips * ceil(height / PATCH)`. */
function evaluate(formula, values) {
  const tokens = formula.match(/\w+|[-+*/^()]/g);
  const operators = [
    { "+": (a, b) => a + b, "-": (a, b) => a - b },
    { "*": (a, b) => a * b, "/": (a, b) => a / b },
    { "^": (a, b) => a ** b },
  ];
  const operation = (level) => {
    if (level === operators.length) return operand();
    let value = operation(level + 1);
    while (tokens[0] in operators[level]) value = operators[level][tokens.shift()](value, operation(level + 1));
    return value;
  };
  const operand = () => {
    const token = tokens.shift();
    if (token === "ceil") return Math.ceil(operand());
    const value = token === "(" ? operation(0) : Number(values[token] ?? token);
    if (token === "(") tokens.shift();
    return value;
  };
  return operation(0);
}

/** A buffer with these bytes. */
function bufferOf(device, bytes, usage) {
  const buffer = device.createBuffer({ size: Math.ceil(bytes.byteLength / 4) * 4, usage: usage | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(buffer, 0, bytes);
  return buffer;
}

/** The floats in a buffer of the device. */
async function read(device, buffer) {
  const copy = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(GPUMapMode.READ);
  return new Float32Array(copy.getMappedRange().slice(0));
}

/** The parts of a .gvq file with its codebook inside (docs/gvq.md). */
function readGvq(file) {
  const view = new DataView(file);
  const [height, width, patch, bits] = [view.getUint32(12, true), view.getUint32(16, true), view.getUint8(20), view.getUint8(21)];
  const [rank, iterations, codewords] = [view.getUint16(22, true), view.getUint16(24, true), view.getUint32(28, true)];
  const end = 52 + codewords * patch * 2;
  const codebook = new Uint16Array(file.slice(52, end)); // halves
  const words = new Uint32Array(file.slice(end + 4, -4)); // between the checksums
  return { height, width, patch, bits, rank, iterations, codewords, codebook, words };
}

/** The kernel's parameters, in the order of its comments in the WGSL. */
function parametersOf({ height, width, patch, bits, rank, iterations, codewords }) {
  const [rows, columns] = [Math.ceil(height / patch), Math.ceil(width / patch)];
  return {
    height, width, rank, iterations, bits, codewords,
    patches: rows * columns,
    patches_x: columns,
    strips: Math.ceil(columns / (1024 / patch ** 2)), // a workgroup decodes 1024 pixels
    count: rows * columns * iterations * 3 * 2 * rank,
    index_mask: 2 ** bits - 1,
    gain: 1,
  };
}

/** The same in JavaScript: every sample is a sum of products of two codewords' elements. A row of patches at a time: the page stays quick. */
async function decodeInJavaScript({ height, width, patch, bits, rank, iterations, codebook, words }) {
  const values = Float32Array.from(codebook, half);
  const index = (n) => {
    let value = 0;
    for (let bit = n * bits, k = 0; k < bits; bit++, k++) value |= ((words[bit >> 5] >> (bit & 31)) & 1) << k;
    return value;
  };
  const image = new Float32Array(height * width * 3);
  const columns = Math.ceil(width / patch);
  for (let top = 0; top < height; top += patch) {
    await new Promise((resolve) => setTimeout(resolve));
    for (let left = 0; left < width; left += patch) {
      const first = ((top / patch) * columns + left / patch) * iterations * 3 * 2 * rank;
      for (let product = 0; product < iterations * 3 * rank; product++) {
        const [channel, r] = [Math.floor(product / rank) % 3, product % rank];
        const n = first + Math.floor(product / rank) * 2 * rank + r;
        const [column, row] = [index(n) * patch, index(n + rank) * patch];
        for (let y = 0; y < Math.min(patch, height - top); y++) {
          for (let x = 0; x < Math.min(patch, width - left); x++) {
            image[((top + y) * width + left + x) * 3 + channel] += values[column + y] * values[row + x];
          }
        }
      }
    }
  }
  return image.map((value) => Math.min(Math.max(value, 0), 1));
}

/** A half as a number. */
function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: the server answers ${response.status}`);
  return response;
}

// ---- the page ----

const element = (id) => document.getElementById(id);

function show(id, value, text) {
  element(id).textContent = text;
  element(id).dataset.value = value;
}

function draw({ height, width }, image) {
  const pixels = new ImageData(width, height);
  for (let n = 0; n < width * height; n++) {
    for (let channel = 0; channel < 3; channel++) pixels.data[4 * n + channel] = Math.floor(255 * image[3 * n + channel] + 0.5);
    pixels.data[4 * n + 3] = 255;
  }
  Object.assign(element("picture"), { width, height });
  element("picture").getContext("2d").putImageData(pixels, 0, 0);
}

async function run() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) {
    throw new Error("No WebGPU here. Chrome and Edge have it from 113 on, Safari from 26, Firefox from 141 on Windows; an up-to-date driver helps as well.");
  }
  const device = await adapter.requestDevice();
  device.pushErrorScope("validation");
  const kernel = await Kernel.load(device, SHADER);
  const code = readGvq(await (await fetched(PICTURE)).arrayBuffer());
  const codebook = bufferOf(device, code.codebook, GPUBufferUsage.STORAGE);
  const words = bufferOf(device, code.words, GPUBufferUsage.STORAGE);
  const image = device.createBuffer({ size: code.height * code.width * 3 * 4, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const workgroups = kernel.run(parametersOf(code), { codebook, words, image });
  await device.queue.onSubmittedWorkDone();

  const start = performance.now();
  kernel.run(parametersOf(code), { codebook, words, image });
  await device.queue.onSubmittedWorkDone();
  const milliseconds = performance.now() - start;
  const decoded = await read(device, image);
  const error = await device.popErrorScope();
  if (error) throw new Error(error.message);
  draw(code, decoded);

  const expected = await decodeInJavaScript(code);
  const difference = decoded.reduce((worst, value, n) => Math.max(worst, Math.abs(value - expected[n])), 0);
  show("size", decoded.length, `${code.width} × ${code.height}`);
  show("workgroups", workgroups, String(workgroups));
  show("milliseconds", milliseconds, `${milliseconds.toFixed(1)} ms`);
  show("difference", difference, difference ? difference.toExponential(1) : "none");
  element("formula").textContent = kernel.metadata.dispatch;
  element("metadata").textContent = JSON.stringify(kernel.metadata, null, 1);
  element("wgsl").textContent = kernel.wgsl;
  device.destroy();
  // Sums of four products in f32, in another order: 1e-6 is far above their rounding, and far below a step of a byte.
  if (!(difference < 1e-6)) throw new Error(`The kernel and JavaScript differ by ${difference}, expected less than 1e-6.`);
}

async function start() {
  document.body.dataset.state = "running";
  element("again").disabled = true;
  element("error").hidden = true;
  element("status").textContent = "Running …";
  try {
    await run();
    document.body.dataset.state = "ready";
    element("status").textContent = "Every sample is as JavaScript computes it.";
  } catch (error) {
    document.body.dataset.state = "error";
    element("status").textContent = "";
    element("error").textContent = error.message;
    element("error").hidden = false;
  }
  element("again").disabled = false;
}

element("again").addEventListener("click", start);
fetch("main.js").then((response) => response.text()).then((text) => (element("source").textContent = text));
await start();
