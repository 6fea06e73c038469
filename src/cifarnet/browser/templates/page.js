// What is shown: one file at a time, from a choice, the camera, a drop, the clipboard or an example.

const about = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 2)} %`;
let latest = 0; // the number of the file that is shown
let given = null; // that file, and its name

element("choose").addEventListener("click", () => element("file").click());
for (const input of ["file", "camera"]) {
  element(input).addEventListener("change", () => {
    const [file] = element(input).files;
    if (file) show(file, file.name);
    element(input).value = ""; // so that the same file can be chosen again
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("place").classList.add("over");
});
document.addEventListener("dragleave", () => element("place").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("place").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) show(file, file.name);
  else say("What was dropped is no file. Save the image first, then drop its file.");
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) show(file, "pasted image");
  else if (event.target.tagName !== "INPUT") say("The clipboard has no image. Copy an image first.");
});
drawExamples();
engine.ready.then(
  () => say("Ready."),
  (error) => say(`The network does not start in this browser: ${error.message}`),
);

function say(text, told = false) {
  element("status").textContent = text;
  element("status").classList.toggle("told", told);
}

async function show(file, name) {
  const number = ++latest;
  given = [file, name];
  closeCamera();
  say(`Reading ${name} ...`);
  document.body.setAttribute("aria-busy", "true");
  try {
    const pixels = await prepare(file, about.size);
    const answer = await engine.answer(file, pixels, about);
    if (number === latest) draw(name, pixels, answer);
  } catch (error) {
    if (number !== latest) return;
    element("result").hidden = true;
    say(error instanceof Unreadable ? error.message : `Something went wrong: ${error.message}`);
  } finally {
    if (number === latest) document.body.removeAttribute("aria-busy");
  }
}

function draw(name, pixels, { probabilities, heat, milliseconds }) {
  const order = [...about.classes.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const best = about.classes[order[0]];
  element("result").hidden = false;
  element("answer").textContent = `${best}, ${percent(probabilities[order[0]])}`;
  element("took").textContent = `${name}; ${milliseconds.toFixed(1)} ms`;
  element("bars").replaceChildren(
    ...order.slice(0, 10).map((index) => bar(about.classes[index], probabilities[index])),
  );
  paint(element("view"), pixels);
  element("view").setAttribute("aria-label", `${name} as the network sees it`);
  element("heat-figure").hidden = heat === null;
  if (heat !== null) {
    paint(element("heat"), warmed(pixels, heat));
    element("heat").setAttribute("aria-label", `What speaks for ${best}: ${place(heat)}`);
    element("heat-class").textContent = best;
    element("heat-place").textContent = place(heat);
  }
  say(`${best}, ${percent(probabilities[order[0]])}`, true);
  element("answer").scrollIntoView({ block: "nearest" }); // examples are far below on a phone
}

function bar(name, probability) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  const meter = document.createElement("meter");
  meter.value = probability;
  meter.setAttribute("aria-label", `probability of ${name}`);
  const [bars, number] = [document.createElement("td"), document.createElement("td")];
  bars.append(meter);
  number.textContent = percent(probability);
  row.append(head, bars, number);
  return row;
}

function paint(canvas, pixels, side = about.size) {
  canvas.width = canvas.height = side;
  const image = new ImageData(side, side);
  for (let i = 0; i < side ** 2; i++) {
    image.data.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Gray pixels, toward orange where they support the class, toward blue where they oppose it. */
function warmed(pixels, heat) {
  const most = Math.max(...heat.map(Math.abs)) || 1;
  const out = new Uint8Array(pixels.length);
  heat.forEach((value, i) => {
    const gray = 0.299 * pixels[3 * i] + 0.587 * pixels[3 * i + 1] + 0.114 * pixels[3 * i + 2];
    const share = 0.75 * (Math.abs(value) / most);
    (value > 0 ? [255, 120, 0] : [0, 110, 255]).forEach((color, j) => {
      out[3 * i + j] = (1 - share) * gray + share * color;
    });
  });
  return out;
}

/** Say in words where the largest value is. */
function place(heat) {
  const at = heat.indexOf(Math.max(...heat));
  const third = (value) => Math.min(2, Math.floor((3 * value) / about.size));
  const row = third(Math.floor(at / about.size));
  const column = third(at % about.size);
  const words = [["top", "middle", "bottom"][row], ["left", "center", "right"][column]];
  return row === 1 && column === 1 ? "most in the center" : `most at the ${words.join(" ")}`;
}

function drawExamples() {
  if (!about.examples) return;
  const { side, pixels } = about.examples;
  const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
  const length = 3 * side ** 2;
  for (let i = 0; i < bytes.length / length; i++) {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    const name = `example ${i + 1}`;
    button.type = "button";
    button.setAttribute("aria-label", name);
    paint(canvas, bytes.subarray(i * length, (i + 1) * length), side);
    button.append(canvas);
    button.addEventListener("click", () => canvas.toBlob((file) => show(file, name)));
    const item = document.createElement("li");
    item.append(button);
    element("examples").append(item);
  }
}
