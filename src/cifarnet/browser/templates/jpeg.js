// JPEG files as libjpeg-turbo decodes them for Pillow, to the bit: also at 1/2, 1/4 and 1/8 of the
// size, which no browser offers. ITU-T T.81; sequential and progressive, Huffman codes, 8 bits.

const ZIGZAG = Uint8Array.from([
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,
  6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45,
  38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
]);
const MAX_COEFFICIENTS = 400e6;

const clamp = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Decode a JPEG at 1/1, 1/2, 1/4 or 1/8, the smallest that leaves both sides at `least` pixels.
 *
 * @returns {{width: number, height: number, rgb: Uint8Array}} of the reduced size, not rotated.
 */
function decodeJpeg(bytes, least) {
  const frame = readJpeg(bytes);
  const fits = Math.floor(Math.min(frame.width, frame.height) / least);
  const scale = fits >= 8 ? 8 : fits >= 4 ? 4 : fits >= 2 ? 2 : 1;
  const width = Math.ceil(frame.width / scale);
  const height = Math.ceil(frame.height / scale);
  const planes = frame.components.map((one) => wholePlane(frame, one, 8 / scale, width, height));
  return { width, height, rgb: toRgb(frame, planes, width * height) };
}

// --- markers and entropy-coded segments -------------------------------------------------

function readJpeg(bytes) {
  const tables = { quantization: [], dc: [], ac: [], restart: 0 };
  let frame = null;
  let scans = 0;
  const adobe = { seen: false, transform: 0, jfif: false };
  let at = 2;
  const word = (where) => {
    if (where + 1 >= bytes.length) throw new Error("it is cut off");
    return (bytes[where] << 8) | bytes[where + 1];
  };
  for (;;) {
    if (at + 1 >= bytes.length) throw new Error("it is cut off");
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff || bytes[at + 1] === 0) {
      at += 1;
      continue;
    }
    const marker = bytes[at + 1];
    at += 2;
    if (marker === 0xd9) break;
    if ((marker >= 0xd0 && marker <= 0xd7) || marker === 0x01 || marker === 0xd8) continue;
    const end = at + word(at);
    if (end > bytes.length) throw new Error("it is cut off");
    const segment = bytes.subarray(at + 2, end);
    at = end;
    if (marker === 0xdb) readQuantization(segment, tables.quantization);
    else if (marker === 0xc4) readHuffman(segment, tables);
    else if (marker === 0xdd) tables.restart = (segment[0] << 8) | segment[1];
    else if (marker === 0xe0 && startsWith(segment, "JFIF\0")) adobe.jfif = true;
    else if (marker === 0xee && startsWith(segment, "Adobe") && segment.length >= 12) {
      adobe.seen = true;
      adobe.transform = segment[11];
    } else if (marker === 0xc0 || marker === 0xc1 || marker === 0xc2) {
      if (frame) throw new Error("it has two frames");
      frame = readFrame(segment, marker === 0xc2);
    } else if (marker >= 0xc3 && marker <= 0xcf && marker !== 0xc8 && marker !== 0xcc) {
      throw new Error("it is a kind of JPEG that is not read here");
    } else if (marker === 0xda) {
      if (!frame) throw new Error("it has no frame");
      at = readScan(bytes, at, segment, frame, tables);
      scans += 1;
    }
  }
  if (!frame || !scans) throw new Error("it has no image");
  return { ...frame, adobe };
}

function startsWith(bytes, text) {
  return [...text].every((letter, i) => bytes[i] === letter.charCodeAt(0));
}

function readQuantization(segment, tables) {
  let at = 0;
  while (at < segment.length) {
    const wide = segment[at] >> 4;
    const table = new Int32Array(64);
    tables[segment[at++] & 15] = table;
    for (let i = 0; i < 64; i++) {
      table[ZIGZAG[i]] = wide ? (segment[at++] << 8) | segment[at++] : segment[at++];
    }
  }
}

function readHuffman(segment, tables) {
  let at = 0;
  while (at + 17 <= segment.length) {
    const kind = segment[at] >> 4 ? tables.ac : tables.dc;
    const counts = segment.subarray(at + 1, at + 17);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const symbols = segment.subarray(at + 17, at + 17 + total);
    kind[segment[at] & 15] = huffmanTable(counts, symbols);
    at += 17 + total;
  }
}

