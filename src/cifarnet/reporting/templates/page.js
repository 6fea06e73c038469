"use strict";
// Shows what the page's data has; everything works on text and canvases, so no name becomes markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const round = (share) => Math.round(1e4 * share) / 100;  // as shown
const percent = (share) => round(share).toFixed(2) + " %";

function make(tag, text, properties) {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- sections and sortable tables ---

for (const heading of document.querySelectorAll("main h2[id]")) {
  const item = make("li");
  item.append(make("a", heading.textContent, { href: "#" + heading.id }));
  byId("sections")?.append(item);
}

function sortBy(header) {
  const table = header.closest("table"), column = header.cellIndex;
  const sorted = header.getAttribute("aria-sort");
  const up = sorted ? sorted === "descending" : header.dataset.kind === "text";
  const value = (row) => {
    const cell = row.cells[column];
    return header.dataset.kind === "text" ? cell.textContent : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(value(a), value(b)));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}
for (const button of document.querySelectorAll(".sortable th button"))
  button.addEventListener("click", () => sortBy(button.parentElement));

// --- values of charts, on hover and by arrow keys ---

for (const svg of document.querySelectorAll("svg[data-places]")) {
  const figure = svg.parentElement, places = JSON.parse(svg.dataset.places);
  const cursor = svg.querySelector(".cursor"), text = figure.querySelector(".value");
  const texts = [...figure.querySelectorAll("details li")].map((item) => item.textContent);
  let place = -1;
  const show = (index) => {
    place = Math.max(0, Math.min(places.length - 1, index));
    cursor.setAttribute("x1", places[place]);
    cursor.setAttribute("x2", places[place]);
    cursor.style.visibility = "visible";
    text.textContent = texts[place];
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const gaps = places.map((at) => Math.abs(at - x));
    show(gaps.indexOf(Math.min(...gaps)));
  });
  svg.addEventListener("keydown", (event) => {
    const moved = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: places.length - 1 };
    if (moved[event.key] === undefined) return;
    event.preventDefault();
    show(moved[event.key]);
  });
}

// --- images ---

const sheets = new Map();
async function sheet(address) {
  if (!sheets.has(address)) {
    const image = new Image();
    image.src = address;
    sheets.set(address, image.decode().then(() => image));
  }
  return sheets.get(address);
}

// A canvas without a description is decoration: the text beside it says what it is.
function blank(side, description) {
  const canvas = make("canvas", undefined, { width: side, height: side });
  canvas.setAttribute(...(description ? ["aria-label", description] : ["aria-hidden", "true"]));
  if (description) canvas.role = "img";
  return canvas;
}

function picture(source, place, description) {
  const canvas = blank(source.side, description);
  const x = (place % source.columns) * source.side;
  const y = Math.floor(place / source.columns) * source.side;
  sheet(source.sheet).then((image) =>
    canvas.getContext("2d").drawImage(image, x, y, source.side, source.side, 0, 0, source.side, source.side));
  return canvas;
}

