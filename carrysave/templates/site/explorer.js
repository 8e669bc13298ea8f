// SPDX-License-Identifier: Apache-2.0
// The explorer: filters, plot and table of the same rows. Their state stands in the address.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const plot = document.getElementById("plot");
const metrics = {x: new Map(data.x.map((m) => [m.id, m])), y: new Map(data.y.map((m) => [m.id, m]))};
const SHAPES = {ecp5: "circle", ice40: "square", gowin: "triangle-up", gates: "diamond"};
const TONES = {Int: "mac", Group: "read", Minifloat: "stall", Block: "drain", Pair: "good"};
const SIGNS = {ecp5: "●", ice40: "■", gowin: "▲", gates: "◆"};
const COLUMNS = [ // id, title, digits
  ["unit", "unit"], ["formats", "formats"], ["family", "family"], ["dsp_allowed", "DSP"],
  ["lanes", "lanes"], ["y"], ["x"], ["lut4", "LUT4"], ["ff", "FF"], ["dsp", "DSP blocks"],
  ["bram", "block RAM"], ["fmax_mhz", "Fmax, MHz", 1], ["nand2", "NAND2"],
];
const KEPT = ["lut4", "ff", "dsp", "bram", "carry", "fmax_mhz", "fmax_min_mhz", "fmax_max_mhz",
              "nand2", "transistors", "command"];
let sorting = {id: null, down: false};
let current = {rows: [], drawn: []};

// State: the form, and the address.

const fields = [...form.elements].filter((field) => field.name);
const names = [...new Set(fields.map((field) => field.name))];

// Values of all fields by name, of those that are disabled too.
function values() {
  const found = Object.fromEntries(names.map((name) => [name, []]));
  for (const field of fields) {
    if (field.type !== "checkbox" || field.checked) found[field.name].push(field.value);
  }
  return found;
}

function stateOf(found) {
  return Object.fromEntries(names.map((name) => [name, found[name].join(",")]));
}

const usual = stateOf(values());

function write() {
  const state = stateOf(values());
  const changed = Object.entries(state).filter(([name, value]) => value !== usual[name]);
  if (sorting.id) changed.push(["sort", (sorting.down ? "-" : "") + sorting.id]);
  const text = new URLSearchParams(changed).toString();
  if (text !== location.hash.slice(1)) {
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = {...usual, ...Object.fromEntries(given)};
  for (const field of fields) {
    if (field.type === "checkbox") {
      const wanted = state[field.name].split(",");
      field.checked = wanted.includes(field.value);
    } else {
      field.value = state[field.name];
      if (field.selectedIndex === -1) field.value = usual[field.name];
    }
  }
  const sort = given.get("sort") ?? "";
  sorting = {id: sort.replace(/^-/, "") || null, down: sort.startsWith("-")};
}

// Rows.

function valueOf(row, metric, scale) {
  const found = metric.on === "formats" ? data.units[row.unit].quality[metric.id]?.[scale]
    : row.values[metric.id];
  return found ?? null;
}

function chosen() {
  const filter = values();
  const one = (name) => filter[name][0] ?? "";
  const x = metrics.x.get(one("x")), y = metrics.y.get(one("y"));
  const words = one("q").toLowerCase().split(/\s+/).filter(Boolean);
  const gates = x.on === "gates";
  const rows = [];
  for (const row of data.rows) {
    const unit = data.units[row.unit];
    if (gates !== (row.family === "gates")) continue;
    if (!gates && !filter.family.includes(row.family)) continue;
    if (!gates && one("dsp") !== "any" && row.dsp !== (one("dsp") === "yes")) continue;
    if (one("kind") && unit.kind !== one("kind")) continue;
    if (one("lanes") && row.lanes !== Number(one("lanes"))) continue;
    const format = one("format");
    if (format.startsWith("class:")
      ? !unit.names.some((name) => data.classes[format.slice(6)].includes(name))
      : format && !unit.names.includes(format)) continue;
    const text = `${row.unit} ${unit.formats} ${unit.summary} ${row.family}`.toLowerCase();
    if (!words.every((word) => text.includes(word))) continue;
    rows.push({...row.values, unit: row.unit, formats: unit.formats, kind: unit.kind,
               class: unit.class, family: row.family, dsp_allowed: row.dsp, lanes: row.lanes,
               x: valueOf(row, x, one("scale")), y: valueOf(row, y, one("scale"))});
  }
  return {x, y, rows, gates, front: one("front") !== ""};
}

function sorted(rows) {
  if (!sorting.id) return rows;
  const order = (a, b) => {
    const [p, q] = [a[sorting.id] ?? null, b[sorting.id] ?? null];
    if (p === null || q === null) return (p === null) - (q === null); // at the end, always
    const way = typeof p === "string" ? p.localeCompare(q, "en") : p - q;
    return sorting.down ? -way : way;
  };
  return [...rows].sort(order);
}

function frontOf(rows, x, y) {
  const a = x.better === "low" ? 1 : -1, b = y.better === "low" ? 1 : -1;
  const found = [];
  for (const row of [...rows].sort((p, q) => a * (p.x - q.x) || b * (p.y - q.y))) {
    if (!found.length || b * row.y < b * found.at(-1).y) found.push(row);
  }
  return found;
}

// Plot.

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

function titleOf(metric) {
  return `${metric.title} (${metric.better === "low" ? "less" : "more"} is better)`;
}

function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if ((lines.at(-1) + word).length > length) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines.join("<br>");
}

