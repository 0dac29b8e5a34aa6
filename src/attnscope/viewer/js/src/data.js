// The store: what was given, inflated when it is looked at, and what is computed from it.
import { messageOf } from "./messages.js";
import { decodedMap, decodedThumbnails, mapOfThumbnail, HeadAggregate, DifferenceMap } from "./attention.js";
import { NO_TOKENS } from "./state.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Aggregate, BlockSource, Manifest, MapRequest, PanelRequest, Shape, ShownRelevance, SiteTokens, Span, Thumbnail, Tokens } from "./types.d.ts" */

/** @typedef {(Thumbnail[] | null)[]} SampleThumbnails those of each site */
/** @typedef {{ value: Promise<AttentionMap>, bytes: number }} KeptMap */

const MOST_SAMPLES = 16; // whose thumbnails are kept
const STORE_BYTES = 64 * 2 ** 20;

export function canInflate() {
  try {
    return Boolean(new DecompressionStream("deflate-raw"));
  } catch {
    return false;
  }
}

/**
 * Written and read by hand: a Blob's stream and a Response would wait for a browser that is still reading the file.
 *
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
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

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
async function* readChunks(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** @param {string} text */
export function bytesOfBase64(text) {
  const { fromBase64 } = /** @type {{ fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }} */ (Uint8Array);
  if (fromBase64) return fromBase64.call(Uint8Array, text); // newer browsers have a faster way
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place += 1) bytes[place] = letters.charCodeAt(place);
  return bytes;
}

export class Store {
  /**
   * @param {Manifest} manifest
   * @param {BlockSource} source
   */
  constructor(manifest, source) {
    this.manifest = manifest;
    this.source = source;
    /** @type {Map<string, KeptMap>} the last used at the end */
    this.kept = new Map();
    this.bytes = 0;
    /** @type {Map<number, SampleThumbnails>} by sample */
    this.small = new Map();
    /** @type {Map<number, { values: Float32Array, padding: Uint8Array }[]>} by sample: of each row of the manifest */
    this.relevances = new Map();
    /** @type {Map<number, Tokens>} by the number of the list of labels */
    this.named = new Map();
  }

  /**
   * Thumbnails of a sample; after this `thumbnail` has them.
   *
   * @param {number} sample
   * @returns {Promise<SampleThumbnails>}
   */
  async thumbnails(sample) {
    const known = this.small.get(sample);
    if (known) return known;
    const shapes = this.manifest.sites.map((_, number) => this.shape(sample, number));
    const content = await this.opened(`thumbnails/${sample}`, (bytes) => decodedThumbnails(bytes, shapes));
    const [oldest] = this.small.keys();
    if (this.small.size >= MOST_SAMPLES) this.small.delete(oldest);
    this.small.set(sample, content);
    return content;
  }

  /**
   * Undefined before `thumbnails`, or where the site did not run.
   *
   * @param {number} sample
   * @param {number} site
   * @param {number} panel
   */
  thumbnail(sample, site, panel) {
    return this.small.get(sample)?.[site]?.[panel];
  }

  /**
   * Null where the site did not run on the sample.
   *
   * @param {number} sample
   * @param {number} site
   * @returns {Shape | null}
   */
  shape(sample, site) {
    const axes = this.manifest.axes[sample]?.[site];
    if (!axes) return null;
    const [rows, columns] = axes.map((number) => this.manifest.tokens[number].labels.length);
    return { rows, columns, panels: this.manifest.sites[site].panels.length };
  }

  /**
   * @param {number} sample
   * @param {number} site
   * @returns {SiteTokens}
   */
  tokens(sample, site) {
    const [queries, keys] = this.manifest.axes[sample]?.[site] ?? [];
    return { queries: this.tokenList(queries), keys: this.tokenList(keys) };
  }

  /**
   * @param {number | undefined} number
   * @returns {Tokens}
   */
  tokenList(number) {
    if (number === undefined) return NO_TOKENS;
    const { labels, invalid, segments, grid } = this.manifest.tokens[number];
    const tokens = this.named.get(number) ?? { labels, invalid: new Set(invalid), segments, grid: grid ?? null };
    this.named.set(number, tokens);
    return tokens;
  }

