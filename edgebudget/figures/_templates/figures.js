"use strict";
/* Unpacks Plotly from the page and draws each figure when its part of the page is first opened. */
(() => {
  const data = JSON.parse(document.getElementById("figure-data").textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + "\u2026" : text);
  const exact = (nbytes) => nbytes.toLocaleString("en-US") + " bytes";

  function size(nbytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    let value = nbytes;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    return (unit === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)) + " " + units[unit];
  }

  /* Round sizes in binary units for an axis that ends at `most`. */
  function ticks(most) {
    let step = 1;
    while (step * 5 < most) step *= 2;
    const values = [];
    for (let at = 0; at <= most; at += step) values.push(at);
    return { tickvals: values, ticktext: values.map((at) => (at ? size(at).replace(/\.0+ /, " ") : "0")) };
  }

  function layout(title, most, xTitle, xMost) {
    const ink = style("--ink"), quiet = style("--quiet"), line = style("--line");
    return {
      title: { text: title, font: { size: 14, color: ink }, x: 0, xref: "paper", xanchor: "left", y: 0.98 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
      margin: { l: 68, r: 12, t: 38, b: 44 }, font: { color: quiet, size: 12, family: "system-ui, sans-serif" },
      xaxis: { title: { text: xTitle, standoff: 8 }, gridcolor: line, linecolor: line, zeroline: false, range: [-0.5, xMost - 0.5] },
      yaxis: { gridcolor: line, linecolor: line, zeroline: false, rangemode: "tozero", fixedrange: true, ...ticks(most) },
      hoverlabel: { bgcolor: style("--card"), bordercolor: quiet, font: { color: ink, size: 12 }, align: "left" },
      barmode: "overlay", bargap: 0,
    };
  }

  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const phone = () => window.innerWidth < 640;

  /* What a tensor is called in a tooltip: its maker, its bytes, and when it is held. */
  function told(figure, tensor) {
    const [label, nbytes, first, last, offset] = tensor;
    const place = offset === null ? "" : "<br>at offset " + exact(offset);
    return `<b>${escaped(short(figure.labels[label], phone() ? 40 : 90))}</b><br>${exact(nbytes)} (${size(nbytes)})` +
      `<br>operators ${first} to ${last}${place}`;
  }

  function drawOverTime(element, figure) {
    const steps = figure.timeline.length;
    const alive = Array.from({ length: steps }, () => []);
    const largest = [...figure.tensors].sort((a, b) => b[1] - a[1]);
    for (const tensor of largest) {
      for (let at = tensor[2]; at <= Math.min(tensor[3], steps - 1); at += 1) {
        if (alive[at].length < 4) alive[at].push(tensor);
      }
    }
    const text = figure.timeline.map(([label, nbytes], at) => {
      const lines = alive[at].map((t) => `${size(t[1])}  ${escaped(short(figure.labels[t[0]], phone() ? 32 : 70))}`);
      return `<b>${at}  ${escaped(short(figure.labels[label], phone() ? 40 : 90))}</b><br>${exact(nbytes)} ` +
        `(${size(nbytes)}) alive` + (lines.length ? "<br>largest:<br>" + lines.join("<br>") : "");
    });
    const bytes = figure.timeline.map((entry) => entry[1]);
    const most = Math.max(...bytes, 1);
    const at = bytes.indexOf(most);
    const accent = dark.matches ? "#6c99ea" : "#4272c8", mark = dark.matches ? "#ff8a80" : "#b0261e";
    Plotly.react(element, [
      { type: "scatter", mode: "lines", x: bytes.map((_, i) => i), y: bytes, text, hovertemplate: "%{text}<extra></extra>",
        line: { shape: "hvh", color: accent, width: 1.5 }, fill: "tozeroy", fillcolor: accent + "38" },
      { type: "scatter", mode: "markers", x: [at], y: [most], text: [text[at]], hovertemplate: "%{text}<extra></extra>",
        marker: { color: mark, size: 9 } },
    ], { ...layout("Bytes alive at each operator", most * 1.05, "operator", steps), hovermode: "x", hoverdistance: -1 }, config);
  }

  function drawArena(element, figure) {
    const placed = figure.tensors.filter((tensor) => tensor[4] !== null);
    const hues = dark.matches ? ["#6c99ea", "#e5a157", "#a78bda", "#4bbcae", "#8b96a6"]
      : ["#4272c8", "#dd8a2e", "#8467bd", "#2a9d8f", "#9aa4b2"];
    const shown = { ...layout("Where each tensor stands in planned memory", figure.arena_bytes, "operator", figure.timeline.length) };
    shown.yaxis.title = { text: "offset", standoff: 4 };
    Plotly.react(element, [{
      type: "bar", x: placed.map((t) => (t[2] + t[3]) / 2), width: placed.map((t) => t[3] - t[2] + 1),
      base: placed.map((t) => t[4]), y: placed.map((t) => t[1]), text: placed.map((t) => told(figure, t)),
      hovertemplate: "%{text}<extra></extra>", textposition: "none",
      marker: { color: placed.map((_, i) => hues[i % hues.length]), opacity: 0.85, line: { color: style("--card"), width: 0.5 } },
    }], shown, config);
  }

  /* The distribution of a quantity over layers: bars on a logarithmic axis, the largest at the top. */
  function drawLayers(element, figure) {
    const most = Math.max(...figure.values, 1);
    const shown = layout(figure.title, 1, figure.axis, 1);
    shown.margin = { l: phone() ? 130 : 240, r: 16, t: 38, b: 44 };
    shown.xaxis = { ...shown.xaxis, type: "log", rangemode: "normal", dtick: 1, range: [Math.floor(Math.log10(Math.max(Math.min(...figure.values), 1))) - 0.2, Math.log10(most) + 0.15] };
    shown.yaxis = { gridcolor: style("--line"), autorange: "reversed", type: "category", fixedrange: true, automargin: false,
      tickvals: figure.names.map((_, i) => i), ticktext: figure.names.map((n) => escaped(short(n, phone() ? 18 : 34))) };
    shown.bargap = 0.25;
    Plotly.react(element, [{ type: "bar", orientation: "h", y: figure.names.map((_, i) => i), x: figure.values,
      text: figure.names.map((n, i) => `<b>${escaped(short(n, 90))}</b><br>${figure.values[i].toLocaleString("en-US")} ${figure.unit}` +
        `<br>${figure.shares[i]} of the model`), hovertemplate: "%{text}<extra></extra>", textposition: "none",
      marker: { color: dark.matches ? "#6c99ea" : "#4272c8" } }], shown, config);
  }

  function draw(part) {
    const figure = data[part.dataset.figure];
    const kinds = { "over-time": drawOverTime, arena: drawArena, layers: drawLayers };
    for (const element of part.querySelectorAll(".figure")) {
      for (const [kind, drawKind] of Object.entries(kinds)) {
        if (element.classList.contains(kind)) drawKind(element, figure);
      }
    }
    part.dataset.drawn = "yes";
  }

  async function unpackPlotly() {
    const packed = atob(document.getElementById("plotly-packed").textContent.trim());
    const bytes = Uint8Array.from(packed, (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function start() {
    const parts = [...document.querySelectorAll("[data-figure]")];
    if (typeof DecompressionStream === "undefined") {
      for (const element of document.querySelectorAll(".figure")) {
        element.textContent = "This browser is too old to draw the figure; the tables have its numbers.";
        element.style.height = "auto";
      }
      return;
    }
    await unpackPlotly();
    for (const part of parts) {
      const isOpen = () => part.tagName !== "DETAILS" || part.open;
      part.addEventListener("toggle", () => { if (isOpen() && !part.dataset.drawn) draw(part); });
      if (isOpen()) draw(part);
    }
    dark.addEventListener("change", () => {
      for (const part of parts) if (part.dataset.drawn) draw(part);
    });
    document.documentElement.dataset.ready = "yes";
  }

  start();
})();
