// The store: what was given, inflated when it is looked at, and what is computed from it.
import { decodedMap, decodedThumbnails, mapOfThumbnail, HeadAggregate, DifferenceMap } from "./attention.js";

const STORE_BYTES = 64 * 2 ** 20;

export function canInflate() {
  try {
    return Boolean(new DecompressionStream("deflate-raw"));
  } catch {
    return false;
  }
}

// Written and read by hand: a Blob's stream and a Response would wait for a browser that is still reading the file.
async function inflated(bytes) {
  const { readable, writable } = new DecompressionStream("deflate-raw");
  const writer = writable.getWriter();
  const written = Promise.all([writer.write(bytes), writer.close()]);
  written.catch(() => {}); // what is wrong with the bytes is told by the reader
  const parts = [];
  let size = 0;
  for await (const part of readChunks(readable.getReader())) {
    parts.push(part);
    size += part.length;
  }
  const whole = new Uint8Array(size);
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

async function* readChunks(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export function bytesOfBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export class Store {
  constructor(manifest, source) {
    this.manifest = manifest;
    this.source = source;
    this.kept = new Map(); // name -> {value: Promise, bytes}; the last used at the end
    this.bytes = 0;
    this.small = new Map(); // sample -> thumbnails
    this.named = new Map(); // number of a list of labels -> tokens
  }

  // Thumbnails of a sample; after this `thumbnail` has them.
  async thumbnails(sample) {
    if (!this.small.has(sample)) {
      const shapes = this.manifest.sites.map((site, number) => this.shape(sample, number));
      const content = await this.opened(`thumbnails/${sample}`, (bytes) => decodedThumbnails(bytes, shapes));
      if (this.small.size >= 16) this.small.delete(this.small.keys().next().value);
      this.small.set(sample, content);
    }
    return this.small.get(sample);
  }

  // {rows, columns, codes, scale, mapRows, mapColumns}; undefined before `thumbnails`, or where the site did not run.
  thumbnail(sample, site, panel) {
    return this.small.get(sample)?.[site]?.[panel];
  }

  // {rows, columns, panels}; null where the site did not run on the sample.
  shape(sample, site) {
    const axes = this.manifest.axes[sample]?.[site];
    if (!axes) return null;
    const [rows, columns] = axes.map((number) => this.manifest.tokens[number].labels.length);
    return { rows, columns, panels: this.manifest.sites[site].panels.length };
  }

  // {queries, keys}, each {labels, invalid: Set, segments, grid}
  tokens(sample, site) {
    const [queries, keys] = this.manifest.axes[sample]?.[site] ?? [];
    return { queries: this.tokenList(queries), keys: this.tokenList(keys) };
  }

  tokenList(number) {
    if (number === undefined) return { labels: [], invalid: new Set(), segments: [0], grid: null };
    if (!this.named.has(number)) {
      const { labels, invalid, segments, grid } = this.manifest.tokens[number];
      this.named.set(number, { labels, invalid: new Set(invalid), segments, grid: grid ?? null });
    }
    return this.named.get(number);
  }

  // panel: a number, or {mean: [numbers]} or {max: [numbers]}.
  map(sample, site, panel) {
    if (!this.shape(sample, site)) {
      return Promise.reject(new Error("This site did not run on this sample. Choose another site or sample."));
    }
    const name = `map/${sample}/${site}/${typeof panel === "number" ? panel : JSON.stringify(panel)}`;
    return this.remembered(name, () => {
      if (typeof panel !== "number") return this.aggregate(sample, site, panel);
      if (this.manifest.detail !== "thumbnails") return this.opened(name, decodedMap);
      return this.thumbnails(sample).then((small) => mapOfThumbnail(small[site][panel]));
    });
  }

  async aggregate(sample, site, panel) {
    const [[kind, panels]] = Object.entries(panel);
    const sum = new HeadAggregate(kind);
    for (const number of panels) sum.add(await this.map(sample, site, number));
    const { queries } = this.tokens(sample, site);
    const all = queries.invalid.size === queries.labels.length;
    return sum.finished((row) => all || !queries.invalid.has(row));
  }

  // a, b: {sample, site, panel}
  async difference(a, b) {
    const [first, second] = await Promise.all([a, b].map(({ sample, site, panel }) => this.map(sample, site, panel)));
    const shapes = [first, second].map((map) => [map.rows, map.columns].join(" x "));
    if (shapes[0] !== shapes[1]) {
      throw new Error(`A has ${shapes[0]} cells and B has ${shapes[1]}, so there is no difference cell by cell. Choose two maps of one size.`);
    }
    return new DifferenceMap(first, second);
  }

  // The picture that a sample is, as an ImageBitmap.
  async picture(sample) {
    const bytes = await this.source.block(`image/${sample}`);
    return createImageBitmap(new Blob([bytes], { type: "image/png" }));
  }

  // Largest weight of a panel, exactly; 0 while the thumbnails are not there.
  largest(sample, site, panel) {
    return this.thumbnail(sample, site, panel)?.scale ?? 0;
  }

  async opened(name, decode) {
    try {
      return decode(await inflated(await this.source.block(name)));
    } catch (error) {
      throw new Error(`The block ${name} cannot be read: ${error.message}`, { cause: error });
    }
  }

  remembered(name, make) {
    const found = this.kept.get(name);
    if (found) {
      this.kept.delete(name);
      this.kept.set(name, found);
      return found.value;
    }
    const entry = { value: make(), bytes: 0 };
    this.kept.set(name, entry);
    entry.value.then((map) => this.count(name, entry, map.bytes), () => this.kept.delete(name));
    return entry.value;
  }

  count(name, entry, bytes) {
    if (this.kept.get(name) !== entry) return;
    entry.bytes = bytes;
    this.bytes += bytes;
    for (const [oldest, { bytes: size }] of this.kept) {
      if (this.bytes <= STORE_BYTES || oldest === name) break;
      this.kept.delete(oldest);
      this.bytes -= size;
    }
  }
}
