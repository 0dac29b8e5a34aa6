import { describe, expect, test } from "vitest";
import { nextMatch, searchMatches } from "../src/search.js";

const labels = ["The", "dog", "Café", "dogma", "12", "cafe\u0301"];

describe("a search", () => {
  test.each([
    ["dog", [1, 3]],
    ["DOG", [1, 3]],
    ['"dog"', [1]],
    ["café", [2, 5]], // however its accent is encoded
    ["#4", [4]],
    ["#6", []],
    ["  ", []],
    ["12", [4]],
    ["zebra", []],
  ])("for %s finds %o", (wanted, places) => expect(searchMatches([...labels], wanted)).toEqual(places));

  test("of the same labels again gives the same list", () => {
    expect(searchMatches(labels, "dog")).toBe(searchMatches(labels, "dog"));
    expect(searchMatches(labels, "the")).toEqual([0]);
  });
});

test("matches are walked in a circle", () => {
  const matches = [1, 3, 7];
  expect([0, 1, 3, 7].map((place) => nextMatch(matches, place, 1))).toEqual([1, 3, 7, 1]);
  expect([0, 1, 3, 8].map((place) => nextMatch(matches, place, -1))).toEqual([7, 7, 1, 7]);
  expect(nextMatch([], 2, 1)).toBe(-1);
});
