// Serves folders to this machine only. `node serve.mjs [PORT]` serves web/dist.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".ts": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".wgsl": "text/plain; charset=utf-8",
};

export const dist = fileURLToPath(new URL("dist", import.meta.url));

/** Serves `folders`, a map from path prefix to directory, and answers with the address. Port 0 takes a free one. */
export async function serve(folders, port = 0) {
  const prefixes = Object.keys(folders).sort((a, b) => b.length - a.length);
  const server = createServer(async (request, response) => {
    try {
      // Normalized as an absolute path, which cannot leave its folder.
      const path = normalize("/" + decodeURIComponent(new URL(request.url, "http://localhost").pathname));
      const prefix = prefixes.find((prefix) => path.startsWith(prefix));
      const name = path.slice(prefix.length);
      if (name !== "" && !name.endsWith("/") && !extname(name)) {
        response.writeHead(301, { location: `${path}/` }); // a folder; its page's addresses are relative to it
        response.end();
        return;
      }
      const file = join(folders[prefix], name === "" || name.endsWith("/") ? `${name}index.html` : name);
      const body = await readFile(file);
      response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "cache-control": "no-store" });
      response.end(body);
    } catch {
      response.writeHead(404, { "content-type": "text/plain" });
      response.end("not found\n");
    }
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { address } = await serve({ "/": dist }, Number(process.argv[2] ?? 8080));
  console.log(`Gristmill at ${address} (end with Ctrl-C)`);
}