function hover(row, x, y) {
  const family = data.families[row.family];
  const lines = [`<b>${row.unit}</b>`, row.formats,
    `${family}${row.dsp_allowed ? ", DSP blocks allowed" : ""}, ${row.lanes} lane${row.lanes === 1 ? "" : "s"}`,
    `${x.title}: ${shown(row.x, x.digits)}`, `${y.title}: ${shown(row.y, y.digits)}`];
  const more = [];
  if (row.lut4 !== undefined) more.push(`${shown(row.lut4)} LUT4, ${shown(row.ff)} FF, ${shown(row.dsp)} DSP blocks, ${shown(row.bram)} block RAM`);
  if (row.fmax_mhz !== undefined) more.push(`${shown(row.fmax_mhz, 1)} MHz (${shown(row.fmax_min_mhz, 1)} to ${shown(row.fmax_max_mhz, 1)})`);
  if (row.nand2 !== undefined) more.push(`${shown(row.nand2)} NAND2`);
  return [...lines, ...more].join("<br>");
}

// Where a name is clear of the best line, and of the axis if its point is near that.
function place(row, x, y) {
  const at = (each) => x.log ? Math.log(each.x) : each.x, all = current.drawn.map(at);
  const low = Math.min(...all), left = at(row) < low + 0.18 * (Math.max(...all) - low);
  const up = y.better === "high" ? "top" : "bottom", out = x.better === "low" ? "left" : "right";
  return left && out === "left" ? `${up === "top" ? "bottom" : "top"} right` : `${up} ${out}`;
}

// Marks of a logarithmic axis, a decade beyond the values: 1, 2, 5, or powers of ten.
function marks(values) {
  const low = Math.floor(Math.log10(Math.min(...values))), high = Math.ceil(Math.log10(Math.max(...values)));
  const few = Math.log10(Math.max(...values) / Math.min(...values)) <= 2.5;
  const step = few ? 1 : Math.ceil((high - low) / 7), found = [];
  for (let power = low - 1; power <= high + 1; power += step) {
    for (const digit of few ? [1, 2, 5] : [1]) found.push(Number(`${digit}e${power}`));
  }
  return {tickvals: found, ticktext: found.map((value) => shown(value, value < 1 ? 4 : 0).replace(/0+$/, (zeros) => value < 1 ? "" : zeros))};
}

function draw({x, y, front}) {
  const tone = colours(), narrow = plot.clientWidth < 560;
  const rows = current.drawn;
  const traces = [];
  if (front && rows.length) {
    const best = frontOf(rows, x, y);
    traces.push({
      x: best.map((row) => row.x), y: best.map((row) => row.y), name: "best",
      mode: narrow ? "lines" : "lines+markers+text", text: best.map((row) => row.unit),
      marker: {size: 11, opacity: 0}, textposition: best.map((row) => place(row, x, y)), textfont: {size: 11, color: tone("soft")}, cliponaxis: false,
      line: {dash: "dash", width: 1.2, color: tone("soft")}, hoverinfo: "skip", showlegend: false,
    });
  }
  const classes = [...new Set(rows.map((row) => row.class))].sort();
  for (const kind of classes) {
    const members = rows.filter((row) => row.class === kind);
    traces.push({
      x: members.map((row) => row.x), y: members.map((row) => row.y), name: kind, mode: "markers",
      customdata: members.map((row) => row.unit),
      hovertext: members.map((row) => hover(row, x, y)), hoverinfo: "text",
      marker: {size: 9, color: tone(TONES[kind] ?? "load"), opacity: 0.85, line: {width: 1.5, color: tone(TONES[kind] ?? "load")},
               symbol: members.map((row) => SHAPES[row.family] + (row.dsp_allowed ? "-open" : ""))},
    });
  }
  const axis = (metric, values) => ({
    title: {text: wrapped(titleOf(metric), narrow ? 40 : 90), font: {size: 12}, standoff: 8},
    type: metric.log ? "log" : "linear", automargin: true, gridcolor: tone("line"),
    zeroline: false, visible: values.length > 0, linecolor: tone("line"), tickfont: {size: 11},
    ...(metric.log && values.length ? marks(values) : {}),
  });
  const layout = {
    paper_bgcolor: tone("paper"), plot_bgcolor: tone("paper"),
    font: {family: tone("sans"), color: tone("ink"), size: 12},
    margin: {l: 50, r: narrow ? 10 : 30, t: 36, b: 40},
    xaxis: axis(x, rows.map((row) => row.x)), yaxis: axis(y, rows.map((row) => row.y)),
    hovermode: "closest", showlegend: true,
    legend: {orientation: "h", x: 0, y: 1, yanchor: "bottom", font: {size: 12}},
    hoverlabel: {bgcolor: tone("fill"), bordercolor: tone("soft"), align: "left",
                 font: {color: tone("ink"), size: narrow ? 11 : 12}},
    annotations: rows.length ? [] : [{text: "No row of the table has both numbers.", showarrow: false,
                                      xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: {size: 14}}],
  };
  const config = {responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
                  modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]};
  return Plotly.react(plot, traces, layout, config);
}

