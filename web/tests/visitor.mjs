// What a visitor does and sees on every page.

import assert from "node:assert/strict";

/** `loading`, `ready`, `running` or `error`. */
export const state = (page) => page.evaluate(() => document.body.dataset.state);

/** A figure of the page to all its digits. */
export const number = async (page, id) => Number(await page.getAttribute(`#${id}`, "data-value"));

/** Does something that starts a run, and waits for its end. */
export async function after(page, action, expected = "ready") {
  const runs = await page.evaluate(() => Number(document.body.dataset.runs ?? 0));
  await action();
  await page.waitForFunction((runs) => Number(document.body.dataset.runs ?? 0) > runs && document.body.dataset.state !== "running", runs);
  assert.equal(await state(page), expected, await page.textContent("#error"));
}

/** Sets a range input as a drag does. */
export const slide = (page, id, value) =>
  page.$eval(`#${id}`, (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, String(value));

/** On a phone nothing is wider than the screen. */
export async function onAPhone(page, look) {
  await page.setViewportSize({ width: 360, height: 740 });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360, "no horizontal scroll at 360 pixels");
  await look();
  await page.setViewportSize({ width: 1280, height: 900 });
}