/** Return, for each 16 bits that may follow, length of the code x 256 + symbol; 0: no code. */
function huffmanTable(counts, symbols) {
  const table = new Uint16Array(1 << 16);
  let code = 0;
  let k = 0;
  for (let length = 1; length <= 16; length++) {
    for (let i = 0; i < counts[length - 1]; i++) {
      const first = code << (16 - length);
      table.fill((length << 8) | symbols[k++], first, first + (1 << (16 - length)));
      code += 1;
    }
    code <<= 1;
  }
  return table;
}

function readFrame(segment, progressive) {
  const height = (segment[1] << 8) | segment[2];
  const width = (segment[3] << 8) | segment[4];
  if (segment[0] !== 8) throw new Error("it has more than 8 bits per color");
  if (!width || !height) throw new Error("it states no size");
  const components = [];
  for (let i = 0; i < segment[5]; i++) {
    const [id, factors, table] = segment.subarray(6 + 3 * i, 9 + 3 * i);
    components.push({ id, h: factors >> 4, v: factors & 15, table, quantization: null });
  }
  if (![1, 3, 4].includes(components.length)) throw new Error("it has a strange number of colors");
  const maxH = Math.max(...components.map((one) => one.h));
  const maxV = Math.max(...components.map((one) => one.v));
  const columns = Math.ceil(width / (8 * maxH));
  const rows = Math.ceil(height / (8 * maxV));
  const total = components.reduce((sum, one) => sum + columns * one.h * rows * one.v * 64, 0);
  if (!(total <= MAX_COEFFICIENTS)) throw new Error("it is too large; make it smaller");
  for (const one of components) {
    if (!one.h || !one.v) throw new Error("it is damaged");
    one.columns = columns * one.h; // blocks, with those that complete the last unit
    one.blocks = new Int16Array(one.columns * rows * one.v * 64);
    one.width = Math.ceil((Math.ceil((width * one.h) / maxH)) / 8);
    one.height = Math.ceil((Math.ceil((height * one.v) / maxV)) / 8);
  }
  return { width, height, progressive, components, maxH, maxV, columns, rows };
}

/** Read bits of an entropy-coded segment, up to the next marker; behind it follow zeros. */
class Bits {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
    this.restart();
  }

  restart() {
    this.buffer = 0;
    this.count = 0;
    this.beyond = 0;
  }

  fill() {
    while (this.count <= 16) {
      let byte = 0;
      if (this.at >= this.bytes.length) throw new Error("it is cut off");
      if (this.bytes[this.at] !== 0xff) byte = this.bytes[this.at++];
      else if (this.bytes[this.at + 1] === 0) {
        byte = 0xff;
        this.at += 2;
      } else this.beyond += 1;
      this.buffer = ((this.buffer << 8) | byte) & 0xffffff;
      this.count += 8;
    }
  }

  symbol(table) {
    if (this.count < 16) this.fill();
    const entry = table[(this.buffer >> (this.count - 16)) & 0xffff];
    if (!entry) throw new Error("it is damaged");
    this.count -= entry >> 8;
    return entry & 255;
  }

  take(length) {
    if (!length) return 0;
    if (this.count < 16) this.fill();
    this.count -= length;
    return (this.buffer >> this.count) & ((1 << length) - 1);
  }

  signed(length) {
    const value = this.take(length);
    return length && value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
  }
}

function readScan(bytes, at, header, frame, tables) {
  const count = header[0];
  const scan = { dc: [], ac: [], run: 0, predictions: [] };
  const chosen = [];
  for (let i = 0; i < count; i++) {
    const one = frame.components.find((component) => component.id === header[1 + 2 * i]);
    if (!one) throw new Error("it is damaged");
    chosen.push({
      one,
      dc: tables.dc[header[2 + 2 * i] >> 4],
      ac: tables.ac[header[2 + 2 * i] & 15],
      prediction: 0,
    });
    one.quantization ??= tables.quantization[one.table]?.slice();
  }
  const [start, end, bits] = header.subarray(1 + 2 * count);
  const progress = { start, end, high: bits >> 4, low: bits & 15, run: 0 };
  const read = blockReader(frame.progressive, progress);
  const reader = new Bits(bytes, at);
  const alone = count === 1;
  const across = alone ? chosen[0].one.width : frame.columns;
  const units = across * (alone ? chosen[0].one.height : frame.rows);
  for (let unit = 0; unit < units; unit++) {
    if (tables.restart && unit && unit % tables.restart === 0) {
      nextRestart(reader);
      progress.run = 0;
      for (const part of chosen) part.prediction = 0;
    }
    const column = unit % across;
    const row = (unit - column) / across;
    for (const part of chosen) {
      const { h, v, columns, blocks } = part.one;
      if (alone) {
        read(reader, part, blocks, (row * columns + column) * 64);
        continue;
      }
      for (let y = 0; y < v; y++) {
        for (let x = 0; x < h; x++) {
          read(reader, part, blocks, ((row * v + y) * columns + column * h + x) * 64);
        }
      }
    }
    if (reader.beyond > 64) throw new Error("it is cut off");
  }
  return reader.at;
}

