// The text view: tokens on the colour of what the pinned token gives them, or of what they receive.
import { formatCell, formatNumber, quoted, shortened } from "./format.js";
import { makeElement } from "./elements.js";
import { NextFrame, repaint } from "./frame.js";
import { TokenParagraph, paintParagraph, paragraphHeight } from "./paragraph.js";
import { createRanking } from "./ranking.js";
import { RelevanceRows } from "./relevance.js";
import { searchMatches } from "./search.js";
import { directionFrom, shownWeights, strongestAcross } from "./shown.js";
import { OTHER_SIDE, SIDES } from "./state.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Mark, Painter, ParagraphListener, Parts, Picked, ShownRelevance, ShownWeights, Side, View } from "./types.d.ts" */

/** @typedef {Pick<Parts, "selection" | "colours" | "names" | "messages" | "legend">} TextParts */

const TOKENS_SHOWN = 160; // at once; the rest is paged to, for elements are what makes pages slow

class TextView {
  /** @param {TextParts} parts */
  constructor(parts) {
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.names = parts.names;
    this.messages = parts.messages;
    this.explain = () => parts.legend.draw();
    /** @type {AttentionMap | null} */
    this.map = null;
    this.tokens = parts.selection.tokens();
    /** Whether one text attends to itself. */
    this.same = false;
    this.maximum = 1;
    /** @type {Record<Side, number>} */
    this.starts = { query: 0, key: 0 };
    /** @type {ShownWeights | null} */
    this.shown = null;
    this.drawn = "";
    this.repainting = new NextFrame(() => this.element.isConnected && this.map && repaint(this));
    this.turn = 0;
    /** @type {Picked | null} */
    this.hovered = null;
    /** @type {string | null} */
    this.revealed = null;
    this.paragraphs = {
      query: new TokenParagraph("query", this.listener("query")),
      key: new TokenParagraph("key", this.listener("key")),
    };
    this.ranking = createRanking(parts);
    this.relevance = new RelevanceRows(parts);
    /** @type {ShownRelevance[]} */
    this.relevances = [];
    this.said = makeElement("p", { class: "told" });
    this.readout = makeElement("p", { class: "readout" });
    const texts = makeElement("div", { class: "texts" }, this.paragraphs.query.element, this.paragraphs.key.element, this.readout, this.said, this.relevance.element);
    this.element = makeElement("div", { class: "text" }, texts, this.ranking.element);
    this.sized = new ResizeObserver(() => {
      for (const paragraph of Object.values(this.paragraphs)) {
        if (!this.element.isConnected) paragraph.empty();
        else if (this.map) paragraph.paintStrip(this.colours.palette);
      }
    });
    this.sized.observe(this.element);
  }

  /**
   * @param {Side} side
   * @returns {ParagraphListener}
   */
  listener(side) {
    return {
      hover: (place) => this.hover(place < 0 ? null : { side: this.sideOf(side), place }),
      click: (place) => this.pin(this.sideOf(side), place),
      page: (start) => this.goTo(side, start),
    };
  }

  /**
   * One text that attends to itself is shown once; a token of it is a query or a key as one reads it.
   *
   * @param {Side} side
   * @returns {Side}
   */
  sideOf(side) {
    if (!this.same) return side;
    return this.selection.state.direction === "to" ? "key" : "query";
  }

  async draw() {
    const { selection } = this;
    this.turn += 1;
    const { turn } = this;
    const [map, relevances] = await Promise.all([selection.map(), selection.relevance()]).catch((error) => {
      if (turn === this.turn) this.clear();
      throw error;
    });
    if (turn !== this.turn) return;
    const { state } = selection;
    this.map = map;
    this.relevances = relevances;
    this.tokens = selection.tokens();
    this.same = this.tokens.queries === this.tokens.keys;
    this.maximum = this.colours.maximum(map);
    const name = `${state.sample}/${state.site}`;
    if (name !== this.drawn) Object.assign(this, { drawn: name, hovered: null, revealed: state.zoom ? this.pinnedName() : null });
    this.ranking.element.hidden = false;
    this.ranking.forget();
    this.turnPages();
    this.fill();
    this.paint();
    this.paintRelevance();
  }

