// The parts that need no page, of a viewer of a small manifest.
import { vi } from "vitest";
import { Store } from "../src/data.js";
import { Names } from "../src/names.js";
import { Selection } from "../src/selection.js";
import { validState } from "../src/state.js";
import { smallManifest } from "./blocks.js";

export function smallParts({ manifest = smallManifest(), state = {}, embedded = true } = {}) {
  const store = new Store(manifest, { block: () => Promise.reject(new Error("no blocks here")) });
  const changed = vi.fn();
  const selection = new Selection(store, validState(manifest, state), changed);
  return { manifest, store, selection, changed, names: new Names(selection), place: { root: null, embedded } };
}
