// The curves of the runs: packed in the page, or with a server, which is asked for them and for what they grow by.

/** Ask the server for a part, and give it with its tag, null if it is as before. An error says why there is none. */
async function request(path, read, headers = {}) {
  let answer, body;
  try {
    answer = await fetch(path, { headers, cache: "no-store" });
    body = answer.status === 304 ? null : await (answer.ok ? answer[read]() : answer.text());
  } catch {
    throw new Error("the server does not answer");
  }
  if (answer.status === 404) throw new Error("the server does not have it any more");
  if (!answer.ok && body !== null) throw new Error(body.split("\n")[0].trim().replace(/\.$/, "") || `the server says ${answer.status}`);
  return { body, tag: answer.headers.get("ETag") };
}

/** Try a task until it is done, or not `wanted` any more; `tell` is told what is in its way, "" at the end. */
async function persist(task, wanted, tell) {
  const PAUSE_MS = 2000;
  for (;;) {
    try {
      await task();
      if (wanted()) tell("");
      return;
    } catch (error) {
      if (wanted()) tell(error.message);
    }
    await new Promise(go => setTimeout(go, PAUSE_MS));
    if (!wanted()) return;
  }
}

/** The curves that are here: of each run its columns {name: values}, null where there is no finite value. */
class Curves {
  /** `columns` names what is packed, in its order; with `live` there is a server. */
  constructor(columns, live) {
    Object.assign(this, { columns, live, held: new Map() });
  }

  /** Give the curves of a run as far as they are here. Growing makes new arrays, so what was drawn stays as it was. */
  at(id) {
    return this.held.get(id);
  }

  /** Have the curves of a run here. */
  async load(id) {
    if (this.held.has(id)) return;
    const stored = document.getElementById(`curves-${id}`);
    if (stored || !this.live) this.held.set(id, this.unpack(stored ? Curves.decode(stored.textContent) : new ArrayBuffer(0)));
    else this.held.set(id, await this.fetch(id));
  }

  /** Take in what has become of runs whose curves are here; those of other runs go. */
  async follow(rows) {
    for (const id of this.held.keys()) if (!rows.has(id)) this.held.delete(id);
    for (const [id, row] of rows) {
      const known = this.held.get(id), last = known?.epoch.at(-1) ?? 0, done = Math.fround(row.epochs_done); // as curves are
      if (!known || last === done) continue;
      if (done < last) {
        this.held.set(id, await this.fetch(id)); // epochs were discarded
        continue;
      }
      const more = await this.fetch(id, `?after=${known.epoch.at(-1) ?? -1}`);
      this.held.set(id, Object.fromEntries(this.columns.map(name => [name, known[name].concat(more[name])])));
    }
  }

  async fetch(id, query = "") {
    return this.unpack((await request(`curves/${id}${query}`, "arrayBuffer")).body);
  }

  unpack(buffer) {
    const all = new Float32Array(buffer), length = all.length / this.columns.length;
    return Object.fromEntries(this.columns.map((name, place) => {
      const column = Array.from(all.subarray(place * length, (place + 1) * length));
      return [name, column.map(value => (Number.isFinite(value) ? value : null))];
    }));
  }

  static decode(text) {
    const raw = atob(text.trim()), bytes = new Uint8Array(raw.length);
    for (let place = 0; place < raw.length; place++) bytes[place] = raw.charCodeAt(place);
    return bytes.buffer;
  }
}
