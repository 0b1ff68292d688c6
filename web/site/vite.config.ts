// Every folder with an index.html is a page. Addresses are relative, so that any host and any sub-path serve the built site.

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

const pages = ["", ...readdirSync(path(".")).map((folder) => `${folder}/`)]
  .map((folder) => path(`${folder}index.html`))
  .filter((page) => existsSync(page));

export default defineConfig({
  root: path("."),
  base: "./",
  appType: "mpa",
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
