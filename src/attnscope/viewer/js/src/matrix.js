// One map large. `createMatrixPane` draws any map, a difference too; `createMatrixView` draws the chosen head.
import { screenPainter } from "./painter.js";
import { searchMatches } from "./search.js";
import { formatCell, formatCount, formatNumber, quoted } from "./format.js";
import { NextFrame } from "./frame.js";
import { makeButton, makeElement } from "./elements.js";
import { axisText, drawPointedLabel, labelStep } from "./axes.js";
import { Plane, boxedRegion, pannedRegion, regionAround, wholeRegion, zoomedRegion } from "./plane.js";
import { arrangedPlane, paintBand, paintBox, paintMap, paintPins } from "./chart.js";
import { listenToGestures } from "./gestures.js";
import { createGridCursor } from "./cursor.js";
import { createRanking } from "./ranking.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { GestureListener } from "./gestures.js" */
/** @import { CellPlace, MapContent, Painter, Parts, Point, Raster, Side, SiteTokens, Tokens, View, Window } from "./types.d.ts" */

/**
 * `others` are the tokens of the map that was subtracted, where the map is a difference.
 *
 * @typedef {{ map: AttentionMap, tokens: SiteTokens, maximum: number, window: Window, name: string, others?: SiteTokens }} ShownMap
 */
/** @typedef {Pick<Parts, "place" | "selection" | "colours" | "messages" | "pointer">} MatrixParts */

const MATRIX_ZOOM_STEP = 1.5;
/** @type {Window} */
const NO_WINDOW = { rows: [0, 1], columns: [0, 1] };
const NO_PLANE = new Plane({ left: 0, top: 0, width: 1, height: 1, right: 1 }, wholeRegion(NO_WINDOW));
const NOWHERE = { row: -1, column: -1 };
/** @type {Record<string, [down: number, across: number]>} */
const CURSOR_STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [-10, 0],
  PageDown: [10, 0],
  Home: [0, -1e9],
  End: [0, 1e9],
};
/** @type {Record<string, number>} */
const ZOOM_KEYS = { "+": MATRIX_ZOOM_STEP, "=": MATRIX_ZOOM_STEP, "-": 1 / MATRIX_ZOOM_STEP };

/**
 * A label in quotes; of a difference also that of B, where it is another.
 *
 * @param {Pick<Tokens, "labels">} own
 * @param {Pick<Tokens, "labels"> | undefined} others
 * @param {number} place
 */
export function labelSaid(own, others, place) {
  const label = `“${quoted(own.labels[place])}”`;
  const other = others?.labels[place];
  return other === undefined || other === own.labels[place] ? label : `${label} (in B “${quoted(other)}”)`;
}

/** A map with labels, zoom, cross-hair and exact numbers. Which query and key are pinned, and the zoom, are the state's. */
class MatrixPane {
  /** @param {MatrixParts} parts */
  constructor(parts) {
    this.place = parts.place;
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.messages = parts.messages;
    this.pointer = parts.pointer;
    /** @type {ShownMap | null} */
    this.shown = null;
    this.plane = NO_PLANE;
    this.pointed = NOWHERE;
    this.byKeys = false;
    this.painting = new NextFrame(() => {
      this.paintOverlay();
      this.tell();
    });
    this.revealed = JSON.stringify(this.pinned);
    this.cursor = createGridCursor("Attention map");
    this.base = makeElement("canvas", { "aria-hidden": "true" });
    this.overlay = makeElement("canvas", { "aria-hidden": "true" });
    this.cursor.element.prepend(this.base, this.overlay);
    this.readout = makeElement("p", { class: "readout" });
    this.said = makeElement("p", { class: "small" });
    this.wholeButton = makeButton("Show the whole map", "whole", () => this.selection.set({ zoom: null }));
    const buttons = makeElement(
      "div",
      { class: "zooms", role: "group", "aria-label": "Zoom" },
      makeButton("Zoom out", "−", () => this.zoomBy(1 / MATRIX_ZOOM_STEP)),
      makeButton("Zoom in", "+", () => this.zoomBy(MATRIX_ZOOM_STEP)),
      this.wholeButton,
    );
    this.ranking = createRanking(parts);
    const over = makeElement("div", { class: "over" }, this.readout, buttons);
    this.chart = makeElement("div", { class: "chart" }, over, this.cursor.element, this.said);
    this.element = makeElement("div", { class: "matrix" }, this.chart, this.ranking.element);
    this.stopListening = this.listen();
    this.stopHovering = this.pointer.follow((row, column) => this.pointAt(row, column));
  }

