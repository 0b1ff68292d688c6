// The examples of the package's README, as they stand: each is a module of a page, and prints what its comments say.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const readme = fileURLToPath(new URL("../package/README.md", import.meta.url));

/** Each example: what to call it, its code, what it must print. */
export async function examples() {
  const text = await readFile(readme, "utf8");
  const blocks = text.split("\n## ").flatMap((section, index) =>
    [...section.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => ({ name: `README, ${index === 0 ? "first example" : section.split("\n")[0]}`, code })));
  return blocks.map(({ name, code }) => ({ name, code, prints: [...code.matchAll(/\/\/ prints (.*)/g)].map(([, line]) => line) }));
}

/** Runs an example in an empty page of the server. Answers with what it printed. */
export async function runExample(page, { code, prints }) {
  const lines = await page.evaluate((code) => new Promise((resolve, reject) => {
    if (!document.querySelector("script[type=importmap]")) {
      const map = Object.assign(document.createElement("script"), { type: "importmap" });
      map.textContent = JSON.stringify({ imports: { gristmill: "/package/gristmill.js" } });
      document.head.append(map);
    }
    const lines = [];
    globalThis.example = { print: (...values) => lines.push(values.map(String).join(" ")), end: () => resolve(lines), fail: (error) => reject(error) };
    const [, imports, body] = code.match(/^((?:import [^\n]*\n)*)(.*)$/s);
    const script = Object.assign(document.createElement("script"), { type: "module" });
    script.textContent = `${imports}const console = { log: example.print };\ntry {\n${body}\nexample.end();\n} catch (error) { example.fail(error); }`;
    script.addEventListener("error", () => reject(new Error("the example can't be loaded")));
    addEventListener("error", ({ message }) => reject(new Error(message)), { once: true });
    document.body.append(script);
  }), code);
  const missing = prints.filter((line) => !lines.includes(line));
  if (prints.length === 0) throw new Error("the example prints nothing that can be checked");
  if (missing.length) throw new Error(`it printed ${JSON.stringify(lines)}; expected also ${JSON.stringify(missing)}`);
  return lines.join("; ");
}
