"use strict";
(() => {
  const { data, make, three, SHOWN, details } = matrix;
  const by = (id) => document.getElementById(id);
  const OUTCOMES = ["ok", "failed", "skipped", "untested"];

  const state = { q: "", runtime: "", outcome: "", failure: "", show: "latency", sort: "name", down: "", open: "" };
  const UNTESTED = { outcome: "untested" };
  /** Rows that are there at once when what is shown changes; the others follow when those have been drawn. */
  const FIRST = 80;
  let rows = [];
  let waiting = 0;

  const shownColumns = () => data.columns.map((column, at) => [column, at]).filter(([column]) => !state.runtime || column.runtime === state.runtime);

  // --- what stands above the table ---------------------------------------------------------------------------------

  const option = (value, text) => Object.assign(make("option", "", text), { value });
  const describe = () => {
    const run = data.run;
    by("about").textContent = [run.label, `${data.subjects.length} ${data.subjects.every((each) => each.tiny) ? "model types" : "types and checkpoints"}`, run.started, run.ended ? "" : "not finished"].filter(Boolean).join(" · ");
    by("machine").textContent = run.machine;
    const entries = Object.entries({ run: run.id, ...run.versions, ...(run.command ? { command: run.command } : {}) });
    by("versions").querySelector("dl").append(...entries.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
    for (const column of data.columns) {
      const all = OUTCOMES.reduce((sum, name) => sum + (column.counts[name] ?? 0), 0);
      const bar = make("div", "bar");
      for (const name of OUTCOMES.slice(0, 3)) {
        const part = make("i", name);
        part.style.width = `${(100 * (column.counts[name] ?? 0)) / all}%`;
        bar.append(part);
      }
      const counts = OUTCOMES.map((name) => `${column.counts[name] ?? 0} ${name}`).join(" · ");
      const tried = (column.counts.ok ?? 0) + (column.counts.failed ?? 0);
      const share = tried ? `${((100 * column.alive) / tried).toFixed(1)} %` : "";
      const note = tried ? `${counts}; ${column.alive} ran, finite, reacting` : `${counts}; none was tried`;
      by("summary").append(make("article", "", make("h2", "", column.title, make("span", "", share)), bar, make("p", "", note)));
    }
    for (const [name, why] of Object.entries(data.absent))
      by("summary").append(make("article", "", make("h2", "", name), make("p", "", `untested: ${why}`)));
    const found = new Map();
    for (const each of data.subjects) for (const cell of each.cells) if (cell?.outcome === "failed") found.set(cell.failure ?? "other", (found.get(cell.failure ?? "other") ?? 0) + 1);
    by("failure").append(...[...found].sort((a, b) => b[1] - a[1]).map(([name, count]) => option(name, `${name} (${count})`)));
    by("runtime").append(...[...new Set(data.columns.map((each) => each.runtime))].map((name) => option(name, name)));
    by("outcome").append(...OUTCOMES.map((name) => option(name, name)));
    by("show").append(...Object.entries(SHOWN).map(([name, [title]]) => option(name, title)));
    const gone = Object.entries(data.gone);
    by("gone").querySelector("summary").textContent = `${gone.length} types that are gone`;
    by("gone").querySelector("ul").append(...gone.map(([name, what]) => make("li", "", make("b", "", name), `: ${what}`)));
  };

  // --- the table ---------------------------------------------------------------------------------------------------

  const header = () => {
    const titles = [["name", "Type"], ...shownColumns().map(([column, at]) => [String(at), column.title]), ["best", "Fastest that agrees"]];
    const line = make("tr");
    line.setAttribute("role", "row");
    for (const [key, title] of titles) {
      const button = make("button", "", title);
      button.type = "button";
      button.addEventListener("click", () => change({ sort: key, down: state.sort === key && !state.down ? "1" : "" }));
      const cell = make("th", /\d/.test(key) ? "figure" : key, button);
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
      if (state.sort === key) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      line.append(cell);
    }
    const focused = [...by("matrix").tHead.querySelectorAll("button")].indexOf(document.activeElement);
    by("matrix").tHead.replaceChildren(line);
    by("matrix").style.width = `${26.5 + 5.7 * (titles.length - 2)}rem`; // with columns of fixed widths rows are laid out fast
    if (focused >= 0) line.querySelectorAll("button")[focused]?.focus();
    by("sort").replaceChildren(...titles.map(([key, title]) => option(key, title)));
    by("sort").value = state.sort;
    by("direction").textContent = state.down ? "↓" : "↑";
  };

  const fastest = (subject) => {
    if (subject.best === undefined) return "";
    const times = subject.cells[subject.best].speedup;
    return data.columns[subject.best].title + (times === undefined ? "" : ` ${three(times)}×`);
  };

  const build = (subject) => {
    const button = make("button", "open", subject.name + (subject.listed ? " *" : ""));
    const said = [subject.kind, (subject.auto ?? "").replace("AutoModelFor", "").replace("AutoModel", "Model")].filter(Boolean);
    if (said.length) button.append(make("small", "", said.join(", ")));
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => change({ open: state.open === subject.name ? "" : subject.name }));
    const name = make("th", "name", button);
    name.scope = "row";
    name.setAttribute("role", "rowheader");
    const cells = data.columns.map((column, at) => make("td", `chip cell ${(subject.cells[at] ?? UNTESTED).outcome}`));
    cells.forEach((td, at) => (td.dataset.title = data.columns[at].title));
    const best = make("td", "best", fastest(subject));
    for (const each of [...cells, best]) each.setAttribute("role", "cell");
    const line = make("tr", "", name, ...cells, best);
    line.setAttribute("role", "row");
    const text = [subject.name, subject.kind, subject.auto, ...subject.cells.flatMap((cell) => [cell?.failure, cell?.reason, cell?.cause])];
    return { subject, line, button, cells, text: text.filter(Boolean).join("\n").toLowerCase() };
  };

  const fill = () => {
    const [, value, write] = SHOWN[state.show];
    const visible = new Set(shownColumns().map(([, at]) => at));
    for (const row of rows)
      row.cells.forEach((td, at) => {
        td.hidden = !visible.has(at);
        if (td.hidden) return;
        const cell = row.subject.cells[at] ?? UNTESTED;
        const number = cell.outcome === "ok" && write ? value(cell) : undefined;
        const text = number !== undefined && number !== null ? write(number) : cell.outcome === "untested" ? "–" : cell.outcome;
        td.textContent = text;
        td.title = [cell.outcome, cell.failure, cell.reason].filter(Boolean).join(": ");
      });
  };

  const key = (row) => {
    if (state.sort === "name") return row.subject.name;
    if (state.sort === "best") return row.subject.cells[row.subject.best]?.speedup ?? null;
    const cell = row.subject.cells[+state.sort] ?? UNTESTED;
    const value = state.show === "outcome" || cell.outcome === "ok" ? SHOWN[state.show][1](cell) : null;
    return value ?? null;
  };

  /** What is named as it was searched for comes first. */
  const closeness = (row) => (row.subject.name === state.q ? 0 : row.subject.name.startsWith(state.q) ? 1 : 2);

  const arrange = () => {
    const places = shownColumns().map(([, at]) => at);
    const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (cell) => (!state.outcome || cell.outcome === state.outcome) && (!state.failure || (cell.outcome === "failed" && (cell.failure ?? "other") === state.failure));
    const kept = rows.filter((row) => wanted.every((word) => row.text.includes(word)) && (!(state.outcome || state.failure) || places.some((at) => fits(row.subject.cells[at] ?? UNTESTED))));
    const turn = state.down ? -1 : 1;
    const keyed = kept.map((row) => [key(row), row]);
    keyed.sort(([a, one], [b, other]) => {
      if (state.sort === "name" && !state.down && state.q && closeness(one) !== closeness(other)) return closeness(one) - closeness(other);
      if (a === null || b === null) return (a === null) - (b === null) || one.subject.name.localeCompare(other.subject.name);
      return turn * (typeof a === "string" ? a.localeCompare(b) : a - b) || one.subject.name.localeCompare(other.subject.name);
    });
    const lines = keyed.map(([, row]) => row.line);
    by("matrix").tBodies[0].replaceChildren(...lines.splice(0, FIRST));
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      by("matrix").tBodies[0].append(...lines);
      unfold();
    });
    by("count").textContent = `${kept.length} of ${rows.length}`;
    by("nothing").hidden = kept.length > 0;
  };

  /** Show what is known of the type that is open, below its row. */
  const unfold = () => {
    document.querySelector("tr.detail")?.remove();
    for (const row of rows) {
      const open = state.open === row.subject.name;
      if (open !== (row.button.getAttribute("aria-expanded") === "true")) row.button.setAttribute("aria-expanded", String(open));
      if (open && row.line.isConnected) row.line.after(details(row.subject, shownColumns(), shownColumns().length + 2));
    }
  };

  // --- changes -----------------------------------------------------------------------------------------------------

  const CONTROLS = { q: "search", runtime: "runtime", outcome: "outcome", failure: "failure", show: "show", sort: "sort" };
  const change = (what) => {
    const before = { ...state };
    Object.assign(state, what);
    if (state.runtime && /^\d+$/.test(state.sort) && data.columns[+state.sort]?.runtime !== state.runtime) state.sort = "name";
    for (const [name, id] of Object.entries(CONTROLS)) if (by(id).value !== state[name]) by(id).value = state[name];
    if (before.runtime !== state.runtime || before.show !== state.show || !by("matrix").tBodies[0].rows.length) fill();
    if (Object.keys(state).some((name) => name !== "open" && state[name] !== before[name]) || !by("matrix").tBodies[0].rows.length) {
      header();
      arrange();
    }
    unfold();
    const kept = Object.entries(state).filter(([name, value]) => value && !(name === "show" && value === "latency") && !(name === "sort" && value === "name"));
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  };
  const restore = () => {
    const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    for (const name of Object.keys(state)) if (given[name]) state[name] = given[name];
    if (!(state.show in SHOWN)) state.show = "latency";
    if (!["name", "best"].includes(state.sort) && !data.columns[+state.sort]) state.sort = "name";
  };

  describe();
  rows = data.subjects.map(build);
  restore();
  change({});
  for (const [name, id] of Object.entries(CONTROLS)) by(id).addEventListener("input", () => change({ [name]: by(id).value }));
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("direction").addEventListener("click", () => change({ down: state.down ? "" : "1" }));
  by("reset").addEventListener("click", () => change({ q: "", runtime: "", outcome: "", failure: "" }));
  by("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      by("search").focus();
    } else if (event.key === "Escape" && state.open) change({ open: "" });
  });
})();