  get pinned() {
    return { row: this.selection.state.query, column: this.selection.state.key };
  }

  get whole() {
    return wholeRegion(this.shown?.window ?? NO_WINDOW);
  }

  /** The part that is seen: the state's zoom where it lies within the chosen sentences. */
  get region() {
    const { zoom } = this.selection.state;
    const { whole } = this;
    const inside = zoom && zoom.x0 >= whole.x0 && zoom.x1 <= whole.x1 && zoom.y0 >= whole.y0 && zoom.y1 <= whole.y1;
    return inside ? zoom : whole;
  }

  /**
   * What the chart is painted from.
   *
   * @param {ShownMap} shown
   * @returns {MapContent}
   */
  contentOf(shown) {
    const { selection, colours } = this;
    const axis = (/** @type {Side} */ side, /** @type {Tokens} */ { labels, invalid }) => {
      const marked = new Set(searchMatches(labels, selection.state.search));
      return { labels, invalid, marked, pinned: selection.state[side] };
    };
    const axes = { query: axis("query", shown.tokens.queries), key: axis("key", shown.tokens.keys) };
    return { map: shown.map, maximum: shown.maximum, colouring: colours.colouring, axes };
  }

  /**
   * @param {AttentionMap} map
   * @param {SiteTokens} tokens
   * @param {Omit<ShownMap, "map" | "tokens">} how
   */
  show(map, tokens, how) {
    const { name } = how;
    this.shown = { map, tokens, ...how };
    if (this.reveal()) return;
    if (this.pointed.row >= map.rows || this.pointed.column >= map.columns) this.pointed = NOWHERE;
    const { selection, cursor } = this;
    this.plane = arrangedPlane(this.shown, this.region, this.room);
    const raster = paintMap(this.painterOf(this.base), this.plane, this.contentOf(this.shown));
    cursor.element.style.height = `${this.plane.bottom + 2}px`;
    cursor.element.style.touchAction = selection.state.zoom ? "none" : "pan-x pan-y";
    cursor.size(map.rows, map.columns);
    cursor.name(`Attention map, ${name}: ${map.rows} queries by ${map.columns} keys`);
    this.said.textContent = saidOf(map, raster);
    this.said.hidden = !this.said.textContent;
    this.wholeButton.disabled = !selection.state.zoom;
    this.ranking.forget();
    this.paintOverlay();
    this.tell();
    this.placeCursor();
  }

  /** What is left of the window below the headings; a notebook has no window of its own. */
  get room() {
    const top = this.cursor.element.getBoundingClientRect().top + window.scrollY;
    return { width: this.chart.clientWidth || 600, height: this.place.embedded ? 560 : window.innerHeight - top - 12 };
  }

  /** What was pinned from elsewhere (search, a link) comes into view, once; true if the zoom had to change for it. */
  reveal() {
    const { row, column } = this.pinned;
    const name = JSON.stringify(this.pinned);
    if (name === this.revealed) return false;
    this.revealed = name;
    if (!this.selection.state.zoom) return false;
    const seen = regionAround(this.region, this.whole, row, column);
    if (JSON.stringify(seen) === JSON.stringify(this.region)) return false;
    this.selection.set({ zoom: seen });
    return true;
  }

  /** @param {HTMLCanvasElement} canvas */
  painterOf(canvas) {
    return screenPainter(canvas, this.plane.right, this.plane.bottom + 2, this.colours.palette);
  }

  /** @param {[from: Point, to: Point]} [box] */
  paintOverlay(box) {
    const { plane, pointed, shown } = this;
    if (!shown) return;
    const { queries, keys } = shown.tokens;
    const painter = this.painterOf(this.overlay);
    paintPins(painter, plane, this.pinned);
    if (box) {
      paintBox(painter, box);
      return;
    }
    paintBand(painter, plane, pointed, painter.theme.ink, 1);
    const { row, column } = pointed;
    if (row >= 0) drawPointedLabel(painter, plane, axisText(queries.labels, row, labelStep(plane.cellHeight)), { row });
    if (column >= 0) drawPointedLabel(painter, plane, axisText(keys.labels, column, labelStep(plane.cellWidth)), { column });
  }

