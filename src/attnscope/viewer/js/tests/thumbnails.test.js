import { expect, test } from "vitest";
import { largestThumbnail, pasteThumbnail, thumbnailOfMap } from "../src/thumbnails.js";
import { plainMap } from "./maps.js";

const thumbnail = (scale, codes) => ({ rows: 1, columns: codes.length, codes: Uint8Array.from(codes), scale, mapRows: 1, mapColumns: codes.length });

test("the largest of several heads is on the largest of their scales", () => {
  const { codes, scale } = largestThumbnail([thumbnail(1, [63, 0, 254, 254, 255, 1]), thumbnail(0.25, [63, 63, 63, 254, 0, 0])]);
  expect(scale).toBe(1);
  // A quarter of the scale is half of the levels.
  expect([...codes]).toEqual([63, 32, 32, 254, 255, 1]);
});

test("a map of few cells is its own thumbnail", () => {
  const made = thumbnailOfMap(plainMap(2, 3, [0.64, 0.16, 0, NaN, 0, 0.04], [1, 1, 0, 255, 254, 1]));
  expect([made.rows, made.columns, made.scale]).toEqual([2, 3, Math.fround(0.64)]);
  expect([...made.codes]).toEqual([63, 32, 0, 255, 254, 16]);
});

test("a dot of a larger map is the largest of its block", () => {
  const values = new Array(131).fill(0.01);
  values[1] = 1;
  values[130] = 0.25;
  const made = thumbnailOfMap(plainMap(1, 131, values));
  expect([made.rows, made.columns]).toEqual([1, 44]);
  expect([made.codes[0], made.codes[1], made.codes[43]]).toEqual([63, 6, 32]);
});

test("where a thumbnail has more blocks than there are dots, the largest is seen", () => {
  const packed = new Uint32Array(8).fill(7);
  const table = Uint32Array.from({ length: 256 }, (_, code) => 1000 + code);
  pasteThumbnail(packed, 4, { x: 1, y: 1, width: 2, height: 1 }, 1, thumbnail(1, [3, 254, 254, 9]), table);
  expect([...packed]).toEqual([7, 7, 7, 7, 7, 1003, 1009, 7]);
});
