// The shader bundle as an npm package: `node shader_package.mjs DIRECTORY`. Installed under its name in a project of its own, every
// file of its index is found through its exports, and `npm pack` takes all of them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const bundle = resolve(process.argv[2]);
const project = mkdtempSync(join(tmpdir(), "shaders-"));
try {
  mkdirSync(join(project, "node_modules/@gristmill"), { recursive: true });
  symlinkSync(bundle, join(project, "node_modules/@gristmill/shaders"), "junction");
  const require = createRequire(join(project, "page.js"));

  const { version, shaders } = require("@gristmill/shaders");
  assert.match(version, /^\d+\.\d+\.\d+$/);
  assert(shaders.length > 60, `${shaders.length} shaders`);
  const names = new Set(shaders.map((shader) => shader.name));
  assert.equal(names.size, shaders.length, "a name is listed twice");
  const files = readdirSync(bundle).filter((file) => file.endsWith(".wgsl"));
  assert.deepEqual(files.map((file) => file.slice(0, -".wgsl".length)).sort(), [...names].sort(), "files and index differ");

  for (const { name, kernel, permutation, features, invocations, workgroup_bytes } of shaders) {
    const metadata = require(`@gristmill/shaders/${name}.json`);
    const wgsl = readFileSync(require.resolve(`@gristmill/shaders/${name}.wgsl`), "utf8");
    assert.deepEqual([metadata.kernel, metadata.permutation], [kernel, permutation], name);
    assert.deepEqual(metadata.features, features, name);
    assert.deepEqual([metadata.limits.maxComputeInvocationsPerWorkgroup, metadata.workgroup_bytes], [invocations, workgroup_bytes], name);
    assert(wgsl.includes(`fn ${metadata.entry_point}(`), `${name}: no entry point`);
    for (const { binding, name: variable } of metadata.bindings) {
      assert.match(wgsl, new RegExp(`@binding\\(${binding}\\) var[^;]* ${variable}:`), `${name}: binding ${binding}`);
    }
  }
  assert.throws(() => require.resolve("@gristmill/shaders/README.md"), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" });

  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: bundle, encoding: "utf8" }));
  assert.equal(packed.name, "@gristmill/shaders");
  const expected = [...names].flatMap((name) => [`${name}.wgsl`, `${name}.json`]).concat("README.md", "index.json", "package.json");
  assert.deepEqual(packed.files.map((file) => file.path).sort(), expected.sort());
  assert(!existsSync(join(bundle, packed.filename)), "a dry run leaves nothing");
  console.log(`@gristmill/shaders ${version}: ${shaders.length} shaders, ${Math.round(packed.size / 1000)} KB packed`);
} finally {
  rmSync(project, { recursive: true });
}
