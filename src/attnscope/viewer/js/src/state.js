// What is looked at: one plain object, kept valid, and written as a link.

export const VIEWS = [
  ["overview", "Heads"],
  ["matrix", "Matrix"],
  ["lines", "Lines"],
  ["text", "Text"],
  ["image", "Image"],
  ["compare", "Compare"],
];
export const SCALES = ["linear", "sqrt", "log"];
export const RANGES = ["one", "all", "site", "head"];
export const AGGREGATES = ["mean", "max"];
const OVERLAY_KINDS = ["light", "colour"];
const THEMES = ["auto", "light", "dark"];
const DIRECTIONS = ["from", "to"];
const MOST_SEARCHED = 200;
const MOST_SEGMENTS = 6;
const HALF_LETTERS = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g; // no link can hold them

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

// The numbers of the panels that an aggregate is over, or the panel itself, as Store.map takes it.
export function panelRequest(manifest, state) {
  if (typeof state.panel === "number") return state.panel;
  const all = manifest.sites[state.site].panels.map((_, panel) => panel);
  return { [state.panel]: state.heads.length ? state.heads : all };
}

// Where each of the sentences begins and ends, at most six: what follows belongs to the last.
export function segmentRanges(tokens) {
  const starts = tokens.segments.slice(0, MOST_SEGMENTS);
  return starts.map((start, place) => [start, starts[place + 1] ?? tokens.labels.length]);
}

// The queries and keys between which the chosen sentences lie: {rows: [from, to], columns: [from, to]}
export function segmentWindow(tokens, segments) {
  const whole = { rows: [0, tokens.queries.labels.length], columns: [0, tokens.keys.labels.length] };
  if (segments === "all") return whole;
  const [first, second] = segments.split("-").map(Number);
  return {
    rows: segmentRanges(tokens.queries)[first] ?? whole.rows,
    columns: segmentRanges(tokens.keys)[second] ?? whole.columns,
  };
}

function integerWithin(value, size, otherwise) {
  return Number.isInteger(value) && value >= 0 && value < size ? value : otherwise;
}

function oneOf(value, allowed, otherwise) {
  return allowed.includes(value) ? value : otherwise;
}

// Whether a mean of the panels means something: those of a rollout are layers.
export function canAggregate({ role, panels }) {
  return panels.length > 1 && role !== "rollout";
}

function validPanel(manifest, site, panel) {
  if (AGGREGATES.includes(panel) && canAggregate(manifest.sites[site])) return panel;
  return integerWithin(panel, manifest.sites[site].panels.length, 0);
}

function validCompared(manifest, compared) {
  if (!compared || typeof compared !== "object") return null;
  const sample = integerWithin(compared.sample, manifest.samples.length, -1);
  const site = integerWithin(compared.site, manifest.sites.length, -1);
  return sample < 0 || site < 0 ? null : { sample, site, panel: validPanel(manifest, site, compared.panel) };
}

function validZoom(zoom, rows, columns) {
  if (!zoom) return null;
  const ends = [zoom.x0, zoom.x1, zoom.y0, zoom.y1];
  const inside = ends.every(Number.isFinite) && zoom.x0 >= 0 && zoom.y0 >= 0 && zoom.x1 <= columns && zoom.y1 <= rows;
  if (!inside || zoom.x1 <= zoom.x0 || zoom.y1 <= zoom.y0) return null;
  const [x0, x1, y0, y1] = ends.map((end) => Math.round(end * 1000) / 1000);
  return x0 === 0 && y0 === 0 && x1 === columns && y1 === rows ? null : { x0, x1, y0, y1 };
}

function validSegments(segments, queries, keys) {
  const found = /^(\d)-(\d)$/.exec(segments);
  const known = found && found[1] < Math.min(queries, MOST_SEGMENTS) && found[2] < Math.min(keys, MOST_SEGMENTS);
  return known ? segments : "all";
}