function nextRestart(reader) {
  const { bytes } = reader;
  while (reader.at + 1 < bytes.length) {
    if (bytes[reader.at] === 0xff && bytes[reader.at + 1] >= 0xd0 && bytes[reader.at + 1] <= 0xd7) {
      reader.at += 2;
      break;
    }
    reader.at += 1;
  }
  reader.restart();
}

function blockReader(progressive, progress) {
  if (!progressive) return sequentialBlock;
  if (progress.start === 0) return progress.high ? refineDc(progress) : firstDc(progress);
  return progress.high ? refineAc(progress) : firstAc(progress);
}

function sequentialBlock(bits, part, blocks, at) {
  part.prediction += bits.signed(bits.symbol(part.dc));
  blocks[at] = part.prediction;
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(part.ac);
    const length = symbol & 15;
    k += symbol >> 4;
    if (length) blocks[at + ZIGZAG[k & 63]] = bits.signed(length);
    else if (symbol !== 0xf0) break;
  }
}

const firstDc = ({ low }) => (bits, part, blocks, at) => {
  part.prediction += bits.signed(bits.symbol(part.dc));
  blocks[at] = part.prediction * (1 << low);
};

const refineDc = ({ low }) => (bits, part, blocks, at) => {
  if (bits.take(1)) blocks[at] |= 1 << low;
};

const firstAc = (progress) => (bits, part, blocks, at) => {
  if (progress.run > 0) {
    progress.run -= 1;
    return;
  }
  for (let k = progress.start; k <= progress.end; k++) {
    const symbol = bits.symbol(part.ac);
    const zeros = symbol >> 4;
    const length = symbol & 15;
    if (length) {
      k += zeros;
      blocks[at + ZIGZAG[k & 63]] = bits.signed(length) * (1 << progress.low);
    } else if (zeros === 15) k += 15;
    else {
      progress.run = (1 << zeros) - 1 + bits.take(zeros);
      break;
    }
  }
};

const refineAc = (progress) => (bits, part, blocks, at) => {
  const step = 1 << progress.low;
  const correct = (where) => {
    const value = blocks[where];
    if (bits.take(1) && !(Math.abs(value) & step)) blocks[where] += value > 0 ? step : -step;
  };
  let k = progress.start;
  if (progress.run === 0) {
    for (; k <= progress.end; k++) {
      const symbol = bits.symbol(part.ac);
      let zeros = symbol >> 4;
      let value = 0;
      if (symbol & 15) value = bits.take(1) ? step : -step;
      else if (zeros < 15) {
        progress.run = (1 << zeros) + bits.take(zeros);
        break;
      }
      for (; k <= progress.end; k++) {
        const where = at + ZIGZAG[k];
        if (blocks[where]) correct(where);
        else if (zeros-- === 0) {
          if (value) blocks[where] = value;
          break;
        }
      }
    }
  }
  if (progress.run > 0) {
    for (; k <= progress.end; k++) {
      const where = at + ZIGZAG[k];
      if (blocks[where]) correct(where);
    }
    progress.run -= 1;
  }
};

// --- from coefficients to planes ------------------------------------------------------------

/** Return a component in the size of the image; `side` is how many pixels a block of it has. */
function wholePlane(frame, one, side, width, height) {
  if (!one.quantization) throw new Error("it is damaged");
  // libjpeg-turbo enlarges a coarser component by a larger transform where that is enough.
  let own = side;
  const fits = (most, factor) => (most * side) % (factor * own * 2) === 0;
  while (own < 8 && fits(frame.maxH, one.h) && fits(frame.maxV, one.v)) own *= 2;
  const plane = {
    width: Math.ceil((frame.width * one.h * own) / (frame.maxH * 8)),
    height: Math.ceil((frame.height * one.v * own) / (frame.maxV * 8)),
    stride: one.columns * own,
    values: transformed(one, own),
  };
  const h = (frame.maxH * side) / (one.h * own);
  const v = (frame.maxV * side) / (one.v * own);
  return upsampled(plane, h, v, side > 1, width, height);
}

