import "./measuring.js";
import { expect, test } from "vitest";
import { axisText, gutterWidth, labelStep, uprightLabels } from "../src/axes.js";

test("labels stand at round distances, so far apart that they can be read", () => {
  expect([20, 13, 12, 4, 1.7, 0.5, 0.02].map((size) => labelStep(size))).toEqual([1, 1, 2, 5, 10, 50, 1000]);
  for (let size = 0.01; size < 13; size *= 1.3) expect(labelStep(size) * size).toBeGreaterThanOrEqual(16);
});

test("where labels are left out, each says its position", () => {
  expect([axisText(["a", "1"], 0, 1), axisText(["a", "1"], 0, 5), axisText(["a", "1"], 1, 5)]).toEqual(["a", "0 a", "1"]);
});

test("a gutter has room for its longest label, within bounds", () => {
  expect(gutterWidth(["a", "b"], [0, 2], 1, 150)).toBe(50);
  expect(gutterWidth(["a", "b".repeat(10)], [0, 2], 1, 150)).toBe(65); // 10 letters of 5.5 pixels, and 10 beside them
  expect(gutterWidth(["a", "b".repeat(60)], [0, 2], 1, 150)).toBe(150);
  expect(gutterWidth(["a", "b".repeat(10)], [0, 1], 1, 150)).toBe(50); // what is not seen needs no room
});

test("labels of keys stand upright where all that are seen are narrower than their cells", () => {
  const plane = { cellWidth: 40, region: { x0: 0, x1: 2 } };
  expect(uprightLabels(plane, ["dog", "cat", "hippopotamus"])).toBe(true);
  expect(uprightLabels({ ...plane, region: { x0: 1, x1: 3 } }, ["dog", "cat", "hippopotamus"])).toBe(false);
  expect(uprightLabels({ ...plane, cellWidth: 27 }, ["a", "b"])).toBe(false);
});
