// The page put together: which view is open, the curves of a run and of all runs, the colours, and what a server says.
(() => {
  "use strict";

  const shared = JSON.parse(document.getElementById("shared").textContent);
  const byId = id => document.getElementById(id);
  const rows = new Map(shared.runs.map(row => [row.id, row]));
  const curves = new Curves(shared.columns, shared.live);
  const PANELS = [
    { title: "Feature norm", columns: { feature_norm: "" } },
    { title: "NC1, within / between classes", columns: { nc1: "train", test_nc1: "test" }, log: true },
    { title: "NC2, equiangularity", columns: { nc2_equiangular: "" } },
    { title: "NC3, self-duality", columns: { nc3: "" } },
    { title: "NC4, nearest-centre mismatch", columns: { nc4: "" } },
    { title: "Accuracy", columns: { train_accuracy: "train", test_accuracy: "test" }, log: false },
    { title: "Loss", columns: { train_loss: "train", test_loss: "test" } },
  ];
  const LOG_RANGE = 10; // a panel becomes logarithmic where its values span more than this factor
  const DASHES = [undefined, [6, 3], [2, 2], [6, 2, 2, 2]];

  // --- one run ---

  const runGroup = new Charts.Group("run", byId("run-charts"), (from, to) => {
    byId("from-epoch").value = from === null ? "" : Math.round(from);
    byId("to-epoch").value = to === null ? "" : Math.round(to);
  });
  let open = null; // {id}, another object each time that a run is opened

  function spansOf(row, last) {
    return row.phases.map(([start, name], place) => [start, row.phases[place + 1]?.[0] ?? last, name]);
  }

  function panelSpec(panel, row, values) {
    const entries = Object.entries(panel.columns).filter(([name]) => values[name].some(v => v !== null));
    if (!entries.length) return null;
    const known = entries.flatMap(([name]) => values[name]).filter(v => v !== null);
    const positive = known.filter(v => v > 0);
    const wide = positive.length === known.length && Math.max(...positive) > LOG_RANGE * Math.min(...positive);
    const log = positive.length > 0 && (panel.log ?? wide);
    const norm = "feature_norm" in panel.columns, nc1 = "nc1" in panel.columns;
    const collapsed = row.state === "collapsed" && row.onset !== null;
    return {
      title: panel.title + (log ? " (log)" : ""), log, x: values.epoch,
      describe: entries.map(([name, label]) => inWords(label, values.epoch, values[name])).join(" ")
        + (collapsed ? ` Onset at epoch ${Math.round(row.onset)}.` : ""),
      series: entries.map(([name, label], place) => ({
        name: label, values: log ? values[name].map(v => (v > 0 ? v : null)) : values[name],
        color: Charts.COLORS[place], dash: DASHES[place],
      })),
      spans: spansOf(row, values.epoch.at(-1)),
      onset: collapsed ? [row.lo ?? row.onset, row.onset, row.hi ?? row.onset] : null,
      dot: collapsed && norm ? [row.onset, row.fn_star] : collapsed && nc1 && shared.eps ? [row.onset, shared.eps] : null,
      level: nc1 ? shared.eps : null,
      band: norm ? row.band : null,
    };
  }

  function inWords(label, epochs, values) {
    const at = values.map((v, place) => [v, epochs[place]]).filter(([v]) => v !== null);
    const least = at.reduce((a, b) => (b[0] < a[0] ? b : a));
    const say = ([value, epoch]) => `${Charts.format(value)} at epoch ${epoch}`;
    return `${label ? `${label}: ` : ""}from ${say(at[0])} to ${say(at.at(-1))}, smallest ${say(least)}.`;
  }

  async function showRun(id) {
    const row = rows.get(id);
    byId("overview-page").hidden = true;
    byId("run-page").hidden = false;
    byId("run-page").dataset.run = "";
    all.close();
    runGroup.clear();
    byId("run-note").textContent = byId("readout").textContent = "";
    byId("run-values").open = false;
    byId("run-title").textContent = row ? row.run : "No such run";
    document.title = `${row ? row.run : "no such run"} · ncdiag`;
    byId("run-lead").textContent = row ? lead(row) : "The page holds no run of this number.";
    for (const part of ["run-values", "run-facts"]) byId(part).hidden = !row;
    const order = table.shownRows.map(shown => shown.id), at = order.indexOf(id);
    for (const [link, by] of [["previous-run", -1], ["next-run", 1]]) {
      const other = at < 0 ? undefined : order[at + by];
      if (other === undefined) byId(link).removeAttribute("href");
      else byId(link).setAttribute("href", `#run-${other}`);
    }
    window.scrollTo(0, 0);
    byId("run-title").focus({ preventScroll: true });
    const mine = open = row ? { id } : null;
    if (!row) return;
    facts(row);
    const wanted = () => open === mine;
    await persist(() => curves.load(id), wanted, trouble => {
      byId("run-note").textContent = trouble && `The curves of this run cannot be had: ${trouble}. Trying again.`;
    });
    if (!wanted()) return;
    drawRun();
    byId("run-page").dataset.run = id;
  }

  /** Draw the curves of the run that is open, or take into their charts what is new. */
  function drawRun() {
    const row = rows.get(open.id), values = curves.at(open.id);
    byId("run-note").textContent = values.epoch.length ? "" : "No epoch is stored yet.";
    const figures = PANELS.map(panel => panelSpec(panel, row, values)).filter(Boolean).map(spec => ({ spec }));
    runGroup.show(JSON.stringify([open.id, figures.map(({ spec }) => [spec.title, spec.series.map(s => s.name)])]), figures);
    if (byId("run-values").open) numbers();
  }

  function lead(row) {
    const ends = {
      collapsed: row.onset === null ? "collapsed before it was first evaluated"
        : `collapsed at epoch ${Math.round(row.onset)}, with fn* ${Charts.format(row.fn_star)}`,
      "none yet": "no onset yet", censored: "no onset by the end",
      unconfirmed: `below the threshold${row.unfinished ? "" : " at the end"}, too briefly to count${row.unfinished ? " yet" : ""}`,
      left_censored: "below the threshold from the start", no_data: "the metric was not measured",
    };
    const said = [row.arch, row.dataset, `depth ${row.depth}`, `width ${row.width}`];
    const told = row.condition.split(", ").filter(part => !said.includes(part));
    const state = RunsTable.stateOf(row);
    const planned = row.epochs_planned === null ? "" : ` of ${row.epochs_planned}`;
    const about = [RunsTable.network(row), row.dataset, ...told].filter(Boolean).join(", ");
    return `${about ? `${about}: ` : ""}${row.status}, ${row.epochs_done}${planned} epochs; `
      + `${ends[state] ?? state ?? "not evaluated yet"}.`;
  }

  function facts(row) {
    const list = byId("run-facts").querySelector("dl");
    list.replaceChildren();
    (function add(values, prefix) {
      for (const [name, value] of Object.entries(values)) {
        if (value !== null && typeof value === "object" && !Array.isArray(value)) add(value, `${prefix}${name}.`);
        else if (value !== null) {
          const text = Array.isArray(value) ? value.map(v => (typeof v === "object" ? JSON.stringify(v) : v)).join(", ") : value;
          list.append(el("div", {}, el("dt", {}, `${prefix}${name}`), el("dd", {}, Charts.exactly(text))));
        }
      }
    })({
      ...row.facts, seconds: "seconds" in row.facts ? Charts.format(row.facts.seconds) : null,
      config: null, ...row.facts.config, phases: row.facts.phases ?? null, // ce:200,mse:400
    }, "");
  }

  /** Fill the table of the curves: at most fifty evaluations, evenly chosen, the last among them. */
  function numbers() {
    const row = rows.get(open.id), values = curves.at(open.id), length = values?.epoch.length;
    if (!values) return;
    const step = Math.max(Math.ceil(length / 50), 1);
    const columns = shared.columns.filter(name => values[name].some(v => v !== null));
    const places = values.epoch.map((_, place) => place).filter(place => (length - 1 - place) % step === 0);
    const every = step > 1 ? ` Every ${step}th is shown.` : "";
    byId("values-caption").textContent =
      `${row.run}, ${length} evaluations.${every} ncdiag export epochs has all of them, with every digit.`;
    byId("values-table").tHead.replaceChildren(
      el("tr", {}, ...columns.map(name => el("th", { scope: "col", class: "number" }, name.replaceAll("_", " ")))));
    byId("values-table").tBodies[0].replaceChildren(...places.map(place => el("tr", {}, ...columns.map((name, column) =>
      el(column ? "td" : "th", column ? { class: "number" } : { scope: "row", class: "number" },
        (column ? Charts.format : Charts.exactly)(values[name][place]))))));
  }

  // --- views, colours ---

  const all = new AllRuns(curves, shared.eps);

  function runInAddress() {
    const match = location.hash.match(/^#run-(\d+)$/);
    return match && Number(match[1]);
  }

  function route() {
    const wanted = runInAddress();
    if (wanted !== null) return void showRun(wanted);
    const was = open?.id;
    open = null;
    runGroup.clear();
    byId("run-page").hidden = true;
    byId("overview-page").hidden = false;
    document.title = byId("title").textContent;
    all.reopen();
    target()?.scrollIntoView();
    if (was !== undefined && location.hash === "#runs") {
      document.querySelector(`#runs-table a[href="#run-${was}"]`)?.focus({ preventScroll: false });
    }
  }

  /** Give the part of the page that the address names; an address is anybody's, and may be no text at all. */
  function target() {
    try { return byId(decodeURIComponent(location.hash.slice(1))); } catch { return null; }
  }

  // Its address would be that of another view, so the link leaves the address alone.
  document.querySelector(".skip").addEventListener("click", event => {
    event.preventDefault();
    byId("main").focus({ preventScroll: true });
    byId("main").scrollIntoView();
  });

  const THEMES = [["", "as the system"], ["light", "light"], ["dark", "dark"]];

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    const label = THEMES.find(([name]) => name === theme)[1];
    byId("theme").setAttribute("aria-label", `Colours: ${label}`);
    byId("theme").title = `Colours: ${label}`;
    byId("theme").textContent = { "": "◐", light: "○", dark: "●" }[theme];
    Charts.recolor();
  }

  byId("theme").addEventListener("click", () => {
    const at = THEMES.findIndex(([name]) => name === (document.documentElement.dataset.theme ?? ""));
    const next = THEMES[(at + 1) % THEMES.length][0];
    try { localStorage.setItem("ncdiag-theme", next); } catch { /* a page from disk may have no storage */ }
    setTheme(next);
  });
  addEventListener("beforeprint", () => { // and so before the colours change
    if (open) runGroup.drawWaiting();
    else all.drawNow();
  });
  for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(medium).addEventListener("change", () => Charts.recolor());
  }
  for (const id of ["from-epoch", "to-epoch"]) {
    byId(id).addEventListener("change", () => {
      const [from, to] = ["from-epoch", "to-epoch"].map(name => byId(name).value);
      const epochs = curves.at(open?.id)?.epoch ?? [];
      const [low, high] = [from === "" ? epochs[0] : Number(from), to === "" ? epochs.at(-1) : Number(to)];
      if (low < high) runGroup.zoom(low, high);
    });
  }
  byId("reset-zoom").addEventListener("click", () => runGroup.zoom(null, null));
  byId("run-values").addEventListener("toggle", event => { if (event.target.open && open) numbers(); });
  addEventListener("keydown", event => {
    if (event.key !== "/" || /^(input|textarea|select)$/i.test(event.target.tagName)) return;
    event.preventDefault();
    if (open) location.hash = "runs";
    setTimeout(() => byId("filter").focus());
  });
  addEventListener("hashchange", route);

  // --- live ---

  const tags = { runs: null, answers: shared.answers };

  /** Ask for what changed since, which costs a header where nothing did. What cannot be taken in is asked for again. */
  async function take(part, into) {
    const { body, tag } = await request(part, "text", tags[part] ? { "If-None-Match": tags[part] } : {});
    if (body === null) return;
    await into(body);
    tags[part] = tag;
  }

  async function follow() {
    try {
      await take("runs", body => takeRuns(JSON.parse(body).runs));
      await take("answers", takeAnswers);
      tellLive("");
    } catch (error) {
      tellLive(`${error.message.slice(0, 1).toUpperCase()}${error.message.slice(1)}; what is shown is from before.`);
    }
    setTimeout(follow, document.hidden ? 15_000 : 2000);
  }

  /** Say that the page is live, or above everything, wherever the reader is, what keeps it from being so. */
  function tellLive(trouble) {
    byId("live-state").textContent = trouble ? "Not live." : "Live: the page follows the store.";
    if (byId("stale").textContent !== trouble) byId("stale").textContent = trouble;
    byId("stale").hidden = !trouble;
  }

  async function takeRuns(fresh) {
    rows.clear();
    for (const row of fresh) rows.set(row.id, row);
    table.update(fresh);
    byId("run-count").textContent = `${fresh.length} run${fresh.length === 1 ? "" : "s"}`;
    const wanted = runInAddress();
    if (wanted !== null && rows.has(wanted) !== Boolean(open)) showRun(wanted); // it came, or it went
    if (rows.has(open?.id)) byId("run-lead").textContent = lead(rows.get(open.id));
    try {
      await curves.follow(rows);
    } finally { // the curves that did come are shown
      all.show(table.shownRows);
      if (open && curves.at(open.id)) drawRun();
    }
  }

  function takeAnswers(html) {
    const kept = [...document.querySelectorAll("#answers details[open][id]")].map(details => details.id);
    byId("answers").innerHTML = html; // rendered by ncdiag, which escapes every text; the policy lets no script in it run
    for (const id of kept) byId(id)?.setAttribute("open", "");
    const questions = [...document.querySelectorAll("#answers section.question")].map(section => section.id);
    byId("contents").firstElementChild.replaceChildren(...[...questions, "runs"].map(name =>
      el("li", {}, el("a", { href: `#${name}` }, name.replaceAll("-", " ")))));
  }

  // --- start ---

  let theme = "";
  try { theme = localStorage.getItem("ncdiag-theme") ?? ""; } catch { /* see above */ }
  setTheme(theme);
  const table = new RunsTable.Table(shared.runs, found => all.show(found));
  route();
  if (shared.live) follow();
  performance.mark("ncdiag-ready");
})();
