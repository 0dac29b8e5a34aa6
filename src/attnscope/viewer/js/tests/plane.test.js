import { describe, expect, test } from "vitest";
import { Plane, boxedRegion, pannedRegion, planeSize, regionAround, wholeRegion, zoomedRegion } from "../src/plane.js";

const whole = { x0: 0, x1: 13, y0: 0, y1: 7 };

test("a window is a region", () => {
  expect(wholeRegion({ rows: [2, 7], columns: [3, 11] })).toEqual({ x0: 3, x1: 11, y0: 2, y1: 7 });
});

describe("zooming", () => {
  test("keeps the point under the pointer where it is", () => {
    const { x0, x1, y0, y1 } = zoomedRegion(whole, whole, 2, 4, 3);
    expect([x1 - x0, y1 - y0]).toEqual([6.5, 3.5]);
    expect((4 - x0) / (x1 - x0)).toBeCloseTo(4 / 13, 12);
    expect((3 - y0) / (y1 - y0)).toBeCloseTo(3 / 7, 12);
  });

  test("shows two cells at the least, and the whole map at the most", () => {
    const near = zoomedRegion(whole, whole, 100, 12, 6);
    expect([near.x1 - near.x0, near.y1 - near.y0]).toEqual([2, 2]);
    expect(zoomedRegion(near, whole, 0.001, 12, 6)).toEqual(whole);
  });
});

test("a region is moved as far as the map goes", () => {
  const region = { x0: 2, x1: 5, y0: 1, y1: 3 };
  expect(pannedRegion(region, whole, 4, -9)).toEqual({ x0: 6, x1: 9, y0: 0, y1: 2 });
  expect(pannedRegion(region, whole, 99, 99)).toEqual({ x0: 10, x1: 13, y0: 5, y1: 7 });
});

test("a box is grown to whole cells, whichever corner it is drawn from", () => {
  const expected = { x0: 2, x1: 5, y0: 1, y1: 4 };
  expect(boxedRegion(whole, { column: 2.3, row: 1.9 }, { column: 4.1, row: 3.5 })).toEqual(expected);
  expect(boxedRegion(whole, { column: 4.1, row: 3.5 }, { column: 2.3, row: 1.9 })).toEqual(expected);
  expect(boxedRegion(whole, { column: 3.1, row: 2.1 }, { column: 3.2, row: 2.2 })).toEqual({ x0: 3, x1: 5, y0: 2, y1: 4 });
});

test("a cell that is not seen is moved to, by as little as it takes", () => {
  const region = { x0: 2, x1: 5, y0: 1, y1: 3 };
  expect(regionAround(region, whole, 2, 4)).toEqual(region);
  expect(regionAround(region, whole, 5, 1)).toEqual({ x0: 1, x1: 4, y0: 4, y1: 6 });
  expect(regionAround(region, whole, -1, 9)).toEqual({ x0: 7, x1: 10, y0: 1, y1: 3 });
});

test("a plane finds the cell that it placed", () => {
  const plane = new Plane({ left: 50, top: 30, width: 130, height: 140, right: 200 }, whole);
  expect([plane.cellWidth, plane.cellHeight, plane.bottom]).toEqual([10, 20, 170]);
  for (let row = 0; row < 7; row += 1) {
    for (let column = 0; column < 13; column += 1) {
      expect(plane.cellAt(plane.xOf(column) + 0.01, plane.yOf(row) + 19.9)).toEqual({ row, column });
    }
  }
  expect(plane.cellAt(10, 40)).toEqual({ row: 0, column: -1 });
  expect(plane.cellAt(55, 10)).toEqual({ row: -1, column: 0 });
  expect([plane.contains(6, 12), plane.contains(7, 0), plane.contains(0, 13)]).toEqual([true, false, false]);
});

test("cells are square, and of whole dots where they are small", () => {
  expect(planeSize(7, 13, { width: 650, height: 700, ratio: 1 })).toEqual({ width: 650, height: 350 });
  expect(planeSize(200, 300, { width: 650, height: 700, ratio: 1 })).toEqual({ width: 600, height: 400 });
  expect(planeSize(1, 300, { width: 650, height: 700, ratio: 1 })).toEqual({ width: 600, height: 26 });
});
