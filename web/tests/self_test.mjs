// Every kernel against its f64 twin in headless Chromium: needs the package with diagnostics.

import { withPage } from "./chromium.mjs";

const failed = await withPage(async (page) => {
  try {
    const report = await page.evaluate(async () => (await import("/gristmill.js")).self_test());
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
