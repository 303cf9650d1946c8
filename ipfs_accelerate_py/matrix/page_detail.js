"use strict";
/** What both halves of the page need: the data, how figures are written, and all that is known of one type. */
const matrix = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const CHECKS = Object.keys(data.checks);
  const FIGURES = Object.keys(data.figures);

  /** An element with a class and what is in it; text is always text. */
  const make = (tag, name, ...inside) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside);
    return element;
  };
  const three = (value) => (value >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3)));
  const bytes = (value) => (value >= 1e9 ? `${three(value / 1e9)} GB` : value >= 1e6 ? `${three(value / 1e6)} MB` : `${three(value / 1e3)} kB`);
  const cosine = (value) => {
    for (let digits = 3; digits < 6; digits++) if (+value.toFixed(digits) !== 1) return value.toFixed(digits);
    return "1.0";
  };
  const figure = (cell, name) => cell.figures?.[FIGURES.indexOf(name)];
  const check = (cell, name) => ({ o: "ok", f: "failed", s: "skipped", u: "untested" })[cell.checks?.[CHECKS.indexOf(name)]];

  /** What a cell of the table may show: its title, its value, and that in words. */
  const SHOWN = {
    latency: ["Latency", (cell) => figure(cell, "latency_ms"), (value) => `${three(value)} ms`],
    speedup: ["Speed-up", (cell) => cell.speedup, (value) => `${three(value)}×`],
    cosine: ["Cosine", (cell) => figure(cell, "cosine"), cosine],
    memory: ["Peak memory", (cell) => figure(cell, "peak_bytes"), bytes],
    throughput: ["Throughput", (cell) => figure(cell, "throughput"), (value) => `${three(value)} /s`],
    export: ["Export time", (cell) => figure(cell, "export_s"), (value) => `${three(value)} s`],
    outcome: ["Outcome", (cell) => ["failed", "skipped", "untested", "ok"].indexOf(cell.outcome), null],
  };
  const words = (name, value) => {
    const unit = data.figures[name].split(" ")[0];
    if (name === "cosine") return cosine(value);
    if (name.endsWith("_bytes")) return bytes(value);
    if (name === "throughput") return `${three(value)} /s`;
    return `${three(value)}${unit === "milliseconds" ? " ms" : unit === "seconds" ? " s" : ""}`;
  };

  // --- one type ----------------------------------------------------------------------------------------------------

  /** A row of the table, over `span` columns, with what was found in those columns of a type. */
  const details = (subject, columns, span) => {
    const grid = make("div", "cells");
    for (const [column, at] of columns) {
      const cell = subject.cells[at];
      if (cell) grid.append(section(column, cell));
    }
    const inner = make("div", "inner");
    inner.append(make("p", "advice", subject.advice ? `${subject.name} on this machine: ${subject.advice}` : "Nothing that was measured works and agrees with torch float32."));
    if (subject.tiny) inner.append(make("p", "caution", "Measured on a small random model of the type: it shows what runs and agrees, and not how fast a checkpoint is."));
    inner.append(grid);
    const td = make("td", "", inner);
    td.colSpan = span;
    td.setAttribute("role", "cell");
    const line = make("tr", "detail", td);
    line.setAttribute("role", "row");
    return line;
  };

  const WITHIN = ["latency_low_ms", "latency_high_ms", "batch"]; // told beside another

  const section = (column, cell) => {
    const element = make("section", "", make("h3", "", column.title, make("span", `chip ${cell.outcome}`, cell.outcome)));
    const checks = make("ul", "checks");
    for (const name of CHECKS) {
      const outcome = check(cell, name) ?? "untested";
      const mark = make("li", `chip ${outcome}`, `${{ ok: "✓", failed: "✗", skipped: "skipped", untested: "–" }[outcome]} ${name}`);
      mark.title = `${outcome}: ${data.checks[name]}`;
      checks.append(mark);
    }
    if (cell.outcome !== "untested") element.append(checks);
    if (cell.failure || cell.reason) element.append(make("p", "why", ...(cell.failure ? [make("b", "", cell.failure), ": "] : []), cell.reason ?? ""));
    if (cell.cause) element.append(make("pre", "", cell.cause));
    const list = make("dl");
    const add = (name, text, title) => list.append(Object.assign(make("dt", "", name), { title }), make("dd", "", text));
    if (cell.speedup !== undefined) add("speed-up", `${three(cell.speedup)}× torch float32`, "time of a pass of torch float32 in the same run, divided by this one; on the processor by processor time, in units of the gauge");
    for (const name of FIGURES) {
      const value = figure(cell, name);
      if (value === undefined || value === null || WITHIN.includes(name)) continue;
      let text = words(name, value);
      const [low, high] = [figure(cell, "latency_low_ms"), figure(cell, "latency_high_ms")];
      if (name === "latency_ms" && low) text += ` (${three(low)} to ${three(high)})`;
      const title = name === "batch_ms" ? `batch of ${figure(cell, "batch")}` : name.replace(/_(ms|s|bytes)$/, "").replaceAll("_", " ");
      add(title, text, data.figures[name] + (name === "latency_ms" ? ", and quartiles" : ""));
    }
    if (cell.seconds !== undefined) add("took", `${cell.seconds} s`, "the whole cell");
    if (list.childElementCount) element.append(list);
    if ((cell.trend?.length ?? 0) > 1) element.append(trend(cell.trend));
    return element;
  };

  /** Latency over runs: a line through what worked on this machine; runs of other machines are rings. */
  const trend = (points) => {
    const svg = (tag, attributes) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      return element;
    };
    const most = Math.max(...points.map(([, , latency]) => latency ?? 0)) || 1;
    const x = (run) => 8 + (284 * run) / Math.max(1, data.runs.length - 1);
    const y = (latency) => (latency === null ? 50 : 48 - (40 * latency) / most);
    const picture = svg("svg", { viewBox: "0 0 300 56", role: "img" });
    const line = points.filter(([run, outcome, latency]) => outcome === "ok" && latency !== null && data.runs[run].same);
    picture.append(svg("polyline", { points: line.map(([run, , latency]) => `${x(run)},${y(latency)}`).join(" ") }));
    const said = [];
    for (const [run, outcome, latency] of points) {
      const dot = svg("circle", { cx: x(run), cy: y(latency), r: 4, class: `${outcome}${data.runs[run].same ? "" : " other"}` });
      const title = svg("title", {});
      title.textContent = `${data.runs[run].name}, ${data.runs[run].day}: ${outcome}${latency === null ? "" : ` ${three(latency)} ms`}${data.runs[run].same ? "" : ", another machine"}`;
      dot.append(title);
      picture.append(dot);
      said.push(title.textContent);
    }
    picture.setAttribute("aria-label", said.join("; "));
    return make("figure", "", picture, make("figcaption", "", `latency over ${points.length} runs, from 0 to ${three(most)} ms`));
  };

  return { data, make, three, SHOWN, details };
})();
