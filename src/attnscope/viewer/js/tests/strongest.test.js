import { describe, expect, test } from "vitest";
import { decodedMap } from "../src/attention.js";
import { strongestCells, strongestPlaces, weightsOfToken } from "../src/strongest.js";
import { mapBlock } from "./blocks.js";
import { plainMap, randomNumbers } from "./maps.js";

describe("the strongest cells", () => {
  const random = randomNumbers(7);
  const [rows, columns] = [31, 47];
  const map = plainMap(rows, columns, Array.from({ length: rows * columns }, () => Math.max(0, random() ** 6 - 0.001)));

  test.each([1, 13, 400, 5000])("at most %i are those that sorting finds", (count) => {
    const within = { rows: [3, 29], columns: [5, 40] };
    const all = [];
    for (let row = 3; row < 29; row += 1) {
      for (let column = 5; column < 40; column += 1) {
        const value = map.values[row * columns + column];
        if (value > 0) all.push({ row, column, value });
      }
    }
    all.sort((one, other) => other.value - one.value);
    expect(strongestCells(map, within, count)).toEqual({ cells: all.slice(0, count), total: all.length });
  });

  test("of nothing are none", () => {
    expect(strongestCells(plainMap(2, 3, new Array(6).fill(0)), { rows: [0, 2], columns: [0, 3] }, 5)).toEqual({ cells: [], total: 0 });
  });

  test("of a pooled map are those that are stored", () => {
    const pooled = decodedMap(mapBlock({
      rows: 3, columns: 5, exact: 2, pool: [3, 5], received: [0, 0, 0, 0, 0], scale: [0.5], levels: [20], codes: [20],
      positions: [4, 0, 1, 3, 2, 0], weights: [0.5, 0.25, 0.375, 0, 0.75, 0.125],
    }));
    expect(strongestCells(pooled, { rows: [0, 3], columns: [1, 5] }, 2)).toEqual({
      cells: [{ row: 2, column: 2, value: 0.75 }, { row: 0, column: 4, value: 0.5 }],
      total: 3,
    });
  });
});

test("a token gives a row and gets a column", () => {
  const map = plainMap(2, 3, [0.5, 0.25, 0, 0.125, 0, 0.75], [1, 1, 254, 1, 0, 1]);
  const from = weightsOfToken(map, 0, "from");
  expect([[...from.weights], [...from.masked], from.partial, from.blocks]).toEqual([[0.5, 0.25, 0], [0, 0, 1], false, false]);
  const to = weightsOfToken(map, 2, "to");
  expect([[...to.weights], [...to.masked]]).toEqual([[0, 0.75], [1, 0]]);
});

test("the strongest places come the largest first, without zeros and NaN", () => {
  expect(strongestPlaces([0.1, NaN, 0.7, 0, 0.3], 2)).toEqual([2, 4]);
  expect(strongestPlaces([0.1, NaN, -0.7, 0, 0.3], 9)).toEqual([2, 4, 0]);
});
