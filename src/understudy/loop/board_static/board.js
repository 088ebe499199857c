// The board: fetches additions every two seconds and draws a curve per metric and selected run.
/* global uPlot */
const EVERY_MS = 2000;
const COLOURS = [
  "#c0392b",
  "#1f77b4",
  "#2a9d5c",
  "#8e5bd0",
  "#d08a00",
  "#00858a",
  "#b0487f",
  "#6b6b6b",
];
const STEPS = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((unit) => [unit, 2 * unit, 5 * unit]);
const at = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

/** @typedef {{name: string, stage: string, status: string, config: object}} Summary */
/** @typedef {{summary: Summary, colour: string, marks: object, curves: Map<string, Map<number, number>>, samples: object[]}} Run */
/** @type {Map<string, Run>} */
const runs = new Map();
const chosen = new Set();
const charts = new Map();
let touched = false; // whether somebody has chosen runs; until then the newest listed are shown

async function ask(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function readLog(run, log) {
  for (;;) {
    const mark = run.marks[log] ?? "";
    const got = await ask(`/api/${log}?run=${encodeURIComponent(run.summary.name)}&after=${mark}`);
    if (got.reset) forget(run, log);
    run.marks[log] = got.next;
    if (got.rows.length === 0) return;
    if (log === "samples") run.samples.push(...got.rows);
    else for (const row of got.rows) addRow(run, log, row);
    if (got.next === mark) return;
  }
}

function forget(run, log) {
  if (log === "samples") run.samples = [];
  else for (const [name, curve] of run.curves) if (curve.log === log) run.curves.delete(name);
}

function addRow(run, log, row) {
  for (const [name, value] of Object.entries(row)) {
    if (name === "step" || typeof value !== "number") continue;
    if (!run.curves.has(name)) run.curves.set(name, Object.assign(new Map(), { log }));
    run.curves.get(name).set(row.step, value);
  }
}

async function refresh() {
  const listed = await ask("/api/runs");
  for (const summary of listed) {
    const known = runs.get(summary.name);
    if (known) known.summary = summary;
    else {
      const colour = COLOURS[runs.size % COLOURS.length];
      runs.set(summary.name, { summary, colour, marks: {}, curves: new Map(), samples: [] });
      if (!touched && chosen.size < 4) chosen.add(summary.name);
    }
  }
  const names = new Set(listed.map((summary) => summary.name));
  for (const name of runs.keys())
    if (!names.has(name)) {
      runs.delete(name);
      chosen.delete(name);
    }
  for (const name of chosen)
    for (const log of ["metrics", "timings", "samples"]) await readLog(runs.get(name), log);
  draw();
  const none = "No runs here yet; they appear as soon as a trainer starts.";
  at("state").textContent = runs.size
    ? `${runs.size} run${runs.size === 1 ? "" : "s"}, live`
    : none;
}

const shown = () => [...chosen].map((name) => runs.get(name)).filter(Boolean);
const lastStep = (run) =>
  Math.max(0, ...[...run.curves.values()].flatMap((curve) => [...curve.keys()].slice(-1)));

function draw() {
  drawList();
  drawCharts();
  drawSamples();
  drawSettings();
}

function drawList() {
  const list = at("runs");
  const rows = new Map([...list.children].map((row) => [row.dataset.name, row]));
  for (const [name, row] of rows) if (!runs.has(name)) row.remove();
  for (const [name, run] of runs) {
    const row = rows.get(name) ?? list.appendChild(makeRow(name, run));
    const step = chosen.has(name) ? `, step ${lastStep(run)}` : "";
    row.querySelector("small").textContent = `${run.summary.stage} ${run.summary.status}${step}`;
  }
}

function makeRow(name, run) {
  const row = document.createElement("li");
  row.dataset.name = name;
  const label = row.appendChild(document.createElement("label"));
  const box = Object.assign(document.createElement("input"), {
    type: "checkbox",
    checked: chosen.has(name),
  });
  box.addEventListener("change", () => {
    touched = true;
    if (box.checked) chosen.add(name);
    else chosen.delete(name);
    refresh().catch(complain);
  });
  const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
  swatch.style.background = run.colour;
  const text = document.createElement("span");
  text.textContent = name === "." ? "this folder" : name;
  text.append(document.createElement("small"));
  label.append(box, swatch, text);
  return row;
}

function drawCharts() {
  const wanted = at("filter")
    .value.toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean);
  const matches = (metric) =>
    wanted.length === 0 || wanted.some((word) => metric.toLowerCase().includes(word));
  const metrics = [...new Set(shown().flatMap((run) => [...run.curves.keys()]))]
    .filter(matches)
    .sort();
  for (const [metric, chart] of charts)
    if (!metrics.includes(metric)) {
      chart.figure.remove();
      charts.delete(metric);
    }
  metrics.forEach((metric, place) => {
    const having = shown().filter((run) => run.curves.has(metric));
    const data = uPlot.join(
      having.map((run) => {
        const points = [...run.curves.get(metric)].sort((a, b) => a[0] - b[0]);
        return [points.map((point) => point[0]), points.map((point) => point[1])];
      }),
    );
    const key = having.map((run) => run.summary.name).join("\n");
    let chart = charts.get(metric);
    if (chart && chart.key === key) chart.plot.setData(data);
    else {
      chart?.figure.remove();
      chart = makeChart(metric, having, data, key);
      charts.set(metric, chart);
    }
    if (at("charts").children[place] !== chart.figure)
      at("charts").insertBefore(chart.figure, at("charts").children[place] ?? null);
  });
}