  /** @param {CellPlace} cell */
  sentence({ row, column }) {
    if (!this.shown) return "";
    const { map, tokens, others } = this.shown;
    const query = row >= 0 ? `query ${row} ${labelSaid(tokens.queries, others?.queries, row)}` : "";
    const key = column >= 0 ? `key ${column} ${labelSaid(tokens.keys, others?.keys, column)}` : "";
    if (query && key) return `${query} → ${key}: ${formatCell(map.at(row, column))}${map.signed ? " (A − B)" : ""}`;
    if (query) return query;
    if (!key) return "Point at a cell to see its number; click to pin it.";
    const received = map.received[column];
    return Number.isNaN(received) ? key : `${key}, averaged over the queries: ${formatNumber(received)}`;
  }

  /** What the cross-hair is at: what is pointed at, else what is pinned. */
  tell() {
    const { pinned, pointed, shown } = this;
    if (!shown) return;
    const { direction } = this.selection.state;
    const side = direction === "from" ? "row" : "column";
    this.readout.textContent = this.sentence(pointed.row >= 0 || pointed.column >= 0 ? pointed : pinned);
    const place = pinned[side] >= 0 ? pinned[side] : pointed[side];
    this.ranking.show(shown.map, shown.tokens, place, direction, shown.maximum, side);
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  pointAt(row, column) {
    if (!this.shown || (row === this.pointed.row && column === this.pointed.column)) return;
    const fits = row < this.shown.map.rows && column < this.shown.map.columns;
    this.pointed = fits ? { row, column } : NOWHERE;
    this.painting.ask();
  }

  placeCursor() {
    const { plane, pointed, pinned } = this;
    const { row, column } = pointed;
    if (!this.byKeys || row < 0 || column < 0) {
      this.cursor.hide();
      return;
    }
    const box = { x: plane.xOf(column), y: plane.yOf(row), width: plane.cellWidth, height: plane.cellHeight };
    this.cursor.place(row, column, this.sentence(pointed), box);
    this.cursor.select(row === pinned.row && column === pinned.column);
  }

  /**
   * Around a point of the screen, else around the cross-hair, else around the middle.
   *
   * @param {number} factor
   * @param {Point} [point]
   */
  zoomBy(factor, point) {
    const { region, pointed, plane } = this;
    let [column, row] = [(region.x0 + region.x1) / 2, (region.y0 + region.y1) / 2];
    if (point) [column, row] = [plane.columnAt(point.x), plane.rowAt(point.y)];
    else if (pointed.row >= 0 && pointed.column >= 0) [column, row] = [pointed.column + 0.5, pointed.row + 0.5];
    column = Math.min(region.x1, Math.max(region.x0, column));
    row = Math.min(region.y1, Math.max(region.y0, row));
    this.selection.set({ zoom: zoomedRegion(region, this.whole, factor, column, row) });
  }

  /**
   * @param {number} columns
   * @param {number} rows
   */
  pan(columns, rows) {
    this.selection.set({ zoom: pannedRegion(this.region, this.whole, columns, rows) });
  }

  /** @param {CellPlace} cell */
  pin(cell) {
    const { row, column } = cell;
    if (row < 0 && column < 0) return;
    const same = row === this.pinned.row && column === this.pinned.column;
    this.selection.set(same ? { query: -1, key: -1 } : { query: row, key: column });
    this.messages.announce(same ? "Nothing is pinned." : `Pinned: ${this.sentence(cell)}`);
  }

  /**
   * The cell at a point; beside the cells, the whole row or column.
   *
   * @param {Point} point
   * @returns {CellPlace}
   */
  cellNear({ x, y }) {
    const { plane } = this;
    const cell = plane.cellAt(x, y);
    if (cell.row >= 0 && cell.column < 0) return x <= plane.left + plane.width ? cell : NOWHERE;
    if (cell.column >= 0 && cell.row < 0) return y <= plane.bottom ? cell : NOWHERE;
    return cell;
  }

  listen() {
    const { place: host, selection, pointer, cursor } = this;
    /** @type {(place: Point) => CellPlace} */
    const byPointer = (place) => {
      this.byKeys = false;
      return this.cellNear(place);
    };
    /** @type {(point: Point) => CellPlace} */
    const corner = ({ x, y }) => ({ column: this.plane.columnAt(x), row: this.plane.rowAt(y) });
    /** @type {GestureListener} */
    const on = {
      point: (place) => {
        const { row, column } = byPointer(place);
        pointer.move(row, column);
      },
      leave: () => pointer.move(-1, -1),
      click: (place) => this.pin(byPointer(place)),
      drag: (x, y) => this.pan(-x / this.plane.cellWidth, -y / this.plane.cellHeight),
      box: (from, to) => this.paintOverlay([from, to]),
      boxed: (box) => {
        this.paintOverlay();
        if (box) selection.set({ zoom: boxedRegion(this.whole, corner(box[0]), corner(box[1])) });
      },
      zoom: (factor, place) => this.zoomBy(factor, place),
    };
    const focused = () => cursor.element.contains(document.activeElement);
    return listenToGestures(cursor.element, on, {
      ready: () => this.shown !== null,
      drag: () => selection.state.zoom !== null,
      wheel: (event) => !host.embedded || event.ctrlKey || focused(),
    });
  }

  /**
   * @param {number} down
   * @param {number} across
   */
  moveCursor(down, across) {
    const { whole, pinned, pointed, region } = this;
    const started = pointed.row >= 0 && pointed.column >= 0;
    const from = started ? pointed : { row: Math.max(pinned.row, whole.y0), column: Math.max(pinned.column, whole.x0) };
    /** @type {(place: number, by: number, least: number, most: number) => number} */
    const step = (place, by, least, most) => Math.min(most - 1, Math.max(least, place + (started ? by : 0)));
    const row = step(from.row, down, whole.y0, whole.y1);
    const column = step(from.column, across, whole.x0, whole.x1);
    this.byKeys = true;
    this.pointer.move(row, column);
    const seen = regionAround(region, whole, row, column);
    if (JSON.stringify(seen) !== JSON.stringify(region)) this.selection.set({ zoom: seen });
    this.placeCursor();
    this.messages.announce(this.sentence({ row, column }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.shown) return false;
    const { selection, region, pinned } = this;
    const step = CURSOR_STEPS[event.key];
    if (step && event.shiftKey) this.pan((step[1] * (region.x1 - region.x0)) / 8, (step[0] * (region.y1 - region.y0)) / 8);
    else if (step) this.moveCursor(...step);
    else if (ZOOM_KEYS[event.key]) this.zoomBy(ZOOM_KEYS[event.key]);
    else if (event.key === "0") selection.set({ zoom: null });
    else if (event.key === "Enter" || event.key === " ") this.pin(this.pointed);
    else if (event.key === "Escape" && (pinned.row >= 0 || pinned.column >= 0)) selection.set({ query: -1, key: -1 });
    else if (event.key === "Escape" && selection.state.zoom) selection.set({ zoom: null });
    else return false;
    return true;
  }

  picture() {
    if (!this.shown) return null;
    const { plane, pinned } = this;
    const content = this.contentOf(this.shown);
    const width = Math.ceil(Math.max(plane.left + plane.width + 2, Math.min(plane.right, 420)));
    return {
      width,
      height: Math.ceil(plane.bottom + 2),
      draw(/** @type {Painter} */ painter) {
        paintMap(painter, plane, content);
        paintPins(painter, plane, pinned);
      },
    };
  }

  dispose() {
    this.painting.cancel();
    this.stopListening();
    this.stopHovering();
  }
}

/**
 * What a reader must know about how a map is drawn.
 *
 * @param {AttentionMap} map
 * @param {Raster} raster
 */
function saidOf(map, raster) {
  const told = [map.note];
  const exact = map.known === "strongest" ? "; the eight strongest of every row are exact" : "";
  if (map.pooled) {
    const cells = `${formatCount(map.rows)} x ${formatCount(map.columns)} cells`;
    told.push(`${cells} are stored in blocks of ${map.poolRows} x ${map.poolColumns}, each with its largest weight${exact}.`);
  }
  if (raster.cellsAcross > map.poolColumns || raster.cellsDown > map.poolRows) {
    told.push(`Each dot shows the largest of ${raster.cellsDown} x ${raster.cellsAcross} cells; zoom in to see each one.`);
  }
  return told.filter(Boolean).join(" ");
}

/**
 * A pane whose `show` draws a map.
 *
 * @param {MatrixParts} parts
 */
export function createMatrixPane(parts) {
  return new MatrixPane(parts);
}

/**
 * @param {MatrixParts & Pick<Parts, "names">} parts
 * @returns {View}
 */
export function createMatrixView(parts) {
  const { selection, colours, names } = parts;
  const pane = createMatrixPane(parts);
  /** @type {AttentionMap | null} */
  let shownMap = null;
  return {
    element: pane.element,
    map: () => shownMap,
    async draw() {
      const wanted = JSON.stringify(selection.request());
      const map = await selection.map();
      if (wanted !== JSON.stringify(selection.request())) return;
      shownMap = map;
      pane.show(map, selection.tokens(), { maximum: colours.maximum(map), window: selection.window(), name: names.shown() });
    },
    key: (event) => pane.key(event),
    picture: () => pane.picture(),
    dispose: () => pane.dispose(),
  };
}
