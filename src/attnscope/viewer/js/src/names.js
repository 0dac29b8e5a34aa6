// What views, kinds of attention, sites, heads and positions are called.
import { VIEWS } from "./state.js";
/** @import { Selection } from "./selection.js" */
/** @import { Manifest, Panel, Side, ViewName } from "./types.d.ts" */

/** @type {Record<string, string>} */
const SINGULARS = { patches: "patch" };
const UNKNOWN = "positions";
/** @type {Record<string, string>} */
const ROLE_NAMES = { self: "self-attention", cross: "cross-attention", pool: "pooling", unknown: "self or cross: not known" };
const TEXTS = ["tokens", "sentences"]; // what a text is made of

/**
 * One of such positions.
 *
 * @param {string} units
 */
export function singular(units) {
  return SINGULARS[units] ?? units.replace(/s$/, "");
}

/**
 * What a kind of attention is called, and whether that is known of its sites, or told by their names.
 *
 * @param {Pick<Manifest, "sites">} manifest
 * @param {string} role
 */
export function roleName({ sites }, role) {
  const all = new Set(sites.flatMap((site) => (site.role === role && role === "cross" ? [site.told_by] : [])));
  const some = all.has("lineage") ? "some " : "";
  return `${ROLE_NAMES[role] ?? role}${all.has("name") ? ` (${some}by name)` : ""}`;
}

/**
 * Short names of all sites that have a longer one, each once.
 *
 * @param {Pick<Manifest, "sites">} manifest
 * @returns {[short: string, name: string][]}
 */
export function longNames({ sites }) {
  const pairs = new Map(sites.filter(({ short, name }) => short !== name).map(({ short, name }) => [JSON.stringify([short, name]), [short, name]]));
  return /** @type {[string, string][]} */ ([...pairs.values()]);
}

export class Names {
  /** @param {Selection} selection */
  constructor(selection) {
    this.selection = selection;
    this.manifest = selection.manifest;
  }

  /**
   * Its short name.
   *
   * @param {number} site
   */
  site(site) {
    return this.ofRun(site, this.manifest.sites[site].short);
  }

  /**
   * Its whole path.
   *
   * @param {number} site
   */
  path(site) {
    return this.ofRun(site, this.manifest.sites[site].name);
  }

  /**
   * @param {number} site
   * @param {string} name
   */
  ofRun(site, name) {
    const runName = this.manifest.runs[this.manifest.sites[site].run];
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

  /** The whole path of the site that is looked at, where its name is shorter; else "". */
  shownPath() {
    const { site } = this.selection.state;
    const { name, short } = this.manifest.sites[site];
    return name === short ? "" : name;
  }

  /**
   * What a site's queries or keys are: tokens, features, patches; of both, what both are.
   *
   * @param {Side} [side]
   * @param {number} [site] the one that is looked at, unless another is named
   */
  units(side, site = this.selection.state.site) {
    const { query, key } = this.manifest.sites[site].units;
    if (side) return { query, key }[side];
    return query === key ? key : UNKNOWN;
  }

  /**
   * What a tab is called. That of the text says what it is a row of, where that is no text.
   *
   * @param {ViewName} view
   */
  view(view) {
    const units = this.units();
    const name = VIEWS.find(([each]) => each === view)?.[1] ?? "";
    return view !== "text" || TEXTS.includes(units) ? name : `${units.charAt(0).toUpperCase()}${units.slice(1)}`;
  }

  /**
   * One of a site's queries or keys.
   *
   * @param {Side} [side]
   */
  unit(side) {
    return singular(this.units(side));
  }
}
