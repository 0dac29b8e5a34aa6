// The image view: the weights of patches over the picture that they are of, and beside it.
import { createGridCursor } from "./cursor.js";
import { makeElement, makeSelect } from "./elements.js";
import { formatCell, formatNumber, quoted } from "./format.js";
import { NextFrame, repaint } from "./frame.js";
import { messageOf } from "./messages.js";
import { screenPainter } from "./painter.js";
import { TokenParagraph } from "./paragraph.js";
import { PatchGrid, paintPicture, patchBox, pictureLayout } from "./patches.js";
import { createRanking } from "./ranking.js";
import { RelevanceRows } from "./relevance.js";
import { searchMatches } from "./search.js";
import { directionFrom, shownWeights, strongestAcross } from "./shown.js";
import { OTHER_SIDE, SIDES } from "./state.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Box, Grid, Mark, Option, Painter, Parts, PatchMarks, Picked, PictureLayout, PointedPatch, ShownPatches, ShownRelevance, ShownWeights, Side, Tokens, View } from "./types.d.ts" */

/** @typedef {{ side: Side, layout: PictureLayout, content: ShownPatches, marks: PatchMarks }} PaintedPatches */
/** @typedef {Pick<Parts, "manifest" | "place" | "store" | "selection" | "colours" | "names" | "messages" | "legend">} PictureParts */

/** @type {Option[]} */
const OVERLAYS = [["light", "darken low weights"], ["colour", "scale colours"]];
const MOST_PHOTOS = 4;
const TEXT_SHOWN = 120;

