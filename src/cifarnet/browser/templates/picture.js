// An image file's pixels as the network takes them, to the bit as cifarnet/data/image_file.py.
// JPEG and PNG are decoded here, GIF, WebP and BMP by the browser.

const MAX_PIXELS = 50e6;
const SHARES = 1 << 22; // of a pixel, in the weights of Pillow's resizing
const ORIENTATION = 0x0112; // EXIF 2.32, section 4.6.4

class Unreadable extends Error {}

/** Read an image file as size x size x 3 bytes, RGB, row by row.
 *
 * @throws {Unreadable} with a sentence for people.
 */
async function prepare(file, size) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  if (kind === null) {
    throw new Unreadable("This is no image. Give a PNG, JPEG, BMP, GIF or WebP file.");
  }
  try {
    const read = { jpeg: readJpegFile, png: readPngFile }[kind] ?? decodedByBrowser;
    const picture = await read(bytes, size);
    return resized(picture, size);
  } catch (error) {
    throw new Unreadable(`This image cannot be read: ${reason(error)}.`);
  }
}

function reason(error) {
  // A browser's own messages are no sentences for people.
  return error instanceof DOMException ? "it is damaged" : error.message;
}

function kindOf(bytes) {
  const has = (text, at = 0) => [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
  if (has("\xff\xd8\xff")) return "jpeg";
  if (has("\x89PNG\r\n\x1a\n")) return "png";
  if (has("GIF87a") || has("GIF89a")) return "gif";
  if (has("RIFF") && has("WEBP", 8)) return "webp";
  if (has("BM") && [12, 16, 40, 52, 56, 64, 108, 124].includes(bytes[14])) return "bmp";
  return null;
}

function checkPixels(width, height) {
  if (width * height > MAX_PIXELS) {
    throw new Error(`${width} x ${height} pixels are too many; make it smaller`);
  }
}

// --- JPEG and PNG -------------------------------------------------------------------------------

function readJpegFile(bytes, size) {
  return upright(decodeJpeg(bytes, 2 * size), orientationOf(bytes));
}

async function readPngFile(bytes) {
  const { width, height, rgba, exif } = await decodePng(bytes);
  return upright({ width, height, rgb: onWhite(rgba) }, exif ? orientationIn(exif) : 1);
}

/** Return the orientation, 1 to 8, of a JPEG's first EXIF segment; 1 if it has none. */
function orientationOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && ![0xda, 0xff].includes(bytes[at + 1])) {
    const end = at + 2 + view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1 && startsWith(bytes.subarray(at + 4), "Exif\0\0")) {
      return orientationIn(bytes.subarray(at + 10, end));
    }
    at = end;
  }
  return 1;
}

