// Line charts in the page's colours (uPlot), with the same figures as a table for those who can't see them.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { element } from "./dom.js";

export interface Axis {
  readonly label: string;
  /** Marked at powers of two along x, of ten along y. */
  readonly logarithmic?: boolean;
  readonly show?: (value: number) => string;
}

export interface Series {
  readonly label: string;
  /** One per x; `null` where there is none. */
  readonly values: readonly (number | null)[];
  /** Points without a line. */
  readonly points?: boolean;
}

export interface ChartData {
  readonly x: readonly number[];
  readonly series: readonly Series[];
}

export interface Chart {
  readonly root: HTMLElement;
  show(data: ChartData): void;
}

const HEIGHT = 280;

/** A chart of the width that it gets; call `show` as often as there are new figures. */
export function chart(title: string, x: Axis, y: Axis): Chart {
  const plot = element("div", { class: "plot", role: "img", "aria-label": title });
  const table = element("table", {});
  const details = element("details", {}, element("summary", {}, "As a table"), element("div", { class: "scroll" }, table));
  const root = element("figure", { class: "chart" }, element("figcaption", {}, title), plot, details);
  let drawn: uPlot | undefined;
  let data: ChartData = { x: [], series: [] };

  function draw(): void {
    drawn?.destroy();
    drawn = undefined;
    if (data.x.length === 0 || plot.clientWidth === 0) return;
    const values = [[...data.x], ...data.series.map(({ values }) => [...values])] as uPlot.AlignedData;
    drawn = new uPlot(settings(x, y, data.series, plot.clientWidth), values, plot);
  }

  const show = (next: ChartData) => {
    data = next;
    table.replaceChildren(...rows(x, y, data));
    draw();
  };
  new ResizeObserver(() => (drawn ? drawn.setSize({ width: plot.clientWidth, height: HEIGHT }) : draw())).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return { root, show };
}

function settings(x: Axis, y: Axis, series: readonly Series[], width: number): uPlot.Options {
  const style = getComputedStyle(document.body);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = (axis: Axis): uPlot.Axis => ({
    label: axis.label,
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: `12px ${style.fontFamily}`,
    labelFont: `12px ${style.fontFamily}`,
    values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : (axis.show ?? short)(tick))),
  });
  const scale = (axis: Axis, log: 2 | 10): uPlot.Scale => (axis.logarithmic ? { distr: 3, log, time: false } : { time: false });
  return {
    width,
    height: HEIGHT,
    scales: { x: scale(x, 2), y: scale(y, 10) },
    axes: [axis(x), { ...axis(y), size: 60 }],
    cursor: { drag: { x: false, y: false } },
    series: [
      { label: x.label, value: (_, value) => (value === null ? "" : (x.show ?? short)(value)) },
      ...series.map(({ label, points }, index): uPlot.Series => {
        const stroke = colour(`--series-${(index % 5) + 1}`);
        const shape = points ? { width: 0, points: { show: true, size: 7, fill: stroke } } : { width: 2, points: { show: true, size: 5, fill: stroke } };
        return { label, stroke, ...shape, spanGaps: true, value: (_, value) => (value === null ? "" : (y.show ?? short)(value)) };
      }),
    ],
  };
}

function rows(x: Axis, y: Axis, { x: at, series }: ChartData): HTMLElement[] {
  const cell = (value: number | null | undefined, axis: Axis) => (value === null || value === undefined ? "" : (axis.show ?? short)(value));
  const head = element("tr", {}, ...[x.label, ...series.map(({ label }) => label)].map((name) => element("th", { scope: "col" }, name)));
  const body = at.map((value, index) =>
    element("tr", {}, ...[cell(value, x), ...series.map(({ values }) => cell(values[index], y))].map((text) => element("td", {}, text))),
  );
  return [head, ...body];
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
