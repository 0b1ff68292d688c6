// A straight line through measured points.

export interface Line {
  /** Of the line a + b x. */
  readonly a: number;
  readonly b: number;
  /** Share of the variance that the line explains. */
  readonly r2: number;
}

/** The line of least squares through at least two points. */
export function fitLine(x: readonly number[], y: readonly number[]): Line {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [middle, height] = [mean(x), mean(y)];
  const product = (f: readonly number[], g: readonly number[], f0: number, g0: number) =>
    f.reduce((sum, value, index) => sum + (value - f0) * ((g[index] ?? NaN) - g0), 0);
  const xy = product(x, y, middle, height);
  const b = xy / product(x, x, middle, middle);
  return { a: height - b * middle, b, r2: (b * xy) / product(y, y, height, height) };
}
