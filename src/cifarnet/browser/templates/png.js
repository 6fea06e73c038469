// PNG files as Pillow decodes them, to the bit: browsers round 16 bits in ways of their own.
// W3C, Portable Network Graphics, third edition.

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/** Decode a PNG.
 *
 * @returns {Promise<{width, height, rgba: Uint8Array, exif: Uint8Array | null}>} not rotated.
 */
async function decodePng(bytes) {
  const file = readChunks(bytes);
  const { width, height, depth, color, interlaced } = file;
  const bits = CHANNELS[color] * depth;
  const passes = interlaced ? ADAM7 : [[0, 0, 1, 1]];
  const parts = passes
    .map(([x, y, dx, dy]) => ({
      x, y, dx, dy,
      columns: Math.ceil((width - x) / dx),
      rows: Math.ceil((height - y) / dy),
    }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  const length = parts.reduce((sum, { columns, rows }) => sum + rows * (1 + Math.ceil((columns * bits) / 8)), 0);
  const raw = await inflated(file.data, length);
  const rgba = new Uint8Array(4 * width * height);
  const toPixel = pixelReader(file);
  let at = 0;
  for (const { x, y, dx, dy, columns, rows } of parts) {
    const stride = Math.ceil((columns * bits) / 8);
    unfilter(raw, at, rows, stride, Math.max(1, bits >> 3));
    for (let row = 0; row < rows; row++) {
      const line = at + row * (stride + 1) + 1;
      for (let column = 0; column < columns; column++) {
        toPixel(raw, line, column, rgba, 4 * ((y + row * dy) * width + x + column * dx));
      }
    }
    at += rows * (stride + 1);
  }
  return { width, height, rgba, exif: file.exif };
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const file = { data: [], palette: null, transparency: null, exif: null };
  for (let at = 8; ; ) {
    if (at + 8 > bytes.length) throw new Error("it is cut off");
    const end = at + 8 + view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IEND") break;
    if (end > bytes.length) throw new Error("it is cut off");
    const content = bytes.subarray(at + 8, end);
    if (kind === "IHDR") {
      Object.assign(file, {
        width: view.getUint32(at + 8),
        height: view.getUint32(at + 12),
        depth: content[8],
        color: content[9],
        interlaced: content[12] === 1,
      });
    } else if (kind === "PLTE") file.palette = content;
    else if (kind === "tRNS") file.transparency = content;
    else if (kind === "eXIf") file.exif = content;
    else if (kind === "IDAT") file.data.push(content);
    at = end + 4;
  }
  const known = file.color in CHANNELS && [1, 2, 4, 8, 16].includes(file.depth);
  if (!file.width || !file.height || !known || (file.color === 3 && !file.palette)) {
    throw new Error("it is damaged");
  }
  checkPixels(file.width, file.height);
  return file;
}

async function inflated(parts, length) {
  const out = new Uint8Array(length);
  let at = 0;
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    while (at < length) {
      const { done, value } = await reader.read();
      if (done) throw new Error("it is cut off");
      out.set(value.subarray(0, length - at), at);
      at += value.length;
    }
  } catch (error) {
    throw error instanceof TypeError ? new Error("it is damaged") : error;
  }
  reader.cancel().catch(() => {});
  return out;
}

/** Undo the filters of lines of `stride` bytes, each behind a byte that names its filter. */
function unfilter(raw, start, rows, stride, step) {
  for (let row = 0; row < rows; row++) {
    const line = start + row * (stride + 1) + 1;
    const filter = raw[line - 1];
    if (filter > 4) throw new Error("it is damaged");
    for (let i = 0; filter && i < stride; i++) {
      const left = i >= step ? raw[line + i - step] : 0;
      const up = row ? raw[line + i - stride - 1] : 0;
      const corner = row && i >= step ? raw[line + i - stride - 1 - step] : 0;
      const guess = [0, left, up, (left + up) >> 1][filter] ?? paeth(left, up, corner);
      raw[line + i] += guess;
    }
  }
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** Return what writes a pixel of a line as red, green, blue and alpha. */
function pixelReader({ depth, color, palette, transparency }) {
  const word = (i) => (transparency[2 * i] << 8) | transparency[2 * i + 1];
  const sample = (raw, line, i) => {
    if (depth >= 8) return raw[line + (i * depth) / 8]; // of 16 bits the upper 8
    const at = i * depth;
    return (raw[line + (at >> 3)] >> (8 - depth - (at & 7))) & ((1 << depth) - 1);
  };
  if (color === 3) {
    return (raw, line, column, out, to) => {
      const index = sample(raw, line, column);
      for (let j = 0; j < 3; j++) out[to + j] = palette[3 * index + j];
      out[to + 3] = transparency?.[index] ?? 255;
    };
  }
  if (color === 0) {
    const mask = [2, 4, 8].includes(depth) ? 0xff : 0xffff; // Pillow keeps 8 bits of these
    const key = transparency ? word(0) & mask : -1;
    const most = (1 << depth) - 1;
    return (raw, line, column, out, to) => {
      let gray = (sample(raw, line, column) * 255) / most;
      let compared = gray; // Pillow compares what was scaled to 8 bits
      if (depth === 16) {
        compared = (raw[line + 2 * column] << 8) | raw[line + 2 * column + 1];
        gray = Math.round((compared * 255) / 65535);
      }
      out.fill(gray, to, to + 3);
      out[to + 3] = compared === key ? 0 : 255;
    };
  }
  const channels = CHANNELS[color];
  const key = color === 2 && transparency ? [0, 1, 2].map((i) => word(i) & 255) : null;
  return (raw, line, column, out, to) => {
    const first = channels * column;
    for (let j = 0; j < 3; j++) out[to + j] = sample(raw, line, first + (color === 4 ? 0 : j));
    out[to + 3] = channels % 2 ? 255 : sample(raw, line, first + channels - 1);
    if (key?.every((one, j) => out[to + j] === one)) out[to + 3] = 0;
  };
}
