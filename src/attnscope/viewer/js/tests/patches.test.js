import "./measuring.js";
import { describe, expect, test } from "vitest";
import { PatchGrid, patchBox, pictureLayout } from "../src/patches.js";

describe("patches", () => {
  const grid = new PatchGrid([2, 3, 1], 8); // a class token, six patches, and one position behind them

  test("begin behind the class token", () => {
    expect([grid.holds(0), grid.holds(1), grid.holds(6), grid.holds(7)]).toEqual([false, true, true, false]);
    expect(grid.special).toEqual([0, 7]);
    for (let place = 1; place < 7; place += 1) {
      const { row, column } = grid.cellOf(place);
      expect(grid.placeOf(row, column)).toBe(place);
    }
    expect(grid.cellOf(6)).toEqual({ row: 1, column: 2 });
  });

  test.each([
    [-1, "ArrowDown", 1],
    [1, "ArrowRight", 2],
    [3, "ArrowRight", 3],
    [1, "ArrowDown", 4],
    [4, "ArrowDown", 4],
    [2, "ArrowUp", 7],
    [1, "ArrowUp", 0],
    [0, "ArrowRight", 7],
    [0, "ArrowLeft", 0],
    [7, "ArrowDown", 1],
  ])("from %i, %s leads to %i", (place, key, next) => expect(grid.neighbour(place, key)).toBe(next));
});

test("weights stand beside the picture where there is room", () => {
  const given = { mostHeight: 400, ratio: 1.5, special: [0], labels: ["CLS"], columns: 7, coloured: true };
  const wide = pictureLayout({ ...given, width: 800 });
  expect(wide.panels).toEqual([{ x: 0, y: 52, width: 390, height: 260 }, { x: 410, y: 52, width: 390, height: 260 }]);
  expect(wide.chips).toEqual([{ place: 0, x: 0, y: 0, width: 34, height: 23 }]);
  expect(pictureLayout({ ...given, width: 500 }).panels).toHaveLength(1);
  expect(pictureLayout({ ...given, width: 800, coloured: false }).panels).toHaveLength(1);
});

test("a patch is its share of the panel", () => {
  const grid = new PatchGrid([2, 3, 1], 8);
  expect(patchBox({ x: 10, y: 20, width: 300, height: 100 }, grid, 6)).toEqual({ x: 210, y: 70, width: 100, height: 50 });
});
