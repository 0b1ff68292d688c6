// Pictures between a test and its page.

/** RGBA of a PNG file, as the browser reads it. */
export async function pixels(page, file) {
  const values = await page.evaluate(async (address) => {
    const bitmap = await createImageBitmap(await (await fetch(address)).blob(), { premultiplyAlpha: "none" });
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return Array.from(context.getImageData(0, 0, bitmap.width, bitmap.height).data);
  }, `data:image/png;base64,${file.toString("base64")}`);
  return Uint8Array.from(values);
}

/** RGBA of a canvas of the page. */
export async function canvas(page, selector) {
  const values = await page.$eval(selector, (canvas) => {
    const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
  });
  return Uint8Array.from(values);
}

/** A PNG file of one colour, in CSS. */
export async function made(page, width, height, colour) {
  const address = await page.evaluate(async ([width, height, colour]) => {
    const surface = Object.assign(document.createElement("canvas"), { width, height });
    const context = surface.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, width, height);
    return surface.toDataURL("image/png");
  }, [width, height, colour]);
  return Buffer.from(address.split(",")[1], "base64");
}

/** The middle of a PNG file as another. */
export async function detail(page, file, width, height) {
  const address = await page.evaluate(async ([address, width, height]) => {
    const bitmap = await createImageBitmap(await (await fetch(address)).blob());
    const surface = Object.assign(document.createElement("canvas"), { width, height });
    surface.getContext("2d").drawImage(bitmap, -Math.floor((bitmap.width - width) / 2), -Math.floor((bitmap.height - height) / 2));
    return surface.toDataURL("image/png");
  }, [`data:image/png;base64,${file.toString("base64")}`, width, height]);
  return Buffer.from(address.split(",")[1], "base64");
}
