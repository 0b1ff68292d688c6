// Small drawings for the cards, 160 x 70, in the colours of the page.

type Shape = readonly [tag: "rect" | "circle" | "path", attributes: Readonly<Record<string, string | number>>];

function drawing(shapes: readonly Shape[]): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const root = document.createElementNS(space, "svg");
  root.setAttribute("viewBox", "0 0 160 70");
  root.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, String(value));
    root.append(shape);
  }
  return root;
}

const square = (x: number, y: number, width: number, height: number, opacity: number, fill = "var(--accent)"): Shape => [
  "rect",
  { x, y, width, height, fill, "fill-opacity": opacity.toFixed(3) },
];

const cells = (columns: number, rows: number): [x: number, y: number][] =>
  Array.from({ length: columns * rows }, (_, cell) => [cell % columns, Math.floor(cell / columns)]);

/** A hill under a sun: coarse pixels on the left, smooth on the right. */
function superResolution(): SVGSVGElement {
  const hill = (x: number) => 44 - 11 * Math.sin(x / 15) - 4 * Math.cos(x / 7);
  const coarse = cells(10, 9).map(([column, row]) => {
    const [x, y] = [column * 8, row * 8];
    const depth = Math.min(Math.max((y + 4 - hill(x + 4)) / 8 + 0.5, 0), 1);
    const sun = Math.max(0, 1 - Math.hypot(x + 4 - 80, y + 4 - 18) / 16);
    return square(x, y, 8.1, 8.1, 0.08 + 0.55 * depth + 0.35 * sun);
  });
  const line = Array.from({ length: 41 }, (_, step) => `${80 + step * 2},${hill(80 + step * 2).toFixed(1)}`);
  return drawing([
    ...coarse,
    square(80, 0, 80, 70, 0.08),
    ["path", { d: "M80 5 a13 13 0 0 1 0 26 Z", fill: "var(--accent)", "fill-opacity": 0.4 }],
    ["path", { d: `M80 70 L${line.join(" L")} L160 70 Z`, fill: "var(--accent)", "fill-opacity": 0.62 }],
    square(79.4, 0, 1.2, 70, 1, "var(--ink)"),
  ]);
}

/** A grid of tokens in which two regions have become one token each. */
function tokenMerging(): SVGSVGElement {
  const region = (x: number, y: number) => (Math.hypot(x - 4.5, y - 3) < 2.7 ? 1 : x > 9 && y > 0.9 && x < 15 && y < 5 ? 2 : 0);
  const tokens = cells(18, 7).map(([column, row]) => {
    const merged = region(column, row);
    const [x, y] = [8 + column * 8, 7 + row * 8];
    if (merged === 0) return square(x + 1, y + 1, 6, 6, 0.25, "var(--quiet)");
    return square(x, y, 8.05, 8.05, merged === 1 ? 0.75 : 0.45);
  });
  return drawing(tokens);
}

/** A column times a row is a patch; patches make a picture. */
function codec(): SVGSVGElement {
  const column = [0.2, 0.9, 0.6, 1, 0.4];
  const row = [0.5, 1, 0.3, 0.8, 0.6];
  const patch = cells(5, 5).map(([x, y]) => square(62 + x * 8, 15 + y * 8, 7.4, 7.4, column[y]! * row[x]!));
  const factors = column.flatMap((value, index) => [square(48, 15 + index * 8, 7.4, 7.4, value), square(62 + index * 8, 3, 7.4, 7.4, row[index]!)]);
  const bits = cells(4, 5).map(([x, y]) => square(118 + x * 5, 17 + y * 8, 3.4, 3.4, (x * 7 + y * 5) % 3 ? 0.75 : 0.2, "var(--quiet)"));
  const more = cells(4, 5).map(([x, y]) => square(24 - x * 5, 17 + y * 8, 3.4, 3.4, (x * 5 + y * 3) % 4 ? 0.2 : 0.75, "var(--quiet)"));
  return drawing([...patch, ...factors, ...bits, ...more]);
}

/** Which keys a query reads: a causal map with a window along the diagonal and a few selected blocks. */
function attention(): SVGSVGElement {
  const map = cells(14, 14).flatMap(([key, query]) => {
    if (key > query) return [];
    const window = query - key < 2;
    const selected = (key * 5 + Math.floor(query / 2) * 3) % 7 === 0;
    return [square(49 + key * 4.5, 3.5 + query * 4.5, 3.9, 3.9, window ? 0.9 : selected ? 0.55 : 0.1)];
  });
  return drawing(map);
}

/** Bars under a line, the adapter's peak. */
function bench(): SVGSVGElement {
  const shares = [0.78, 0.64, 0.7, 0.46, 0.58, 0.83];
  const bars = shares.map((share, index) => square(20, 9 + index * 9, 120 * share, 5, 0.35 + 0.5 * share));
  return drawing([...bars, square(140, 5, 1.2, 60, 0.8, "var(--quiet)")]);
}

/** Lines of a program. */
function program(): SVGSVGElement {
  const lines: readonly (readonly number[])[] = [[22, 40], [8, 30, 14], [18, 26, 8], [8, 44], [26, 12], [6]];
  return drawing(
    lines.flatMap((words, row) => {
      let x = row > 0 && row < 5 ? 48 : 36;
      return words.map((width, word) => {
        const shape = square(x, 10 + row * 9, width, 4, word === 0 ? 0.85 : 0.35, word === 0 ? "var(--accent)" : "var(--quiet)");
        x += width + 4;
        return shape;
      });
    }),
  );
}

/** By the page's folder. */
export const previews: Readonly<Record<string, () => SVGSVGElement>> = {
  "super-resolution": superResolution,
  "token-merging": tokenMerging,
  "vq-codec": codec,
  "attention-lab": attention,
  bench,
  "plain-wgsl": program,
};
