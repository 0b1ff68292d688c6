// What the visitor's adapter is; and, when asked, which build of every kernel runs there.

import type { AdapterReport } from "gristmill";
import { byId, element } from "../common/dom.js";

const ADVICE =
  "the demos need a current Chrome, Edge, Firefox or Safari with hardware acceleration switched on, over https or on localhost. On Linux, " +
  "Chrome may need chrome://flags/#enable-unsafe-webgpu; an up-to-date driver often helps.";

export async function showAdapter(): Promise<void> {
  const line = byId("adapter");
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) {
    const found = navigator.gpu ? "This browser has WebGPU, but found no adapter for it" : "This browser has no WebGPU";
    line.textContent = `${found}: ${ADVICE}`;
    line.dataset.adapter = "none";
    return;
  }
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(" ") || "a GPU whose name the browser keeps to itself";
  const kind = isFallbackAdapter ? " (software: everything takes longer)" : "";
  const binding = Math.round(adapter.limits.maxStorageBufferBindingSize / (1 << 20));
  const extras = ["subgroups", "shader-f16", "timestamp-query"].filter((feature) => adapter.features.has(feature));
  line.textContent = `${name}${kind}. Bindings of up to ${binding} MiB; ${extras.length ? `with ${extras.join(", ")}` : "no optional features"}.`;
  line.dataset.adapter = "found";
  const builds = byId<HTMLButtonElement>("builds");
  builds.hidden = false;
  builds.addEventListener("click", () => void showBuilds(builds));
}

/** Loads the package for its report. */
async function showBuilds(button: HTMLButtonElement): Promise<void> {
  button.disabled = true;
  document.body.dataset.state = "loading";
  const error = byId("error");
  error.hidden = true;
  try {
    const { Gristmill } = await import("gristmill");
    const gristmill = await Gristmill.create();
    const table = byId("kernels");
    table.replaceChildren(...rows(gristmill.report));
    table.hidden = false;
    button.hidden = true;
    gristmill.close();
    document.body.dataset.state = "ready";
  } catch (cause) {
    const { help } = await import("../common/errors.js");
    error.textContent = help(cause);
    error.hidden = false;
    document.body.dataset.state = "error";
  }
  button.disabled = false;
}

function rows({ kernels }: AdapterReport): HTMLElement[] {
  const head = element("tr", {}, ...["Kernel", "Build", "Because"].map((name) => element("th", { scope: "col" }, name)));
  const body = Object.entries(kernels).map(([kernel, { variant, reason }]) =>
    element("tr", { "data-kernel": kernel }, ...[kernel, variant, reason].map((text) => element("td", {}, text))),
  );
  return [head, ...body];
}