// A state in which everything exists: whatever a link or a program says, nothing is drawn that is not there.
export function validState(manifest, given) {
  const usual = defaultState(manifest);
  const state = { ...usual };
  state.view = oneOf(given.view, VIEWS.map(([name]) => name), usual.view);
  state.sample = integerWithin(given.sample, manifest.samples.length, 0);
  const there = (site) => Boolean(manifest.axes[state.sample]?.[site]);
  state.site = integerWithin(given.site, manifest.sites.length, 0);
  if (!there(state.site)) state.site = Math.max(0, manifest.sites.findIndex((_, site) => there(site)));
  const { panels } = manifest.sites[state.site];
  state.panel = validPanel(manifest, state.site, given.panel);
  const heads = Array.isArray(given.heads) ? given.heads : [];
  state.heads = [...new Set(heads)].filter((head) => integerWithin(head, panels.length, -1) >= 0).sort((a, b) => a - b);
  if (state.heads.length === panels.length) state.heads = [];
  const [rowTokens, columnTokens] = manifest.axes[state.sample]?.[state.site] ?? [];
  const [queries, keys] = [rowTokens, columnTokens].map((number) => manifest.tokens[number] ?? { labels: [], segments: [0] });
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

// The state after a change. What was pinned, zoomed and chosen stays where it still means the same tokens and heads.
export function changedState(manifest, state, changes) {
  const next = { ...state, ...changes };
  const axes = ({ sample, site }) => JSON.stringify(manifest.axes[sample]?.[site]);
  const kept = (name) => name in changes;
  if (axes(next) !== axes(state)) {
    for (const [name, nothing] of [["query", -1], ["key", -1], ["zoom", null], ["segments", "all"]]) {
      if (!kept(name)) next[name] = nothing;
    }
  }
  const panels = (site) => manifest.sites[site]?.panels.join("\n");
  if (panels(next.site) !== panels(state.site) && !kept("heads")) next.heads = [];
  return validState(manifest, next);
}

// The sites that ran on the sample and are of the chosen kind.
export function shownSites(manifest, { sample, role }) {
  const fits = (site) => manifest.axes[sample]?.[site] && (role === "all" || manifest.sites[site].role === role);
  return [...manifest.sites.keys()].filter(fits);
}

export function rampNames(manifest) {
  return Object.keys(manifest.ramps).filter((name) => !name.startsWith("diverging"));
}

function comparedText({ sample, site, panel }) {
  return [sample, site, panel].join(".");
}

function comparedOf(text) {
  const [sample, site, panel] = text.split(".");
  return { sample: wholeNumber(sample), site: wholeNumber(site), panel: panelOf(panel ?? "") };
}

function wholeNumber(text) {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

function panelOf(text) {
  return AGGREGATES.includes(text) ? text : wholeNumber(text);
}

const STATE_WRITERS = {
  heads: (heads) => heads.join("."),
  zoom: ({ x0, x1, y0, y1 }) => [x0, x1, y0, y1].join("_"),
  means: () => "yes",
  a: comparedText,
  b: comparedText,
};

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

// A link's part behind the `#`: only what is not as usual.
export function hashOfState(manifest, state) {
  const usual = defaultState(manifest);
  const written = Object.keys(usual)
    .filter((name) => JSON.stringify(state[name]) !== JSON.stringify(usual[name]))
    .map((name) => `${name}=${encodeURIComponent(STATE_WRITERS[name]?.(state[name]) ?? state[name])}`);
  return written.join("&");
}

// The state that a link means; what it says wrongly is as usual.
export function stateOfHash(manifest, hash) {
  const given = {};
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, text = ""] = part.split(/=(.*)/s);
    if (!Object.hasOwn(defaultState(manifest), name)) continue;
    const decoded = decodedPart(text);
    if (decoded !== null) given[name] = (STATE_READERS[name] ?? String)(decoded);
  }
  return validState(manifest, given);
}

function decodedPart(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // half of an escape: as if it were not there
  }
}
