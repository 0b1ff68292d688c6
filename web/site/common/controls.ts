// Native inputs with labels, and live figures.

import { element } from "./dom.js";

/** A control: `root` goes into the page, `value` is what it stands at. */
export interface Control<T> {
  readonly root: HTMLElement;
  readonly value: T;
  /** Sets the value without calling `change`. */
  set(value: T): void;
  enable(enabled: boolean): void;
}

interface Common<T> {
  /** The input's id, stable for tests. */
  readonly id: string;
  readonly label: string;
  readonly value: T;
  /** One line of explanation. */
  readonly hint?: string;
  /** Called when the visitor has set the value: at the end of a drag. */
  readonly change?: (value: T) => void;
}

function labelled(input: HTMLElement, { id, label, hint }: { id: string; label: string; hint?: string }, ...more: Node[]): HTMLElement {
  const root = element("div", { class: "control" }, element("label", { for: id }, label), ...more, input);
  if (hint) {
    input.setAttribute("aria-describedby", `${id}-hint`);
    root.append(element("small", { id: `${id}-hint` }, hint));
  }
  return root;
}

/** A slider over `values`, or over whole steps from `min` to `max`; its value stands beside the label. */
export function slider(
  options: Common<number> &
    ({ values: readonly number[] } | { min: number; max: number; step?: number }) & {
      show?: (value: number) => string;
      /** Called again and again during a drag. */
      follow?: (value: number) => void;
    },
): Control<number> {
  const { id, value, change, follow, show = String } = options;
  const values = "values" in options ? options.values : undefined;
  const range = "min" in options ? options : { min: 0, max: options.values.length - 1 };
  const input = element("input", { id, type: "range", min: range.min, max: range.max, step: ("step" in range && range.step) || 1 });
  const output = element("output", { for: id });
  const current = () => (values ? (values[Number(input.value)] ?? value) : Number(input.value));
  const tell = () => {
    output.textContent = show(current());
    input.setAttribute("aria-valuetext", show(current()));
  };
  const set = (value: number) => {
    input.value = String(values ? Math.max(0, values.indexOf(value)) : value);
    tell();
  };
  set(value);
  input.addEventListener("input", () => {
    tell();
    follow?.(current());
  });
  if (change) input.addEventListener("change", () => change(current()));
  return {
    root: labelled(input, options, output),
    get value() {
      return current();
    },
    set,
    enable: (enabled) => (input.disabled = !enabled),
  };
}

/** A checkbox. */
export function toggle(options: Common<boolean>): Control<boolean> {
  const { id, label, value, hint, change } = options;
  const input = element("input", { id, type: "checkbox" });
  input.checked = value;
  if (change) input.addEventListener("change", () => change(input.checked));
  const root = element("div", { class: "control toggle" }, input, element("label", { for: id }, label));
  if (hint) root.append(element("small", {}, hint));
  return {
    root,
    get value() {
      return input.checked;
    },
    set: (value) => (input.checked = value),
    enable: (enabled) => (input.disabled = !enabled),
  };
}

/** A list to choose from. */
export function choice<T extends string>(options: Common<T> & { choices: readonly (readonly [value: T, name: string])[] }): Control<T> {
  const { id, value, choices, change } = options;
  const input = element("select", { id }, ...choices.map(([value, name]) => new Option(name, value)));
  input.value = value;
  if (change) input.addEventListener("change", () => change(input.value as T));
  return {
    root: labelled(input, options),
    get value() {
      return input.value as T;
    },
    set: (value) => (input.value = value),
    enable: (enabled) => (input.disabled = !enabled),
  };
}

/** A short list to choose from, all of it seen. */
export function radios<T extends string>(
  options: Common<T> & { choices: readonly { readonly value: T; readonly name: string; readonly hint: string }[] },
): Control<T> {
  const { id, label, choices, change } = options;
  const inputs = choices.map(({ value }) => element("input", { id: `${id}-${value}`, type: "radio", name: id, value }));
  const rows = choices.map(({ value, name, hint }, index) =>
    element("div", {}, inputs[index]!, element("label", { for: `${id}-${value}` }, name, element("small", {}, hint))),
  );
  const root = element("fieldset", { id, class: "control radios" }, element("legend", {}, label), ...rows);
  const set = (value: T) => inputs.forEach((input) => (input.checked = input.value === value));
  const current = () => (inputs.find((input) => input.checked)?.value ?? options.value) as T;
  set(options.value);
  if (change) root.addEventListener("change", () => change(current()));
  return {
    root,
    get value() {
      return current();
    },
    set,
    enable: (enabled) => (root.disabled = !enabled),
  };
}

export function button(options: { id: string; label: string; press: () => void; main?: boolean }): HTMLButtonElement {
  const made = element("button", { id: options.id, type: "button", class: options.main && "main" }, options.label);
  made.addEventListener("click", options.press);
  return made;
}

export interface Figures {
  readonly root: HTMLElement;
  /** Shows `text` for the figure `id`; its full value stands in `data-value`. Without a value it is hidden. */
  set(id: string, value?: number, text?: string): void;
  /** Hides all. */
  clear(): void;
}

/** Figures with names: `<dd id=… data-value=…>`. Each is hidden until it is set. */
export function figures(names: Readonly<Record<string, string>>): Figures {
  const cells = new Map<string, HTMLElement>();
  const root = element("dl", { class: "figures" });
  for (const [id, name] of Object.entries(names)) {
    const cell = element("dd", { id });
    cells.set(id, cell);
    root.append(element("div", { hidden: true }, element("dt", {}, name), cell));
  }
  const set = (id: string, value?: number, text = String(value)) => {
    const cell = cells.get(id);
    if (!cell?.parentElement) throw new Error(`no figure ${id}`);
    cell.parentElement.hidden = value === undefined;
    cell.textContent = value === undefined ? "" : text;
    if (value === undefined) delete cell.dataset.value;
    else cell.dataset.value = String(value);
  };
  return { root, set, clear: () => Object.keys(names).forEach((id) => set(id)) };
}

/** A time as people say it. */
export function duration(milliseconds: number): string {
  if (milliseconds < 100) return `${milliseconds.toFixed(1)}\u00a0ms`;
  return milliseconds < 10_000 ? `${Math.round(milliseconds)}\u00a0ms` : `${(milliseconds / 1000).toFixed(1)}\u00a0s`;
}

/** A size in pixels, which is not broken between lines. */
export function sides(width: number, height: number): string {
  return `${width}\u00a0×\u00a0${height}`;
}

/** A share as per cent. */
export function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}