  /**
   * @param {MapRequest} request
   * @returns {Promise<AttentionMap>}
   */
  map({ sample, site, panel }) {
    if (!this.shape(sample, site)) {
      return Promise.reject(new Error("This site did not run on this sample. Choose another site or sample."));
    }
    const name = `map/${sample}/${site}/${typeof panel === "number" ? panel : JSON.stringify(panel)}`;
    return this.remembered(name, () => {
      if (typeof panel !== "number") return this.aggregate(sample, site, panel);
      if (this.manifest.detail !== "thumbnails") return this.opened(name, decodedMap);
      return this.thumbnails(sample).then((small) => mapOfThumbnail(/** @type {Thumbnail[]} */ (small[site])[panel]));
    });
  }

  /**
   * @param {number} sample
   * @param {number} site
   * @param {Exclude<PanelRequest, number>} panel
   */
  async aggregate(sample, site, panel) {
    const [[kind, panels]] = Object.entries(panel);
    const [first, ...others] = panels;
    const sum = new HeadAggregate(/** @type {Aggregate} */ (kind), await this.map({ sample, site, panel: first }));
    for (const number of others) sum.add(await this.map({ sample, site, panel: number }));
    const { queries } = this.tokens(sample, site);
    const all = queries.invalid.size === queries.labels.length;
    return sum.finished((row) => all || !queries.invalid.has(row));
  }

  /**
   * @param {MapRequest} a
   * @param {MapRequest} b
   */
  async difference(a, b) {
    const [first, second] = await Promise.all([a, b].map((request) => this.map(request)));
    const shapes = [first, second].map((map) => [map.rows, map.columns].join(" x "));
    if (shapes[0] !== shapes[1]) {
      throw new Error(`A has ${shapes[0]} cells and B has ${shapes[1]}, so they cannot be compared cell by cell. Choose two maps of the same size.`);
    }
    return new DifferenceMap(first, second);
  }

  /**
   * The picture that a sample is, as an ImageBitmap.
   *
   * @param {number} sample
   */
  async picture(sample) {
    const bytes = await this.source.block(`image/${sample}`);
    return createImageBitmap(new Blob([bytes], { type: "image/png" }));
  }

  /**
   * The relevance that is shown over the keys of a site on a sample, by each method for which they are the positions.
   *
   * @param {number} sample
   * @param {number} site
   * @returns {Promise<ShownRelevance[]>}
   */
  async relevance(sample, site) {
    const { keys } = this.tokens(sample, site);
    const rows = this.manifest.relevance.map((row, number) => ({ ...row, number, start: row.starts[sample][site] }));
    if (rows.every(({ start }) => start === null)) return [];
    const stored = await this.relevanceOf(sample);
    return rows.flatMap(({ words, count, maximum, number, start }) => {
      if (start === null) return [];
      const values = new Float32Array(keys.labels.length);
      const masked = new Uint8Array(keys.labels.length);
      values.set(stored[number].values, start);
      masked.set(stored[number].padding, start);
      return [{ words: words[sample], maximum, values, masked, within: /** @type {Span} */ ([start, start + count]) }];
    });
  }

  /**
   * @param {number} sample
   * @returns {Promise<{ values: Float32Array, padding: Uint8Array }[]>}
   */
  async relevanceOf(sample) {
    const known = this.relevances.get(sample);
    if (known) return known;
    const rows = await this.opened(`relevance/${sample}`, (bytes) => {
      let place = 0;
      return this.manifest.relevance.map(({ count }) => {
        const [start, end] = [place, place + 4 * count];
        place = end + count;
        return { values: new Float32Array(bytes.slice(start, end).buffer), padding: bytes.subarray(end, place) };
      });
    });
    const [oldest] = this.relevances.keys();
    if (this.relevances.size >= MOST_SAMPLES) this.relevances.delete(oldest);
    this.relevances.set(sample, rows);
    return rows;
  }

  /**
   * Largest weight of a panel, exactly; 0 while the thumbnails are not there.
   *
   * @param {number} sample
   * @param {number} site
   * @param {number} panel
   */
  largest(sample, site, panel) {
    return this.thumbnail(sample, site, panel)?.scale ?? 0;
  }

  /**
   * @template Content
   * @param {string} name
   * @param {(bytes: Uint8Array) => Content} decode
   * @returns {Promise<Content>}
   */
  async opened(name, decode) {
    try {
      return decode(await inflated(await this.source.block(name)));
    } catch (error) {
      throw new Error(`The block ${name} cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * @param {string} name
   * @param {() => Promise<AttentionMap>} make
   */
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

  /**
   * @param {string} name
   * @param {KeptMap} entry
   * @param {number} bytes
   */
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