function transformed(one, side) {
  const { blocks, columns, quantization } = one;
  const stride = columns * side;
  const rows = blocks.length / 64 / columns;
  const values = new Uint8Array(stride * rows * side);
  const work = new Int32Array(64);
  const transform = { 8: transform8, 4: transform4, 2: transform2, 1: transform1 }[side];
  for (let block = 0, at = 0; block < blocks.length / 64; block++, at += 64) {
    const row = Math.floor(block / columns);
    const to = row * side * stride + (block - row * columns) * side;
    transform(blocks, at, quantization, work, values, to, stride);
  }
  return values;
}

// Loeffler, Ligtenberg and Moschytz 1989, with 13 bits of fraction and 2 bits more after the columns,
// as in libjpeg's `jidctint` and `jidctred`.
const LLM = (a0, a1, a2, a3, a4, a5, a6, a7, out) => {
  const z = (a2 + a6) * 4433;
  const even2 = z - a6 * 15137;
  const even3 = z + a2 * 6270;
  const sum = (a0 + a4) * 8192;
  const difference = (a0 - a4) * 8192;
  const z5 = (a7 + a3 + a5 + a1) * 9633;
  const z1 = (a7 + a1) * -7373;
  const z2 = (a5 + a3) * -20995;
  const z3 = (a7 + a3) * -16069 + z5;
  const z4 = (a5 + a1) * -3196 + z5;
  const odd0 = a7 * 2446 + z1 + z3;
  const odd1 = a5 * 16819 + z2 + z4;
  const odd2 = a3 * 25172 + z2 + z3;
  const odd3 = a1 * 12299 + z1 + z4;
  out[0] = sum + even3 + odd3;
  out[7] = sum + even3 - odd3;
  out[1] = difference + even2 + odd2;
  out[6] = difference + even2 - odd2;
  out[2] = difference - even2 + odd1;
  out[5] = difference - even2 - odd1;
  out[3] = sum - even3 + odd0;
  out[4] = sum - even3 - odd0;
};
const eight = new Float64Array(8);

function transform8(c, at, q, work, values, to, stride) {
  for (let x = 0; x < 8; x++) {
    const value = (row) => c[at + 8 * row + x] * q[8 * row + x];
    LLM(value(0), value(1), value(2), value(3), value(4), value(5), value(6), value(7), eight);
    for (let y = 0; y < 8; y++) work[8 * y + x] = (eight[y] + 1024) >> 11;
  }
  for (let y = 0; y < 8; y++) {
    const w = work.subarray(8 * y, 8 * y + 8);
    LLM(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], eight);
    for (let x = 0; x < 8; x++) {
      values[to + y * stride + x] = clamp(((eight[x] + 131072) >> 18) + 128);
    }
  }
}

function four(a0, a1, a2, a3, a5, a6, a7, shift, out) {
  const half = 2 ** (shift - 1);
  const even = a2 * 15137 - a6 * 6270;
  const odd0 = a7 * -1730 + a5 * 11893 + a3 * -17799 + a1 * 8697;
  const odd2 = a7 * -4176 + a5 * -4926 + a3 * 7373 + a1 * 20995;
  const high = a0 * 16384 + even;
  const low = a0 * 16384 - even;
  out[0] = (high + odd2 + half) >> shift;
  out[3] = (high - odd2 + half) >> shift;
  out[1] = (low + odd0 + half) >> shift;
  out[2] = (low - odd0 + half) >> shift;
}

function transform4(c, at, q, work, values, to, stride) {
  for (let x = 0; x < 8; x++) {
    if (x === 4) continue;
    const value = (row) => c[at + 8 * row + x] * q[8 * row + x];
    four(value(0), value(1), value(2), value(3), value(5), value(6), value(7), 12, eight);
    for (let y = 0; y < 4; y++) work[8 * y + x] = eight[y];
  }
  for (let y = 0; y < 4; y++) {
    const w = work.subarray(8 * y, 8 * y + 8);
    four(w[0], w[1], w[2], w[3], w[5], w[6], w[7], 19, eight);
    for (let x = 0; x < 4; x++) values[to + y * stride + x] = clamp(eight[x] + 128);
  }
}

function two(a0, a1, a3, a5, a7, shift, out) {
  const half = 2 ** (shift - 1);
  const odd = a7 * -5906 + a5 * 6967 + a3 * -10426 + a1 * 29692;
  out[0] = (a0 * 32768 + odd + half) >> shift;
  out[1] = (a0 * 32768 - odd + half) >> shift;
}

