import { describe, expect, test } from "vitest";
import { Colouring, differenceColour, differenceLevel, orientedRamp, packedHex, paletteOf, rampColour, scaledShare, valueAtShare } from "../src/colours.js";

// Red counts the levels, green counts them down, blue is 7.
const RAMP = Uint8Array.from({ length: 768 }, (_, place) => [place / 3 | 0, 255 - (place / 3 | 0), 7][place % 3]);

describe("the place on a scale", () => {
  test.each([
    [0.25, 1, "linear", 0.25],
    [0.25, 1, "sqrt", 0.5],
    [0.01, 1, "log", 0.5],
    [1e-4, 1, "log", 0],
    [1e-9, 1, "log", 0],
    [0, 1, "log", 0],
    [0.1, 0.2, "linear", 0.5],
    [3, 1, "linear", 1],
    [-3, 1, "sqrt", 0],
  ])("of %f, up to %f, %s: %f", (value, maximum, scale, share) => expect(scaledShare(value, maximum, scale)).toBeCloseTo(share, 12));

  test.each(["linear", "sqrt", "log"])("is found again (%s)", (scale) => {
    for (const share of [0.01, 0.3, 0.5, 0.99, 1]) expect(scaledShare(valueAtShare(share, 0.7, scale), 0.7, scale)).toBeCloseTo(share, 12);
    expect(valueAtShare(0, 0.7, scale)).toBe(0);
  });
});

test("a palette has the tokens of its page, and those of groups as the colours of heads", () => {
  const [light, dark] = [{ page: "#ffffff", "group-0": "#000001", "group-1": "#000002" }, { page: "#000000", "group-0": "#fffff1", "group-1": "#fffff2" }];
  expect(paletteOf({ palette: { light, dark } }, false)).toMatchObject({ dark: false, page: "#ffffff", heads: ["#000001", "#000002"] });
  expect(paletteOf({ palette: { light, dark } }, true)).toMatchObject({ dark: true, page: "#000000", heads: ["#fffff1", "#fffff2"] });
});

test("a ramp is turned around on a dark page", () => {
  const manifest = { ramps: { Blues: btoa(String.fromCharCode(...RAMP)) } };
  expect([...orientedRamp(manifest, "Blues", false)]).toEqual([...RAMP]);
  const dark = orientedRamp(manifest, "Blues", true);
  expect([...dark.slice(0, 3)]).toEqual([255, 0, 7]);
  expect([...dark.slice(-3)]).toEqual([0, 255, 7]);
});

test("a value has the colour of its level", () => {
  expect(rampColour(RAMP, 0.5, 1, "linear")).toEqual([128, 127, 7]);
  expect(rampColour(RAMP, 0.25, 1, "sqrt")).toEqual([128, 127, 7]);
});

test("a difference of nothing stands in the middle of two arms", () => {
  expect([-1, 0, 1].map((value) => differenceLevel(value, 1, "linear"))).toEqual([0, 128, 255]);
  expect(differenceColour(RAMP, -1, 1, "sqrt")).toEqual([0, 255, 7]);
});

test("tables give the colours that single values have", () => {
  for (const scale of ["linear", "sqrt", "log"]) {
    const colouring = new Colouring(RAMP, RAMP, scale);
    for (let place = 0; place <= 200; place += 1) {
      const value = (place / 200) ** 3 * 0.8;
      const packed = colouring.packed(value, 0.8, false);
      expect(Math.abs((packed & 255) - rampColour(RAMP, value, 0.8, scale)[0])).toBeLessThanOrEqual(1);
      expect(packed >>> 24).toBe(255);
      expect(Math.abs((colouring.packed(-value, 0.8, true) & 255) - differenceColour(RAMP, -value, 0.8, scale)[0])).toBeLessThanOrEqual(1);
    }
    expect(colouring.packed(NaN, 0.8, false)).toBe(0);
  }
});

test("a colour in hexadecimal becomes one number", () => {
  expect(packedHex("#d03b4b")).toBe(0xff4b3bd0);
});
