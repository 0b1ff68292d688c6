// The table of what was measured, and the same as bars; both grow while the bench runs.

import type { BenchRecord } from "gristmill";
import { duration, percent } from "../common/controls.js";
import { element } from "../common/dom.js";

export interface Records {
  readonly root: HTMLElement;
  clear(): void;
  add(record: BenchRecord): void;
  /** A kernel that could not be measured. */
  fail(kernel: string, reason: string): void;
}

const COLUMNS = ["Kernel", "Shape", "Build", "Time", "GFLOP/s", "GB/s", "Of the nearer peak"];

export function records(): Records {
  const body = element("tbody", { id: "rows" });
  const head = element("tr", {}, ...COLUMNS.map((name, index) => element("th", { scope: "col", class: index > 2 && "number" }, name)));
  const table = element("table", {}, element("thead", {}, head), body);
  const bars = element("div", { id: "bars", class: "bars", role: "img", "aria-label": "Share of the nearer peak by kernel; the table has the figures" });
  const key = [element("span", { class: "key" }), "of multiply-adds", element("span", { class: "key memory" }), "of copying"];
  const chart = element("figure", {}, element("figcaption", {}, "Share of the nearer peak:", ...key), bars);
  const root = element("div", { hidden: true }, chart, element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "What was measured" }, table));

  function row(kernel: string, cells: readonly HTMLTableCellElement[]): void {
    body.append(element("tr", { "data-kernel": kernel }, element("th", { scope: "row" }, kernel), ...cells));
    root.hidden = false;
  }

  return {
    root,
    clear() {
      root.hidden = true;
      body.replaceChildren();
      bars.replaceChildren();
    },
    add({ kernel, shape, variant, milliseconds, gflops, gbps, share }) {
      const number = (name: string, value: number, text: string) => element("td", { class: "number", "data-column": name, "data-value": value }, text);
      row(kernel, [
        element("td", {}, shape),
        element("td", { "data-column": "variant" }, variant),
        number("milliseconds", milliseconds, time(milliseconds)),
        number("gflops", gflops, figure(gflops)),
        number("gbps", gbps, figure(gbps)),
        number("share", share, percent(share, 0)),
      ]);
      bars.append(
        element("span", {}, kernel),
        element("div", { class: "track" }, bar(share, gflops, gbps)),
        element("span", { class: "share" }, percent(share, 0)),
      );
    },
    fail(kernel, reason) {
      row(kernel, [element("td", { class: "failed", colspan: COLUMNS.length - 1 }, reason)]);
    },
  };

  function bar(share: number, gflops: number, gbps: number): HTMLElement {
    const made = element("div", { class: "bar" });
    made.style.width = `${Math.min(100 * share, 100)}%`;
    made.dataset.gflops = String(gflops);
    made.dataset.gbps = String(gbps);
    return made;
  }
}

/** Colours the bars by the peak that is nearer, once the peaks are known. */
export function colourBars(root: HTMLElement, peaks: { readonly gflops: number; readonly gbps: number }): void {
  for (const bar of root.querySelectorAll<HTMLElement>(".bar")) {
    bar.classList.toggle("memory", Number(bar.dataset.gbps) / peaks.gbps > Number(bar.dataset.gflops) / peaks.gflops);
  }
}

function time(milliseconds: number): string {
  return milliseconds < 1 ? `${milliseconds.toPrecision(2)} ms` : duration(milliseconds);
}

/** Three digits. */
export function figure(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
