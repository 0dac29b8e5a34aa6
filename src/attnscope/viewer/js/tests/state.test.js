import { describe, expect, test } from "vitest";
import { changedState, defaultState, hashOfState, panelRequest, rampNames, segmentRanges, segmentWindow, shownSites, stateOfHash, validState } from "../src/state.js";
import { smallManifest } from "./blocks.js";

const manifest = smallManifest();

describe("a link", () => {
  test("says nothing of what is as usual", () => {
    expect(hashOfState(manifest, defaultState(manifest))).toBe("");
    expect(stateOfHash(manifest, "")).toEqual(defaultState(manifest));
  });

  test("brings back everything that it was made of", () => {
    const state = validState(manifest, {
      ...defaultState(manifest),
      view: "matrix",
      site: 1,
      panel: "mean",
      heads: [0],
      query: 2,
      key: 4,
      direction: "to",
      scale: "log",
      range: "head",
      ramp: "Greys",
      theme: "dark",
      zoom: { x0: 0.5, x1: 3.25, y0: 0, y1: 2 },
      search: "a & b=c#%",
      role: "cross",
      means: true,
      a: { sample: 0, site: 0, panel: 2 },
      b: { sample: 1, site: 1, panel: "max" },
      overlay: "colour",
      strength: 40,
    });
    const link = hashOfState(manifest, state);
    expect(link).toBe(
      "view=matrix&site=1&panel=mean&heads=0&query=2&key=4&direction=to&scale=log&range=head&ramp=Greys&theme=dark" +
        "&zoom=0.5_3.25_0_2&search=a%20%26%20b%3Dc%23%25&role=cross&means=yes&a=0.0.2&b=1.1.max&overlay=colour&strength=40",
    );
    expect(stateOfHash(manifest, `#${link}`)).toEqual(state);
  });

  test.each(["sample=7", "sample=-1", "sample=1e0", "view=__proto__", "toString=1", "query=%", "zoom=1_0_0_1", "heads=a.b", "segments=9-9", "b=0", "strength=101"])(
    "that says %s is as usual",
    (hash) => expect(stateOfHash(manifest, hash)).toEqual(defaultState(manifest)),
  );
});

describe("a state is of what there is", () => {
  test("a site that did not run on the sample gives way to one that did", () => {
    expect(validState(manifest, { sample: 1, site: 2 }).site).toBe(0);
    expect(validState(manifest, { sample: 0, site: 2 }).site).toBe(2);
  });

  test("chosen heads are those of the site, each once and in order; all of them are none in particular", () => {
    expect(validState(manifest, { heads: [2, 0, 2, 9, -1, "1"] }).heads).toEqual([0, 2]);
    expect(validState(manifest, { heads: [0, 1, 2] }).heads).toEqual([]);
  });

  test("there is no mean of a single head", () => {
    expect(validState(manifest, { site: 2, panel: "mean" }).panel).toBe(0);
    expect(validState(manifest, { site: 1, panel: "mean" }).panel).toBe("mean");
  });

  test("a zoom of everything is none", () => {
    expect(validState(manifest, { zoom: { x0: 0, x1: 5, y0: 0, y1: 5 } }).zoom).toBeNull();
    expect(validState(manifest, { zoom: { x0: 0, x1: 6, y0: 0, y1: 5 } }).zoom).toBeNull();
    expect(validState(manifest, { zoom: { x0: 0.12345, x1: 3, y0: 1, y1: 2 } }).zoom).toEqual({ x0: 0.123, x1: 3, y0: 1, y1: 2 });
  });

  test("half of a surrogate pair, which no link can hold, is replaced", () => {
    expect(validState(manifest, { search: "a\ud83d" }).search).toBe("a\ufffd");
    expect(validState(manifest, { search: "a".repeat(300) }).search).toHaveLength(200);
  });
});

describe("a change", () => {
  const pinned = validState(manifest, { query: 3, key: 1, zoom: { x0: 1, x1: 3, y0: 0, y1: 4 }, heads: [1], segments: "0-1" });

  test("to the same tokens keeps what is pinned and zoomed", () => {
    expect(changedState(manifest, pinned, { panel: 2 })).toEqual({ ...pinned, panel: 2 });
  });

  test("to other tokens does not", () => {
    const next = changedState(manifest, pinned, { sample: 1 });
    expect([next.query, next.key, next.zoom, next.segments, next.heads]).toEqual([-1, -1, null, "all", [1]]);
  });

  test("to other tokens may say what is pinned", () => {
    expect(changedState(manifest, pinned, { sample: 1, query: 2 }).query).toBe(2);
  });

  test("to a site of other heads forgets the chosen ones", () => {
    expect(changedState(manifest, pinned, { site: 1 }).heads).toEqual([]);
  });
});

test("a request names the heads that an aggregate is over", () => {
  const state = { site: 0, heads: [], panel: "mean" };
  expect(panelRequest(manifest, { ...state, panel: 2 })).toBe(2);
  expect(panelRequest(manifest, state)).toEqual({ mean: [0, 1, 2] });
  expect(panelRequest(manifest, { ...state, heads: [0, 2] })).toEqual({ mean: [0, 2] });
});

test("the last of at most six sentences holds all that follows", () => {
  const tokens = { labels: new Array(20).fill("x"), segments: [0, 2, 4, 6, 8, 10, 12, 14] };
  expect(segmentRanges(tokens)).toEqual([[0, 2], [2, 4], [4, 6], [6, 8], [8, 10], [10, 20]]);
});

test("chosen sentences are a window of queries and keys", () => {
  const [queries, keys] = [{ labels: new Array(7), segments: [0, 3] }, { labels: new Array(11), segments: [0, 2, 5] }];
  expect(segmentWindow({ queries, keys }, "all")).toEqual({ rows: [0, 7], columns: [0, 11] });
  expect(segmentWindow({ queries, keys }, "1-2")).toEqual({ rows: [3, 7], columns: [5, 11] });
});

test("sites of a kind are those that ran on the sample", () => {
  expect(shownSites(manifest, { sample: 0, role: "all" })).toEqual([0, 1, 2]);
  expect(shownSites(manifest, { sample: 1, role: "all" })).toEqual([0, 1]);
  expect(shownSites(manifest, { sample: 0, role: "cross" })).toEqual([1]);
});

test("ramps of two arms are not chosen", () => {
  expect(rampNames(manifest)).toEqual(["Blues", "Greys"]);
});
