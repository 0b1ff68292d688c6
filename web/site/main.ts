// The gallery: what there is, and what the visitor's adapter is.

import { footer, header, PAGES } from "./common/frame.js";
import { byId, element } from "./common/dom.js";
import "./common/styles.css";
import { showAdapter } from "./gallery/adapter.js";
import { previews } from "./gallery/previews.js";

const CARDS = [...PAGES, ["plain-wgsl", "Plain WGSL"]] as const;

const TEXTS: Readonly<Record<string, string>> = {
  "super-resolution": "Enlarge a picture by a transformer that skips what is plain. Bicubic beside it, with the truth as judge.",
  "token-merging": "Tell the things of a scene apart with a fraction of the tokens: which ones merge, and what that costs.",
  "vq-codec": "A picture at one bit per pixel. Its decoder is one kernel, quick enough to play a film.",
  "attention-lab": "Dense, sparse, local linear and sparse query attention side by side: cost by length, and what each one reads.",
  bench: "Every kernel, timed on your adapter, as a share of what the adapter can do.",
  "plain-wgsl": "Every kernel is also finished WGSL with a JSON description: one page of JavaScript runs it, without any WebAssembly.",
};

document.body.prepend(header(""));
document.body.append(footer(""));
byId("cards").append(
  ...CARDS.map(([folder, name]) => {
    const title = element("h2", {}, element("a", { href: `${folder}/` }, name));
    const card = element("article", { class: "card" }, title, element("p", {}, TEXTS[folder] ?? ""));
    const preview = previews[folder];
    if (preview) card.prepend(preview());
    return element("li", {}, card);
  }),
);
document.body.dataset.state = "ready";
requestIdle(() => void showAdapter());

function requestIdle(work: () => void): void {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(work);
  else setTimeout(work, 200);
}
