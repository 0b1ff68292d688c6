// How regions are told apart: a colour and a hatching each, so that colour alone need not be seen.

export type Hatching = "plain" | "rising" | "falling" | "level" | "upright" | "dots";

export interface Mark {
  readonly color: string;
  readonly hatching: Hatching;
}

/** Colours of Okabe and Ito, told apart with any colour vision. */
const CLASSES: readonly Mark[] = [
  { color: "#0072b2", hatching: "rising" },
  { color: "#d55e00", hatching: "falling" },
  { color: "#009e73", hatching: "dots" },
  { color: "#cc79a7", hatching: "level" },
  { color: "#56b4e9", hatching: "upright" },
];
const CLUSTERS: readonly Mark[] = [
  { color: "#e69f00", hatching: "rising" },
  { color: "#606060", hatching: "falling" },
  { color: "#7a4fbf", hatching: "dots" },
];

/** The mark of a class; the first class is the ground, which keeps its looks. */
export const classMark = (index: number): Mark | undefined => (index > 0 ? CLASSES[(index - 1) % CLASSES.length] : undefined);
/** The mark of a cluster; 0 is a kept token. */
export const clusterMark = (id: number): Mark | undefined => (id > 0 ? CLUSTERS[(id - 1) % CLUSTERS.length] : undefined);
/** Where both models differ. */
export const DIFFERENCE: Mark = { color: "#d1114b", hatching: "rising" };

/** Pixels after which a hatching repeats. */
const PERIOD = 12;

/** A fill of the mark's colour with light hatching. */
export function fillOf(mark: Mark): CanvasPattern {
  const tile = new OffscreenCanvas(PERIOD, PERIOD);
  const context = contextOf(tile);
  context.fillStyle = mark.color;
  context.fillRect(0, 0, PERIOD, PERIOD);
  context.fillStyle = context.strokeStyle = "rgb(255 255 255 / 75%)";
  context.lineWidth = 1.5;
  const line = (x0: number, y0: number, x1: number, y1: number) => {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  };
  // Diagonals run through the corners, so that tiles fit.
  for (const shift of [-PERIOD, 0, PERIOD]) {
    if (mark.hatching === "rising") line(shift, PERIOD, shift + PERIOD, 0);
    if (mark.hatching === "falling") line(shift, 0, shift + PERIOD, PERIOD);
  }
  if (mark.hatching === "level") line(0, PERIOD / 2, PERIOD, PERIOD / 2);
  if (mark.hatching === "upright") line(PERIOD / 2, 0, PERIOD / 2, PERIOD);
  if (mark.hatching === "dots") {
    context.beginPath();
    context.arc(PERIOD / 2, PERIOD / 2, 2, 0, 2 * Math.PI);
    context.fill();
  }
  const pattern = context.createPattern(tile, "repeat");
  if (!pattern) throw new Error("the browser made no pattern");
  return pattern;
}

/** The drawing context of a canvas. */
export function contextOf(canvas: OffscreenCanvas): OffscreenCanvasRenderingContext2D;
export function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D;
export function contextOf(canvas: OffscreenCanvas | HTMLCanvasElement) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("the browser can't draw on a canvas");
  return context;
}
