// Every kernel against its f64 twin in headless Chromium: needs the package with diagnostics.

import { withPage } from "./chromium.mjs";

const failed = await withPage(async (page) => {
  try {
    const report = await page.evaluate(async () => {
      const { Engine } = await import("/package/engine.js");
      const engine = new Engine();
      const watch = () => true;
      await engine.call("create", [{}], watch);
      return engine.call("selfTest", [], watch);
    });
    const lines = report.split("\n");
    for (const line of lines) console.log(`ok     ${line}`);
    console.log(`${lines.length} passed, 0 failed`);
    return 0;
  } catch (error) {
    console.log(`FAILED ${error.message.split("\n")[0]}`);
    return 1;
  }
});
process.exitCode = failed;
