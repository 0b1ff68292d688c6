// Two pictures of one size in one frame: the left one up to a line, the right one behind it. The line is a native range input for the
// keyboard and screen readers, and can be dragged; enlarged pictures are dragged beside the line, or moved with the
// arrow keys.

import type { Picture } from "gristmill";
import { choice } from "./controls.js";
import { element } from "./dom.js";
import { draw } from "./pictures.js";

export interface CompareSlider {
  readonly root: HTMLElement;
  /** Draws the pictures; `overlay` lies over both (smaller sides are stretched). */
  show(left: Picture, right: Picture, overlay?: Picture): Promise<void>;
  /** Shows or hides the overlay. */
  overlay(visible: boolean): void;
}

/** How near to the line a finger takes hold of it (pixels). */
const GRASP = 24;

/** `names` are the captions in the corners. */
export function compareSlider(names: readonly [left: string, right: string]): CompareSlider {
  const [left, right, over] = ["left", "right", "overlay"].map((name) => element("canvas", { class: name, role: "img" })) as [
    HTMLCanvasElement,
    HTMLCanvasElement,
    HTMLCanvasElement,
  ];
  left.setAttribute("aria-label", names[0]);
  right.setAttribute("aria-label", names[1]);
  over.hidden = true;
  const line = element("input", { id: "split", type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": `Line between ${names[0]} and ${names[1]}` });
  const frame = element(
    "div",
    { class: "frame", tabindex: 0, role: "group", "aria-label": `${names[0]} and ${names[1]}; arrow keys move the line, or the enlarged picture` },
    element("div", { class: "side" }, left),
    element("div", { class: "side after" }, right),
    element("div", { class: "side" }, over),
    element("span", { class: "caption" }, names[0]),
    element("span", { class: "caption end" }, names[1]),
    element("span", { class: "line" }),
  );
  const zoom = choice({
    id: "zoom",
    label: "Zoom",
    value: "1",
    choices: [["1", "whole picture"], ["2", "2 ×"], ["4", "4 ×"], ["8", "8 ×"]],
    change: () => place(),
  });
  const lineControl = element("div", { class: "control" }, element("label", { for: "split" }, "Line"), line);
  const root = element("div", { class: "compare" }, frame, element("div", { class: "controls" }, lineControl, zoom.root));

  // The middle of what is seen, as a share of the picture.
  const middle = { x: 0.5, y: 0.5 };

  function place(): void {
    const size = Number(zoom.value);
    const bound = (share: number) => Math.min(Math.max(share, 0.5 / size), 1 - 0.5 / size);
    middle.x = bound(middle.x);
    middle.y = bound(middle.y);
    frame.classList.toggle("zoomed", size > 1);
    frame.style.setProperty("--zoom", String(size));
    frame.style.setProperty("--left", `${100 * (0.5 - middle.x * size)}%`);
    frame.style.setProperty("--top", `${100 * (0.5 - middle.y * size)}%`);
    frame.style.setProperty("--split", `${line.value}%`);
  }

  function move(x: number, y: number): void {
    const { width, height } = frame.getBoundingClientRect();
    middle.x -= x / width / Number(zoom.value);
    middle.y -= y / height / Number(zoom.value);
    place();
  }

  line.addEventListener("input", place);
  let drag: "line" | "picture" | undefined;
  frame.addEventListener("pointerdown", (event) => {
    const { left, width } = frame.getBoundingClientRect();
    const distance = Math.abs(event.clientX - left - (width * Number(line.value)) / 100);
    drag = zoom.value === "1" || distance < GRASP ? "line" : "picture";
    frame.setPointerCapture(event.pointerId);
    if (drag === "line") follow(event);
  });
  function follow(event: PointerEvent): void {
    const { left, width } = frame.getBoundingClientRect();
    line.value = String((100 * (event.clientX - left)) / width);
    place();
  }
  frame.addEventListener("pointermove", (event) => {
    if (drag === "line") follow(event);
    if (drag === "picture") move(event.movementX, event.movementY);
  });
  for (const end of ["pointerup", "pointercancel"] as const) frame.addEventListener(end, () => (drag = undefined));
  frame.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (!step || event.target !== frame) return;
    event.preventDefault();
    if (zoom.value !== "1") return move(step[0]!, step[1]!);
    line.value = String(Number(line.value) - step[0]! / 20);
    place();
  });
  place();

  const show = async (one: Picture, two: Picture, overlay?: Picture) => {
    frame.style.setProperty("--ratio", `${two.width} / ${two.height}`);
    frame.style.setProperty("--width", `${two.width}px`);
    await draw(one, left);
    await draw(two, right);
    if (overlay) await draw(overlay, over);
    else over.width = over.height = 0;
  };
  return { root, show, overlay: (visible) => (over.hidden = !visible) };
}
