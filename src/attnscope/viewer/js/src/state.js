// What is looked at: one plain object, kept valid, and written as a link.
/** @import { Aggregate, Changes, Direction, Manifest, MapChoice, Overlay, Panel, PanelRequest, Range, Region, Scale, Side, Site, SiteTokens, Span, State, Theme, Tokens, ViewName, Window } from "./types.d.ts" */

/** @type {[name: ViewName, text: string][]} */
export const VIEWS = [
  ["overview", "Heads"],
  ["matrix", "Matrix"],
  ["lines", "Lines"],
  ["text", "Text"],
  ["image", "Image"],
  ["compare", "Compare"],
];
/** @type {Scale[]} */
export const SCALES = ["linear", "sqrt", "log"];
/** @type {Range[]} */
export const RANGES = ["one", "all", "site", "head"];
/** @type {Aggregate[]} */
export const AGGREGATES = ["mean", "max"];
/** @type {Overlay[]} */
const OVERLAY_KINDS = ["light", "colour"];
/** @type {Theme[]} */
const THEMES = ["auto", "light", "dark"];
/** @type {Direction[]} */
const DIRECTIONS = ["from", "to"];
const MOST_SEARCHED = 200;
const MOST_SEGMENTS = 6;
/** @type {Side[]} */
export const SIDES = ["query", "key"];
/** @type {Record<Side, Side>} */
export const OTHER_SIDE = { query: "key", key: "query" };
/** @type {Tokens} */
export const NO_TOKENS = { labels: [], invalid: new Set(), segments: [0], grid: null };
const NO_LABELS = { labels: [], segments: [0] };
const HALF_LETTERS = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g; // no link can hold them

/**
 * @param {Pick<Manifest, "ramps">} manifest
 * @returns {State}
 */
export function defaultState(manifest) {
  return {
    view: "overview",
    sample: 0,
    site: 0,
    panel: 0, // a number, or "mean" or "max" of the chosen heads
    heads: [], // the chosen ones; none stands for all
    query: -1,
    key: -1,
    direction: "from",
    scale: "sqrt",
    range: "all",
    ramp: Object.keys(manifest.ramps)[0],
    theme: "auto",
    zoom: null, // {x0, x1, y0, y1}: keys and queries
    segments: "all",
    search: "",
    role: "all",
    means: false, // whether the overview has a column of the means of heads
    a: null, // what is compared: {sample, site, panel}; null until it is chosen
    b: null,
    overlay: "light", // how weights lie over a picture: it is darkened where they are small, or coloured
    strength: 65, // of that, in percent
  };
}

/**
 * The numbers of the panels that an aggregate is over, or the panel itself, as Store.map takes it.
 *
 * @param {Manifest} manifest
 * @param {Pick<State, "site" | "panel" | "heads">} state
 * @returns {PanelRequest}
 */
export function panelRequest(manifest, state) {
  if (typeof state.panel === "number") return state.panel;
  const all = manifest.sites[state.site].panels.map((_, panel) => panel);
  return { [state.panel]: state.heads.length ? state.heads : all };
}

/**
 * Where each of the sentences begins and ends, at most six: what follows belongs to the last.
 *
 * @param {Pick<Tokens, "labels" | "segments">} tokens
 * @returns {Span[]}
 */
export function segmentRanges(tokens) {
  const starts = tokens.segments.slice(0, MOST_SEGMENTS);
  return starts.map((start, place) => /** @type {Span} */ ([start, starts[place + 1] ?? tokens.labels.length]));
}

/**
 * The queries and keys between which the chosen sentences lie.
 *
 * @param {Record<keyof SiteTokens, Pick<Tokens, "labels" | "segments">>} tokens
 * @param {string} segments
 * @returns {Window}
 */
export function segmentWindow(tokens, segments) {
  /** @type {Window} */
  const whole = { rows: [0, tokens.queries.labels.length], columns: [0, tokens.keys.labels.length] };
  if (segments === "all") return whole;
  const [first, second] = segments.split("-").map(Number);
  return {
    rows: segmentRanges(tokens.queries)[first] ?? whole.rows,
    columns: segmentRanges(tokens.keys)[second] ?? whole.columns,
  };
}

/**
 * @param {unknown} value
 * @param {number} size
 * @param {number} otherwise
 */
function integerWithin(value, size, otherwise) {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < size ? value : otherwise;
}

/**
 * @template {string} Value
 * @param {unknown} value
 * @param {Value[]} allowed
 * @param {Value} otherwise
 */
function oneOf(value, allowed, otherwise) {
  return allowed.find((each) => each === value) ?? otherwise;
}

/** @type {(value: unknown) => value is Aggregate} */
export const isAggregate = (value) => AGGREGATES.some((kind) => kind === value);

/** @type {(value: unknown) => value is number} */
const isFiniteNumber = (value) => Number.isFinite(value);

