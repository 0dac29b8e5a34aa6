// The head view: two columns of tokens and a line for each of the strongest weights between them.
import { makeButton, makeElement, uniqueId } from "./elements.js";
import { formatCell, formatCount, formatNumber, quoted } from "./format.js";
import { NextFrame } from "./frame.js";
import { LINES_HEADER, LINES_MARGIN, LinesLayout, edgesOf, linesToDraw, paintLines } from "./linework.js";
import { screenPainter, textWidth } from "./painter.js";
import { searchMatches } from "./search.js";
import { NO_TOKENS, OTHER_SIDE } from "./state.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { LinesContent, LinesDrawing, LinesHead, Mark, Painter, Parts, Picked, Rgb, Side, SiteTokens, Span, State, View } from "./types.d.ts" */

/** @typedef {Pick<Parts, "manifest" | "place" | "store" | "selection" | "colours" | "names" | "messages">} LinesParts */

const MOST_LINE_HEADS = 8; // as many as there are colours for
const WIDEST_LINES = 880;
const USUAL_ROW = 20;
const LARGEST_ROW = 40;
const NAMES_HEIGHT = 26;
const ROW_ZOOM_STEP = 1.4;
const WHOLE = 0.001; // tokens short of everything: a zoom of all is none at all, which here means rows of the usual height
const SCROLL_PAUSE = 250; // milliseconds of rest before the link says what is in view
const NO_LAYOUT = new LinesLayout({ width: 0, height: LINES_MARGIN, rowHeight: USUAL_ROW, share: 0, tokens: { queries: NO_TOKENS, keys: NO_TOKENS } });

/**
 * The heads whose lines are drawn together, each in a colour of its own; none where one is looked at.
 *
 * @param {State} state
 */
function headsInColours({ panel, heads }) {
  return typeof panel === "number" && heads.length > 1 ? heads.slice(0, MOST_LINE_HEADS) : [];
}

/**
 * A colour on its way from the page to a head's own.
 *
 * @param {string} page
 * @param {string} colour
 * @param {number} share
 * @returns {Rgb}
 */
function mixedColour(page, colour, share) {
  const part = (/** @type {number} */ place) => {
    const [from, to] = [page, colour].map((hex) => Number.parseInt(hex.slice(place, place + 2), 16));
    return Math.round(from + (to - from) * share);
  };
  return [part(1), part(3), part(5)];
}

class LinesView {
  /** @param {LinesParts} parts */
  constructor(parts) {
    this.manifest = parts.manifest;
    this.place = parts.place;
    this.store = parts.store;
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.names = parts.names;
    this.messages = parts.messages;
    /** @type {LinesContent | null} */
    this.content = null;
    /** @type {LinesDrawing | null} */
    this.drawn = null;
    this.layout = NO_LAYOUT;
    /** @type {{ name: string, colour: string }[]} the heads whose lines have a colour of their own */
    this.named = [];
    /** @type {Picked | null} */
    this.hovered = null;
    this.shown = "";
    this.revealed = "";
    this.turn = 0;
    this.painting = new NextFrame(() => this.element.isConnected && this.content && this.paint());
    this.rest = 0;
    this.rowHeight = USUAL_ROW;
    this.least = USUAL_ROW;
    this.placedTop = -1;
    this.scrolling = false;
    this.canvas = makeElement("canvas", { "aria-hidden": "true" });
    this.option = makeElement("div", { role: "option", id: uniqueId(), class: "unseen", "aria-selected": "true" });
    this.runway = makeElement("div", { class: "lines-runway" }, this.canvas);
    this.stage = makeElement(
      "div",
      {
        class: "lines-stage",
        tabindex: 0,
        role: "listbox",
        "aria-label": "Queries on the left and keys on the right",
        "aria-activedescendant": this.option.id,
        scroll: () => this.scrolled(),
      },
      this.runway,
      this.option,
    );
    this.heads = makeElement("div", { class: "line-heads" });
    this.told = makeElement("p", { class: "told" });
    this.zoom = makeElement(
      "div",
      { class: "view-tools", role: "group", "aria-label": "Zoom" },
      makeButton("Smaller rows", "−", () => this.zoomBy(1 / ROW_ZOOM_STEP)),
      makeButton("Larger rows", "+", () => this.zoomBy(ROW_ZOOM_STEP)),
      makeButton("The whole text at once", "whole", () => this.zoomBy(0)),
    );
    this.bar = makeElement("div", { class: "view-bar" }, this.heads, this.zoom);
    this.element = makeElement("div", { class: "lines" }, this.bar, this.stage, this.told);
    this.canvas.addEventListener("pointermove", (event) => this.hover(this.pointed(event)));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.sized = new ResizeObserver(() => this.painting.ask());
    this.sized.observe(this.element);
  }

