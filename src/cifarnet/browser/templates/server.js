// The network of the server that sent the page.

const engine = {
  ready: Promise.resolve(),

  /** Ask the server; `classes` are its answer, most probable first, `heat` is [size][size]. */
  async answer(file, pixels, about) {
    const start = performance.now();
    let response;
    try {
      response = await fetch(`predict?top=${about.classes.length}&heat=1`, {
        method: "POST",
        body: file,
        headers: { "Content-Type": "application/octet-stream", ...authorization() },
      });
    } catch {
      throw new Unreadable("The server does not answer. Is it still running?");
    }
    const document = await response.json().catch(() => ({}));
    if (!response.ok) {
      if (response.status === 401) askForToken();
      throw new Unreadable(`The server refuses it: ${document.error ?? response.status}`);
    }
    const probabilities = new Float32Array(about.classes.length);
    for (const one of document.classes) {
      probabilities[about.classes.indexOf(one.class)] = one.probability;
    }
    const milliseconds = performance.now() - start;
    return { probabilities, milliseconds, heat: document.heat?.flat() ?? null };
  },
};

// The token stays in this tab's memory.
function authorization() {
  const token = document.getElementById("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function askForToken() {
  document.getElementById("access").hidden = false;
  document.getElementById("token").focus();
}

document.getElementById("access").addEventListener("submit", (event) => {
  event.preventDefault();
  if (given) show(...given);
});

globalThis.cifarnet = { prepare: async (file) => prepare(file, about.size) };
