// What the marks over the picture stand for, with how much there is of each.

import { percent } from "../common/controls.js";
import { element } from "../common/dom.js";
import type { Layer, Segmented } from "./layers.js";
import { DIFFERENCE, type Mark, classMark, clusterMark, contextOf, fillOf } from "./marks.js";
import { count, sameShare } from "./summary.js";

interface Entry {
  readonly mark: Mark | undefined;
  readonly name: string;
  /** As numbers in `data-value`: tokens, or a share of the pixels. */
  readonly amount: number;
  readonly text: string;
}

/** Fills the table. */
export function showLegend(table: HTMLTableElement, segmented: Segmented, layer: Layer): void {
  const rows = entries(segmented, layer).map(({ mark, name, amount, text }) =>
    element(
      "tr",
      {},
      element("td", {}, swatch(mark)),
      element("td", {}, name),
      element("td", { "data-value": amount, "data-entry": name }, text),
    ),
  );
  const heading = element("caption", { class: "quiet" }, HEADINGS[layer]);
  table.replaceChildren(heading, ...rows);
}

const HEADINGS: Record<Layer, string> = {
  clusters: "Tokens by cluster, as the later blocks see them",
  merged: "Classes with merging",
  plain: "Classes without merging",
  differences: "Where merging changes the class",
};

function entries({ merged, plain }: Segmented, layer: Layer): Entry[] {
  const share = (mark: Mark | undefined, name: string, amount: number): Entry => ({ mark, name, amount, text: `${percent(amount)} of pixels` });
  if (layer === "clusters") {
    const clusters = merged.clusters ?? new Uint32Array(merged.tokens ** 2);
    // Kept tokens, the class token, and a row for each cluster, empty ones as well.
    const kept = count(clusters, 0);
    const named = Array.from({ length: merged.rows - 1 - kept }, (_, index) => index + 1);
    return [
      { mark: undefined, name: "kept, framed", amount: kept, text: `${kept} tokens, ${kept} rows` },
      ...named.map((id): Entry => {
        const members = count(clusters, id);
        return { mark: clusterMark(id), name: `cluster ${id}`, amount: members, text: `${members} tokens, 1 row` };
      }),
    ];
  }
  if (layer === "differences") {
    const same = sameShare(merged.labels, plain.labels);
    return [share(DIFFERENCE, "another class", 1 - same), share(undefined, "the same class", same)];
  }
  const { labels, classes } = layer === "merged" ? merged : plain;
  return classes.map((name, index) => share(classMark(index), name, count(labels, index) / labels.length));
}

/** A sample of a mark; empty for places that keep their looks. */
function swatch(mark: Mark | undefined): HTMLCanvasElement {
  const canvas = element("canvas", { width: 36, height: 20, "aria-hidden": "true" });
  const context = contextOf(canvas);
  if (mark) {
    context.fillStyle = fillOf(mark);
    context.fillRect(0, 0, 36, 20);
  } else {
    context.strokeStyle = "#888";
    context.strokeRect(0.5, 0.5, 35, 19);
  }
  return canvas;
}
