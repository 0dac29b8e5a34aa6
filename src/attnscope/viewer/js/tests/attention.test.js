import { describe, expect, test } from "vitest";
import { DifferenceMap, HeadAggregate, decodedMap, decodedThumbnails, halfValue, mapOfThumbnail } from "../src/attention.js";
import { halfBits, mapBlock, thumbnailBlock } from "./blocks.js";

const [EXACT, MASKED, ODD] = [253, 254, 255];

// Two queries, five keys: 0.75 is exact in row 0, a NaN stands in row 1.
function smallBlock() {
  return mapBlock({
    rows: 2,
    columns: 5,
    exact: 1,
    odd: [[7, NaN]],
    received: [0.5, 0.25, 0.125, 0.0625, 0],
    scale: [0.25, 0.5],
    weights: [0.75, 0],
    levels: [20, 13],
    codes: [0, EXACT, 20, 1, MASKED, 13, 1, ODD, 0, MASKED],
  });
}

describe("halves", () => {
  test.each([
    [0x0000, 0],
    [0x3c00, 1],
    [0x3555, 0.333251953125],
    [0x0001, 2 ** -24],
    [0xbc00, -1],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
  ])("%i is %f", (bits, value) => expect(halfValue(bits)).toBe(value));

  test("NaN stays NaN", () => expect(halfValue(0x7e00)).toBeNaN());

  test("every finite half is read back", () => {
    for (let bits = 1; bits < 0x7c00; bits += 7) expect(halfBits(halfValue(bits))).toBe(bits);
  });
});

describe("a decoded map", () => {
  test("has the value that the written layout gives each code", () => {
    const map = decodedMap(smallBlock());
    const expected = [0, 0.75, 0.25, 0.25 / 400, 0, 0.5, 0.5 / 169, NaN, 0, 0];
    expect([...map.values]).toEqual(expected.map(Math.fround));
    expect([...map.received]).toEqual([0.5, 0.25, 0.125, 0.0625, 0]);
    expect([map.rows, map.columns, map.pooled, map.known]).toEqual([2, 5, false, "all"]);
    expect(map.maximum).toBe(0.75);
  });

  test("tells how certain each number is", () => {
    const map = decodedMap(smallBlock());
    expect(map.at(0, 0)).toEqual({ value: 0, kind: "exact", bound: 0 });
    expect(map.at(0, 1)).toEqual({ value: 0.75, kind: "exact", bound: 0 });
    expect(map.at(0, 2)).toEqual({ value: 0.25, kind: "coded", bound: (0.25 * 20.25) / 400 + 6e-8 });
    expect(map.at(0, 4)).toEqual({ value: 0, kind: "masked", bound: 0 });
    expect(map.at(1, 2)).toEqual({ value: NaN, kind: "odd", bound: 0 });
  });

  test("says of the smallest code only what it is below", () => {
    const { value, kind, bound } = decodedMap(smallBlock()).at(1, 1);
    const error = (0.5 * 1.25) / 169 + 6e-8;
    expect([value, kind]).toEqual([Math.fround(0.5 / 169), "below"]);
    expect(bound).toBeCloseTo(Math.fround(0.5 / 169) + error, 12);
  });

  test("names the largest weights of a row, the largest first", () => {
    const map = decodedMap(smallBlock());
    expect(map.top(0, 2)).toEqual([{ key: 1, value: 0.75, exact: true }, { key: 2, value: 0.25, exact: false }]);
    expect(map.top(1, 8).map(({ key }) => key)).toEqual([0, 1]);
  });

  test("gives rows and columns", () => {
    const map = decodedMap(smallBlock());
    expect([...map.row(0)]).toEqual([0, 0.75, 0.25, Math.fround(0.25 / 400), 0]);
    expect([...map.column(0)]).toEqual([0, 0.5]);
  });

  test("that was cut short is an error", () => {
    expect(() => decodedMap(smallBlock().slice(0, -1))).toThrow(new Error("it ends too early."));
  });
});

describe("a pooled map", () => {
  // Three queries and five keys in blocks of 2 x 3; two exact weights of each query.
  const pooled = () => decodedMap(mapBlock({
    rows: 3,
    columns: 5,
    exact: 2,
    pool: [2, 3],
    odd: [[14, -0.5]],
    received: [0, 0, 0, 0, 0],
    scale: [0.5, 0.25],
    positions: [4, 0, 1, 3, 2, 0],
    weights: [0.5, 0.25, 0.375, 0, 0.25, 0.125],
    levels: [20, 10],
    codes: [10, 20, MASKED, ODD],
  }));

  test("knows the strongest weights of each query alone", () => {
    const map = pooled();
    expect(map.known).toBe("strongest");
    expect(map.strongest(0)).toEqual([{ key: 4, value: 0.5, exact: true }, { key: 0, value: 0.25, exact: true }]);
    expect(map.strongest(1)).toEqual([{ key: 1, value: 0.375, exact: true }]);
    expect([...map.row(0)]).toEqual([0.25, 0, 0, 0, 0.5]);
    expect([...map.column(0)]).toEqual([0.25, 0, 0.125]);
    expect(map.top(0, 1)).toEqual([{ key: 4, value: 0.5, exact: true }]);
  });

  test("tells of any other cell the largest of its block", () => {
    const map = pooled();
    expect(map.at(0, 0)).toEqual({ value: 0.25, kind: "exact", bound: 0 });
    expect(map.at(1, 2)).toEqual({ value: 0.125, kind: "pooled", bound: (0.5 * 10.25) / 400 + 6e-8 });
    expect(map.at(2, 1)).toEqual({ value: 0, kind: "masked", bound: 0 });
    expect(map.at(2, 4)).toEqual({ value: -0.5, kind: "odd", bound: 0 });
    expect(map.at(2, 3)).toEqual({ value: undefined, kind: "odd", bound: 0 });
  });
});