  async draw() {
    const { selection, store } = this;
    const { state } = selection;
    const panels = headsInColours(state);
    this.turn += 1;
    const { turn } = this;
    const wanted = panels.length ? Promise.all(panels.map((panel) => store.map({ sample: state.sample, site: state.site, panel }))) : selection.map().then((map) => [map]);
    const maps = await wanted.catch((error) => {
      if (turn === this.turn) this.clear();
      throw error;
    });
    if (turn !== this.turn) return;
    this.stage.hidden = false;
    this.content = this.contentOf(maps, panels);
    this.drawn = null;
    this.showHeads(panels);
    const name = `${state.sample}/${state.site}`;
    if (this.shown !== name) this.hovered = null;
    this.shown = name;
    this.paint();
  }

  /** What cannot be had is not shown as what was shown before. */
  clear() {
    Object.assign(this, { content: null, drawn: null, layout: NO_LAYOUT, hovered: null });
    this.stage.hidden = true;
    this.bar.hidden = true;
    this.told.textContent = "";
  }

  /**
   * @param {AttentionMap[]} maps
   * @param {number[]} panels
   * @returns {LinesContent}
   */
  contentOf(maps, panels) {
    const { selection, colours } = this;
    const { state } = selection;
    const { palette } = colours;
    const ownColours = palette.heads;
    const tokens = selection.tokens();
    /** @type {(map: AttentionMap, number: number) => LinesHead} */
    const headOf = (map, number) => {
      const maximum = colours.maximum(map);
      if (!panels.length) return { map, maximum, colour: palette.accent, colourOf: (value) => colours.of(value, maximum) };
      const colour = ownColours[number];
      return { map, maximum, colour, colourOf: (value) => mixedColour(palette.page, colour, Math.sqrt(Math.min(1, value / maximum))) };
    };
    const heads = maps.map(headOf);
    const found = { query: new Set(searchMatches(tokens.queries.labels, state.search)), key: new Set(searchMatches(tokens.keys.labels, state.search)) };
    return { heads, tokens, found, scale: state.scale, within: selection.window() };
  }

  /** @param {number[]} panels */
  showHeads(panels) {
    const { state } = this.selection;
    const names = this.manifest.sites[state.site].panels;
    const colours = this.colours.palette.heads;
    this.named = panels.map((panel, number) => ({ name: names[panel], colour: colours[number] }));
    const chips = this.named.map(({ name, colour }) => {
      const swatch = makeElement("i", { class: "swatch" });
      swatch.style.background = colour;
      return makeElement("span", {}, swatch, name);
    });
    const left = state.heads.length - panels.length;
    if (panels.length && left > 0) chips.push(makeElement("span", { text: `and ${left} more chosen heads that are not drawn` }));
    this.heads.replaceChildren(...chips);
  }

  /** @returns {Side} */
  get readSide() {
    return this.selection.state.direction === "to" ? "key" : "query";
  }

  /** @returns {Picked | null} */
  get pinned() {
    const side = this.readSide;
    const place = this.selection.state[side];
    return place >= 0 ? { side, place } : null;
  }

  /**
   * Sizes, zoom and scrolling; the state's zoom is in tokens, so that it means the same at every size of the window.
   *
   * @param {SiteTokens} tokens
   */
  arrange(tokens) {
    const width = Math.min(WIDEST_LINES, Math.max(280, this.element.clientWidth));
    const count = Math.max(tokens.queries.labels.length, tokens.keys.labels.length, 1);
    const most = Math.min(820, Math.max(320, this.place.embedded ? 520 : innerHeight * 0.68)) - LINES_MARGIN;
    const [start, end] = this.zoomed(tokens, count);
    const room = Math.min(most, count * USUAL_ROW);
    this.least = room / count;
    this.rowHeight = end ? Math.min(LARGEST_ROW, room / (end - start)) : USUAL_ROW;
    this.rowHeight = Math.max(this.least, this.rowHeight);
    const height = room + LINES_MARGIN;
    const beyond = count * this.rowHeight - room;
    this.stage.style.height = `${height}px`;
    this.stage.style.width = `${width}px`;
    this.runway.style.height = `${height + Math.max(0, beyond)}px`;
    const scrolls = beyond > 0.5;
    this.zoom.hidden = count * USUAL_ROW <= most && !scrolls;
    this.bar.hidden = this.zoom.hidden && !this.named.length;
    if (end && !this.scrolling) this.placeScroll(start * this.rowHeight);
    const share = scrolls ? Math.min(1, this.stage.scrollTop / beyond) : 0;
    return new LinesLayout({ width: scrolls ? this.stage.clientWidth : width, height, rowHeight: this.rowHeight, share, tokens });
  }