  paintRelevance() {
    const found = new Set(searchMatches(this.tokens.keys.labels, this.selection.state.search));
    const page = (/** @type {number} */ start) => this.goTo("key", start);
    this.relevance.paint(this.relevances, { list: this.tokens.keys, units: this.names.units("key"), start: this.starts.key, size: this.pageSize, found, photo: null, width: null, strength: 0, page });
  }

  /** What cannot be had is not shown as what was shown before. */
  clear() {
    Object.assign(this, { map: null, shown: null, hovered: null });
    this.relevance.element.hidden = true;
    for (const paragraph of Object.values(this.paragraphs)) paragraph.empty();
    this.ranking.element.hidden = true;
    this.readout.textContent = this.said.textContent = "";
  }

  pinnedName() {
    const { pinned } = this;
    return pinned ? `${pinned.side} ${pinned.place}` : "";
  }

  /** @returns {Picked | null} */
  get pinned() {
    const side = this.readSide;
    const place = this.selection.state[side];
    return place >= 0 ? { side, place } : null;
  }

  /** A pinned token is looked at: it decides before what is pointed at. */
  get source() {
    if (this.pinned) return this.pinned;
    return this.same || this.hovered?.side === this.readSide ? this.hovered : null;
  }

  /** @returns {Side} */
  get readSide() {
    return this.selection.state.direction === "to" ? "key" : "query";
  }

  get pageSize() {
    return this.same ? TOKENS_SHOWN : TOKENS_SHOWN / 2;
  }

  /** @param {Side} side */
  listOf(side) {
    return side === "query" ? this.tokens.queries : this.tokens.keys;
  }

  /** Which part of each text is shown: what is zoomed to, and the page of a token that was pinned since. */
  turnPages() {
    const { zoom } = this.selection.state;
    const size = this.pageSize;
    const starts = { query: zoom ? Math.round(zoom.y0) : 0, key: zoom ? Math.round(zoom.x0) : 0 };
    const name = this.pinnedName();
    if (name !== this.revealed && this.pinned) {
      const { side, place } = this.pinned;
      if (place < starts[side] || place >= starts[side] + size) starts[side] = Math.floor(place / size) * size;
      if (this.same) starts.query = starts.key = starts[side];
    }
    this.revealed = name;
    this.starts = starts;
  }

  /**
   * @param {Side} side
   * @param {number} start
   */
  goTo(side, start) {
    const size = this.pageSize;
    const counts = { query: this.tokens.queries.labels.length, key: this.tokens.keys.labels.length };
    const starts = this.same ? { query: start, key: start } : { ...this.starts, [side]: start };
    const [y0, x0] = SIDES.map((each) => Math.max(0, Math.min(starts[each], counts[each] - 1)));
    this.selection.set({ zoom: { y0, y1: Math.min(counts.query, y0 + size), x0, x1: Math.min(counts.key, x0 + size) } });
  }

  fill() {
    const { query, key } = this.paragraphs;
    key.element.hidden = this.same;
    const units = (/** @type {Side} */ side) => this.names.units(side);
    query.fill(this.listOf("query"), this.starts.query, this.pageSize, { heading: this.same ? "" : "queries", units: units("query") });
    if (this.same) key.empty();
    else key.fill(this.listOf("key"), this.starts.key, this.pageSize, { heading: "keys", units: units("key") });
  }

  /** What the colours and marks of this view mean. */
  legend() {
    /** @type {Mark[]} */
    const marks = [
      ["pinned", `pinned ${this.names.unit()}`, (painter) => paintMarkedToken(painter, (x, y, width, height) => painter.frame(x, y, width, height, painter.theme.accent, 2))],
      ["found", `${this.names.unit()} found by the search`, (painter) => paintMarkedToken(painter, (x, y, width, height) => painter.rect(x, y + height, width, 2, painter.theme.accent))],
    ];
    marks.push(...this.relevance.marks());
    if (!this.shown?.received) return { marks };
    return { marks, maximum: this.shown.maximum, title: "attention received, averaged over the queries", end: "the largest, rounded up" };
  }

