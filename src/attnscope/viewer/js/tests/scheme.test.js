import { describe, expect, test } from "vitest";
import { ColourScheme } from "../src/scheme.js";
import { smallManifest } from "./blocks.js";
import { plainMap } from "./maps.js";
import { smallParts } from "./parts.js";

const LEVELS = Array.from({ length: 768 }, (_, place) => Math.floor(place / 3));

function schemeOf(state = {}) {
  const text = btoa(String.fromCharCode(...LEVELS));
  const parts = smallParts({ manifest: { ...smallManifest(), ramps: { Blues: text, diverging: text, "diverging-dark": text } }, state });
  const thumbnails = [[0.52, 0.31, 0.12], [0.2, 0.71], [1]].map((site) => site.map((scale) => ({ scale })));
  parts.store.small.set(0, thumbnails);
  return { ...parts, colours: new ColourScheme(parts.selection, false) };
}

describe("the scale ends", () => {
  test.each([
    ["one", 0, 1],
    ["all", 0, 1],
    ["site", 0, 0.6], // 0.52, rounded up
    ["site", 1, 0.8],
    ["head", 0, 0.52],
  ])("%s, of site %i: at %f", (range, site, end) => expect(schemeOf({ range, site }).colours.maximum(null)).toBe(end));

  test("at the largest weight of the map that is drawn", () => {
    expect(schemeOf({ range: "head" }).colours.maximum(plainMap(1, 2, [0.25, 0.125]))).toBe(0.25);
    expect(schemeOf({ range: "head" }).colours.maximum(plainMap(1, 2, [0, 0]))).toBe(1);
  });
});

describe("tables of colours", () => {
  test("are made anew only when something about them has changed", () => {
    const { colours, selection } = schemeOf();
    const { colouring } = colours;
    selection.set({ query: 1 });
    expect([colours.use(false), colours.colouring === colouring]).toEqual([false, true]);
    selection.set({ scale: "linear" });
    expect([colours.use(false), colours.colouring === colouring]).toEqual([true, false]);
    expect([colours.use(true), colours.palette.dark, colours.use(true)]).toEqual([true, true, false]);
  });

  test("begin at the colour next to the page", () => {
    const { colours } = schemeOf({ scale: "linear" });
    expect([colours.of(0, 1), colours.of(1, 1), colours.ofDifference(-1, 1)]).toEqual([[0, 0, 0], [255, 255, 255], [0, 0, 0]]);
    colours.use(true);
    expect([colours.of(0, 1), colours.of(1, 1), colours.ofDifference(-1, 1)]).toEqual([[255, 255, 255], [0, 0, 0], [0, 0, 0]]);
  });
});
