// Times every kernel on the visitor's adapter.

import type { BenchRecord, BenchReport, CallOptions, Gristmill } from "gristmill";
import { GristmillError, LimitError } from "gristmill";
import { button, figures, slider, toggle } from "../common/controls.js";
import { byId, element } from "../common/dom.js";
import { Page } from "../common/page.js";
import { download } from "../common/pictures.js";
import { adapterDetails } from "./adapter.js";
import { colourBars, figure, records } from "./records.js";
import "./styles.css";

/** A report with what could not be measured. */
type Report = BenchReport & { readonly failed: Readonly<Record<string, string>> };

const table = records();
const numbers = figures({ "peak-gflops": "Peak of multiply-adds", "peak-gbps": "Peak of copying", measured: "Kernels" });
byId("figures").append(numbers.root);
byId("records").append(table.root);

const page = await Page.open("bench");
const cases = (await page.run("Asking what there is to measure", (gristmill) => gristmill.benchCases())) ?? [];
const boxes = cases.map((kernel) => toggle({ id: `case-${kernel.replaceAll(" ", "-")}`, label: kernel, value: true, change: () => allow() }));
const samples = slider({ id: "samples", label: "Samples of each", min: 1, max: 25, value: page.software ? 3 : 9, hint: "The median counts" });
const start = button({ id: "start", label: "Run", main: true, press: () => void measure() });
const save = button({ id: "download", label: "Download as JSON", press: () => saveReport() });
save.disabled = true;
let report: Report | undefined;

const choose = (chosen: boolean) => () => {
  for (const box of boxes) box.set(chosen);
  allow();
};
const all = button({ id: "all", label: "All", press: choose(true) });
const none = button({ id: "none", label: "None", press: choose(false) });
byId("controls").append(
  element("fieldset", { class: "kernels" }, element("legend", {}, "Kernels"), element("div", { class: "all" }, ...boxes.map(({ root }) => root))),
  element("div", { class: "controls" }, all, none, samples.root, start, save),
);
byId("ratios").hidden = !page.software;
showAdapter();
allow();

/** Something must be chosen. */
function allow(): void {
  start.disabled = !page.report || !boxes.some(({ value }) => value);
}

function showAdapter(): void {
  if (page.report) byId("details").replaceChildren(...adapterDetails(page.report));
}

async function measure(): Promise<void> {
  const chosen = cases.filter((_, index) => boxes[index]!.value);
  save.disabled = true;
  const found = await page.run("Measuring", (gristmill, options) => {
    table.clear();
    numbers.clear();
    return benchAll(gristmill, chosen, options);
  });
  showAdapter();
  if (!found) return;
  report = found;
  const { peaks } = found;
  numbers.set("peak-gflops", peaks.gflops, `${figure(peaks.gflops)} GFLOP/s`);
  numbers.set("peak-gbps", peaks.gbps, `${figure(peaks.gbps)} GB/s`);
  numbers.set("measured", found.records.length, `${found.records.length} of ${chosen.length}`);
  colourBars(table.root, peaks);
  save.disabled = false;
}

/** The bench; a kernel that this adapter is too small for is left out, and the others go on. */
async function benchAll(gristmill: Gristmill, chosen: readonly string[], { signal, progress }: Required<CallOptions>): Promise<Report> {
  const measured: BenchRecord[] = [];
  const failed: Record<string, string> = {};
  for (let rest = chosen; ; ) {
    const before = measured.length;
    const done = (chosen.length - rest.length) / chosen.length;
    const record = (record: BenchRecord) => {
      measured.push(record);
      table.add(record);
      page.say(`Measured ${record.kernel}: ${measured.length} of ${chosen.length} …`);
    };
    try {
      const found = await gristmill.bench({ kernels: rest, samples: samples.value, record, signal, progress: (share) => progress(done + share * (1 - done)) });
      return { ...found, records: measured, failed };
    } catch (error) {
      const kernel = rest[measured.length - before];
      if (kernel === undefined || !isTooLarge(error)) throw error;
      failed[kernel] = error.message;
      table.fail(kernel, error.message);
      rest = rest.slice(measured.length - before + 1);
      if (rest.length === 0 && measured.length === 0) throw error;
    }
  }
}

function isTooLarge(error: unknown): error is GristmillError {
  return error instanceof LimitError || (error instanceof GristmillError && error.kind === "OutOfMemory");
}

function saveReport(): void {
  if (report) download(new Blob([`${JSON.stringify(report, null, 2)}\n`], { type: "application/json" }), "gristmill-bench.json");
}
