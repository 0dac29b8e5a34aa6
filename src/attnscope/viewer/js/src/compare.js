// The comparison: what is chosen (A) minus another sample, head, site or run (B), cell by cell.
import { MASKED_CODE } from "./attention.js";
import { makeButton, makeElement, makeSelect, optionOf } from "./elements.js";
import { formatCell, formatCount, formatNumber, quoted, roundedUp, shortened } from "./format.js";
import { createMatrixPane } from "./matrix.js";
import { canAggregate, isAggregate, panelRequest, panelsOf } from "./state.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { MatrixParts } from "./matrix.js" */
/** @import { CellPlace, Extremes, Manifest, MapChoice, MapRequest, Mark, Panel, Parts, Sample, SiteTokens, Tokens, View, Window } from "./types.d.ts" */

/** @typedef {MatrixParts & Pick<Parts, "manifest" | "store" | "names">} CompareParts */

const FINE = 0.0005; // an error that three digits do not show

/**
 * What B is while nobody has chosen it: the same in the next run, else the next head, else site, else sample.
 *
 * @param {Manifest} manifest
 * @param {MapChoice} chosen
 * @returns {MapChoice}
 */
export function usualOther(manifest, { sample, site, panel }) {
  const { name, short, run, panels } = manifest.sites[site];
  /** @type {(site: number) => boolean} */
  const there = (number) => Boolean(manifest.axes[sample]?.[number]);
  /** @type {(site: number) => boolean} */
  const fits = (number) => there(number) && number !== site && JSON.stringify(manifest.axes[sample][number]) === JSON.stringify(manifest.axes[sample][site]);
  const numbers = [...manifest.sites.keys()];
  const others = numbers.filter((number) => there(number) && manifest.sites[number].run !== run);
  const twin = others.find((number) => manifest.sites[number].name === name) ?? others.find((number) => manifest.sites[number].short === short);
  /** @type {(site: number) => Panel} */
  const panelOf = (number) => (typeof panel === "number" && panel >= manifest.sites[number].panels.length ? 0 : panel);
  if (twin !== undefined) return { sample, site: twin, panel: panelOf(twin) };
  if (panels.length > 1) return { sample, site, panel: typeof panel === "number" ? (panel + 1) % panels.length : 0 };
  const next = numbers.find((number) => number > site && fits(number)) ?? numbers.find(fits);
  if (next !== undefined) return { sample, site: next, panel: panelOf(next) };
  return { sample: (sample + 1) % manifest.samples.length, site, panel };
}

/**
 * At how many positions two lists of labels differ; null where they are of different lengths.
 *
 * @param {Pick<Tokens, "labels">} first
 * @param {Pick<Tokens, "labels">} second
 */
export function differingLabels(first, second) {
  if (first === second) return 0;
  if (first.labels.length !== second.labels.length) return null;
  return first.labels.reduce((count, label, place) => count + (label === second.labels[place] ? 0 : 1), 0);
}

/**
 * The cells in which A exceeds B most and in which it falls short of it most; null where it never does.
 *
 * @param {AttentionMap} map
 * @param {Window} within
 * @returns {Extremes}
 */
export function extremeCells(map, within) {
  /** @type {Extremes} */
  const found = { more: null, less: null };
  const [top, bottom] = within.rows.map((end) => Math.ceil(end / map.poolRows));
  const [left, right] = within.columns.map((end) => Math.ceil(end / map.poolColumns));
  for (let row = top; row < bottom; row += 1) {
    for (let column = left; column < right; column += 1) {
      const place = row * map.gridColumns + column;
      const value = map.values[place];
      if (map.codes[place] >= MASKED_CODE) continue;
      const cell = { row: row * map.poolRows, column: column * map.poolColumns, value };
      if (value > (found.more?.value ?? 0)) found.more = cell;
      if (value < (found.less?.value ?? 0)) found.less = cell;
    }
  }
  return found;
}

/**
 * @param {Sample} sample
 * @param {number} number
 * @param {number} run whose label it has
 */
function sampleOption({ runs, name }, number, run) {
  const { label } = runs[run];
  const own = name === String(number) ? "" : ` (${shortened(name, 24)})`;
  return optionOf(number, `${number + 1}${label ? `: ${shortened(label, 24)}` : own}`);
}

/**
 * What one side of a comparison is: its run and path, and what that run says of the sample.
 *
 * @param {Pick<Manifest, "runs" | "samples" | "sites">} manifest
 * @param {MapChoice} choice
 * @returns {[name: string, text: string][]}
 */
export function factsOf({ runs, samples, sites }, { sample, site }) {
  const { run, name, short } = sites[site];
  const { label, output } = samples[sample].runs[run];
  const facts = { run: runs[run], path: name === short ? "" : name, label, output };
  return Object.entries(facts).flatMap(([fact, text]) => (text ? [/** @type {[string, string]} */ ([fact, text])] : []));
}

