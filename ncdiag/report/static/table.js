// The table of runs: which fit the filter, in which order, and as many rows as can be looked through at a time.
const RunsTable = (() => {
  "use strict";

  const CHUNK = 300;
  const network = row => [row.arch ?? "", [row.depth, row.width].filter(v => v !== null).join("x")].join(" ").trim();
  // What a column is called, where it is from, what its heading means in full, and whether its numbers keep every digit.
  const COLUMNS = [
    { key: "run", name: "run", get: row => row.run },
    { key: "status", name: "status", get: row => row.status },
    { key: "network", name: "network", get: network },
    { key: "dataset", name: "data set", get: row => row.dataset },
    { key: "wd", name: "wd", full: "weight decay", get: row => row.weight_decay, number: true },
    { key: "seed", name: "seed", get: row => row.seed, number: true, exact: true },
    { key: "epochs", name: "epochs", get: row => row.epochs_done, number: true, exact: true },
    { key: "accuracy", name: "accuracy", full: "train accuracy", get: row => row.train_accuracy, number: true },
    { key: "fn", name: "fn", full: "mean feature norm, newest", get: row => row.feature_norm, number: true },
    { key: "nc1", name: "NC1", full: "NC1, newest", get: row => row.nc1, number: true },
    { key: "onset", name: "onset", full: "epoch of the onset of collapse", get: row => row.onset, number: true },
    { key: "fnstar", name: "fn*", full: "feature norm at onset", get: row => row.fn_star, number: true },
    { key: "condition", name: "condition", full: "the configuration without the seed, as far as runs differ", get: row => row.condition || null },
  ];

  /** Give a test of rows: all words occur somewhere in a row, and all comparisons such as nc1<0.01 hold. */
  function parse(text) {
    const tests = text.trim().split(/\s+/).filter(Boolean).map(word => {
      const [, key, sign, wanted] = word.match(/^([a-z0-9*_]+)(<=|>=|<|>|=)(.+)$/i) ?? [];
      const column = key && COLUMNS.find(c => c.key === key.toLowerCase().replace("*", "star"));
      if (!column) return row => words(row).includes(word.toLowerCase());
      if (column.number) return row => column.get(row) !== null && compare(column.get(row), sign, Number(wanted));
      return row => String(column.get(row) ?? "").toLowerCase() === wanted.toLowerCase();
    });
    return row => tests.every(test => test(row));
  }

  function words(row) {
    return COLUMNS.map(column => shown(column, row)).concat(stateOf(row), row.phases.map(phase => phase[1])).join(" ").toLowerCase();
  }

  function compare(a, sign, b) {
    return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "=": a === b }[sign];
  }

  function shown(column, row) {
    const value = column.get(row);
    if (column.key === "epochs" && row.epochs_planned !== null) return `${value}/${row.epochs_planned}`;
    if (column.key === "onset" && value !== null) return String(Math.round(value));
    if (column.key === "onset") return stateOf(row) === null ? "–" : `– ${stateOf(row).replace("_", " ")}`;
    return column.exact ? Charts.exactly(value) : Charts.format(value);
  }

  /** Give how a run stands with its onset, which one that goes on may still have; null where nothing is known yet. */
  function stateOf(row) {
    if (row.unfinished && row.state === "censored") return "none yet";
    return row.unfinished && row.state === "no_data" && row.epochs_done === 0 ? null : row.state;
  }

  class Table {
    /** `onChange(rows)` is told which rows are shown, in their order, whenever that changes. */
    constructor(rows, onChange) {
      Object.assign(this, { onChange, sort: null, down: false, limit: CHUNK, rows: new Map(), cells: new Map() });
      this.table = document.getElementById("runs-table");
      this.body = this.table.tBodies[0];
      this.filter = document.getElementById("filter");
      this.more = document.getElementById("more-rows");
      for (const column of COLUMNS) this.table.tHead.rows[0].append(this.heading(column));
      this.filter.addEventListener("input", () => this.show());
      this.more.addEventListener("click", () => { this.limit = Infinity; this.show(); });
      this.update(rows);
    }

    heading(column) {
      const button = el("button", { type: "button", title: column.full }, column.name);
      const cell = el("th", { scope: "col", class: column.number ? "number" : null }, button);
      button.addEventListener("click", () => {
        this.down = this.sort === column ? !this.down : false;
        this.sort = column;
        for (const other of this.table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", this.down ? "descending" : "ascending");
        this.show();
      });
      return cell;
    }

    /** Take new rows in; those that are as before keep their cells. Rows that are not among them are gone. */
    update(rows) {
      const before = this.rows;
      this.rows = new Map(rows.map(row => [row.id, row]));
      for (const [id, row] of this.rows) {
        if (JSON.stringify(before.get(id)) !== JSON.stringify(row)) this.cells.set(id, this.line(row));
      }
      for (const id of before.keys()) if (!this.rows.has(id)) this.cells.delete(id);
      this.show();
    }

    line(row) {
      const [name, ...others] = COLUMNS;
      const link = el("a", { href: `#run-${row.id}` }, name.get(row));
      return el("tr", { "data-status": row.status }, el("th", { scope: "row" }, link),
        ...others.map(c => el("td", { class: c.number ? "number" : null, "data-key": c.key }, shown(c, row))));
    }

    /** Show what fits the filter, sorted; what is missing comes last either way. */
    show() {
      const fits = parse(this.filter.value);
      const found = [...this.rows.values()].filter(fits);
      if (this.sort) {
        const sign = this.down ? -1 : 1;
        found.sort((a, b) => {
          const [x, y] = [this.sort.get(a), this.sort.get(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (typeof x === "number" && typeof y === "number" ? x - y
            : String(x).localeCompare(String(y), "en", { numeric: true }));
        });
      }
      const focused = document.activeElement?.getAttribute?.("href");
      this.body.replaceChildren(...found.slice(0, this.limit).map(row => this.cells.get(row.id)));
      if (focused && this.body.querySelector(`a[href="${CSS.escape(focused)}"]`) && document.activeElement === document.body) {
        this.body.querySelector(`a[href="${CSS.escape(focused)}"]`).focus();
      }
      this.more.hidden = found.length <= this.limit;
      this.more.textContent = `Show all ${found.length} rows`;
      document.getElementById("shown").textContent = `${found.length} of ${this.rows.size} runs`;
      this.shownRows = found;
      this.onChange(found);
    }
  }

  return { Table, network, stateOf };
})();
