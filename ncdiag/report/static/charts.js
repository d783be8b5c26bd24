// Charts against the epoch, drawn by uPlot: what is around the curves (phases, onset, bands), hovering and zooming for
// mouse and keyboard, one range of epochs for all charts of a group, and colours that follow the page's.
const Charts = (() => {
  "use strict";

  const COLORS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
  const drawn = new Set();
  const style = getComputedStyle(document.documentElement);
  const color = name => style.getPropertyValue(name).trim();

  /** Write what was measured, with four digits. */
  function format(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(value.toPrecision(4)));
  }

  /** Write what was chosen or counted, such as a seed or an epoch, with every digit: others tell runs apart by it. */
  function exactly(value) {
    return value === null || value === undefined ? "–" : String(value);
  }

  /** Charts in `host` that show the same epochs; `onRange(from, to)` is told of every change, with nulls for all epochs. */
  class Group {
    constructor(key, host, onRange = () => {}) {
      Object.assign(this, { key, host, onRange, charts: new Set(), waiting: new Set(), range: null, what: null, handles: [] });
    }

    /**
     * Show these charts, [{spec, options}], under `head`. Those of the same `what`, a text that says which curves of
     * which look they have, only take in the new values: the page stays still, and so do the pointer and the zoom.
     */
    show(what, figures, head = []) {
      if (what === this.what) return figures.forEach(({ spec }, place) => this.handles[place].update(spec));
      const range = this.range, last = Math.max(...figures.map(({ spec }) => spec.x.at(-1) ?? 0));
      this.drop();
      if (range && range.min < last) this.range = range;
      else this.zoom(null, null);
      this.what = what;
      this.host.replaceChildren(...head);
      this.handles = figures.map(({ spec, options }) => place(this.host, spec, this, options));
    }

    /** Show the epochs from `from` to `to`, or all. */
    zoom(from, to) {
      const range = from === null ? null : { min: from, max: to };
      if (JSON.stringify(range) === JSON.stringify(this.range)) return;
      this.range = range;
      for (const chart of this.charts) chart.setScale("x", range ?? chart.full());
      this.onRange(from, to);
    }

    /** Show nothing. */
    clear() {
      this.drop();
      this.zoom(null, null);
      this.what = null;
      this.handles = [];
      this.host.replaceChildren();
    }

    /** Draw what waits to come near the window; paper has no window. */
    drawWaiting() {
      for (const begin of this.waiting) begin();
    }

    drop() {
      this.waiting.clear();
      for (const chart of this.charts) { drawn.delete(chart); chart.destroy(); }
      this.charts.clear();
    }
  }

  const lonely = new WeakMap();  // a curve is drawn anew whenever the pointer comes near another

  /** Give the places of the values that no line shows, as both their neighbours are missing; the only one, if it spans. */
  function alone(values, span) {
    if (!lonely.has(values)) {
      const there = [];
      values.forEach((value, place) => { if (value !== null && value !== undefined) there.push(place); });
      const found = span ? (there.length === 1 ? there : [])
        : there.filter((place, i) => there[i - 1] !== place - 1 && there[i + 1] !== place + 1);
      lonely.set(values, found.length ? found : null);
    }
    return lonely.get(values);
  }

  function ranged(log) {
    return (u, min, max) => {
      if (min === null || min === undefined) return log ? [0.1, 1] : [0, 1];
      if (log) return uPlot.rangeLog(min, max === min ? min * 2 : max, 10, false);
      return uPlot.rangeNum(min, max === min ? min + 1 : max, 0.08, false);
    };
  }

  /** Keep of the values of a logarithmic axis 1, 2 and 5 in each decade, or 1 alone where there are many decades. */
  function rounded(u, values) {
    const decades = Math.log10(u.scales.y.max / u.scales.y.min);
    const kept = decades > 2.5 ? [1] : [1, 2, 5];
    return values.map(value => {
      const digit = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
      return kept.some(d => Math.abs(digit - d) < 1e-6) ? value : null;
    });
  }

  function axes(log) {
    const common = { stroke: () => color("--faint"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const filter = log ? { filter: rounded } : {};
    const grid = { stroke: () => color("--line"), width: 1, ...filter };
    return [
      { ...common, grid: { show: false }, size: 28, label: "epoch", labelSize: 18, labelFont: common.font, labelGap: -2, values: (u, at) => at.map(v => (Number.isInteger(v) ? v : "")) },
      { ...common, grid, ...filter, size: 58, space: log ? 16 : 34, values: (u, at) => at.map(v => (v === null ? "" : format(v))) },
    ];
  }

  /** Paint what lies behind the curves and the grid. */
  function background(u, spec) {
    const { ctx, bbox } = u;
    const x = v => Math.min(Math.max(u.valToPos(v, "x", true), bbox.left), bbox.left + bbox.width);
    const y = v => u.valToPos(v, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    (spec.spans ?? []).forEach(([start, stop], place) => {
      if (place % 2 === 0) return;
      ctx.fillStyle = color("--shade");
      ctx.fillRect(x(start), bbox.top, x(stop) - x(start), bbox.height);
    });
    if (spec.band) {
      const [low, , high] = spec.band;
      ctx.fillStyle = color("--band");
      ctx.fillRect(bbox.left, y(high), bbox.width, y(low) - y(high));
    }
    if (spec.onset) {
      const [low, at, high] = spec.onset;
      ctx.fillStyle = color("--band");
      ctx.fillRect(x(low), bbox.top, Math.max(x(high) - x(low), 1), bbox.height);
      ctx.strokeStyle = color("--onset");
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x(at), bbox.top);
      ctx.lineTo(x(at), bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Draw the levels that curves are to be compared with: fn*, and the threshold that defines the onset. */
  function levels(u, spec) {
    if (spec.band) level(u, spec.band[1], []);
    if (spec.level) level(u, spec.level, [6, 4]);
  }

  function level(u, value, dash) {
    const { ctx, bbox } = u, height = u.valToPos(value, "y", true);
    if (height < bbox.top || height > bbox.top + bbox.height) return;
    ctx.strokeStyle = color("--ink");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map(length => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(bbox.left, height);
    ctx.lineTo(bbox.left + bbox.width, height);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /** Write over the curves: the names of the phases, and the onset as a dot. */
  function foreground(u, spec) {
    const { ctx, bbox } = u;
    const pixels = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * pixels}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    let free = bbox.left;
    for (const [start, stop, name] of spec.spans ?? []) {
      const from = Math.max(u.valToPos(start, "x", true), bbox.left) + 4 * pixels;
      const to = Math.min(u.valToPos(stop, "x", true), bbox.left + bbox.width);
      if (from < free || to - from < ctx.measureText(name).width) continue;
      ctx.fillStyle = color("--faint");
      ctx.fillText(name, from, bbox.top + 3 * pixels);
      free = from + ctx.measureText(name).width;
    }
    if (spec.dot && spec.dot[1] !== null) {
      const [x, y] = [u.valToPos(spec.dot[0], "x", true), u.valToPos(spec.dot[1], "y", true)];
      if (x >= bbox.left && x <= bbox.left + bbox.width) {
        ctx.beginPath();
        ctx.arc(x, y, 4.5 * pixels, 0, 2 * Math.PI);
        ctx.fillStyle = color("--page");
        ctx.fill();
        ctx.lineWidth = 2 * pixels;
        ctx.strokeStyle = color("--onset");
        ctx.stroke();
      }
    }
    ctx.restore();
  }

  /**
   * Draw a chart into `host` once it comes near the window, and give a handle whose `update(spec)` draws it anew.
   *
   * `near(chart)` says in words what the curve under the pointer is, where there are too many to read out; `pick(chart)`
   * is called by a click. spec: title, describe (the chart in words), log, x, series [{name, values, color, dash, width}], and where there
   * are any: spans [[start, stop, name]], onset [low, at, high], dot [x, y], level, band [low, middle, high].
   */
  function place(host, spec, group, { height = 215, pick = null, near = null } = {}) {
    const now = el("span", { class: "now" });
    const canvas = el("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart" });
    const names = spec.series.length > 1 && !near
      ? [el("span", { class: "legend" }, ...spec.series.map(s => el("span", { "data-color": s.color.slice(3) }, s.name))), " "] : [];
    host.append(el("figure", { class: "chart" }, el("figcaption", {}, el("b", {}, spec.title), " ", ...names, now), canvas));
    canvas.style.minHeight = `${height}px`;
    const handle = { chart: null, update };
    const watcher = new IntersectionObserver(entries => {
      if (entries.some(entry => entry.isIntersecting)) begin();
    }, { rootMargin: "300px" });
    group.waiting.add(begin);
    tell();
    watcher.observe(canvas);
    return handle;

    function begin() {
      watcher.disconnect();
      group.waiting.delete(begin);
      draw();
    }

    function tell() {
      canvas.setAttribute("aria-label", `${spec.title}. ${spec.describe}`);
    }

    function data() {
      return [spec.x, ...spec.series.map(series => series.values)];
    }

    function draw() {
      const chart = new uPlot({
        width: Math.max(canvas.clientWidth, 200), height, pxAlign: 0, legend: { show: false },
        scales: { x: { time: false }, y: { distr: spec.log ? 3 : 1, range: ranged(spec.log) } },
        axes: axes(spec.log),
        series: [{}, ...spec.series.map(series => ({
          stroke: () => color(series.color), width: series.width ?? 1.75, dash: series.dash, alpha: series.alpha ?? 1,
          points: { show: false, size: 5, fill: () => color(series.color), filter: (u, at) => alone(u.data[at], series.span) },
          spanGaps: Boolean(series.span),
        }))],
        focus: { alpha: near ? 0.25 : 1 },
        cursor: {
          y: false, focus: { prox: near ? 30 : -1 }, points: { show: !near, size: 7 },
          drag: { x: true, y: false }, sync: { key: group.key, setSeries: false },
        },
        hooks: {
          drawClear: [u => background(u, spec)],
          drawAxes: [u => levels(u, spec)],
          draw: [u => foreground(u, spec)],
          setCursor: [u => { now.textContent = near ? near(u) : reading(u.cursor.idx); }],
          setScale: [(u, key) => { if (key === "x" && u.full) noticed(u); }],
        },
      }, data(), canvas);
      chart.full = () => ({ min: spec.x[0] ?? 0, max: spec.x.at(-1) ?? 1 });
      chart.name = spec.title;
      handle.chart = chart;
      group.charts.add(chart);
      drawn.add(chart);
      chart.resize = () => chart.setSize({ width: Math.max(canvas.clientWidth, 200), height });
      if (group.range) chart.setScale("x", group.range);
      canvas.addEventListener("keydown", event => key(event, chart));
      if (pick) chart.over.addEventListener("click", () => pick(chart));
    }

    function noticed(u) {
      const { min, max } = u.scales.x, full = u.full();
      if (min === null) return;
      if (min <= full.min && max >= full.max) group.zoom(null, null);
      else group.zoom(min, max);
    }

    function reading(index) {
      if (index === null || index === undefined) return "";
      const said = spec.series.map(({ name, values }) => `${name ? `${name} ` : ""}${format(values[index])}`);
      return `epoch ${spec.x[index]}: ${said.join(", ")}`;
    }

    function key(event, u) {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      const { min, max } = u.scales.x, width = max - min;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in steps) {
        const first = spec.x.findIndex(x => x >= min), last = spec.x.findLastIndex(x => x <= max);
        const at = u.cursor.idx ?? (steps[event.key] > 0 ? first - 1 : last + 1);
        const to = Math.min(Math.max(at + steps[event.key] * (event.shiftKey ? 10 : 1), first), last);
        for (const chart of group.charts) {
          chart.setCursor({ left: chart.valToPos(spec.x[to], "x"), top: 10 }, true, false);
        }
        const readout = document.getElementById("readout");
        if (!near) readout.textContent = `${spec.title}, ${reading(to)}`;
      } else if (event.key === "+" || event.key === "=" || event.key === "-") {
        const centre = u.cursor.idx != null ? spec.x[u.cursor.idx] : (min + max) / 2;
        const factor = event.key === "-" ? 2 : 0.5, full = u.full();
        const from = Math.max(centre - (centre - min) * factor, full.min);
        const to = Math.min(centre + (max - centre) * factor, full.max);
        if (from === full.min && to === full.max) group.zoom(null, null);
        else if (width * factor > 1) group.zoom(from, to);
      } else if (event.key === "0" || event.key === "Escape") {
        group.zoom(null, null);
      } else {
        return;
      }
      event.preventDefault();
    }

    function update(changed) {
      Object.assign(spec, changed);
      tell();
      handle.chart?.setData(data(), !group.range);
      if (group.range) handle.chart?.setScale("x", group.range);
    }
  }

  new ResizeObserver(() => { for (const chart of drawn) chart.resize(); }).observe(document.documentElement);

  return { COLORS, Group, format, exactly, drawn, recolor: () => { for (const chart of drawn) chart.redraw(false, true); } };
})();

/** Make an element; text is always text, never markup. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