describe("thumbnails", () => {
  test("stand one behind the other, padded to four bytes", () => {
    const bytes = thumbnailBlock([{ scale: 0.5, codes: [63, 0, 1, 2, 3, 4] }, { scale: 0.25, codes: [7, 8, 9, 10, 11, 12] }]);
    const [none, site] = decodedThumbnails(bytes, [null, { rows: 2, columns: 3, panels: 2 }]);
    expect(none).toBeNull();
    expect(site.map(({ scale, codes }) => [scale, [...codes]])).toEqual([
      [0.5, [63, 0, 1, 2, 3, 4]],
      [0.25, [7, 8, 9, 10, 11, 12]],
    ]);
  });

  test("have at most 64 rows and columns", () => {
    const [[{ rows, columns }]] = decodedThumbnails(thumbnailBlock([{ scale: 1, codes: new Array(44 * 63).fill(0) }]), [
      { rows: 131, columns: 126, panels: 1 },
    ]);
    expect([rows, columns]).toEqual([44, 63]); // 3 rows to a dot, and 2 columns
  });

  test("are a map whose single weights nobody knows", () => {
    const map = mapOfThumbnail({ rows: 1, columns: 2, codes: Uint8Array.of(63, 21), scale: 0.5, mapRows: 1, mapColumns: 2 });
    expect([...map.values]).toEqual([0.5, Math.fround(0.5 / 9)]);
    expect([map.known, map.maximum, map.strongest(0)]).toEqual(["none", 0.5, []]);
    expect(map.received.every(Number.isNaN)).toBe(true);
  });
});

describe("several heads", () => {
  const head = (codes, received = [0.5, 0.25, 0.125]) => decodedMap(mapBlock({
    rows: 2, columns: 3, exact: 1, received, scale: [0.5, 0.25], weights: [0.75, 0.5], levels: [20, 10], codes,
  }));
  const first = () => head([EXACT, 10, 0, EXACT, 5, MASKED]);
  const second = () => head([EXACT, 20, 10, 10, EXACT, 3], [0.25, 0.75, 0]);

  test("have the mean of their values, with the mean of their errors", () => {
    const sum = new HeadAggregate("mean", first());
    sum.add(second());
    const mean = sum.finished(() => true);
    const [one, two] = [first(), second()];
    one.values.forEach((value, place) => expect(mean.values[place]).toBeCloseTo((value + two.values[place]) / 2, 7));
    expect([...mean.received]).toEqual([0.375, 0.5, 0.0625]);
    expect(mean.at(0, 1).bound).toBeCloseTo((0.5 * 20.25) / 400 + 6e-8, 7);
    expect(mean.codes[5]).toBe(3); // masked in one of them alone
  });

  test("have the larger of their values, and what keys receive is counted anew", () => {
    const sum = new HeadAggregate("max", first());
    sum.add(second());
    const largest = sum.finished((row) => row === 0);
    const [one, two] = [first(), second()];
    one.values.forEach((value, place) => expect(largest.values[place]).toBe(Math.max(value, two.values[place])));
    expect([...largest.received]).toEqual([...largest.values.slice(0, 3)]);
  });

  test("are no weight where one of them is none", () => {
    for (const kind of ["mean", "max"]) {
      const sum = new HeadAggregate(kind, head([0, ODD, 0, 0, 0, 0]));
      sum.add(second());
      const map = sum.finished(() => true);
      expect([map.codes[1], map.values[1]]).toEqual([ODD, NaN]);
    }
  });
});

test("a difference adds the errors of both", () => {
  const make = (codes) => decodedMap(mapBlock({ rows: 1, columns: 5, exact: 1, received: [1, 0, 0, 0, 0], scale: [0.25], weights: [0.5], levels: [20], codes }));
  const map = new DifferenceMap(make([EXACT, 20, 0, MASKED, ODD]), make([EXACT, 10, 10, 5, 0]));
  expect([...map.values]).toEqual([0, 0.1875, -0.0625, 0, NaN]);
  expect([...map.codes]).toEqual([EXACT, 1, 1, MASKED, ODD]);
  expect(map.at(0, 0)).toEqual({ value: 0, kind: "exact", bound: 0 });
  const { value, kind, bound } = map.at(0, 1);
  expect([value, kind]).toEqual([0.1875, "coded"]);
  expect(bound).toBeCloseTo((0.25 * 20.25) / 400 + (0.25 * 10.25) / 400 + 1.2e-7, 12);
  expect(map.at(0, 3).kind).toBe("masked");
  expect(map.at(0, 4).kind).toBe("odd");
  expect([map.signed, map.maximum, map.strongest(0)]).toEqual([true, 0.1875, []]);
});
