import { describe, expect, test } from "vitest";
import { differingLabels, endOfScale, extremeCells, factsOf, usualOther } from "../src/compare.js";
import { labelSaid } from "../src/matrix.js";
import { smallManifest } from "./blocks.js";
import { plainMap } from "./maps.js";

describe("what is compared unless somebody chooses", () => {
  test("is the same site of the next run", () => {
    const manifest = smallManifest();
    manifest.sites.push({ ...manifest.sites[0], run: 1, panels: ["head 0"] });
    for (const axes of manifest.axes) axes.push(axes[0]);
    expect(usualOther(manifest, { sample: 0, site: 0, panel: 2 })).toEqual({ sample: 0, site: 3, panel: 0 });
    expect(usualOther(manifest, { sample: 0, site: 3, panel: 0 })).toEqual({ sample: 0, site: 0, panel: 0 });
  });

  test("or the site of the same short name, where the paths of the runs differ", () => {
    const manifest = smallManifest();
    manifest.sites.push({ ...manifest.sites[1], run: 1, name: "second/cross" }, { ...manifest.sites[0], run: 1, name: "second/mha" });
    for (const axes of manifest.axes) axes.push(axes[0], axes[0]);
    expect(usualOther(manifest, { sample: 0, site: 0, panel: 1 })).toEqual({ sample: 0, site: 4, panel: 1 });
  });

  test("else the next head", () => {
    expect(usualOther(smallManifest(), { sample: 1, site: 0, panel: 2 })).toEqual({ sample: 1, site: 0, panel: 0 });
    expect(usualOther(smallManifest(), { sample: 1, site: 0, panel: "mean" })).toEqual({ sample: 1, site: 0, panel: 0 });
  });

  test("else a site of the same tokens, else another sample", () => {
    const manifest = smallManifest();
    for (const site of manifest.sites) site.panels = [""];
    expect(usualOther(manifest, { sample: 1, site: 0, panel: 0 })).toEqual({ sample: 1, site: 1, panel: 0 });
    expect(usualOther(manifest, { sample: 0, site: 0, panel: 0 })).toEqual({ sample: 1, site: 0, panel: 0 });
  });
});

test("each side says its own run, path, label and output", () => {
  const manifest = smallManifest();
  manifest.runs = ["before", "after"];
  manifest.sites.push({ ...manifest.sites[2], run: 1, name: "pool", short: "pool" });
  manifest.samples[1].runs = [{ input: "a text", output: "0.25", label: "cat" }, { input: "a text", output: "0.75", label: null }];
  expect(factsOf(manifest, { sample: 1, site: 0, panel: 0 })).toEqual([["run", "before"], ["path", "encoder/mha"], ["label", "cat"], ["output", "0.25"]]);
  expect(factsOf(manifest, { sample: 1, site: 3, panel: 0 })).toEqual([["run", "after"], ["output", "0.75"]]);
  expect(factsOf(smallManifest(), { sample: 0, site: 2, panel: 0 })).toEqual([]);
});

test("a label that is another in B is said with that of B", () => {
  const [own, others] = [{ labels: ["a", "b"] }, { labels: ["a", "c"] }];
  const said = (text) => text.replace(/[\u2068\u2069]/g, "");
  expect([said(labelSaid(own, others, 0)), said(labelSaid(own, others, 1)), said(labelSaid(own, undefined, 1))]).toEqual(["“a”", "“b” (in B “c”)", "“b”"]);
});

test("the scale ends where no difference is beyond it: B may be of a sample with larger weights", () => {
  const map = plainMap(1, 3, [0.125, -0.875, 0]);
  expect([endOfScale(map, 1), endOfScale(map, 0.2)]).toEqual([1, 1]);
  expect(endOfScale(plainMap(1, 2, [0.125, -0.45]), 0.2)).toBe(0.5);
});

test("labels differ at so many positions, or are of two lengths", () => {
  const [one, two] = [{ labels: ["a", "b", "c"] }, { labels: ["a", "x", "y"] }];
  expect([differingLabels(one, one), differingLabels(one, two), differingLabels(one, { labels: ["a"] })]).toEqual([0, 2, null]);
});

test("the extreme cells are the largest and the smallest difference of what is shown", () => {
  const map = plainMap(2, 3, [0.25, -0.5, 0, 0.75, -0.125, -0.875], [1, 1, 0, 1, 1, 254]);
  expect(extremeCells(map, { rows: [0, 2], columns: [0, 3] })).toEqual({
    more: { row: 1, column: 0, value: 0.75 },
    less: { row: 0, column: 1, value: -0.5 },
  });
  expect(extremeCells(map, { rows: [0, 1], columns: [2, 3] })).toEqual({ more: null, less: null });
});
