// The page put together: which view is open, the curves of a run and of all runs, the colours, and what a server says.
(() => {
  "use strict";

  const shared = JSON.parse(document.getElementById("shared").textContent);
  const byId = id => document.getElementById(id);
  const rows = new Map(shared.runs.map(row => [row.id, row]));
  const curves = new Map(); // id -> {column: values}, null where there is no finite value
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
  const COLORS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
  const DASHES = [undefined, [6, 3], [2, 2], [6, 2, 2, 2]];
  const MOST_RUNS = 1000; // in the chart of all runs; more are a blot, and take minutes to fetch from a server
  const MOST_POINTS = 400_000; // of all curves together; more are thinned for drawing

  // --- curves ---

  function decode(text) {
    const raw = atob(text.trim()), bytes = new Uint8Array(raw.length);
    for (let place = 0; place < raw.length; place++) bytes[place] = raw.charCodeAt(place);
    return bytes.buffer;
  }

  function unpack(buffer) {
    const all = new Float32Array(buffer), length = all.length / shared.columns.length;
    return Object.fromEntries(shared.columns.map((name, place) => {
      const column = Array.from(all.subarray(place * length, (place + 1) * length));
      return [name, column.map(value => (Number.isFinite(value) ? value : null))];
    }));
  }

  async function curvesOf(id) {
    if (!curves.has(id)) {
      const stored = byId(`curves-${id}`);
      if (stored) curves.set(id, unpack(decode(stored.textContent)));
      else curves.set(id, unpack(shared.live ? await (await fetch(`curves/${id}`)).arrayBuffer() : new ArrayBuffer(0)));
    }
    return curves.get(id);
  }

  /** Fetch the epochs that a run has more than the page knows. */
  async function fetchTail(id) {
    const known = curves.get(id), last = known.epoch.at(-1) ?? -1;
    const fresh = unpack(await (await fetch(`curves/${id}?after=${last}`)).arrayBuffer());
    for (const name of shared.columns) known[name].push(...fresh[name]);
    return fresh.epoch.length;
  }

  // --- one run ---

  const runGroup = new Charts.Group("run", (from, to) => {
    byId("from-epoch").value = from === null ? "" : Math.round(from);
    byId("to-epoch").value = to === null ? "" : Math.round(to);
  });
  let open = null; // {id, panels: [{panel, handle}]}

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
        color: COLORS[place], dash: DASHES[place],
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
    clearAll();
    runGroup.clear();
    byId("run-charts").replaceChildren();
    byId("readout").textContent = "";
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
    open = row ? { id, panels: [] } : null;
    if (!row) return;
    facts(row);
    const values = await curvesOf(id);
    if (open?.id !== id) return;
    if (!values.epoch.length) byId("run-lead").textContent += " No epoch is stored yet.";
    for (const panel of PANELS) addPanel(panel, row, values);
    byId("run-page").dataset.run = id;
  }

  function addPanel(panel, row, values) {
    const spec = panelSpec(panel, row, values);
    if (spec) open.panels.push({ panel, handle: Charts.place(byId("run-charts"), spec, runGroup) });
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
    const row = rows.get(open.id), values = curves.get(open.id), length = values.epoch.length;
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

  // --- all runs ---

  const allGroup = new Charts.Group("all");
  let pending = 0;

  /** Draw the curves of the rows that the filter lets through, once the charts come near the window. */
  function scheduleAll(found) {
    const turn = clearAll();
    if (open) return;
    const watcher = new IntersectionObserver(async entries => {
      if (!entries.some(entry => entry.isIntersecting)) return;
      watcher.disconnect();
      if (turn === pending) await drawAll(found, turn);
    }, { rootMargin: "300px" });
    watcher.observe(byId("all-note"));
  }

  function clearAll() {
    allGroup.clear();
    byId("all-charts").replaceChildren();
    return ++pending;
  }

  async function drawAll(found, turn) {
    const loaded = [];
    for (const row of found.slice(0, MOST_RUNS)) {
      const values = await curvesOf(row.id);
      if (turn !== pending) return;
      if (values.epoch.length) loaded.push([row, values]);
    }
    const points = loaded.reduce((sum, [, values]) => sum + values.epoch.length, 0);
    const step = Math.ceil(points / MOST_POINTS) || 1;
    byId("all-note").textContent = loaded.length
      ? `${found.length > MOST_RUNS ? `The first ${MOST_RUNS} of ${found.length}` : loaded.length} run${loaded.length === 1 ? "" : "s"}${step > 1 ? `, every ${step}th evaluation drawn` : ""}. Point at a curve to see whose it is, and click to open the run. The filter above chooses.`
      : "No run has an epoch to draw.";
    if (!loaded.length) return;
    const conditions = new Set(loaded.map(([row]) => row.condition));
    const groupOf = conditions.size <= COLORS.length ? row => row.condition : row => [row.arch, row.dataset].filter(Boolean).join(" ");
    const groups = [...new Set(loaded.map(([row]) => groupOf(row)))];
    byId("all-charts").append(el("ul", { class: "legend" }, ...(groups.length > 1 ? groups : []).slice(0, 14).map((group, place) =>
      el("li", { "data-color": place % COLORS.length + 1 }, group || "?"))));
    for (const [name, title, log] of [["feature_norm", "Feature norm (log)", true], ["nc1", "NC1 (log)", true]]) {
      const some = loaded.filter(([, values]) => values[name].some(v => v > 0));
      if (!some.length) continue;
      const thin = values => values.filter((_, place) => (values.length - 1 - place) % step === 0);
      const joined = uPlot.join(some.map(([, values]) => [thin(values.epoch), thin(values[name]).map(v => (v > 0 ? v : null))]));
      const near = u => {
        const index = u.series.findIndex((series, place) => place && series._focus);
        const place = u.cursor.idxs?.[index] ?? u.cursor.idx;
        if (index < 1 || place === null || place === undefined) return "";
        return `${some[index - 1][0].run}, epoch ${u.data[0][place]}: ${Charts.format(u.data[index][place])}`;
      };
      Charts.place(byId("all-charts"), {
        title, log, x: joined[0], level: name === "nc1" ? shared.eps : null,
        describe: `${some.length} runs against the epoch, to epoch ${joined[0].at(-1)}. The table above has each run's newest value and onset.`,
        series: some.map(([row], place) => ({
          values: joined[place + 1], span: true, width: some.length > 20 ? 1 : 1.5, alpha: some.length > 20 ? 0.7 : 1,
          color: COLORS[groups.indexOf(groupOf(row)) % COLORS.length],
        })),
      }, allGroup, {
        height: 300, near,
        pick: u => {
          const index = u.series.findIndex((series, place) => place && series._focus);
          if (index > 0) location.hash = `run-${some[index - 1][0].id}`;
        },
      });
    }
  }

  // --- views, colours ---

  function route() {
    const match = location.hash.match(/^#run-(\d+)$/);
    if (match) return void showRun(Number(match[1]));
    const was = open?.id;
    open = null;
    runGroup.clear();
    byId("run-page").hidden = true;
    byId("overview-page").hidden = false;
    document.title = byId("title").textContent;
    if (was !== undefined) scheduleAll(table.shownRows);
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
  for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(medium).addEventListener("change", () => Charts.recolor());
  }
  for (const id of ["from-epoch", "to-epoch"]) {
    byId(id).addEventListener("change", () => {
      const [from, to] = ["from-epoch", "to-epoch"].map(name => byId(name).value);
      const epochs = curves.get(open?.id)?.epoch ?? [];
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

  /** Ask for what changed since; an unchanged part costs a header. */
  async function ask(part) {
    const answer = await fetch(part, { headers: tags[part] ? { "If-None-Match": tags[part] } : {}, cache: "no-store" });
    if (answer.status === 304) return null;
    if (!answer.ok) throw new Error(`${part}: ${answer.status}`);
    tags[part] = answer.headers.get("ETag");
    return answer;
  }

  async function follow() {
    try {
      const fresh = await ask("runs");
      if (fresh) await takeRuns((await fresh.json()).runs);
      const answers = await ask("answers");
      if (answers) takeAnswers(await answers.text());
      tellLive("");
    } catch {
      tellLive("The server does not answer; what is shown is from before.");
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
    const grown = fresh.filter(row => curves.has(row.id) && rows.get(row.id)?.epochs_done !== row.epochs_done);
    rows.clear();
    for (const row of fresh) rows.set(row.id, row);
    for (const row of grown) {
      if (row.epochs_done < (curves.get(row.id).epoch.at(-1) ?? -1)) curves.delete(row.id); // epochs were discarded
      else await fetchTail(row.id);
    }
    table.update(fresh);
    byId("run-count").textContent = `${fresh.length} run${fresh.length === 1 ? "" : "s"}`;
    if (!open) return;
    const row = rows.get(open.id);
    if (!row || !curves.has(open.id)) return void showRun(open.id);
    byId("run-lead").textContent = lead(row);
    const values = curves.get(open.id);
    for (const panel of PANELS) {
      const shown = open.panels.find(other => other.panel === panel), spec = panelSpec(panel, row, values);
      if (shown && spec) shown.handle.update(spec);
      else if (spec) addPanel(panel, row, values);
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
  const table = new RunsTable.Table(shared.runs, scheduleAll);
  route();
  if (shared.live) follow();
  performance.mark("ncdiag-ready");
})();
