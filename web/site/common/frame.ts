// Header and footer of every page.

import { element } from "./dom.js";

export const REPOSITORY = "https://github.com/gristmill/gristmill";

/** The pages in the order of the gallery: folder and name. */
export const PAGES: readonly (readonly [folder: string, name: string])[] = [
  ["super-resolution", "Super-resolution"],
  ["token-merging", "Token merging"],
  ["vq-codec", "Low-rank codec"],
  ["attention-lab", "Attention lab"],
  ["bench", "Bench"],
];

/** The way from a page to the site's root: relative, because the site may lie in any folder of a host. */
function root(folder: string): string {
  return folder === "" ? "./" : "../".repeat(folder.split("/").length);
}

export function header(folder: string): HTMLElement {
  const links = PAGES.map(([target, name]) =>
    element("a", { href: `${root(folder)}${target}/`, "aria-current": target === folder && "page" }, name),
  );
  const skip = element("a", { href: "#main", class: "skip" }, "Skip to the content");
  const brand = element("a", { href: root(folder), class: "brand", "aria-current": folder === "" && "page" }, "Gristmill");
  return element("header", { class: "site" }, skip, brand, element("nav", { "aria-label": "Pages" }, ...links));
}

export function footer(folder: string): HTMLElement {
  const source = `${REPOSITORY}/tree/main/web/site${folder && `/${folder}`}`;
  return element(
    "footer",
    { class: "site" },
    element("p", {}, "Everything runs on this machine: no picture leaves it."),
    element("p", {}, element("a", { href: source }, "Source of this page"), " · ", element("a", { href: REPOSITORY }, "Repository"), " · MIT or Apache-2.0"),
  );
}