  /**
   * What is placed by the state need not be told to it again.
   *
   * @param {number} top
   */
  placeScroll(top) {
    this.stage.scrollTop = top;
    this.placedTop = this.stage.scrollTop;
  }

  /**
   * From and to of the longer side in tokens; [0, 0] where nothing is said.
   *
   * @param {SiteTokens} tokens
   * @param {number} count
   * @returns {Span}
   */
  zoomed(tokens, count) {
    const { zoom } = this.selection.state;
    if (!zoom) return [0, 0];
    return tokens.queries.labels.length === count ? [zoom.y0, zoom.y1] : [zoom.x0, zoom.x1];
  }

  paint() {
    const { content } = this;
    if (!content) return;
    this.layout = this.arrange(content.tokens);
    this.revealPinned(content.tokens);
    const picked = this.hovered ?? this.pinned;
    this.drawn = linesToDraw(content, picked, this.inView());
    paintLines(screenPainter(this.canvas, this.layout.width, this.layout.height, this.colours.palette), this.layout, this.drawn);
    this.told.textContent = this.sentence(content, this.drawn);
    this.option.textContent = this.spoken();
  }

  inView() {
    return { rows: this.layout.visible("query"), columns: this.layout.visible("key") };
  }

  /**
   * A token that was pinned from elsewhere (search, a link, another view) is scrolled into view, once.
   *
   * @param {SiteTokens} tokens
   */
  revealPinned(tokens) {
    const { pinned } = this;
    const name = pinned ? `${pinned.side} ${pinned.place}` : "";
    if (name === this.revealed) return;
    this.revealed = name;
    if (!pinned) return;
    const y = this.layout.yOf(pinned.side, pinned.place);
    if (y > LINES_HEADER && y < this.layout.height) return;
    this.scrollTo(tokens, pinned);
  }

  /**
   * @param {SiteTokens} tokens
   * @param {Picked} picked
   */
  scrollTo(tokens, { side, place }) {
    const { count } = this.layout.sides[side];
    const whole = count * this.rowHeight - this.layout.room;
    if (whole <= 0) return;
    const share = Math.min(1, Math.max(0, ((place + 0.5) * this.rowHeight - this.layout.room / 2) / whole));
    this.scrolling = true;
    this.placedTop = -1;
    this.stage.scrollTop = share * (this.runway.clientHeight - this.stage.clientHeight);
    this.layout = this.arrange(tokens);
    this.scrolled();
  }

