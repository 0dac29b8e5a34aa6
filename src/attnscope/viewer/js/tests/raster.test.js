import { describe, expect, test } from "vitest";
import { rasterOfMap } from "../src/raster.js";
import { plainMap, randomNumbers } from "./maps.js";

// A colouring that can be read back: the value in 255ths.
const colouring = { packed: (value, maximum) => ((255 << 24) | Math.round((255 * Math.abs(value)) / maximum)) >>> 0 };
const drawing = { colouring, maximum: 1, theme: { nan: "#d03b4b" } };
const NAN = 0xff4b3bd0;
const packed = ({ pixels }) => [...new Uint32Array(pixels.buffer)];

describe("a raster", () => {
  test("has a dot for each cell where there is room", () => {
    const map = plainMap(2, 3, [1, 0.2, 0, NaN, 0, 0.4], [1, 1, 0, 255, 254, 1]);
    const raster = rasterOfMap(map, { x0: 0, x1: 3, y0: 0, y1: 2 }, [10, 10], drawing);
    expect(packed(raster)).toEqual([0xff0000ff, 0xff000033, 0xff000000, NAN, 0, 0xff000066]);
    expect([raster.width, raster.height, raster.masked, raster.odd]).toEqual([3, 2, true, [3]]);
  });

  test("of a part begins with the cell that the part begins in", () => {
    const map = plainMap(3, 5, Array.from({ length: 15 }, (_, place) => place / 15));
    const raster = rasterOfMap(map, { x0: 1.5, x1: 4, y0: 1.2, y1: 3 }, [10, 10], drawing);
    expect([raster.x, raster.y, raster.width, raster.height]).toEqual([1, 1, 3, 2]);
    expect(packed(raster).map((colour) => colour & 255)).toEqual([6, 7, 8, 11, 12, 13].map((place) => Math.round((255 * place) / 15)));
  });

  test("shows the largest of each block where cells are more than dots", () => {
    const random = randomNumbers(3);
    const [rows, columns] = [11, 17];
    const map = plainMap(rows, columns, Array.from({ length: rows * columns }, random));
    const raster = rasterOfMap(map, { x0: 0, x1: columns, y0: 0, y1: rows }, [6, 4], drawing);
    expect([raster.cellsAcross, raster.cellsDown, raster.width, raster.height]).toEqual([3, 3, 6, 4]);
    packed(raster).forEach((colour, pixel) => {
      const [line, across] = [Math.floor(pixel / 6), pixel % 6];
      let largest = 0;
      for (let row = line * 3; row < Math.min(rows, line * 3 + 3); row += 1) {
        for (let column = across * 3; column < Math.min(columns, across * 3 + 3); column += 1) largest = Math.max(largest, map.values[row * columns + column]);
      }
      expect(colour & 255).toBe(Math.round(255 * largest));
    });
  });

  test("of blocks is odd where any cell is, and masked where all are", () => {
    const map = plainMap(2, 4, [NaN, 0.5, 0, 0, 0.1, 0.2, 0, 0], [255, 1, 254, 254, 1, 1, 254, 254]);
    const raster = rasterOfMap(map, { x0: 0, x1: 4, y0: 0, y1: 2 }, [2, 1], drawing);
    expect([packed(raster), raster.odd, raster.masked]).toEqual([[NAN, 0], [0], true]);
  });
});
