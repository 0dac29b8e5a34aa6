// What sites and heads are called.
/** @import { Selection } from "./selection.js" */
/** @import { Panel } from "./types.d.ts" */

export class Names {
  /** @param {Selection} selection */
  constructor(selection) {
    this.selection = selection;
    this.manifest = selection.manifest;
  }

  /** @param {number} site */
  site(site) {
    const { name, run } = this.manifest.sites[site];
    const runName = this.manifest.runs[run];
    return runName ? `${runName}: ${name}` : name;
  }

  /**
   * @param {number} site
   * @param {Panel} panel
   */
  panel(site, panel) {
    const { panels } = this.manifest.sites[site];
    if (typeof panel === "number") return panels[panel] || "the only head";
    const { state } = this.selection;
    const chosen = site === state.site ? state.heads : [];
    return `${panel} of ${chosen.length ? `heads ${chosen.join(", ")}` : `all ${panels.length} heads`}`;
  }

  /** The site and head that are looked at. */
  shown() {
    const { site, panel } = this.selection.state;
    return `${this.site(site)}, ${this.panel(site, panel)}`;
  }
}
