// Every folder with an index.html is a page. Addresses are relative, so that any host and any sub-path serve the built site.

import { cpSync, existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** Copied as they are: a page that shows what runs without any build, and the styles that it shares. */
const VERBATIM = ["plain-wgsl", "common/styles.css"];

const pages = ["", ...readdirSync(path(".")).map((folder) => `${folder}/`)]
  .map((folder) => path(`${folder}index.html`))
  .filter((page) => existsSync(page) && !VERBATIM.some((copied) => page.startsWith(path(copied))));

const verbatim: Plugin = {
  name: "verbatim",
  // The shader bundle, which `cargo xtask web` writes into the built site.
  configureServer({ middlewares }) {
    middlewares.use("/shaders", (request, response, next) => {
      readFile(path(`../dist/shaders${request.url ?? ""}`)).then((file) => response.end(file), () => next());
    });
  },
  writeBundle({ dir = path("../dist") }) {
    for (const copied of VERBATIM) cpSync(path(copied), `${dir}/${copied}`, { recursive: true });
  },
};

export default defineConfig({
  root: path("."),
  base: "./",
  appType: "mpa",
  plugins: [verbatim],
  build: {
    outDir: path("../dist"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    rolldownOptions: { input: pages },
  },
  worker: { format: "es" },
  // The package is linked, and finds its worker and its wasm beside itself.
  optimizeDeps: { exclude: ["gristmill"] },
  // Weights, codebooks and pictures stay where the command line tool has them.
  server: { fs: { allow: [path("../..")] } },
});
