import { describe, expect, test } from "vitest";
import { longNames, roleName, singular } from "../src/names.js";
import { smallManifest } from "./blocks.js";
import { smallParts } from "./parts.js";

describe("a site", () => {
  test("has a short name and its path, of several runs with the name of the run", () => {
    const manifest = smallManifest();
    const { names } = smallParts({ manifest });
    expect([names.site(0), names.path(0), names.shown(), names.shownPath()]).toEqual(["mha", "encoder/mha", "mha, head 0", "encoder/mha"]);
    manifest.runs = ["before", "after"];
    expect([names.site(1), names.path(1), names.shownPath()]).toEqual(["before: cross", "before: decoder/cross", "encoder/mha"]);
  });

  test("whose name is short has no other path", () => {
    const { names } = smallParts({ state: { site: 2 } });
    expect(names.shownPath()).toBe("");
    const manifest = smallManifest();
    manifest.sites.push({ ...manifest.sites[0], run: 1 });
    expect(longNames(manifest)).toEqual([["mha", "encoder/mha"], ["cross", "decoder/cross"]]);
  });
});

test("the view of a text is called by what it is a row of", () => {
  const tabs = (/** @type {string} */ units) => {
    const manifest = smallManifest();
    manifest.sites[0].units = { query: units, key: units };
    const { names } = smallParts({ manifest });
    return ["overview", "text", "compare"].map((view) => names.view(view));
  };
  expect(["tokens", "sentences", "features", "positions"].map((units) => tabs(units)[1])).toEqual(["Text", "Text", "Features", "Positions"]);
  expect(tabs("features")).toEqual(["Heads", "Features", "Compare"]);
});

test("cross-attention that was told by names is said to be, and what nothing tells is not known", () => {
  const of = (/** @type {[string, string][]} */ ...sites) => ({ sites: sites.map(([role, told_by]) => ({ role, told_by })) });
  const known = /** @type {[string, string]} */ (["cross", "lineage"]);
  expect(roleName(of(["self", "lineage"], known), "cross")).toBe("cross-attention");
  expect(roleName(of(known, ["cross", "name"]), "cross")).toBe("cross-attention (some by name)");
  expect(roleName(of(["cross", "name"], ["encoder", ""], ["unknown", ""]), "cross")).toBe("cross-attention (by name)");
  expect(["all", "self", "encoder", "unknown"].map((role) => roleName(of(["encoder", ""], ["unknown", ""]), role))).toEqual(["all", "self-attention", "encoder", "self or cross: not known"]);
});

describe("positions", () => {
  test("are called what they are on each side, and on both where that is the same", () => {
    const { names } = smallParts({ state: { site: 1 } });
    expect([names.units("query"), names.units("key"), names.units(), names.unit()]).toEqual(["features", "tokens", "positions", "position"]);
    expect([names.units("key", 2), names.units(undefined, 2), names.unit("query")]).toEqual(["patches", "patches", "feature"]);
  });

  test.each([["tokens", "token"], ["patches", "patch"], ["features", "feature"], ["steps", "step"], ["positions", "position"], ["words", "word"]])("of the kind %s are each a %s", (units, one) => {
    expect(singular(units)).toBe(one);
  });
});