class PictureView {
  /** @param {PictureParts} parts */
  constructor(parts) {
    this.manifest = parts.manifest;
    this.place = parts.place;
    this.store = parts.store;
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.names = parts.names;
    this.messages = parts.messages;
    this.explain = () => parts.legend.draw();
    /** @type {AttentionMap | null} */
    this.map = null;
    /** @type {ImageBitmap | null} */
    this.photo = null;
    this.tokens = parts.selection.tokens();
    /** @type {Record<Side, PatchGrid | null>} */
    this.grids = { query: null, key: null };
    this.maximum = 1;
    /** @type {ShownWeights | null} */
    this.shown = null;
    /** @type {PaintedPatches | null} */
    this.painted = null;
    /** @type {PointedPatch | null} */
    this.hovered = null;
    /** @type {Map<number, Promise<ImageBitmap>>} */
    this.photos = new Map();
    this.pageStart = 0;
    this.drawn = "";
    this.revealed = "";
    this.byKeys = false;
    this.repainting = new NextFrame(() => this.element.isConnected && this.map && repaint(this));
    this.turn = 0;
    this.canvas = makeElement("canvas", { "aria-hidden": "true" });
    this.cursor = createGridCursor("Patches of the picture");
    this.cursor.element.prepend(this.canvas);
    this.paragraph = new TokenParagraph("query", {
      hover: (place) => this.hover(place < 0 ? null : { side: this.paragraph.side, place }),
      click: (place) => this.pin(this.paragraph.side, place),
      page: (start) => {
        this.pageStart = start;
        this.paint();
      },
    });
    this.ranking = createRanking(parts);
    this.relevance = new RelevanceRows(parts);
    /** @type {ShownRelevance[]} */
    this.relevances = [];
    this.readout = makeElement("p", { class: "readout" });
    this.said = makeElement("p", { class: "told" });
    const overlay = makeSelect("Over the picture", (value) => this.selection.set({ overlay: value }));
    const range = makeElement("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Strength, in percent", input: () => this.selection.set({ strength: Number(range.value) }) });
    const strength = makeElement("label", { class: "field" }, makeElement("span", { text: "Strength" }), range);
    this.controls = { overlay, range, strength };
    this.bar = makeElement("div", { class: "view-bar picture-bar" }, overlay.element, strength);
    this.chart = makeElement("div", { class: "chart" }, this.bar, this.paragraph.element, this.cursor.element, this.readout, this.said, this.relevance.element);
    this.element = makeElement("div", { class: "picture" }, this.chart, this.ranking.element);
    this.sized = new ResizeObserver(() => this.map && this.element.isConnected && this.paint());
    this.sized.observe(this.element);
    this.listen();
  }

  /** @type {Record<Side, Tokens>} */
  get lists() {
    return { query: this.tokens.queries, key: this.tokens.keys };
  }

  listen() {
    const plane = this.cursor.element;
    plane.addEventListener("pointermove", (event) => this.hover(this.pointed(event)));
    plane.addEventListener("pointerleave", () => this.hover(null));
    plane.addEventListener("click", (event) => {
      const pointed = this.pointed(event);
      if (pointed) this.pin(pointed.side, pointed.place);
    });
  }

  async draw() {
    const { selection } = this;
    const { sample, site } = selection.state;
    this.turn += 1;
    const { turn } = this;
    const asked = Promise.all([selection.map(), this.photoOf(sample), selection.relevance()]);
    const [map, photo, relevances] = await asked.catch((error) => {
      if (turn === this.turn) this.clear();
      throw error;
    });
    if (turn !== this.turn) return;
    const name = `${sample}/${site}`;
    if (name !== this.drawn) Object.assign(this, { hovered: null, pageStart: 0, drawn: name });
    this.map = map;
    this.photo = photo;
    this.relevances = relevances;
    this.tokens = selection.tokens();
    for (const side of SIDES) {
      const { grid, labels } = this.lists[side];
      this.grids[side] = grid ? new PatchGrid(grid, labels.length) : null;
    }
    this.maximum = this.colours.maximum(map);
    this.ranking.element.hidden = false;
    this.ranking.forget();
    this.revealPinned();
    this.paint();
  }

  /** What cannot be had is not shown as what was shown before. */
  clear() {
    Object.assign(this, { map: null, shown: null, hovered: null, painted: null });
    for (const element of [this.bar, this.paragraph.element, this.cursor.element, this.ranking.element, this.relevance.element]) element.hidden = true;
    this.readout.textContent = this.said.textContent = "";
  }

  /**
   * The picture of a sample, the last few are kept; null where it cannot be read, which is said.
   *
   * @param {number} sample
   * @returns {Promise<ImageBitmap | null>}
   */
  photoOf(sample) {
    if (!this.manifest.samples[sample].image) return Promise.resolve(null);
    const photo = this.photos.get(sample) ?? this.store.picture(sample);
    const [oldest] = this.photos.keys();
    if (!this.photos.has(sample) && this.photos.size >= MOST_PHOTOS) this.photos.delete(oldest);
    this.photos.set(sample, photo);
    return photo.catch((error) => {
      this.photos.delete(sample);
      this.messages.fail(new Error(`The picture of this sample cannot be read: ${messageOf(error)}`));
      return null;
    });
  }

  /** @returns {Side} */
  get readSide() {
    return this.selection.state.direction === "to" ? "key" : "query";
  }

  readName() {
    return this.grids[this.readSide] ? "patch" : this.names.unit(this.readSide);
  }

  /** @returns {Picked | null} */
  get pinned() {
    const side = this.readSide;
    const place = this.selection.state[side];
    if (place >= 0) return { side, place };
    return this.lists[side].labels.length === 1 ? { side, place: 0 } : null; // there is nothing to choose from
  }

  /** @returns {PointedPatch | null} */
  get source() {
    return this.pinned ?? (this.hovered?.side === this.readSide ? this.hovered : null);
  }

  /** A pinned token that is listed as text comes onto the page that is shown. */
  revealPinned() {
    const { pinned } = this;
    const name = pinned ? `${pinned.side} ${pinned.place}` : "";
    if (name === this.revealed) return;
    this.revealed = name;
    if (pinned) this.pageStart = Math.floor(pinned.place / TEXT_SHOWN) * TEXT_SHOWN;
  }

  paint() {
    const { grids, lists, source, selection, map, tokens, maximum } = this;
    if (!map) return;
    const { state } = selection;
    const shown = shownWeights(map, source, { tokens, maximum, window: selection.window() });
    this.shown = shown;
    const listed = SIDES.find((side) => !grids[side] && lists[side].labels.length > 1);
    const gridSide = grids[shown.side] ? shown.side : OTHER_SIDE[shown.side];
    const grid = grids[gridSide];
    this.controls.overlay.fill(OVERLAYS, state.overlay);
    this.controls.range.value = String(state.strength);
    this.bar.hidden = !this.photo || !grid || shown.side !== gridSide;
    this.cursor.element.hidden = !grid;
    this.paintText((grid && listed) ?? null, shown);
    if (grid) this.paintGrid(grid, gridSide, shown);
    else this.painted = null;
    const place = source?.place ?? -1;
    this.ranking.show(map, tokens, place, directionFrom(source?.side ?? "query"), maximum, this.readName());
    this.said.textContent = grid ? this.sentence(shown, gridSide) : this.withoutPatches();
    this.paintRelevance();
    this.read();
  }

  paintRelevance() {
    const { keys } = this.tokens;
    const { search, strength } = this.selection.state;
    const found = new Set(searchMatches(keys.labels, search));
    const page = (/** @type {number} */ start) => {
      this.pageStart = start;
      this.paint();
    };
    this.relevance.paint(this.relevances, { list: keys, units: this.names.units("key"), start: this.pageStart, size: TEXT_SHOWN, found, photo: keys.grid ? this.photo : null, width: Math.max(240, this.chart.clientWidth), strength, page });
  }

  /**
   * The side that is no picture (the words of a caption, say) is a text above it.
   *
   * @param {Side | null} side
   * @param {ShownWeights} shown
   */
  paintText(side, shown) {
    const { paragraph, source, selection, colours } = this;
    paragraph.element.hidden = !side;
    if (!side) {
      paragraph.empty();
      return;
    }
    paragraph.side = side;
    paragraph.fill(this.lists[side], this.pageStart, TEXT_SHOWN, { heading: side === "query" ? "queries" : "keys", units: this.names.units(side) });
    paragraph.paint({
      ...shown,
      coloured: shown.side === side && !shown.unknown,
      colourOf: (value) => colours.of(value, shown.maximum),
      source: source?.side === side ? source.place : -1,
      pinned: this.pinned !== null,
      found: new Set(searchMatches(this.lists[side].labels, selection.state.search)),
      theme: colours.palette,
      spoken: (place) => `${quoted(this.lists[side].labels[place])}, ${side} ${place}`,
    });
  }

  /**
   * @param {PatchGrid} grid
   * @param {Side} side
   * @param {ShownWeights} shown
   */
  paintGrid(grid, side, shown) {
    const { place, selection, colours, names, photo, source } = this;
    const { state } = selection;
    const { labels } = this.lists[side];
    const width = Math.max(240, this.chart.clientWidth);
    const mostHeight = place.embedded ? 520 : Math.max(300, innerHeight * 0.68);
    const ratio = photo ? photo.width / photo.height : grid.columns / grid.rows;
    const coloured = shown.side === side && !shown.unknown;
    const layout = pictureLayout({ width, mostHeight, ratio, special: grid.special, labels, columns: grid.columns, coloured: coloured && photo !== null });
    /** @type {ShownPatches} */
    const content = {
      ...shown,
      grid,
      labels,
      photo,
      coloured,
      scale: state.scale,
      overlay: state.overlay,
      strength: state.strength,
      colourOf: (value) => colours.of(value, shown.maximum),
    };
    const sourceGrid = source && this.grids[source.side];
    const marks = {
      source: sourceGrid ? { grid: sourceGrid, place: source.place } : null,
      pinned: this.pinned !== null,
      found: new Set(searchMatches(labels, state.search)),
    };
    this.painted = { side, layout, content, marks };
    paintPicture(screenPainter(this.canvas, layout.width, layout.height, colours.palette), layout, content, marks);
    this.cursor.element.style.height = `${layout.height}px`;
    this.cursor.size(grid.rows, grid.columns);
    this.cursor.name(`Patches, ${grid.rows} rows of ${grid.columns}, ${names.shown()}`);
    this.placeCursor();
  }

  placeCursor() {
    const { pinned, painted } = this;
    const grid = painted?.marks.source?.grid;
    if (!painted || !this.byKeys || !pinned || !grid?.holds(pinned.place)) {
      this.cursor.hide();
      return;
    }
    const { row, column } = grid.cellOf(pinned.place);
    this.cursor.place(row, column, this.spoken(pinned), patchBox(painted.layout.panels[0], grid, pinned.place));
    this.cursor.select(true);
  }

  /**
   * Under the pointer: the patch of the side that is read from, else the one that is coloured; or a token that is no patch.
   *
   * @param {MouseEvent} event
   * @returns {PointedPatch | null}
   */
  pointed({ offsetX, offsetY, target }) {
    if (!this.painted || target !== this.canvas) return null;
    const { layout, side: gridSide } = this.painted;
    const side = this.grids[this.readSide] ? this.readSide : gridSide;
    const grid = this.grids[side];
    if (!grid) return null;
    /** @type {(box: Box) => boolean} */
    const inside = ({ x, y, width, height }) => offsetX >= x && offsetX < x + width && offsetY >= y && offsetY < y + height;
    const chip = layout.chips.find(inside);
    if (chip) return { side: this.lists.query === this.lists.key ? this.readSide : gridSide, place: chip.place };
    const panel = layout.panels.find(inside);
    if (!panel) return null;
    const row = Math.min(grid.rows - 1, Math.floor(((offsetY - panel.y) / panel.height) * grid.rows));
    const column = Math.min(grid.columns - 1, Math.floor(((offsetX - panel.x) / panel.width) * grid.columns));
    return { side, place: grid.placeOf(row, column), across: { x: (offsetX - panel.x) / panel.width, y: (offsetY - panel.y) / panel.height } };
  }

  /** @param {PointedPatch | null} next */
  hover(next) {
    if (!this.map || (next?.side === this.hovered?.side && next?.place === this.hovered?.place)) return;
    this.hovered = next;
    if (this.pinned) this.read();
    else this.repainting.ask();
  }

  read() {
    this.readout.textContent = this.reading();
  }

  reading() {
    const { source, hovered, map } = this;
    if (!hovered || !map) return "";
    const label = (/** @type {Side} */ side, /** @type {number} */ place) => `${side} ${place} “${quoted(this.lists[side].labels[place])}”`;
    if (!source) {
      if (hovered.side !== "key") return label(hovered.side, hovered.place);
      return `${label("key", hovered.place)} receives ${formatNumber(map.received[hovered.place])} on average`;
    }
    const other = OTHER_SIDE[source.side];
    const place = hovered.side === other ? hovered.place : this.acrossOf(hovered, other);
    if (place < 0) return label(hovered.side, hovered.place);
    const [query, key] = source.side === "query" ? [source.place, place] : [place, source.place];
    return `${label("query", query)} → ${label("key", key)}: ${formatCell(map.at(query, key))}`;
  }

  /**
   * The token of the other side at the same point of the picture; both may have patches of their own size.
   *
   * @param {PointedPatch} pointed
   * @param {Side} other
   */
  acrossOf({ across, side, place }, other) {
    const grid = this.grids[other];
    if (!grid) return -1;
    if (!across) return this.lists[side] === this.lists[other] ? place : -1;
    /** @type {(share: number, count: number) => number} */
    const clamped = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return grid.placeOf(clamped(across.y, grid.rows), clamped(across.x, grid.columns));
  }

  /**
   * @param {ShownWeights} shown
   * @param {Side} gridSide
   */
  sentence({ received, unknown, partial, blocks, maximum }, gridSide) {
    const { source } = this;
    const end = `The scale runs from 0 to ${formatNumber(maximum)}.`;
    if (unknown) return `This file does not store what ${this.names.units("key")} receive. Point at a patch to see what it does store.`;
    if (received) {
      const what = gridSide === "key" ? "By the attention that each patch receives, averaged over all queries that are not padding." : "Point at a patch to see what it attends to.";
      return `${what} ${end} Point at a ${this.readName()} to see its own weights; click to pin it.`;
    }
    if (!source) return "";
    const label = `${source.side} ${source.place} “${quoted(this.lists[source.side].labels[source.place])}”`;
    const what = source.side === "query" ? `By what ${label} attends to.` : `By how strongly each query attends to ${label}.`;
    const note = partial ? " Only the strongest weights of each query are stored; patches without a colour have less." : blocks ? " Individual weights are not stored: each colour shows the largest in its block." : "";
    return `${what} ${end}${note}`;
  }

  withoutPatches() {
    const { manifest } = this;
    const { state } = this.selection;
    /** @type {(number: number) => Grid | null} */
    const gridOf = (number) => manifest.tokens[number]?.grid;
    const site = manifest.sites.findIndex((_, number) => manifest.axes[state.sample]?.[number]?.some((list) => gridOf(list)));
    if (site >= 0) return `The ${this.names.units()} of this site are not patches of the picture, but those of ${this.names.site(site)} are.`;
    return "It is not known which positions are patches of the picture. To say so when making the page: ats.view(maps, images=images, grid=(14, 14)).";
  }

  /** @param {Picked} picked */
  spoken({ side, place }) {
    const label = `${side} ${place}, ${quoted(this.lists[side].labels[place])}`;
    if (!this.map) return label;
    const other = OTHER_SIDE[side];
    const strongest = strongestAcross(this.map, { side, place });
    return `${label}; strongest ${other} ${quoted(this.lists[other].labels[strongest.place])}, ${formatCell(strongest.cell)}`;
  }

  /** In a saved picture: whose weights these are. */
  describe() {
    const { source } = this;
    if (!source) return `${this.names.shown()}: what each key receives`;
    return `${this.names.shown()}: what ${source.side} ${source.place} “${quoted(this.lists[source.side].labels[source.place])}” ${source.side === "query" ? "attends to" : "is attended to by"}`;
  }

  /**
   * @param {Side} side
   * @param {number} place
   */
  pin(side, place) {
    this.byKeys = false;
    const same = this.selection.state[side] === place && this.readSide === side;
    this.selection.set({ [side]: same ? -1 : place, direction: side === "key" ? "to" : "from" });
    this.messages.announce(same ? "Nothing is pinned." : this.spoken({ side, place }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.map) return false;
    const side = this.readSide;
    const grid = this.grids[side];
    const last = this.lists[side].labels.length - 1;
    const place = this.selection.state[side];
    /** @type {Record<string, number>} */
    const arrows = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    let next;
    if (event.key === "Home") next = 0;
    else if (event.key === "End") next = last;
    else if (event.key in arrows) next = grid ? grid.neighbour(place, event.key) : Math.min(last, Math.max(0, place + arrows[event.key]));
    else if (event.key === "Escape" && place >= 0) next = -1;
    else if (event.key === "Enter" && this.hovered) {
      this.pin(this.hovered.side, this.hovered.place);
      return true;
    } else return false;
    this.byKeys = true;
    this.selection.set({ [side]: next });
    this.messages.announce(next < 0 ? "Nothing is pinned." : this.spoken({ side, place: next }));
    return true;
  }

  legend() {
    const { shown, selection } = this;
    /** @type {Mark[]} */
    const marks = [
      ["pinned", `pinned ${this.readName()}`, (painter) => {
        painter.rect(0, 0, 26, 14, painter.theme.line);
        painter.frame(7, 1.5, 12, 11, painter.theme.accent, 2.5);
      }],
    ];
    if (this.photo && this.painted && selection.state.overlay === "light") {
      marks.push(["dark", "the smaller the weight, the darker the picture", (painter) => {
        for (let x = 0; x < 26; x += 1) painter.rect(x, 0, 1, 14, [150, 150, 150]);
        for (let x = 0; x < 26; x += 1) painter.rect(x, 0, 1, 14, "#000", (selection.state.strength / 100) * (1 - x / 25));
      }]);
    }
    marks.push(...this.relevance.marks());
    if (!shown?.received) return { marks };
    return { marks, maximum: shown.maximum, title: "attention received, averaged over the queries", end: "the largest, rounded up" };
  }

  picture() {
    if (!this.painted) return null;
    const { layout, content, marks } = this.painted;
    const { relevance } = this;
    return {
      width: layout.width,
      height: layout.height + relevance.pictureHeight(layout.width),
      draw(/** @type {Painter} */ painter) {
        paintPicture(painter, layout, content, marks);
        relevance.paintInto(painter, layout.width, layout.height);
      },
    };
  }

  dispose() {
    this.turn = -1;
    this.sized.disconnect();
    this.repainting.cancel();
  }
}

/**
 * @param {PictureParts} parts
 * @returns {View}
 */
export function createPictureView(parts) {
  const view = new PictureView(parts);
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