  scrolled() {
    if (Math.abs(this.stage.scrollTop - this.placedTop) < 1) return;
    this.placedTop = -1;
    this.scrolling = true;
    this.painting.ask();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.scrolling = false;
      this.rememberZoom();
    }, SCROLL_PAUSE);
  }

  rememberZoom() {
    const { layout } = this;
    if (!this.content || !this.element.isConnected) return;
    /** @type {(side: Side) => Span} */
    const part = (side) => {
      const { offset, count } = layout.sides[side];
      const start = offset / this.rowHeight;
      return [start, Math.min(count, start + layout.room / this.rowHeight)];
    };
    const [[y0, y1], [x0, x1]] = [part("query"), part("key")];
    this.selection.set({ zoom: { x0, x1, y0, y1 } });
  }

  /**
   * By 0: as small as it takes for everything to be seen.
   *
   * @param {number} factor
   */
  zoomBy(factor) {
    const { layout } = this;
    if (!this.content) return;
    const middle = (this.stage.scrollTop + layout.room / 2) / this.rowHeight;
    const rowHeight = factor ? Math.min(LARGEST_ROW, Math.max(this.least, this.rowHeight * factor)) : this.least;
    const inView = layout.room / rowHeight;
    const { query, key } = layout.sides;
    /** @type {(count: number) => Span} */
    const part = (count) => {
      const size = Math.min(count, inView);
      const start = Math.min(count - size, Math.max(0, (middle * count) / Math.max(query.count, key.count) - size / 2));
      return [start, Math.min(start + size, count - WHOLE)];
    };
    const [[y0, y1], [x0, x1]] = [part(query.count), part(key.count)];
    this.selection.set({ zoom: { x0, x1, y0, y1 } });
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoomBy(event.deltaY < 0 ? ROW_ZOOM_STEP ** 0.5 : ROW_ZOOM_STEP ** -0.5);
  }

  /**
   * @param {MouseEvent} event
   * @returns {Picked | null}
   */
  pointed(event) {
    if (!this.content) return null;
    const side = event.offsetX < this.layout.width / 2 ? "query" : "key";
    const place = this.layout.placeAt(side, event.offsetY);
    return place < 0 ? null : { side, place };
  }

  /** @param {Picked | null} next */
  hover(next) {
    if (!this.content) return;
    if (next?.side === this.hovered?.side && next?.place === this.hovered?.place) return;
    this.hovered = next;
    this.painting.ask();
  }

  /** @param {MouseEvent} event */
  click(event) {
    if (!this.content || !this.drawn) return;
    const side = event.offsetX < this.layout.width / 2 ? "query" : "key";
    const inLabels = side === "query" ? event.offsetX < this.layout.lineX("query") : event.offsetX > this.layout.lineX("key");
    const chips = inLabels ? [...edgesOf(this.layout, this.drawn, side).chips] : [];
    const chip = chips.find(([, { y }]) => Math.abs(y - event.offsetY) <= 8);
    if (chip) {
      this.scrollTo(this.content.tokens, { side, place: chip[0] });
      return;
    }
    const pointed = this.pointed(event);
    if (pointed) this.pin(pointed.side, pointed.place);
  }

  /**
   * @param {Side} side
   * @param {number} place
   */
  pin(side, place) {
    const same = this.pinned?.side === side && this.pinned.place === place;
    this.revealed = `${side} ${place}`;
    this.selection.set({ [side]: same ? -1 : place, direction: side === "key" ? "to" : "from" });
    this.messages.announce(same ? "Nothing is pinned." : this.spokenOf({ side, place }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || !this.content) return false;
    /** @type {Record<string, number>} */
    const zooms = { "+": ROW_ZOOM_STEP, "=": ROW_ZOOM_STEP, "-": 1 / ROW_ZOOM_STEP, 0: 0 };
    if (event.key in zooms && !event.ctrlKey && !event.metaKey) {
      this.zoomBy(zooms[event.key]);
      return true;
    }
    if (event.ctrlKey || event.metaKey || event.shiftKey) return false;
    const side = this.readSide;
    const { count } = this.layout.sides[side];
    const place = this.pinned?.place ?? this.hovered?.place ?? -1;
    const page = Math.max(1, Math.floor(this.layout.room / this.rowHeight) - 1);
    /** @type {Record<string, number>} */
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: count - 1 };
    if (event.key in moves) {
      const next = Math.min(count - 1, Math.max(0, moves[event.key]));
      this.hovered = null;
      this.selection.set({ [side]: next });
      this.messages.announce(this.spokenOf({ side, place: next }));
      return true;
    }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") return this.changeSide(event.key === "ArrowLeft" ? "query" : "key");
    if (event.key === "Enter" && this.hovered) this.pin(this.hovered.side, this.hovered.place);
    else if (event.key === "Escape" && this.pinned) this.selection.set({ [side]: -1 });
    else return false;
    return true;
  }

  /**
   * To the token of the other column that the pinned one is most strongly connected with.
   *
   * @param {Side} side
   */
  changeSide(side) {
    const now = this.pinned;
    if (now?.side === side) return true;
    const strongest = now ? (this.drawnFor(now)?.strips[0].places[0] ?? -1) : -1;
    const kept = this.selection.state[side];
    const place = kept >= 0 ? kept : Math.max(0, strongest);
    this.selection.set({ [side]: place, direction: side === "key" ? "to" : "from" });
    this.messages.announce(this.spokenOf({ side, place }));
    return true;
  }

  /** @param {Picked} picked */
  drawnFor(picked) {
    return this.content && linesToDraw(this.content, picked, this.inView());
  }

  /** @param {Picked} picked */
  spokenOf(picked) {
    const { labels, count } = this.layout.sides[picked.side];
    const other = OTHER_SIDE[picked.side];
    const notes = this.drawnFor(picked)?.notes[other] ?? [];
    const strongest = [...notes].slice(0, 3).map(([place, { cell }]) => `${quoted(this.layout.sides[other].labels[place])} ${cell ? formatCell(cell) : ""}`);
    const list = strongest.length ? `Strongest ${other === "key" ? "keys" : "queries"}: ${strongest.join(", ")}.` : "No weights.";
    return `${picked.side} ${picked.place} of ${count}, ${quoted(labels[picked.place])}. ${list}`;
  }

  /** In a saved picture: whose lines these are. */
  describe() {
    const { names, named, drawn } = this;
    const heads = named.length ? `${names.site(this.selection.state.site)}, ${named.map(({ name }) => name).join(", ")}` : names.shown();
    if (!drawn?.picked) return `${heads}: the strongest ${formatCount(drawn?.counts.drawn ?? 0)} weights`;
    const { side, place } = drawn.picked;
    return `${heads}: ${side} ${place} “${quoted(this.layout.sides[side].labels[place])}”`;
  }

  spoken() {
    if (this.pinned) return this.spokenOf(this.pinned);
    return `Nothing is pinned. ${this.told.textContent}`;
  }

  /**
   * @param {LinesContent} content
   * @param {LinesDrawing} drawing
   */
  sentence(content, { counts, picked }) {
    const [drawn, total] = [counts.drawn, counts.total].map(formatCount);
    const { map } = content.heads[0];
    const what = { all: "weights above zero", strongest: "weights that are stored, the strongest of each query", none: "blocks above zero, each with its largest weight" }[map.known];
    if (picked) {
      const { side, place } = picked;
      const label = `“${quoted(this.layout.sides[side].labels[place])}”`;
      const rest = counts.drawn < counts.total ? ` The others are at most ${formatNumber(counts.largestLeft)}.` : "";
      const lines = counts.drawn < counts.total ? `; the strongest ${drawn} are drawn` : ", all drawn";
      return `${side === "query" ? "Query" : "Key"} ${place} ${label} ${side === "query" ? "gives" : "gets"} ${total} ${what}${lines}.${rest}`;
    }
    const { rows, columns } = this.inView();
    const part = rows[1] - rows[0] < map.rows || columns[1] - columns[0] < map.columns ? ` between the ${this.names.units()} in view` : "";
    const which = counts.drawn < counts.total ? `The strongest ${drawn} of ${total} ${what}${part}. They are ${formatNumber(counts.least)} or more.` : `All ${total} ${what}${part}.`;
    return `${which} Point at a ${this.names.unit()} to see its own lines; click to pin it.`;
  }

  /** What the marks of this view mean. */
  legend() {
    const own = this.named.length > 1 ? "a line in a head's colour" : "a line";
    /** @type {Mark[]} */
    const marks = [
      ["line", `${own}: thicker and more opaque for a larger weight, on this scale`, (painter) => {
        painter.curve(0, 3, 26, 2, painter.theme.accent, 1, 0.3);
        painter.curve(0, 5, 26, 11, painter.theme.accent, 3.6, 0.95);
      }],
      ["pinned", `pinned ${this.names.unit()}`, (painter) => {
        painter.rect(0, 1, 26, 12, painter.theme.accent);
        painter.text("abc", 13, 7, { size: 10.5, mono: true, align: "center", fill: painter.theme.page });
      }],
      ["found", `${this.names.unit()} found by the search`, (painter) => {
        painter.frame(1, 1, 24, 12, painter.theme.accent, 1.5);
        painter.text("abc", 13, 7, { size: 10.5, mono: true, align: "center" });
      }],
      ["edge", `strong weights of ${this.names.units()} that are scrolled out of view`, (painter) => painter.text("↑ ↓", 13, 7, { size: 12, align: "center" })],
    ];
    return { marks };
  }

  picture() {
    if (!this.drawn) return null;
    const { layout, drawn } = this;
    const names = this.named.length ? NAMES_HEIGHT : 0;
    return {
      width: layout.width,
      height: layout.height + names,
      draw: (/** @type {Painter} */ painter) => {
        this.named.reduce((x, { name, colour }) => {
          painter.rect(x, 3, 11, 11, colour);
          painter.text(name, x + 17, 9, { size: 12 });
          return x + 35 + textWidth(name, { size: 12 });
        }, 0);
        painter.moved(0, names, () => paintLines(painter, layout, drawn));
      },
    };
  }

  dispose() {
    this.sized.disconnect();
    clearTimeout(this.rest);
    this.painting.cancel();
    this.turn = -1;
  }
}

/**
 * @param {LinesParts} parts
 * @returns {View}
 */
export function createLinesView(parts) {
  const view = new LinesView(parts);
  return {
    element: view.element,
    draw: () => view.draw(),
    key: (event) => view.key(event),
    picture: () => view.picture(),
    map: () => view.content?.heads[0].map ?? null,
    legend: () => view.legend(),
    describe: () => view.describe(),
    dispose: () => view.dispose(),
  };
}
