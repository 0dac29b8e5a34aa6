import { deflateRawSync } from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import { Store, bytesOfBase64, canInflate } from "../src/data.js";
import { signedNumber } from "../src/relevance.js";
import { mapBlock, smallManifest, thumbnailBlock } from "./blocks.js";

const EXACT = 253;

function mapOf(rows, columns, code) {
  return mapBlock({ rows, columns, received: new Array(columns).fill(0), scale: new Array(rows).fill(0.5), levels: new Array(rows).fill(20), codes: new Array(rows * columns).fill(code) });
}

// A source of blocks that counts how often each is asked for.
function sourceOf(blocks) {
  return { block: vi.fn(async (name) => {
    if (!(name in blocks)) throw new Error("no such block");
    return new Uint8Array(deflateRawSync(blocks[name]));
  }) };
}

function smallStore(more = {}) {
  const thumbnails = thumbnailBlock([
    ...[0.5, 0.25, 0.125].map((scale) => ({ scale, codes: new Array(25).fill(63) })),
    ...[0.5, 0.75].map((scale) => ({ scale, codes: new Array(15).fill(63) })),
    { scale: 1, codes: new Array(10).fill(63) },
  ]);
  const source = sourceOf({ "thumbnails/0": thumbnails, "map/0/0/0": mapOf(5, 5, 20), "map/0/0/1": mapOf(5, 5, 10), "map/0/0/2": mapOf(5, 5, 0), "map/0/1/0": mapOf(3, 5, 20), ...more });
  return { source, store: new Store(smallManifest(), source) };
}

test("blocks can be inflated here", () => expect(canInflate()).toBe(true));

test("base64 becomes bytes", () => expect([...bytesOfBase64("AAECg/8=")]).toEqual([0, 1, 2, 131, 255]));

describe("a store", () => {
  test("knows shapes and labels without asking for a block", () => {
    const { store, source } = smallStore();
    expect(store.shape(0, 1)).toEqual({ rows: 3, columns: 5, panels: 2 });
    expect(store.shape(1, 2)).toBeNull();
    const { queries, keys } = store.tokens(0, 1);
    expect([queries.labels, keys.labels, [...keys.invalid]]).toEqual([["le", "chat", "noir"], ["the", "dog", "saw", "the", "cat"], [4]]);
    expect(store.tokens(0, 0).queries).toBe(store.tokens(0, 0).keys); // one text that attends to itself
    expect(store.tokens(1, 2)).toEqual({ queries: { labels: [], invalid: new Set(), segments: [0], grid: null }, keys: { labels: [], invalid: new Set(), segments: [0], grid: null } });
    expect(source.block).not.toHaveBeenCalled();
  });

  test("asks for each block once", async () => {
    const { store, source } = smallStore();
    const [first, again] = await Promise.all([store.map({ sample: 0, site: 0, panel: 0 }), store.map({ sample: 0, site: 0, panel: 0 })]);
    expect(again).toBe(first);
    expect(await store.map({ sample: 0, site: 0, panel: 0 })).toBe(first);
    expect(source.block).toHaveBeenCalledTimes(1);
    expect(first.values[0]).toBe(0.5);
  });

  test("knows the largest weight of a head from its thumbnail", async () => {
    const { store } = smallStore();
    expect(store.largest(0, 0, 1)).toBe(0);
    await store.thumbnails(0);
    expect([store.largest(0, 0, 1), store.largest(0, 1, 1), store.largest(0, 2, 0)]).toEqual([0.25, 0.75, 1]);
  });

  test("computes the mean of the chosen heads", async () => {
    const { store } = smallStore();
    const mean = await store.map({ sample: 0, site: 0, panel: { mean: [0, 1] } });
    expect(mean.values[7]).toBe((0.5 + 0.125) / 2);
    const largest = await store.map({ sample: 0, site: 0, panel: { max: [1, 2] } });
    expect(largest.values[7]).toBe(0.125);
  });

  test("compares maps of one shape alone", async () => {
    const { store } = smallStore();
    const map = await store.difference({ sample: 0, site: 0, panel: 0 }, { sample: 0, site: 0, panel: 1 });
    expect(map.values[3]).toBe(0.375);
    await expect(store.difference({ sample: 0, site: 0, panel: 0 }, { sample: 0, site: 1, panel: 0 })).rejects.toThrow(
      new Error("A has 5 x 5 cells and B has 3 x 5, so they cannot be compared cell by cell. Choose two maps of the same size."),
    );
  });

  test("says which block cannot be read, and asks again the next time", async () => {
    const { store, source } = smallStore();
    for (let time = 0; time < 2; time += 1) {
      await expect(store.map({ sample: 0, site: 1, panel: 1 })).rejects.toThrow(new Error("The block map/0/1/1 cannot be read: no such block"));
    }
    expect(source.block).toHaveBeenCalledTimes(2);
    await expect(store.map({ sample: 1, site: 2, panel: 0 })).rejects.toThrow(new Error("This site did not run on this sample. Choose another site or sample."));
  });

  test("tells of a block that was cut short", async () => {
    const { store } = smallStore({ "map/0/1/0": mapOf(3, 5, EXACT).slice(0, -2) });
    await expect(store.map({ sample: 0, site: 1, panel: 0 })).rejects.toThrow(new Error("The block map/0/1/0 cannot be read: it ends too early."));
  });

  test("keeps 64 MiB of maps, those that were used last", async () => {
    const size = 1900; // 18 MB each
    const manifest = smallManifest();
    manifest.tokens[0] = { ...manifest.tokens[0], labels: new Array(size).fill("x") };
    manifest.sites[0].panels = ["a", "b", "c", "d", "e"];
    const block = mapOf(size, size, 20);
    const source = sourceOf(Object.fromEntries([0, 1, 2, 3, 4].map((panel) => [`map/0/0/${panel}`, block])));
    const store = new Store(manifest, source);
    for (const panel of [0, 1, 2, 0, 3]) await store.map({ sample: 0, site: 0, panel });
    expect(source.block).toHaveBeenCalledTimes(4);
    await store.map({ sample: 0, site: 0, panel: 0 }); // was used after 1, so 1 has gone
    expect(source.block).toHaveBeenCalledTimes(4);
    await store.map({ sample: 0, site: 0, panel: 1 });
    expect(source.block).toHaveBeenCalledTimes(5);
  });

  test("of a file of thumbnails draws maps from them", async () => {
    const { source } = smallStore();
    const store = new Store({ ...smallManifest(), detail: "thumbnails" }, source);
    const map = await store.map({ sample: 0, site: 0, panel: 1 });
    expect([map.known, map.values[0], map.rows]).toEqual(["none", 0.25, 5]);
  });
});

