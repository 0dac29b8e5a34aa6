// The views: each is made when it is first shown, and kept.
import { createCompareView } from "./compare.js";
import { createLinesView } from "./lines.js";
import { createMatrixView } from "./matrix.js";
import { createOverview } from "./overview.js";
import { createPictureView } from "./picture.js";
import { createTextView } from "./text.js";
/** @import { Selection } from "./selection.js" */
/** @import { Parts, View, ViewName } from "./types.d.ts" */

/** @type {Record<ViewName, (parts: Parts) => View>} */
const MAKERS = {
  overview: createOverview,
  matrix: createMatrixView,
  lines: createLinesView,
  text: createTextView,
  image: createPictureView,
  compare: createCompareView,
};

export class Views {
  /**
   * @param {Selection} selection
   * @param {() => Parts} parts what the views are made with
   */
  constructor(selection, parts) {
    this.selection = selection;
    this.parts = parts;
    /** @type {Map<ViewName, View>} */
    this.made = new Map();
  }

  /** The view that is on the screen, once it was made. */
  current() {
    return this.made.get(this.selection.state.view);
  }

  /** The view that is looked at. */
  chosen() {
    const name = this.selection.state.view;
    const view = this.made.get(name) ?? MAKERS[name](this.parts());
    this.made.set(name, view);
    return view;
  }

  /** Those that have something to show. */
  names() {
    const { samples, sites, tokens } = this.selection.manifest;
    const pictures = samples.some((sample) => sample.image) || tokens.some((list) => list.grid);
    const others = samples.length > 1 || sites.length > 1 || sites[0].panels.length > 1; // whether there are two maps at all
    /** @type {Partial<Record<ViewName, boolean>>} */
    const shown = { image: pictures, compare: others };
    const names = /** @type {ViewName[]} */ (Object.keys(MAKERS));
    return names.filter((name) => shown[name] ?? true);
  }

  dispose() {
    for (const view of this.made.values()) view.dispose();
  }
}
