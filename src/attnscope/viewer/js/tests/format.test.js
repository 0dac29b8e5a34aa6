import { describe, expect, test } from "vitest";
import { formatBound, formatBytes, formatCell, formatCount, formatEnd, formatExact, formatNumber, numbered, quoted, roundedUp, shortened } from "../src/format.js";

describe("a number has three digits", () => {
  test.each([
    [0, "0"],
    [0.5, "0.500"],
    [0.12345, "0.123"],
    [0.00012345, "0.000123"],
    [0.00001234, "1.23e−5"],
    [1.23456, "1.235"],
    [99999, "100000"],
    [123456, "1.23e+5"],
    [-0.25, "−0.250"],
    [NaN, "NaN"],
    [Infinity, "infinite"],
    [-Infinity, "−infinite"],
  ])("%f: %s", (value, text) => expect(formatNumber(value)).toBe(text));
});

test("the end of a scale has no zeros behind it", () => {
  expect([formatEnd(1), formatEnd(0.25), formatEnd(0.123456)]).toEqual(["1", "0.25", "0.1235"]);
});

test("an exact weight has the four digits of a float16", () => {
  expect([formatExact(0.333251953125), formatExact(0.5), formatExact(0), formatExact(0.00001234)]).toEqual(["0.3333", "0.5", "0", "1.234e−5"]);
});

describe("a bound is never rounded down", () => {
  test.each([
    [0, "0"],
    [0.001, "0.001"],
    [0.00101, "0.0011"],
    [0.0123, "0.013"],
    [0.00001, "1.0e−5"],
  ])("%f: %s", (bound, text) => expect(formatBound(bound)).toBe(text));

  test("of many bounds", () => {
    for (let place = 1; place < 500; place += 1) {
      const bound = 1.37 ** (-place / 11) * 0.9;
      const written = Number(formatBound(bound).replace("−", "-"));
      expect(written).toBeGreaterThanOrEqual(bound * (1 - 1e-8));
      expect(written).toBeLessThanOrEqual(bound * 1.11);
    }
  });
});

describe("a cell says how certain it is", () => {
  test.each([
    [{ value: 0, kind: "exact", bound: 0 }, "0 exactly"],
    [{ value: 0.75, kind: "exact", bound: 0 }, "0.75 exact"],
    [{ value: 0.25, kind: "coded", bound: 0.0012 }, "0.2500 ± 0.0012"],
    [{ value: -0.25, kind: "exact", bound: 0 }, "−0.25 exact"],
    [{ value: -0.25, kind: "coded", bound: 0.0012 }, "−0.2500 ± 0.0012"],
    [{ value: 0.1, kind: "below", bound: 0.003 }, "under 0.003"],
    [{ value: 0.1, kind: "pooled", bound: 0.003 }, "at most 0.11"],
    [{ value: 0, kind: "masked", bound: 0 }, "masked"],
    [{ value: NaN, kind: "odd", bound: 0 }, "not a weight: NaN"],
    [{ value: undefined, kind: "odd", bound: 0 }, "not a weight"],
  ])("%o: %s", (cell, text) => expect(formatCell(cell)).toBe(text));
});

test("counts and sizes", () => {
  expect(formatCount(1234567)).toBe("1,234,567");
  expect([formatBytes(1), formatBytes(12_345), formatBytes(1_234_567)]).toEqual(["1 kB", "12 kB", "1.2 MB"]);
});

describe("a scale ends at a round number that is not below the value", () => {
  test.each([
    [0, 1],
    [NaN, 1],
    [0.9, 1],
    [0.61, 0.8],
    [0.3, 0.3],
    [0.0311, 0.04],
    [1.2, 1.5],
  ])("%f: %f", (value, end) => expect(roundedUp(value)).toBe(end));
});

test("a long label keeps its two ends", () => {
  expect(shortened("attention", 9)).toBe("attention");
  expect(shortened("attention", 6)).toBe("att…on");
  expect([...shortened("🙂🙃🙂🙃🙂🙃", 4)]).toEqual(["🙂", "🙃", "…", "🙃"]);
});

test("a label in a sentence keeps its writing direction to itself", () => {
  expect(quoted("dog")).toBe("\u2068dog\u2069");
});

test("what is labelled by its position is named once", () => {
  expect(numbered(["0", "dog"], 0)).toBe("0");
  expect(numbered(["0", "dog"], 1)).toBe("1 \u2068dog\u2069");
});