function makeChart(metric, having, data, key) {
  const figure = document.createElement("figure");
  figure.dataset.metric = metric;
  figure.append(Object.assign(document.createElement("figcaption"), { textContent: metric }));
  at("charts").append(figure);
  const style = getComputedStyle(document.documentElement);
  const axis = {
    stroke: style.getPropertyValue("--soft"),
    grid: { stroke: style.getPropertyValue("--line"), width: 1 },
  };
  const values = (_, splits) => splits.map((number) => numbers.format(number));
  const value = (_, number) =>
    number === null || number === undefined ? "" : numbers.format(number);
  const series = having.map((run) => ({
    label: run.summary.name,
    stroke: run.colour,
    width: 1.5,
    spanGaps: true,
    value,
  }));
  const width = Math.max(260, figure.clientWidth - 18);
  const scales = { x: { time: false } };
  const options = {
    width,
    height: 200,
    scales,
    axes: [
      { ...axis, values, incrs: STEPS },
      { ...axis, values, size: 70 },
    ],
    series: [{ label: "step" }, ...series],
  };
  return { figure, key, plot: new uPlot(options, data, figure) };
}

function drawSamples() {
  const run = shown()
    .reverse()
    .find((each) => each.samples.length > 0);
  at("samples").hidden = !run;
  if (!run) return;
  at("samples-run").textContent = run.summary.name;
  const steps = [...new Set(run.samples.map((row) => row.step))].sort((a, b) => a - b);
  const select = at("samples-step");
  const follow = select.value === "" || select.selectedIndex === select.options.length - 1;
  const before = select.value;
  if (steps.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...steps.map((step) => new Option(String(step), String(step))));
  }
  select.value = follow || !steps.includes(Number(before)) ? String(steps.at(-1)) : before;
  const rows = run.samples.filter((row) => row.step === Number(select.value)).slice(0, 50);
  at("samples-rows").replaceChildren(...rows.map(sampleRow));
}

function sampleRow(sample) {
  const row = document.createElement("tr");
  const number = (value) => (typeof value === "number" ? numbers.format(value) : "");
  const cells = [
    sample.prompt ?? sample.prompt_id ?? "",
    sample.response ?? "",
    number(sample.score),
    number(sample.kl),
    sample.finished === false ? "no" : "yes",
  ];
  cells.forEach((text, place) => {
    const cell = row.appendChild(document.createElement("td"));
    cell.textContent = typeof text === "string" ? text : JSON.stringify(text);
    cell.className = place < 2 ? "text" : "number";
  });
  return row;
}

function drawSettings() {
  const picked = shown();
  const keys = [...new Set(picked.flatMap((run) => Object.keys(run.summary.config)))];
  const text = (run, key) => JSON.stringify(run.summary.config[key]) ?? "";
  const differing = keys.filter((key) => new Set(picked.map((run) => text(run, key))).size > 1);
  at("settings").hidden = picked.length < 2 || differing.length === 0;
  const line = (tag, cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      row.append(Object.assign(document.createElement(tag), { textContent: cell }));
    }
    return row;
  };
  const head = line("th", ["", ...picked.map((run) => run.summary.name)]);
  at("settings-table").replaceChildren(
    head,
    ...differing.map((key) => line("td", [key, ...picked.map((run) => text(run, key))])),
  );
}

function complain(error) {
  at("state").textContent = `The board does not respond (${error.message}); trying again.`;
}

async function live() {
  try {
    if (!document.hidden) await refresh();
  } catch (error) {
    complain(error);
  }
  setTimeout(live, EVERY_MS);
}

at("filter").addEventListener("input", drawCharts);
at("samples-step").addEventListener("change", drawSamples);
addEventListener("resize", () => {
  for (const chart of charts.values()) chart.key = "";
  drawCharts();
});
live();
