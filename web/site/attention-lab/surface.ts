// A canvas as sharp as the screen, drawn in the page's colours, and again when its size or the colours change.

export interface Surface {
  readonly canvas: HTMLCanvasElement;
  /** Draws when the browser is about to; several requests become one. */
  redraw(): void;
  /** Where a pointer is, in the units of `draw`. */
  at(event: PointerEvent): readonly [x: number, y: number];
}

/** What drawing needs: sizes are in CSS pixels. */
export interface Pen {
  readonly context: CanvasRenderingContext2D;
  readonly width: number;
  readonly height: number;
  /** A colour of the page's style, such as `--ink`. */
  readonly color: (name: string) => string;
  readonly font: (size: number) => string;
}

export function surface(canvas: HTMLCanvasElement, draw: (pen: Pen) => void): Surface {
  let asked = false;
  const redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const { width, height } = canvas.getBoundingClientRect();
      if (width === 0) return;
      const density = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
      const context = canvas.getContext("2d");
      if (!context) return;
      context.scale(density, density);
      const style = getComputedStyle(document.body);
      draw({
        context,
        width,
        height,
        color: (name) => style.getPropertyValue(name).trim(),
        font: (size) => `${size}px ${style.fontFamily}`,
      });
    });
  };
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const at = (event: PointerEvent) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top] as const;
  };
  return { canvas, redraw, at };
}