/**
 * The end of a scale that every difference is on. Usually it is the largest weight of A's sample, and B may be another.
 *
 * @param {Pick<AttentionMap, "maximum">} map
 * @param {number} usual
 */
export function endOfScale({ maximum }, usual) {
  return maximum > usual ? roundedUp(maximum) : usual;
}

/** @param {[name: string, text: string][]} facts */
function factElements(facts) {
  return facts.map(([name, text]) => makeElement("div", {}, makeElement("dt", { text: name }), makeElement("dd", { text, title: text })));
}

class CompareView {
  /** @param {CompareParts} parts */
  constructor(parts) {
    this.manifest = parts.manifest;
    this.store = parts.store;
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.names = parts.names;
    this.messages = parts.messages;
    this.pane = createMatrixPane(parts);
    this.turn = 0;
    /** @type {AttentionMap | null} */
    this.map = null;
    /** @type {Extremes} */
    this.extremes = { more: null, less: null };
    this.first = makeElement("span", { class: "compared" });
    this.sample = makeSelect("B: sample", (value) => this.choose({ sample: Number(value) }));
    this.site = makeSelect("B: site", (value) => this.choose({ site: Number(value) }));
    this.panel = makeSelect("B: head", (value) => this.choose({ panel: isAggregate(value) ? value : Number(value) }));
    const swap = makeButton("Swap A and B", "swap", () => this.swap());
    this.factsOfA = makeElement("dl", { class: "facts" });
    this.factsOfB = makeElement("dl", { class: "facts" });
    this.facts = makeElement("p", { class: "told", role: "note" });
    this.more = this.makePin("more");
    this.less = this.makePin("less");
    const chooser = makeElement(
      "div",
      { class: "chooser-b", role: "group", "aria-label": "What is compared" },
      makeElement("p", {}, makeElement("b", { text: "A" }), this.first),
      this.factsOfA,
      makeElement("div", { class: "choices" }, makeElement("b", { text: "B" }), this.sample.element, this.site.element, this.panel.element, swap),
      this.factsOfB,
    );
    this.content = makeElement("div", {}, makeElement("p", { class: "extremes" }, this.more, this.less), this.facts, this.pane.element);
    this.element = makeElement("div", { class: "compare" }, chooser, this.content);
  }

  get a() {
    const { sample, site, panel } = this.selection.state;
    return { sample, site, panel };
  }

  get b() {
    return this.selection.state.b ?? usualOther(this.manifest, this.a);
  }

  /**
   * @param {MapChoice} choice
   * @returns {MapRequest}
   */
  requestOf({ sample, site, panel }) {
    const heads = site === this.selection.state.site ? this.selection.state.heads : [];
    return { sample, site, panel: panelRequest(this.manifest, { site, panel, heads }) };
  }

  /** @param {MapChoice} choice */
  nameOf({ sample, site, panel }) {
    const number = this.manifest.samples.length > 1 ? `sample ${sample + 1}, ` : "";
    return `${number}${this.names.site(site)}, ${this.names.panel(site, panel)}`;
  }

  /** @param {Partial<MapChoice>} changes */
  choose(changes) {
    const { manifest } = this;
    const next = { ...this.b, ...changes };
    const { panels } = manifest.sites[next.site];
    const known = typeof next.panel === "number" ? next.panel < panels.length : canAggregate(manifest.sites[next.site]);
    this.selection.set({ b: known ? next : { ...next, panel: 0 } });
  }

  swap() {
    const [a, b] = [this.a, this.b];
    this.selection.set({ ...b, b: a });
  }

  async draw() {
    const { selection } = this;
    if (selection.state.a) {
      selection.set({ ...selection.state.a, a: null }); // a link may say A too; A is what is chosen
      return;
    }
    this.turn += 1;
    const { turn } = this;
    const [a, b] = [this.a, this.b];
    this.fill(b);
    try {
      const map = await this.store.difference(this.requestOf(a), this.requestOf(b));
      if (turn !== this.turn) return;
      this.content.hidden = false;
      this.map = map;
      this.show(map, a, b);
    } catch (error) {
      if (turn !== this.turn) return;
      this.content.hidden = true;
      this.map = null;
      throw error;
    }
  }

  /** @param {MapChoice} b */
  fill(b) {
    const { manifest, names } = this;
    this.first.textContent = this.nameOf(this.a);
    this.factsOfA.replaceChildren(...factElements(factsOf(manifest, this.a)));
    this.factsOfB.replaceChildren(...factElements(factsOf(manifest, b)));
    this.sample.element.hidden = manifest.samples.length < 2;
    const { run } = manifest.sites[b.site];
    this.sample.fill(manifest.samples.map((sample, number) => sampleOption(sample, number, run)), b.sample);
    const sites = [...manifest.sites.keys()].filter((site) => manifest.axes[b.sample]?.[site]);
    const listed = sites.includes(b.site) ? sites : [b.site, ...sites];
    this.site.fill(listed.map((number) => optionOf(number, names.site(number), names.path(number))), b.site);
    const site = manifest.sites[b.site];
    this.panel.element.hidden = site.panels.length < 2;
    this.panel.fill(panelsOf(site).map((panel) => optionOf(panel, names.panel(b.site, panel))), b.panel);
  }

