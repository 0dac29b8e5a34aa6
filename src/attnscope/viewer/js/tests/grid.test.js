import "./measuring.js";
import { describe, expect, test } from "vitest";
import { neighbourCell, overviewLayout, sizeOf } from "../src/grid.js";
import { smallManifest } from "./blocks.js";
import { smallParts } from "./parts.js";

// Sites of 12, 5 and 1 heads, with maps of 5 x 5, 3 x 5 and 2 x 5 cells.
function layoutOf({ width = 1000, state = {}, manifest = smallManifest() } = {}) {
  manifest.sites[0].panels = Array.from({ length: 12 }, (_, head) => `head ${head}`);
  manifest.sites[1].panels = Array.from({ length: 5 }, (_, head) => `head ${head}`);
  return overviewLayout(smallParts({ manifest, state }), [0, 1, 2], width);
}

const overlap = (one, other) => one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;

describe("the overview", () => {
  test.each([320, 619, 620, 1000, 2500])("has every head once and none on another, %i pixels wide", (width) => {
    const { cells, height } = layoutOf({ width });
    expect(cells.filter(({ panel }) => panel === "max").map(({ site }) => site)).toEqual([0, 1]);
    for (const [site, count] of [[0, 12], [1, 5], [2, 1]]) {
      const heads = cells.filter((cell) => cell.site === site && typeof cell.panel === "number").map(({ panel }) => panel);
      expect(heads).toEqual([...Array(count).keys()]);
    }
    cells.forEach((cell, number) => {
      expect(cell.x).toBeGreaterThanOrEqual(0);
      expect([cell.x + cell.width <= width, cell.y + cell.height <= height]).toEqual([true, true]);
      for (const other of cells.slice(number + 1)) expect(overlap(cell, other)).toBe(false);
    });
  });

  test("has a column of means where they are asked for", () => {
    const panels = layoutOf({ state: { means: true } }).cells.filter(({ site }) => site === 1).map(({ panel, column }) => [panel, column]);
    expect(panels).toEqual([["max", 0], ["mean", 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6]]);
  });

  test("gives a thumbnail the shape of its map", () => {
    const { cells } = layoutOf();
    const [square, wide] = [0, 1].map((site) => cells.find((cell) => cell.site === site));
    expect(square.width).toBe(square.height);
    expect(wide.height).toBe(Math.round((wide.width * 3) / 5));
  });

  test("names sites beside their heads, or above them where it is narrow", () => {
    const wide = layoutOf().groups;
    expect(wide.map(({ name, under, align }) => [name, under, align])).toEqual([
      ["mha", "MultiHeadAttention, 12 heads, 5 tokens", "right"],
      ["cross", "MultiHeadAttention, 5 heads, 3 features x 5 tokens", "right"],
      ["pool", "", "right"], // its map is too low for a second line
    ]);
    expect(layoutOf({ width: 400 }).groups.map(({ under, align }) => [under, align])).toEqual([["", "left"], ["", "left"], ["", "left"]]);
  });

  test("leaves out of long names what all of them begin and end with", () => {
    const manifest = smallManifest();
    const path = (part) => `a_very_long_name_of_a_model/transformer/${part}/self_attention`;
    manifest.sites.forEach((site, number) => {
      site.short = path(`layer_${number}`);
    });
    expect(layoutOf({ manifest }).groups.map(({ name }) => name)).toEqual(["layer_0", "layer_1", "layer_2"]);
  });

  test.each([
    [5, 5, ["tokens", "tokens"], "5 tokens"],
    [1, 1, ["patches", "patches"], "1 patch"],
    [3, 5, ["steps", "steps"], "3 x 5 steps"],
    [5, 5, ["tokens", "patches"], "5 tokens x 5 patches"],
    [1, 4, ["positions", "features"], "1 position x 4 features"],
  ])("counts %i x %i of %o in their own units", (rows, columns, units, said) => expect(sizeOf(rows, columns, units)).toBe(said));

  test("numbers its columns where each has one head of a site", () => {
    expect(layoutOf().labels.map(({ text }) => text)).toEqual(["max", ...Array.from({ length: 12 }, (_, head) => String(head))]);
    expect(layoutOf({ width: 320 }).labels).toEqual([]);
  });
});

describe("an arrow key leads", () => {
  const { cells } = layoutOf();
  const cell = (site, panel) => cells.find((each) => each.site === site && each.panel === panel);

  test.each([
    [0, 3, "ArrowRight", 0, 4],
    [0, 3, "ArrowLeft", 0, 2],
    [0, 0, "ArrowLeft", 0, "max"],
    [0, "max", "ArrowLeft", 0, "max"],
    [0, 11, "ArrowRight", 1, "max"],
    [0, 3, "ArrowDown", 1, 3],
    [0, 9, "ArrowDown", 1, 4],
    [1, 2, "ArrowUp", 0, 2],
    [0, 2, "ArrowUp", 0, 2],
    [1, 3, "Home", 1, "max"],
    [1, 3, "End", 1, 4],
  ])("from site %i, %s by %s to site %i, %s", (site, panel, key, nextSite, next) => {
    expect(neighbourCell(cells, cell(site, panel), key)).toBe(cell(nextSite, next));
  });
});
