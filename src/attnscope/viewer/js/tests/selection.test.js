import { describe, expect, test } from "vitest";
import { smallParts } from "./parts.js";

describe("a selection", () => {
  test("tells what has changed, and nothing where nothing has", () => {
    const { selection, changed } = smallParts();
    selection.set({ query: 2, key: -1 });
    expect(changed.mock.calls).toEqual([[["query"]]]);
    selection.set({ query: 2 });
    selection.set({ view: "no such view" });
    expect(changed).toHaveBeenCalledTimes(1);
    expect(selection.state.query).toBe(2);
  });

  test("asks for the map of the head, or of the chosen heads", () => {
    const { selection } = smallParts({ state: { site: 1, panel: 1 } });
    expect(selection.request()).toEqual({ sample: 0, site: 1, panel: 1 });
    selection.set({ site: 0, panel: "max", heads: [0, 2] });
    expect(selection.request()).toEqual({ sample: 0, site: 0, panel: { max: [0, 2] } });
  });

  test("lies between the chosen sentences", () => {
    const { selection } = smallParts({ state: { segments: "1-0" } });
    expect(selection.tokens().queries.labels).toHaveLength(5);
    expect(selection.window()).toEqual({ rows: [3, 5], columns: [0, 3] });
  });
});

describe("names", () => {
  test("say the run where there are several", () => {
    const { names, manifest } = smallParts();
    expect(names.site(1)).toBe("cross");
    manifest.runs = ["before", "after"];
    manifest.sites[1].run = 1;
    expect(names.site(1)).toBe("after: cross");
  });

  test("say which heads a mean is of", () => {
    const { names, selection } = smallParts();
    expect([names.panel(0, 2), names.panel(2, 0), names.panel(0, "mean")]).toEqual(["head 2", "the only head", "mean of all 3 heads"]);
    selection.set({ heads: [0, 2], panel: "mean" });
    expect([names.panel(0, "mean"), names.panel(1, "mean")]).toEqual(["mean of heads 0, 2", "mean of all 2 heads"]);
    expect(names.shown()).toBe("mha, mean of heads 0, 2");
  });
});
