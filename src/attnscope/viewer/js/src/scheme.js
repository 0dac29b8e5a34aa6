// The colours in use: those of the page, and the one that each number has.
import { Colouring, differenceColour, orientedRamp, paletteOf, rampColour } from "./colours.js";
import { roundedUp } from "./format.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Selection } from "./selection.js" */

export class ColourScheme {
  /**
   * @param {Selection} selection
   * @param {boolean} dark
   */
  constructor(selection, dark) {
    this.selection = selection;
    this.tables = this.tablesOf(dark);
  }

  /**
   * Tables of colours, made anew only when something about them has changed.
   *
   * @param {boolean} dark
   * @returns {boolean} whether they have
   */
  use(dark) {
    const changed = this.tables.made !== this.madeOf(dark);
    if (changed) this.tables = this.tablesOf(dark);
    return changed;
  }

  /** @param {boolean} dark */
  madeOf(dark) {
    const { ramp, scale } = this.selection.state;
    return [dark, ramp, scale].join();
  }

  /** @param {boolean} dark */
  tablesOf(dark) {
    const { manifest, state } = this.selection;
    const ramp = orientedRamp(manifest, state.ramp, dark);
    const difference = orientedRamp(manifest, dark ? "diverging-dark" : "diverging", false);
    return { made: this.madeOf(dark), palette: paletteOf(manifest, dark), ramp, difference, colouring: new Colouring(ramp, difference, state.scale) };
  }

  get palette() {
    return this.tables.palette;
  }

  get colouring() {
    return this.tables.colouring;
  }

  /**
   * @param {number} value
   * @param {number} maximum
   */
  of(value, maximum) {
    return rampColour(this.tables.ramp, value, maximum, this.selection.state.scale);
  }

  /**
   * @param {number} value
   * @param {number} maximum
   */
  ofDifference(value, maximum) {
    return differenceColour(this.tables.difference, value, maximum, this.selection.state.scale);
  }

  /**
   * A signed number on a scale of its own, which no choice bends.
   *
   * @param {number} value
   * @param {number} maximum
   */
  ofRelevance(value, maximum) {
    return differenceColour(this.tables.difference, value, maximum, "linear");
  }

  /**
   * The end of the colour scale: stated in the legend, and the same for all that is on the screen together.
   *
   * @param {AttentionMap | null} [map] the map that is drawn
   * @param {number} [site] the site that it is of, unless it is the one that is looked at
   */
  maximum(map, site = this.selection.state.site) {
    const { manifest, store, state } = this.selection;
    const { range, sample, panel } = state;
    if (range === "one") return 1;
    if (range === "head" && map) return map.maximum || 1;
    if (range === "head" && typeof panel === "number") return store.largest(sample, site, panel) || 1;
    const sites = range === "all" ? [...manifest.sites.keys()] : [site];
    const largest = sites.flatMap((number) => manifest.sites[number].panels.map((_, head) => store.largest(sample, number, head)));
    return roundedUp(Math.max(0, ...largest));
  }
}