function pick(unit, text) {
  const box = document.getElementById("picked");
  const lines = text.replaceAll(/<\/?b>/g, "").split("<br>");
  box.replaceChildren(element("a", {href: `units/${unit}.html`}, `${lines[0]}: open its page`),
                      element("br"), lines.slice(1).join("; "));
}

// Table.

function title(column, found) {
  return column[1] ?? found[column[0]].title;
}

function table(found) {
  const {rows} = current;
  const columns = COLUMNS.filter(([id]) => ["unit", "formats", "lanes", "x", "y"].includes(id) ||
    !found.gates && ["family", "dsp_allowed"].includes(id) ||
    rows.some((row) => typeof row[id] === "number"));
  const numeric = (id) => !["unit", "formats", "family", "dsp_allowed"].includes(id);
  const head = element("tr");
  for (const column of columns) {
    const [id] = column, button = element("button", {type: "button", "data-sort": id}, title(column, found));
    const cell = element("th", {scope: "col", ...(numeric(id) ? {class: "n"} : {})}, button);
    if (sorting.id === id) cell.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    head.append(cell);
  }
  document.querySelector("#rows thead").replaceChildren(head);
  const body = rows.map((row) => {
    const line = element("tr");
    for (const [id, , digits] of columns) {
      if (id === "unit") {
        line.append(element("th", {scope: "row"}, element("a", {href: `units/${row.unit}.html`}, row.unit)));
        continue;
      }
      let text = row[id];
      if (id === "family") text = data.families[text];
      if (id === "dsp_allowed") text = text ? "allowed" : "none";
      if (id === "x" || id === "y") text = shown(row[id], found[id].digits);
      else if (numeric(id)) text = shown(text, digits);
      line.append(element("td", numeric(id) ? {class: "n"} : {}, String(text)));
    }
    return line;
  });
  document.querySelector("#rows tbody").replaceChildren(...body);
}

function csvOf() {
  const {found, rows} = current;
  const own = ["unit", "kind", "family", "dsp_allowed", "lanes", "formats"];
  const head = [...own, found.x.id, found.y.id, ...KEPT.filter((id) => ![found.x.id, found.y.id].includes(id))];
  return csvText(head, rows.map((row) => head.map((id) => {
    if (id === "dsp_allowed") return Number(row[id]);
    return id === found.x.id ? row.x : id === found.y.id ? row.y : row[id];
  })));
}

// All together.

function update() {
  const found = chosen();
  const rows = sorted(found.rows);
  const drawn = found.rows.filter((row) => row.x !== null && row.y !== null &&
    (!found.x.log || row.x > 0) && (!found.y.log || row.y > 0));
  current = {found, rows, drawn};
  form.querySelector(".families").disabled = found.gates;
  form.elements.dsp.disabled = found.gates;
  document.getElementById("count").textContent =
    `${rows.length} rows, ${drawn.length} of them drawn` +
    (drawn.length < rows.length ? "; the others lack one of the two numbers" : "");
  table(found);
  return draw(found);
}

form.addEventListener("input", () => { write(); update(); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => {
  sorting = {id: null, down: false};
  write();
  update();
}));
document.querySelector("#rows thead").addEventListener("click", (event) => {
  const id = event.target.closest("button")?.dataset.sort;
  if (!id) return;
  sorting = {id, down: sorting.id === id && !sorting.down};
  write();
  update();
  document.querySelector(`#rows thead [data-sort=${id}]`).focus();
});
document.getElementById("csv").addEventListener("click", () =>
  download("carrysave.csv", "text/csv", csvOf()));
document.getElementById("svg").addEventListener("click", async () => {
  const url = await Plotly.toImage(plot, {format: "svg", width: 900, height: 600});
  download("carrysave.svg", "image/svg+xml", decodeURIComponent(url.slice(url.indexOf(",") + 1)));
});
addEventListener("hashchange", () => { read(); update(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
document.getElementById("shapes").textContent =
  Object.keys(SIGNS).filter((key) => key in data.families)
    .map((key) => `${SIGNS[key]} ${data.families[key]}`).join(", ");
const wide = matchMedia("(min-width: 60rem)");
const unfold = () => { document.getElementById("more").open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
read();
update().then(() => {
  const hovers = matchMedia("(hover: hover)").matches;
  plot.on("plotly_click", ({points: [point]}) => {
    if (hovers) location.href = `units/${point.customdata}.html`;
    else pick(point.customdata, point.hovertext);
  });
});
