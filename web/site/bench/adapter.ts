// What the adapter is, what its device offers, and which build of every kernel runs there.

import type { AdapterReport } from "gristmill";
import { element } from "../common/dom.js";

export function adapterDetails({ adapter, limits, features, kernels }: AdapterReport): HTMLElement[] {
  const { name, driver, type, backend } = adapter;
  const about: [string, string][] = [
    ["Name", [name, driver].filter(Boolean).join(", ") || "kept by the browser"],
    ["Type", type],
    ["Backend", backend],
    ["Features", features.join(", ") || "none beyond WebGPU's own"],
    ...Object.entries(limits).map(([limit, value]): [string, string] => [limit, limit.startsWith("max") && /Size$/.test(limit) ? bytes(value) : value.toLocaleString("en")]),
  ];
  const builds = Object.entries(kernels).map(([kernel, { variant, reason }]) =>
    element("tr", { "data-kernel": kernel }, element("th", { scope: "row" }, kernel), element("td", {}, variant), element("td", { class: "reason" }, reason)),
  );
  return [
    scroll("The adapter", element("table", { id: "about" }, ...about.map(([what, text]) => element("tr", { "data-what": what }, element("th", { scope: "row" }, what), element("td", {}, text))))),
    element("h3", {}, "Which build runs, and why"),
    scroll("Builds", element("table", { id: "builds" }, element("tr", {}, ...["Kernel", "Build", "Because"].map((name) => element("th", { scope: "col" }, name))), ...builds)),
  ];
}

function scroll(label: string, table: HTMLElement): HTMLElement {
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, table);
}

/** Whole powers of 1024 where there are some. */
function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; unit < units.length - 1 && value >= 1024 && value % 1024 === 0; unit++) value /= 1024;
  return `${value.toLocaleString("en")} ${units[unit]}`;
}