  paint() {
    const { selection, colours, source, map, tokens, maximum } = this;
    if (!map) return;
    const shown = shownWeights(map, source, { tokens, maximum, window: selection.window() });
    this.shown = shown;
    for (const side of SIDES) {
      const paragraph = this.paragraphs[side];
      const coloured = this.same ? side === "query" : side === shown.side;
      paragraph.paint({
        ...shown,
        coloured: coloured && !shown.unknown,
        colourOf: (value) => colours.of(value, shown.maximum),
        source: source && (this.same || source.side === side) ? source.place : -1,
        pinned: this.pinned !== null,
        found: new Set(searchMatches(this.listOf(side).labels, selection.state.search)),
        theme: colours.palette,
        spoken: (place) => this.spokenOf(side, place),
      });
    }
    this.ranking.show(map, tokens, source?.place ?? -1, directionFrom(source?.side ?? "query"), maximum, this.names.unit(source?.side ?? this.readSide));
    this.said.textContent = this.sentence(shown);
    this.read();
  }

  /** @param {Picked | null} next */
  hover(next) {
    if (next?.side === this.hovered?.side && next?.place === this.hovered?.place) return;
    this.hovered = next;
    if (!this.map) return;
    if (this.pinned) this.read();
    else this.repainting.ask();
  }

  /** The number at the token that is pointed at. */
  read() {
    this.readout.textContent = this.reading();
  }

  reading() {
    const { source, hovered, tokens, map } = this;
    if (!map) return "";
    if (source && hovered && (hovered.place !== source.place || this.pinned)) {
      const [query, key] = source.side === "query" ? [source.place, hovered.place] : [hovered.place, source.place];
      if (!this.same && hovered.side === source.side) return "";
      return `query ${query} ${quoted(tokens.queries.labels[query])} → key ${key} ${quoted(tokens.keys.labels[key])}: ${formatCell(map.at(query, key))}`;
    }
    if (!source && hovered) return this.spokenOf(hovered.side, hovered.place);
    return "";
  }

  /**
   * @param {Side} side
   * @param {number} place
   */
  spokenOf(side, place) {
    const { source, map, tokens } = this;
    const label = quoted(this.listOf(side).labels[place]);
    if (!map) return label;
    if (source) {
      const [query, key] = source.side === "query" ? [source.place, place] : [place, source.place];
      if (this.same || side !== source.side) return `${label}, ${formatCell(map.at(query, key))}`;
    }
    const key = this.same || side === "key";
    return key && !source ? `key ${place} ${quoted(tokens.keys.labels[place])}: receives ${formatNumber(map.received[place])} on average` : `${label}, ${side} ${place}`;
  }

  /** @param {ShownWeights} shown */
  sentence({ received, unknown, partial, blocks, maximum }) {
    const { source } = this;
    const end = `The colours run from 0 to ${formatNumber(maximum)}.`;
    const { names } = this;
    if (unknown) return `This file does not store what ${names.units("key")} receive. Point at a ${names.unit()} to see what it does store.`;
    if (received) {
      const point = this.same ? `Point at a ${names.unit()} to see its own weights; click to pin it.` : "Point at a query to see its own weights; click any query or key to pin it.";
      return `Coloured by the attention that each key receives, averaged over all queries that are not padding. ${end} ${point}`;
    }
    if (!source) return "";
    const label = `“${quoted(shortened(this.listOf(source.side).labels[source.place], 40))}”`;
    const what = source.side === "query" ? `by what query ${source.place} ${label} attends to` : `by how strongly each query attends to key ${source.place} ${label}`;
    const note = partial ? ` Only the strongest weights of each query are stored; ${names.units(OTHER_SIDE[source.side])} without a colour have less.` : blocks ? " Individual weights are not stored: each colour shows the largest in its block." : "";
    return `Coloured ${what}. ${end}${note}`;
  }