describe("relevance", () => {
  const row = { words: ["one", "two"], count: 3, maximum: 0.5, starts: [[1, null, null], [0, 0, null]] };
  const other = { words: ["three", "four"], count: 1, maximum: 2, starts: [[null, null, null], [2, null, null]] };
  const bytes = (...parts) => Uint8Array.from(parts.flatMap((part) => [...new Uint8Array(part.buffer)]));
  const blocks = {
    "relevance/0": bytes(Float32Array.of(0.5, -0.25, 0), Uint8Array.of(0, 0, 1), Float32Array.of(2), Uint8Array.of(0)),
    "relevance/1": bytes(Float32Array.of(0.125, NaN, 0.25), Uint8Array.of(0, 0, 0), Float32Array.of(-2), Uint8Array.of(0)),
  };
  const storeOf = () => {
    const source = sourceOf(blocks);
    return { source, store: new Store({ ...smallManifest(), relevance: [row, other] }, source) };
  };

  test("stands over the keys that it is of", async () => {
    const { store } = storeOf();
    expect(await store.relevance(0, 0)).toEqual([
      { words: "one", maximum: 0.5, values: Float32Array.of(0, 0.5, -0.25, 0, 0), masked: Uint8Array.of(0, 0, 0, 1, 0), within: [1, 4] },
    ]);
    expect(await store.relevance(1, 0)).toEqual([
      { words: "two", maximum: 0.5, values: Float32Array.of(0.125, NaN, 0.25), masked: new Uint8Array(3), within: [0, 3] },
      { words: "four", maximum: 2, values: Float32Array.of(0, 0, -2), masked: new Uint8Array(3), within: [2, 3] },
    ]);
  });

  test("is asked for once, and only where there is some", async () => {
    const { store, source } = storeOf();
    expect(await store.relevance(0, 1)).toEqual([]);
    expect(source.block).not.toHaveBeenCalled();
    await store.relevance(0, 0);
    await store.relevance(0, 0);
    expect(source.block).toHaveBeenCalledTimes(1);
  });
});

test.each([[0.4, "+0.400"], [-0.25, "−0.250"], [0, "0"]])("%d is written with its sign", (value, text) => expect(signedNumber(value)).toBe(text));