function transform2(c, at, q, work, values, to, stride) {
  for (const x of [0, 1, 3, 5, 7]) {
    const value = (row) => c[at + 8 * row + x] * q[8 * row + x];
    two(value(0), value(1), value(3), value(5), value(7), 13, eight);
    for (let y = 0; y < 2; y++) work[8 * y + x] = eight[y];
  }
  for (let y = 0; y < 2; y++) {
    const w = work.subarray(8 * y, 8 * y + 8);
    two(w[0], w[1], w[3], w[5], w[7], 20, eight);
    for (let x = 0; x < 2; x++) values[to + y * stride + x] = clamp(eight[x] + 128);
  }
}

function transform1(c, at, q, work, values, to) {
  values[to] = clamp(((c[at] * q[0] + 4) >> 3) + 128);
}

// --- from planes to pixels --------------------------------------------------------------------

/** Enlarge a plane `h` times in width and `v` times in height, as libjpeg's `jdsample`. */
function upsampled(plane, h, v, smooth, width, height) {
  const out = new Uint8Array(width * height);
  const wide = smooth && h === 2 && (v === 1 || v === 2) && plane.width > 2;
  const tall = smooth && v === 2 && (h === 1 || wide);
  const sums = new Int32Array(plane.width);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / v);
    const other = clampTo(row + (tall ? (y % 2 ? 1 : -1) : 0), plane.height);
    const near = row * plane.stride;
    const far = other * plane.stride;
    const to = y * width;
    if (wide) {
      for (let x = 0; x < plane.width; x++) {
        sums[x] = plane.values[near + x] * (tall ? 3 : 1) + (tall ? plane.values[far + x] : 0);
      }
      widened(sums, out, to, width, tall);
    } else if (tall) {
      const half = y % 2 ? 2 : 1;
      for (let x = 0; x < width; x++) {
        out[to + x] = (plane.values[near + x] * 3 + plane.values[far + x] + half) >> 2;
      }
    } else {
      for (let x = 0; x < width; x++) out[to + x] = plane.values[near + Math.floor(x / h)];
    }
  }
  return out;
}

const clampTo = (index, length) => Math.min(Math.max(index, 0), length - 1);

function widened(sums, out, to, width, tall) {
  const shift = tall ? 4 : 2;
  const even = tall ? 8 : 1;
  const odd = tall ? 7 : 2;
  const last = 2 * sums.length - 1;
  for (let x = 0; x < width; x++) {
    const i = x >> 1;
    if (x === 0) out[to] = (sums[0] * 4 + (tall ? 8 : 0)) >> shift;
    else if (x === last) out[to + x] = (sums[i] * 4 + (tall ? 7 : 0)) >> shift;
    else if (x % 2) out[to + x] = (sums[i] * 3 + sums[i + 1] + odd) >> shift;
    else out[to + x] = (sums[i] * 3 + sums[i - 1] + even) >> shift;
  }
}

function toRgb(frame, planes, count) {
  const rgb = new Uint8Array(3 * count);
  const [first, second, third, fourth] = planes;
  if (planes.length === 1) {
    for (let i = 0; i < count; i++) rgb.fill(first[i], 3 * i, 3 * i + 3);
    return rgb;
  }
  const mixed = isYcc(frame);
  const color = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    color[0] = first[i];
    color[1] = second[i];
    color[2] = third[i];
    if (mixed) {
      const [y, cb, cr] = [first[i], second[i] - 128, third[i] - 128];
      color[0] = clamp(y + ((91881 * cr + 32768) >> 16));
      color[1] = clamp(y + ((-22554 * cb - 46802 * cr + 32768) >> 16));
      color[2] = clamp(y + ((116130 * cb + 32768) >> 16));
    }
    for (let j = 0; j < 3; j++) {
      // Four colors are stored inverted. Of YCCK libjpeg gives 255 minus red, green and blue.
      rgb[3 * i + j] = fourth ? inked(mixed ? color[j] : 255 - color[j], fourth[i]) : color[j];
    }
  }
  return rgb;
}

/** Return red, green or blue of an ink and 255 minus black, as Pillow's `cmyk2rgb`. */
function inked(ink, light) {
  const product = ink * light + 128;
  return clamp(light - (((product >> 8) + product) >> 8));
}

function isYcc({ components, adobe }) {
  if (components.length === 4) return adobe.seen && adobe.transform !== 0;
  if (adobe.jfif) return true;
  if (adobe.seen) return adobe.transform !== 0;
  const ids = components.map((one) => one.id).join();
  return ids !== "82,71,66";
}