function heat(source, encoded, description) {
  const side = source.map_side, canvas = blank(side, description);
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const pixels = new ImageData(side, side);
  new Int8Array(bytes.buffer).forEach((value, i) => {
    const strength = Math.min(1, Math.abs(value) / 127), rest = 255 * (1 - strength);
    pixels.data.set(value < 0 ? [rest, rest, 255, 255] : [255, rest, rest, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function framed(canvas, caption) {
  const figure = make("figure");
  figure.append(canvas, make("figcaption", caption));
  return figure;
}

function maps(source, image) {
  const names = Object.entries(image.maps).filter(([kind]) => image[kind]);
  return names.map(([kind, encoded]) => {
    const caption = `for ${kind} class ${image[kind][0]}, ${percent(image[kind][1])}`;
    return framed(heat(source, encoded, `${source.method} ${caption}`), `${source.method}, ${caption}`);
  });
}

function open(title, parts) {
  byId("image-title").textContent = title;
  const row = make("div", undefined, { className: "row" });
  row.append(...parts);
  byId("image-body").replaceChildren(row);
  byId("image").showModal();
}
byId("image-close")?.addEventListener("click", () => byId("image").close());

function bars(probabilities) {
  const table = make("table", undefined, { className: "bars" });
  table.append(make("caption", "probability of each class"));
  for (const [index, share] of probabilities) {
    const row = table.insertRow();
    row.append(make("th", data.classes[index], { scope: "row" }));
    const meter = make("meter", undefined, { value: share, max: 1 });
    meter.setAttribute("aria-label", data.classes[index]);
    row.insertCell().append(meter);
    row.append(make("td", percent(share)));
  }
  return table;
}

function openImage(place) {
  const [row, truth, probabilities] = data.gallery.images[place];
  const title = `${data.split} image ${row}: true ${data.classes[truth]}, predicted ${data.classes[probabilities[0][0]]}`;
  const found = data.explained.filter((source) => source && data.split === "test").flatMap((source) =>
    source.images.filter((image) => image.row === row).flatMap((image) => maps(source, image)));
  open(title, [picture(data.gallery, place, title), bars(probabilities), ...found]);
}

function tile(canvases, caption, action) {
  const item = make("li"), button = make("button", undefined, { type: "button" });
  button.append(...canvases, make("div", caption));
  button.addEventListener("click", action);
  item.append(button);
  return item;
}

const form = byId("filter"), step = 60;
let most = step;
if (form) {
  for (const select of [form.elements.true, form.elements.predicted])
    data.classes.forEach((name, index) => select.append(make("option", name, { value: index })));
  const wrong = ([, label, [[said]]]) => label !== said;
  if (!data.gallery.images.some(wrong)) form.elements.kind.options[2].defaultSelected = true;
  form.reset();
  form.addEventListener("input", () => showTiles());
  byId("more").addEventListener("click", () => showTiles(most + step));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => showTiles()));
  for (const button of document.querySelectorAll(".matrix button"))
    button.addEventListener("click", () => {
      form.reset();
      form.elements.true.value = button.dataset.true;
      form.elements.predicted.value = button.dataset.predicted;
      form.elements.kind.value = "";
      showTiles();
      byId("images").scrollIntoView({ block: "start" });
    });
  showTiles();
}

function showTiles(number = step) {
  most = number;
  const { true: truth, predicted, kind, low, high } = Object.fromEntries(new FormData(form));
  const places = data.gallery.images.map((_, place) => place).filter((place) => {
    const [, label, [[said, share]]] = data.gallery.images[place];
    return (truth === "" || label === Number(truth))
      && (predicted === "" || said === Number(predicted))
      && (kind === "" || (kind === "right") === (label === said))
      && round(share) >= Number(low) && round(share) <= Number(high || 100);
  });
  places.sort((a, b) => data.gallery.images[b][2][0][1] - data.gallery.images[a][2][0][1]);
  byId("tiles").replaceChildren(...places.slice(0, most).map((place) => {
    const [, label, [[said, share]]] = data.gallery.images[place];
    const caption = label === said ? `${data.classes[said]} ${percent(share)}`
      : `${data.classes[label]} as ${data.classes[said]} ${percent(share)}`;
    return tile([picture(data.gallery, place, "")], caption, () => openImage(place));
  }));
  const all = truth !== "" && predicted !== "" ? ` of ${data.counts[`${truth}-${predicted}`] || 0} in this cell` : "";
  const cut = places.length > most ? `, the most confident ${most} shown` : "";
  byId("more").hidden = places.length <= most;
  byId("shown").textContent = `${places.length} stored images${all}${cut}`;
  for (const button of document.querySelectorAll(".matrix button"))
    button.setAttribute("aria-pressed",
      String(button.dataset.true === truth && button.dataset.predicted === predicted));
}

for (const list of document.querySelectorAll("[data-explained]")) {
  const source = data.explained[Number(list.dataset.explained)];
  list.append(...(source?.images ?? []).map((image, place) => {
    const title = image.true ? `${image.name}: true ${image.true[0]}, predicted ${image.predicted[0]}`
      : `${image.name}: predicted ${image.predicted[0]}`;
    const caption = image.true ? `${image.true[0]} as ${image.predicted[0]}` : image.predicted[0];
    const canvases = [picture(source, place, ""), heat(source, image.maps.predicted, "")];
    return tile(canvases, caption, () =>
      open(title, [framed(picture(source, place, title), "image"), ...maps(source, image)]));
  }));
}