/**
 * Whether a mean of the panels means something: those of a rollout are layers.
 *
 * @param {Pick<Site, "role" | "panels">} site
 */
export function canAggregate({ role, panels }) {
  return panels.length > 1 && role !== "rollout";
}

/**
 * All that can be chosen of a site: its heads, and what is computed from them.
 *
 * @param {Pick<Site, "role" | "panels">} site
 * @returns {Panel[]}
 */
export function panelsOf(site) {
  return canAggregate(site) ? [...site.panels.keys(), ...AGGREGATES] : [...site.panels.keys()];
}

/**
 * @param {Manifest} manifest
 * @param {number} site
 * @param {unknown} panel
 * @returns {Panel}
 */
function validPanel(manifest, site, panel) {
  if (isAggregate(panel) && canAggregate(manifest.sites[site])) return panel;
  return integerWithin(panel, manifest.sites[site].panels.length, 0);
}

/**
 * @param {Manifest} manifest
 * @param {unknown} compared
 * @returns {MapChoice | null}
 */
function validCompared(manifest, compared) {
  if (!compared || typeof compared !== "object") return null;
  const choice = /** @type {Record<keyof MapChoice, unknown>} */ (compared);
  const sample = integerWithin(choice.sample, manifest.samples.length, -1);
  const site = integerWithin(choice.site, manifest.sites.length, -1);
  return sample < 0 || site < 0 ? null : { sample, site, panel: validPanel(manifest, site, choice.panel) };
}

/**
 * @param {unknown} zoom
 * @param {number} rows
 * @param {number} columns
 * @returns {Region | null}
 */
function validZoom(zoom, rows, columns) {
  if (!zoom || typeof zoom !== "object") return null;
  const region = /** @type {Record<keyof Region, unknown>} */ (zoom);
  const ends = [region.x0, region.x1, region.y0, region.y1];
  if (!ends.every(isFiniteNumber)) return null;
  const [left, right, top, bottom] = ends;
  if (left < 0 || top < 0 || right > columns || bottom > rows || right <= left || bottom <= top) return null;
  const [x0, x1, y0, y1] = ends.map((end) => Math.round(end * 1000) / 1000);
  return x0 === 0 && y0 === 0 && x1 === columns && y1 === rows ? null : { x0, x1, y0, y1 };
}

/**
 * @param {unknown} segments
 * @param {number} queries
 * @param {number} keys
 */
function validSegments(segments, queries, keys) {
  const text = String(segments);
  const found = /^(\d)-(\d)$/.exec(text);
  const known = found && Number(found[1]) < Math.min(queries, MOST_SEGMENTS) && Number(found[2]) < Math.min(keys, MOST_SEGMENTS);
  return known ? text : "all";
}

/**
 * A state in which everything exists: whatever a link or a program says, nothing is drawn that is not there.
 *
 * @param {Manifest} manifest
 * @param {Changes} given
 * @returns {State}
 */
export function validState(manifest, given) {
  const usual = defaultState(manifest);
  const state = { ...usual };
  state.view = oneOf(given.view, VIEWS.map(([name]) => name), usual.view);
  state.sample = integerWithin(given.sample, manifest.samples.length, 0);
  /** @type {(site: number) => boolean} */
  const there = (site) => Boolean(manifest.axes[state.sample]?.[site]);
  state.site = integerWithin(given.site, manifest.sites.length, 0);
  if (!there(state.site)) state.site = Math.max(0, manifest.sites.findIndex((_, site) => there(site)));
  const { panels } = manifest.sites[state.site];
  state.panel = validPanel(manifest, state.site, given.panel);
  const heads = Array.isArray(given.heads) ? given.heads : [];
  const known = new Set(heads.map((head) => integerWithin(head, panels.length, -1)));
  state.heads = [...known].filter((head) => head >= 0).sort((a, b) => a - b);
  if (state.heads.length === panels.length) state.heads = [];
  const [queries, keys] = manifest.axes[state.sample]?.[state.site]?.map((number) => manifest.tokens[number]) ?? [NO_LABELS, NO_LABELS];
  state.query = integerWithin(given.query, queries.labels.length, -1);
  state.key = integerWithin(given.key, keys.labels.length, -1);
  state.zoom = validZoom(given.zoom, queries.labels.length, keys.labels.length);
  state.segments = validSegments(given.segments, queries.segments.length, keys.segments.length);
  state.direction = oneOf(given.direction, DIRECTIONS, usual.direction);
  state.scale = oneOf(given.scale, SCALES, usual.scale);
  state.range = oneOf(given.range, RANGES, usual.range);
  state.ramp = oneOf(given.ramp, rampNames(manifest), usual.ramp);
  state.theme = oneOf(given.theme, THEMES, usual.theme);
  state.search = typeof given.search === "string" ? given.search.slice(0, MOST_SEARCHED).replace(HALF_LETTERS, "\ufffd") : "";
  state.role = oneOf(given.role, ["all", ...manifest.sites.map((site) => site.role)], "all");
  state.means = given.means === true;
  state.a = validCompared(manifest, given.a);
  state.b = validCompared(manifest, given.b);
  state.overlay = oneOf(given.overlay, OVERLAY_KINDS, usual.overlay);
  state.strength = integerWithin(given.strength, 101, usual.strength);
  return state;
}

