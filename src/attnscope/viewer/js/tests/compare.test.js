import { describe, expect, test } from "vitest";
import { differingLabels, extremeCells, usualOther } from "../src/compare.js";
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