function orientationIn(tiff) {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  const little = !startsWith(tiff, "MM");
  try {
    const start = view.getUint32(4, little);
    const count = view.getUint16(start, little);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      const [tag, kind] = [view.getUint16(at, little), view.getUint16(at + 2, little)];
      const values = view.getUint32(at + 4, little);
      view.getUint32(at + 8, little);
      if (tag !== ORIENTATION || values !== 1) continue;
      if (kind === 1) return view.getUint8(at + 8);
      if (kind === 3) return view.getUint16(at + 8, little);
      if (kind === 4) return view.getUint32(at + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // cut off
  }
  return 1;
}

function upright({ width, height, rgb }, orientation) {
  if (!(orientation >= 2 && orientation <= 8)) return { width, height, rgb };
  const turned = orientation >= 5;
  const [across, down] = turned ? [height, width] : [width, height];
  const out = new Uint8Array(rgb.length);
  for (let y = 0, to = 0; y < down; y++) {
    for (let x = 0; x < across; x++, to += 3) {
      let [fromX, fromY] = turned ? [y, x] : [x, y];
      if ([2, 3, 7, 8].includes(orientation)) fromX = width - 1 - fromX;
      if ([3, 4, 6, 7].includes(orientation)) fromY = height - 1 - fromY;
      const from = 3 * (fromY * width + fromX);
      out[to] = rgb[from];
      out[to + 1] = rgb[from + 1];
      out[to + 2] = rgb[from + 2];
    }
  }
  return { width: across, height: down, rgb: out };
}

// --- other kinds --------------------------------------------------------------------------------

async function decodedByBrowser(bytes) {
  // Not every browser turns a WebP by its EXIF block, so none gets to see it.
  const { content, exif } = withoutExif(bytes);
  const bitmap = await createImageBitmap(new Blob([content]), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  checkPixels(width, height);
  const picture = { width, height, rgb: onWhite(await rgbaOf(bitmap)) };
  return upright(picture, exif ? orientationIn(exif) : 1);
}

/** Return a WebP with its EXIF chunk under another name, and the EXIF block; see RFC 9649. */
function withoutExif(bytes) {
  const content = bytes.slice();
  const view = new DataView(content.buffer);
  if (kindOf(bytes) !== "webp") return { content, exif: null };
  for (let at = 12; at + 8 <= content.length; ) {
    const end = at + 8 + view.getUint32(at + 4, true);
    if (startsWith(content.subarray(at), "EXIF")) {
      content.set([0x58, 0x58, 0x58, 0x58], at);
      const block = bytes.subarray(at + 8, end);
      return { content, exif: startsWith(block, "Exif\0\0") ? block.subarray(6) : block };
    }
    at = end + (end % 2);
  }
  return { content, exif: null };
}

/** Read a bitmap's bytes back. A canvas would multiply colors by alpha, which loses bits. */
async function rgbaOf(bitmap) {
  const { width, height } = bitmap;
  let converts = false; // browsers that do not read `format` give bytes in an order of their own
  const options = {
    get format() {
      converts = true;
      return "RGBA";
    },
  };
  if (globalThis.VideoFrame) {
    const rgba = new Uint8Array(4 * width * height);
    const frame = new VideoFrame(bitmap, { timestamp: 0, alpha: "keep" });
    await frame.copyTo(rgba, options);
    frame.close();
    if (converts) return rgba;
  }
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  return canvas.getImageData(0, 0, width, height).data;
}

/** Compose on white as Pillow's `alpha_composite`. */
function onWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    const share = rgba[from + 3] * 128;
    for (let i = 0; i < 3; i++) {
      const sum = rgba[from + i] * share + 255 * (255 * 128 - share) + 0x80 * 128;
      rgb[to + i] = share ? (((sum >> 8) + sum) >> 8) >> 7 : 255;
    }
  }
  return rgb;
}

// --- size ---------------------------------------------------------------------------------------

/** Resize as Pillow's BILINEAR, first in width, then in height. */
function resized({ width, height, rgb }, size) {
  const narrow = filtered(rgb, width, height, size, 3, 3 * width, 3 * size);
  // In height: columns take the place of rows.
  const out = new Uint8Array(3 * size * size);
  for (let x = 0; x < size; x++) {
    filteredLine(narrow, 3 * x, 3 * size, out, 3 * x, 3 * size, weights(height, size));
  }
  return out;
}

function filtered(rgb, width, height, size, step, fromStride, toStride) {
  const out = new Uint8Array(3 * size * height);
  const parts = weights(width, size);
  for (let y = 0; y < height; y++) {
    filteredLine(rgb, y * fromStride, step, out, y * toStride, step, parts);
  }
  return out;
}

function filteredLine(from, start, step, out, to, outStep, parts) {
  for (let i = 0; i < parts.length; i++) {
    const { first, shares } = parts[i];
    let red = SHARES / 2;
    let green = SHARES / 2;
    let blue = SHARES / 2;
    for (let j = 0, at = start + first * step; j < shares.length; j++, at += step) {
      red += from[at] * shares[j];
      green += from[at + 1] * shares[j];
      blue += from[at + 2] * shares[j];
    }
    const place = to + i * outStep;
    out[place] = clamp(red >> 22);
    out[place + 1] = clamp(green >> 22);
    out[place + 2] = clamp(blue >> 22);
  }
}

const known = new Map();

/** Return, for each pixel of the result, where its part of the line begins, and their weights. */
function weights(length, size) {
  const key = `${length} ${size}`;
  if (known.has(key)) return known.get(key);
  const scale = length / size;
  const support = Math.max(scale, 1);
  const parts = [];
  for (let i = 0; i < size; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), length);
    const raw = [];
    for (let x = first; x < last; x++) {
      raw.push(Math.max(0, 1 - Math.abs((x - center + 0.5) * (1 / support))));
    }
    const total = raw.reduce((sum, one) => sum + one, 0);
    const shares = raw.map((one) => Math.trunc(0.5 + (total ? one / total : one) * SHARES));
    parts.push({ first, shares });
  }
  known.clear();
  known.set(key, parts);
  return parts;
}
