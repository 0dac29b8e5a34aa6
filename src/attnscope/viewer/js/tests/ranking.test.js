import { describe, expect, test } from "vitest";
import { noteOf, rankedWeights } from "../src/ranking.js";
import { directionFrom, shownWeights, strongestAcross } from "../src/shown.js";
import { plainMap } from "./maps.js";

const map = plainMap(3, 2, [0.5, 0.25, 0.125, 0.75, 0.25, 0], [1, 1, 1, 1, 1, 254]);
const tokens = { queries: { labels: ["a", "b", "c"], invalid: new Set() }, keys: { labels: ["x", "y"], invalid: new Set([1]) } };
const how = { tokens, maximum: 0.8, window: { rows: [0, 2], columns: [1, 2] } };

describe("the strongest weights", () => {
  test("of a query are those of its keys", () => {
    expect(rankedWeights(map, 1, "from", 8)).toEqual([{ place: 1, value: 0.75 }, { place: 0, value: 0.125 }]);
    expect(rankedWeights(map, 1, "from", 1)).toEqual([{ place: 1, value: 0.75 }]);
  });

  test("of a key are those of its queries", () => {
    expect(rankedWeights(map, 0, "to", 8)).toEqual([{ place: 0, value: 0.5 }, { place: 2, value: 0.25 }, { place: 1, value: 0.125 }]);
  });

  test("are said to be unknown, missing, or only some", () => {
    const pooled = { known: "strongest", pooled: true };
    expect(noteOf({ known: "none" }, 0, "from", 0, "row")).toBe("Individual weights are not known here: each colour stands for a whole block.");
    expect(noteOf(map, -1, "from", 0, "row")).toBe("Point at a row, or click to pin it.");
    expect(noteOf(map, 0, "from", 0, "row")).toBe("Nothing: every weight is 0 or masked.");
    expect(noteOf(pooled, 0, "to", 3, "row")).toBe("Only queries with this key among their eight strongest are listed.");
    expect([noteOf(pooled, 0, "from", 3, "row"), noteOf(map, 0, "to", 3, "row")]).toEqual(["", ""]);
  });

  test("are found across from a pinned token", () => {
    expect(strongestAcross(map, { side: "query", place: 1 })).toEqual({ place: 1, cell: map.at(1, 1) });
    expect(strongestAcross(map, { side: "key", place: 0 })).toEqual({ place: 0, cell: map.at(0, 0) });
    expect([directionFrom("query"), directionFrom("key")]).toEqual(["from", "to"]);
  });
});

describe("tokens are coloured", () => {
  test("by what a query gives them", () => {
    const shown = shownWeights(map, { side: "query", place: 1 }, how);
    expect([shown.side, [...shown.weights], shown.maximum, shown.within, shown.received]).toEqual(["key", [0.125, 0.75], 0.8, [1, 2], false]);
  });

  test("by what a key gets from them", () => {
    const shown = shownWeights(map, { side: "key", place: 1 }, how);
    expect([shown.side, [...shown.weights], [...shown.masked], shown.within]).toEqual(["query", [0.25, 0.75, 0], [0, 0, 1], [0, 2]]);
  });

  test("by what each key receives, where no token is looked at", () => {
    const received = plainMap(3, 2, [0, 0, 0, 0, 0, 0]);
    received.received.set([0.61, 0]);
    const shown = shownWeights(received, null, how);
    expect([shown.side, [...shown.masked], shown.maximum, shown.received, shown.unknown]).toEqual(["key", [0, 1], 0.8, true, false]);
  });

  test("by nothing where what keys receive is not known", () => {
    const blocks = plainMap(3, 2, [0, 0, 0, 0, 0, 0]);
    blocks.known = "none";
    blocks.received.fill(NaN);
    expect(shownWeights(blocks, null, how).unknown).toBe(true);
  });
});