  /**
   * @param {AttentionMap} map
   * @param {MapChoice} a
   * @param {MapChoice} b
   */
  show(map, a, b) {
    const { selection } = this;
    const within = selection.window();
    this.extremes = extremeCells(map, within);
    const tokens = selection.tokens();
    const maximum = endOfScale(map, this.colours.maximum(map));
    this.pane.show(map, tokens, { maximum, window: within, others: this.store.tokens(b.sample, b.site), name: `${this.nameOf(a)} minus ${this.nameOf(b)}` });
    const fill = (/** @type {keyof Extremes} */ name, /** @type {string} */ text) => {
      const cell = this.extremes[name];
      this[name].hidden = !cell;
      if (cell) this[name].textContent = `${text}: ${this.cellText(map, tokens, cell)}`;
    };
    fill("more", "A exceeds B most");
    fill("less", "B exceeds A most");
    this.facts.textContent = [this.sameness(a, b), this.labelsSaid(a, b)].filter(Boolean).join(" ");
    this.facts.hidden = !this.facts.textContent;
  }

  /**
   * @param {AttentionMap} map
   * @param {SiteTokens} tokens
   * @param {CellPlace} cell
   */
  cellText(map, tokens, { row, column }) {
    const [query, key] = [tokens.queries.labels[row], tokens.keys.labels[column]].map((label) => quoted(shortened(label, 18)));
    if (map.pooled) return `the block that starts at query ${row} ${query} and key ${column} ${key}`;
    const cell = map.at(row, column);
    const value = Math.abs(cell.value ?? NaN);
    const told = cell.bound < FINE ? formatNumber(value) : formatCell({ ...cell, value });
    return `${query} → ${key}, by ${told}`;
  }

  /**
   * @param {MapChoice} a
   * @param {MapChoice} b
   */
  sameness(a, b) {
    if (JSON.stringify(a) === JSON.stringify(b)) return "A and B are the same map. Choose another head, site or sample for B.";
    return this.extremes.more || this.extremes.less ? "" : "There is no difference in what is shown.";
  }

  /**
   * @param {MapChoice} a
   * @param {MapChoice} b
   */
  labelsSaid(a, b) {
    const { store } = this;
    const [first, second] = [store.tokens(a.sample, a.site), store.tokens(b.sample, b.site)];
    const [queries, keys] = [differingLabels(first.queries, second.queries), differingLabels(first.keys, second.keys)];
    if (!queries && !keys) return "";
    const [rows, columns] = [first.queries.labels.length, first.keys.labels.length].map(formatCount);
    return `The labels of A and B differ at ${queries} of ${rows} queries and ${keys} of ${columns} keys: cells are compared by position, and the labels shown are those of A.`;
  }

  /**
   * A button whose text says which cell it pins.
   *
   * @param {keyof Extremes} name
   */
  makePin(name) {
    return makeElement("button", { type: "button", title: "Pin this cell", click: () => this.pin(name) });
  }

  /** @param {keyof Extremes} name */
  pin(name) {
    const cell = this.extremes[name];
    if (!cell) return;
    this.selection.set({ query: cell.row, key: cell.column });
    this.messages.announce(`Pinned: ${this[name].textContent}`);
  }

  legend() {
    /** @type {Mark[]} */
    const marks = [
      ["more", "A is larger", (painter) => painter.rect(0, 0, 26, 14, this.colours.ofDifference(1, 1))],
      ["less", "B is larger", (painter) => painter.rect(0, 0, 26, 14, this.colours.ofDifference(-1, 1))],
    ];
    const usual = this.colours.maximum(this.map);
    const maximum = this.map ? endOfScale(this.map, usual) : usual;
    const end = this.selection.state.range === "head" ? { end: "the largest difference" } : maximum > usual ? { end: "the largest difference, rounded up" } : {};
    return { signed: true, title: "A − B", marks, maximum, ...end };
  }

  dispose() {
    this.turn = -1;
    this.pane.dispose();
  }
}

/**
 * @param {CompareParts} parts
 * @returns {View}
 */
export function createCompareView(parts) {
  const view = new CompareView(parts);
  return {
    element: view.element,
    keeps: true, // the choice of B, when it cannot be drawn
    draw: () => view.draw(),
    key: (event) => !view.content.hidden && view.pane.key(event),
    picture: () => (view.map ? view.pane.picture() : null),
    map: () => view.map,
    legend: () => view.legend(),
    describe: () => `A: ${view.nameOf(view.a)}; B: ${view.nameOf(view.b)}`,
    dispose: () => view.dispose(),
  };
}
