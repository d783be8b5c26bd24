// The curves of all runs that the table shows, in a chart of the feature norm and one of NC1.
const AllRuns = (() => {
  "use strict";

  const MOST_RUNS = 1000; // more are a blot, and take minutes to fetch from a server
  const MOST_POINTS = 400_000; // of all curves together; more are thinned for drawing
  const MOST_GROUPS = 14; // in the legend
  const PANELS = [["feature_norm", "Feature norm (log)"], ["nc1", "NC1 (log)"]];
  const byId = id => document.getElementById(id);

  class AllRuns {
    /** `curves` has those of each run; `eps` is the threshold on NC1, null where there is none. */
    constructor(curves, eps) {
      Object.assign(this, { curves, eps, rows: [], open: true, turn: 0, drawn: [], watcher: null });
      this.group = new Charts.Group("all", byId("all-charts"));
    }

    /** Draw the curves of these rows, in their order, once the charts come near the window. */
    show(rows) {
      this.rows = rows;
      this.watcher?.disconnect();
      if (!this.open) return;
      this.watcher = new IntersectionObserver(entries => {
        if (!entries.some(entry => entry.isIntersecting)) return;
        this.watcher.disconnect();
        this.draw();
      }, { rootMargin: "300px" });
      for (const id of ["all-note", "all-charts"]) this.watcher.observe(byId(id));
    }

    /** Draw nothing until the charts are shown again. */
    close() {
      this.open = false;
      this.show(this.rows);
      this.turn++;
      this.drawn = [];
      this.group.clear();
    }

    reopen() {
      this.open = true;
      this.show(this.rows);
    }

    /** Draw the rows now. What was drawn before stays until their curves are here. */
    async draw() {
      const turn = ++this.turn, found = this.rows, wanted = () => turn === this.turn;
      const tell = trouble => { if (trouble) byId("all-note").textContent = `The curves cannot be had: ${trouble}. Trying again.`; };
      await persist(async () => {
        for (const row of found.slice(0, MOST_RUNS)) {
          await this.curves.load(row.id);
          if (!wanted()) return;
        }
      }, wanted, tell);
      if (wanted()) this.place(found);
    }

    /** Draw the rows for paper. Where the curves are here it is done before the next task, and so before printing. */
    async drawNow() {
      await this.draw();
      this.group.drawWaiting();
    }

    place(found) {
      const loaded = found.slice(0, MOST_RUNS).map(row => [row, this.curves.at(row.id)]).filter(([, values]) => values?.epoch.length);
      const points = loaded.reduce((sum, [, values]) => sum + values.epoch.length, 0);
      const step = Math.ceil(points / MOST_POINTS) || 1;
      byId("all-note").textContent = loaded.length
        ? `${found.length > MOST_RUNS ? `The first ${MOST_RUNS} of ${found.length}` : loaded.length} run${loaded.length === 1 ? "" : "s"}${step > 1 ? `, every ${step}th evaluation drawn` : ""}. Point at a curve to see whose it is, and click to open the run. The filter above chooses.`
        : "No run has an epoch to draw.";
      const named = loaded.map(([row]) => [row.id, row.run, row.condition, row.arch, row.dataset]);
      const now = [JSON.stringify(named), ...loaded.map(([, values]) => values)];
      if (now.length === this.drawn.length && now.every((part, place) => part === this.drawn[place])) return;
      this.drawn = now;
      const conditions = new Set(loaded.map(([row]) => row.condition));
      const groupOf = conditions.size <= Charts.COLORS.length ? row => row.condition : row => [row.arch, row.dataset].filter(Boolean).join(" ");
      const groups = [...new Set(loaded.map(([row]) => groupOf(row)))];
      const colorOf = row => Charts.COLORS[groups.indexOf(groupOf(row)) % Charts.COLORS.length];
      const panels = PANELS.map(([name, title]) => [name, title, loaded.filter(([, values]) => values[name].some(v => v > 0))])
        .filter(([, , some]) => some.length);
      const legend = el("ul", { class: "legend" }, ...(groups.length > 1 ? groups : []).slice(0, MOST_GROUPS).map((group, place) =>
        el("li", { "data-color": place % Charts.COLORS.length + 1 }, group || "?")));
      this.group.show(
        JSON.stringify([named, panels.map(([name, , some]) => [name, some.map(([row]) => row.id)])]),
        panels.map(([name, title, some]) => this.panel(name, title, some, step, colorOf)), loaded.length ? [legend] : []);
    }

    /** Give what is to be drawn of one metric, and how it answers to a pointer. */
    panel(name, title, some, step, colorOf) {
      const thin = values => values.filter((_, place) => (values.length - 1 - place) % step === 0);
      const [x, ...curves] = uPlot.join(some.map(([, values]) => [thin(values.epoch), thin(values[name]).map(v => (v > 0 ? v : null))]));
      const many = some.length > 20;
      const focused = u => u.series.findIndex((series, place) => place && series._focus);
      return {
        spec: {
          title, log: true, x, level: name === "nc1" ? this.eps : null,
          describe: `${some.length} runs against the epoch, to epoch ${x.at(-1)}. The table above has each run's newest value and onset.`,
          series: some.map(([row], place) => ({
            values: curves[place], span: true, width: many ? 1 : 1.5, alpha: many ? 0.7 : 1, color: colorOf(row),
          })),
        },
        options: {
          height: 300,
          near: u => {
            const index = focused(u), at = u.cursor.idxs?.[index] ?? u.cursor.idx;
            if (index < 1 || at === null || at === undefined) return "";
            return `${some[index - 1][0].run}, epoch ${u.data[0][at]}: ${Charts.format(u.data[index][at])}`;
          },
          pick: u => {
            const index = focused(u);
            if (index > 0) location.hash = `run-${some[index - 1][0].id}`;
          },
        },
      };
    }
  }

  return AllRuns;
})();
