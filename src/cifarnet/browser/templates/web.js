// The network inside the page, run by ONNX Runtime Web on one thread.

const FLOOR = 1 / 512; // as in cifarnet/explanations/maps.py
const POSITIONS = 7;
const BATCH = 50; // images per call

async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function openSession() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked("runtime");
  return ort.InferenceSession.create(await unpacked("network"));
}

const session = openSession();

/** Return the probabilities of images, Float32Array [count x classes]. */
async function classify(pixels, about) {
  const network = await session;
  const values = 3 * about.size ** 2;
  const count = pixels.length / values;
  const found = new Float32Array(count * about.classes.length);
  for (let first = 0; first < count; first += BATCH) {
    const part = pixels.subarray(first * values, (first + BATCH) * values);
    const shape = [part.length / values, about.size, about.size, 3];
    const input = new ort.Tensor("float32", Float32Array.from(part), shape);
    const { probabilities } = await network.run({ pixels: input });
    found.set(probabilities.data, first * about.classes.length);
  }
  return found;
}

/** What an occluded square costs the class: [size x size], nats, by Zeiler and Fergus 2014. */
async function occlusion(pixels, index, about) {
  const { size, color, classes } = about;
  const squares = squaresOf(size);
  const covered = new Uint8Array((squares.length + 1) * pixels.length);
  covered.set(pixels);
  squares.forEach((square, i) => {
    const at = (i + 1) * pixels.length;
    covered.set(pixels, at);
    for (const pixel of square) covered.set(color, at + 3 * pixel);
  });
  const rows = await classify(covered, about);
  const log = (row) => Math.log(rows[row * classes.length + index] + FLOOR);
  const sums = new Float64Array(size * size);
  const counts = new Float64Array(size * size);
  squares.forEach((square, i) => {
    const fall = log(0) - log(i + 1);
    for (const pixel of square) {
      sums[pixel] += fall;
      counts[pixel] += 1;
    }
  });
  return sums.map((sum, pixel) => sum / counts[pixel]);
}

function squaresOf(size) {
  const even = (value) => {
    const near = Math.round(value);
    return near - value === 0.5 && near % 2 ? near - 1 : near;
  };
  const side = Math.max(1, even(size / 4));
  const all = Array.from({ length: POSITIONS }, (_, i) => even((i * (size - side)) / (POSITIONS - 1)));
  const starts = [...new Set(all)];
  const range = Array.from({ length: side }, (_, i) => i);
  return starts.flatMap((y) =>
    starts.map((x) => range.flatMap((dy) => range.map((dx) => (y + dy) * size + x + dx))),
  );
}

const engine = {
  ready: session,

  async answer(file, pixels, about) {
    const start = performance.now();
    const probabilities = await classify(pixels, about);
    const milliseconds = performance.now() - start;
    const top = probabilities.indexOf(Math.max(...probabilities));
    return { probabilities, milliseconds, heat: await occlusion(pixels, top, about) };
  },
};

// For the proof of an export and for tests, which drive the page from outside.
globalThis.cifarnet = {
  prepare: async (file) => prepare(file, about.size),
  classify: (pixels) => classify(pixels, about),
  answer: (pixels) => engine.answer(null, pixels, about),
};