/**
 * The state after a change. What was pinned, zoomed and chosen stays where it still means the same tokens and heads.
 *
 * @param {Manifest} manifest
 * @param {State} state
 * @param {Changes} changes
 * @returns {State}
 */
export function changedState(manifest, state, changes) {
  /** @type {Changes} */
  const next = { ...state, ...changes };
  /** @type {(state: Changes) => string | undefined} */
  const axes = ({ sample, site }) => JSON.stringify(manifest.axes[Number(sample)]?.[Number(site)]);
  if (axes(next) !== axes(state)) {
    const nothing = { query: -1, key: -1, zoom: null, segments: "all" };
    Object.assign(next, { ...nothing, ...changes });
  }
  const panels = (/** @type {unknown} */ site) => manifest.sites[Number(site)]?.panels.join("\n");
  if (panels(next.site) !== panels(state.site) && !("heads" in changes)) next.heads = [];
  return validState(manifest, next);
}

/**
 * The sites that ran on the sample and are of the chosen kind.
 *
 * @param {Manifest} manifest
 * @param {Pick<State, "sample" | "role">} state
 */
export function shownSites(manifest, { sample, role }) {
  /** @type {(site: number) => boolean} */
  const fits = (site) => Boolean(manifest.axes[sample]?.[site]) && (role === "all" || manifest.sites[site].role === role);
  return [...manifest.sites.keys()].filter(fits);
}

/** @param {Pick<Manifest, "ramps">} manifest */
export function rampNames(manifest) {
  return Object.keys(manifest.ramps).filter((name) => !name.startsWith("diverging"));
}

/** @param {MapChoice} choice */
function comparedText({ sample, site, panel }) {
  return [sample, site, panel].join(".");
}

/** @param {string} text */
function comparedOf(text) {
  const [sample, site, panel] = text.split(".");
  return { sample: wholeNumber(sample), site: wholeNumber(site), panel: panelOf(panel ?? "") };
}

/** @param {string} text */
function wholeNumber(text) {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

/** @param {string} text */
function panelOf(text) {
  return isAggregate(text) ? text : wholeNumber(text);
}

/**
 * @param {State} state
 * @param {keyof State} name of what is not as usual
 */
function writtenValue(state, name) {
  switch (name) {
    case "heads":
      return state.heads.join(".");
    case "zoom":
      return state.zoom && [state.zoom.x0, state.zoom.x1, state.zoom.y0, state.zoom.y1].join("_");
    case "means":
      return "yes";
    case "a":
    case "b":
      return state[name] && comparedText(state[name]);
    default:
      return state[name];
  }
}

/** @type {{ [Name in keyof State]?: (text: string) => unknown }} */
const STATE_READERS = {
  sample: wholeNumber,
  site: wholeNumber,
  query: wholeNumber,
  key: wholeNumber,
  strength: wholeNumber,
  panel: panelOf,
  heads: (text) => text.split(".").map(wholeNumber),
  zoom(text) {
    const [x0, x1, y0, y1] = text.split("_").map(Number);
    return { x0, x1, y0, y1 };
  },
  means: (text) => text === "yes",
  a: comparedOf,
  b: comparedOf,
};

/**
 * A link's part behind the `#`: only what is not as usual.
 *
 * @param {Manifest} manifest
 * @param {State} state
 */
export function hashOfState(manifest, state) {
  const usual = defaultState(manifest);
  const names = /** @type {(keyof State)[]} */ (Object.keys(usual));
  const changed = names.filter((name) => JSON.stringify(state[name]) !== JSON.stringify(usual[name]));
  return changed.map((name) => `${name}=${encodeURIComponent(String(writtenValue(state, name)))}`).join("&");
}

/**
 * The state that a link means; what it says wrongly is as usual.
 *
 * @param {Manifest} manifest
 * @param {string} hash
 */
export function stateOfHash(manifest, hash) {
  const usual = defaultState(manifest);
  /** @type {(name: string) => name is keyof State} */
  const isName = (name) => Object.hasOwn(usual, name);
  /** @type {Changes} */
  const given = {};
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, text = ""] = part.split(/=(.*)/s);
    if (!isName(name)) continue;
    const decoded = decodedPart(text);
    if (decoded !== null) given[name] = (STATE_READERS[name] ?? String)(decoded);
  }
  return validState(manifest, given);
}

/** @param {string} text */
function decodedPart(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // half of an escape: as if it were not there
  }
}