  /** In a saved picture: whose weights these are. */
  describe() {
    const { source } = this;
    if (!source) return `${this.names.shown()}: what each key receives`;
    return `${this.names.shown()}: what ${source.side} ${source.place} “${quoted(shortened(this.listOf(source.side).labels[source.place], 40))}” ${source.side === "query" ? "attends to" : "is attended to by"}`;
  }

  /**
   * @param {Side} side
   * @param {number} place
   */
  pin(side, place) {
    const same = this.pinned?.side === side && this.pinned.place === place;
    this.revealed = same ? "" : `${side} ${place}`;
    this.selection.set({ [side]: same ? -1 : place, direction: side === "key" ? "to" : "from" });
    this.announcePinned(same ? null : { side, place });
  }

  /** @param {Picked | null} picked */
  announcePinned(picked) {
    this.messages.announce(picked && this.map ? `${this.spokenPinned(this.map, picked)}.` : "Nothing is pinned.");
  }

  /**
   * @param {AttentionMap} map
   * @param {Picked} picked
   */
  spokenPinned(map, { side, place }) {
    const other = OTHER_SIDE[side];
    const strongest = strongestAcross(map, { side, place });
    const label = quoted(this.listOf(other).labels[strongest.place]);
    return `${side} ${place}, ${quoted(this.listOf(side).labels[place])}; strongest ${other} ${label}, ${formatCell(strongest.cell)}`;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.map) return false;
    const { state } = this.selection;
    const side = this.readSide;
    const paragraph = this.paragraphs[this.same ? "query" : side];
    const last = this.listOf(side).labels.length - 1;
    const place = this.pinned?.place ?? -1;
    /** @type {Record<string, () => number>} */
    const moves = {
      ArrowRight: () => place + 1,
      ArrowLeft: () => place - 1,
      ArrowDown: () => paragraph.lineBelow(place, 1),
      ArrowUp: () => paragraph.lineBelow(place, -1),
      PageDown: () => place + this.pageSize,
      PageUp: () => place - this.pageSize,
      Home: () => 0,
      End: () => last,
    };
    if (Object.hasOwn(moves, event.key)) {
      const next = Math.min(last, Math.max(0, moves[event.key]()));
      this.selection.set({ [side]: next });
      this.announcePinned({ side, place: next });
      return true;
    }
    if (event.key === "Escape" && state[side] >= 0) this.selection.set({ [side]: -1 });
    else if (event.key === "Enter" && this.hovered) this.pin(this.hovered.side, this.hovered.place);
    else return false;
    return true;
  }

  picture() {
    if (!this.map || !this.shown) return null;
    const width = 760;
    const shown = Object.values(this.paragraphs).filter((paragraph) => !paragraph.element.hidden);
    const heights = shown.map((paragraph) => paragraphHeight(paragraph, width));
    const { relevance } = this;
    return {
      width,
      height: heights.reduce((sum, height) => sum + height, relevance.pictureHeight(width)),
      draw(/** @type {Painter} */ painter) {
        const bottom = shown.reduce((top, paragraph, number) => {
          paintParagraph(painter, paragraph, width, top);
          return top + heights[number];
        }, 0);
        relevance.paintInto(painter, width, bottom);
      },
    };
  }

  dispose() {
    this.turn = -1;
    this.repainting.cancel();
    this.sized.disconnect();
  }
}

/**
 * @param {Painter} painter
 * @param {(x: number, y: number, width: number, height: number) => void} mark
 */
function paintMarkedToken(painter, mark) {
  painter.text("abc", 13, 6, { size: 10.5, mono: true, align: "center" });
  mark(2, 1, 22, 11);
}

/**
 * @param {TextParts} parts
 * @returns {View}
 */
export function createTextView(parts) {
  const view = new TextView(parts);
  return {
    element: view.element,
    draw: () => view.draw(),
    key: (event) => view.key(event),
    picture: () => view.picture(),
    map: () => view.map,
    legend: () => view.legend(),
    describe: () => view.describe(),
    dispose: () => view.dispose(),
  };
}
