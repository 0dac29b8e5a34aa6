// What the head view draws, without a screen: where tokens stand, which lines there are, and how they are painted.
import { scaledShare } from "./colours.js";
import { formatCount, formatNumber } from "./format.js";
import { shortenedText, textWidth } from "./painter.js";
import { OTHER_SIDE, SIDES } from "./state.js";
import { strongestCells, strongestPlaces, weightsOfToken } from "./strongest.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Cell, Line, LineEdges, LineNote, LineStrip, LinesContent, LinesDrawing, LinesSide, Painter, Picked, Side, SiteTokens, Span, Tokens, Window } from "./types.d.ts" */

const MOST_LINES = 400; // of a whole map
const MOST_TOKEN_LINES = 64; // of one token, for each head
const NUMBERED = 8; // weights of a token that are written beside their labels
const LABEL_SPACE = 13;
const STRIP_WIDTH = 10;
const CHIP_HEIGHT = 16;
const MOST_CHIPS = 3;
/** @type {Record<Side, "right" | "left">} towards the lines */
const ALIGNED = { query: "right", key: "left" };
const LABEL_STYLE = { size: 12, mono: true };
const LINES_PADDING = 7; // so that half of a label has room above the first row
export const LINES_HEADER = 24;
export const LINES_MARGIN = LINES_HEADER + 2 * LINES_PADDING;

/** Where the tokens stand: both sides have rows of one height; what does not fit is scrolled, both sides in step. */
export class LinesLayout {
  /**
   * share: how far it is scrolled, from 0 to 1
   *
   * @param {{ width: number, height: number, rowHeight: number, share: number, tokens: SiteTokens }} options share: how far it is scrolled; from 0 to 1
   */
  constructor({ width, height, rowHeight, share, tokens }) {
    this.width = width;
    this.height = height;
    this.rowHeight = rowHeight;
    const most = Math.max(112, Math.min(240, width * 0.33));
    /** @type {(side: Side, list: Tokens) => LinesSide} */
    const sideOf = (side, { labels, invalid }) => {
      const labelWidth = Math.ceil(Math.min(most, Math.max(104, widestLabel(labels) + 88)));
      const offset = Math.max(0, labels.length * rowHeight - this.room) * share;
      const strip = side === "query" ? labelWidth : width - labelWidth - STRIP_WIDTH;
      return { count: labels.length, labelWidth, offset, strip, labels, invalid };
    };
    this.sides = { query: sideOf("query", tokens.queries), key: sideOf("key", tokens.keys) };
  }

  get room() {
    return this.height - LINES_MARGIN;
  }

  /**
   * @param {Side} side
   * @param {number} place
   */
  yOf(side, place) {
    return LINES_HEADER + LINES_PADDING + (place + 0.5) * this.rowHeight - this.sides[side].offset;
  }

  /**
   * @param {Side} side
   * @param {number} y
   */
  placeAt(side, y) {
    const { count, offset } = this.sides[side];
    const place = Math.floor((y - LINES_HEADER - LINES_PADDING + offset) / this.rowHeight);
    return y >= LINES_HEADER && place >= 0 && place < count ? place : -1;
  }

  /**
   * @param {Side} side
   * @returns {Span}
   */
  visible(side) {
    const { count, offset } = this.sides[side];
    const [top, bottom] = [offset - LINES_PADDING, offset + this.room + LINES_PADDING];
    return [Math.max(0, Math.floor(top / this.rowHeight + 1e-6)), Math.min(count, Math.ceil(bottom / this.rowHeight - 1e-6))];
  }

  /** @param {Side} side */
  lineX(side) {
    return side === "query" ? this.sides.query.strip + STRIP_WIDTH : this.sides.key.strip;
  }
}

/** @type {WeakMap<string[], number>} */
const widestLabels = new WeakMap();

/** @param {string[]} labels */
function widestLabel(labels) {
  const known = widestLabels.get(labels);
  if (known !== undefined) return known;
  const widths = labels.slice(0, 512).map((label) => textWidth(label.slice(0, 60), LABEL_STYLE));
  const widest = widths.reduce((most, width) => Math.max(most, width), 0);
  widestLabels.set(labels, widest);
  return widest;
}

/**
 * What there is to draw, of one picked token or, without one, of all in view.
 *
 * @param {LinesContent} content
 * @param {Picked | null} picked
 * @param {Window} inView the queries and keys in view
 * @returns {LinesDrawing}
 */
export function linesToDraw(content, picked, inView) {
  return picked ? linesOfToken(content, picked) : linesOfAll(content, inView);
}

/**
 * @param {LinesContent} content
 * @param {number} head
 * @param {number} row
 * @param {number} column
 * @param {number} value
 * @returns {Line}
 */
function makeLine(content, head, row, column, value) {
  const { colour, maximum } = content.heads[head];
  return { row, column, value, colour, share: scaledShare(value, maximum, content.scale) };
}

/**
 * @param {LinesContent} content
 * @param {Window} inView
 * @returns {LinesDrawing}
 */
function linesOfAll(content, inView) {
  /** @type {(one: Span, other: Span) => Span} */
  const overlap = (one, other) => [Math.max(one[0], other[0]), Math.min(one[1], other[1])];
  const within = { rows: overlap(inView.rows, content.within.rows), columns: overlap(inView.columns, content.within.columns) };
  const lists = content.heads.map(({ map }) => strongestCells(map, within, MOST_LINES));
  const lines = lists.flatMap(({ cells }, head) => cells.map(({ row, column, value }) => makeLine(content, head, row, column, value)));
  lines.sort((one, other) => one.value - other.value);
  const drawn = lines.slice(-MOST_LINES);
  const counts = { drawn: drawn.length, total: lists.reduce((sum, { total }) => sum + total, 0), least: drawn[0]?.value ?? 0, largestLeft: 0 };
  return { picked: null, lines: drawn, counts, strips: [], notes: { query: new Map(), key: new Map() }, found: content.found };
}

/**
 * @param {LinesContent} content
 * @param {Picked} picked
 * @returns {LinesDrawing}
 */
function linesOfToken(content, picked) {
  const other = OTHER_SIDE[picked.side];
  const [from, to] = other === "key" ? content.within.columns : content.within.rows;
  const strips = content.heads.map(({ map, colourOf, maximum }) => {
    const given = weightsOfToken(map, picked.place, picked.side === "query" ? "from" : "to");
    const inside = given.weights.map((weight, place) => (place >= from && place < to ? weight : 0));
    const places = strongestPlaces(inside, inside.length);
    const pool = picked.side === "query" ? map.poolColumns : map.poolRows;
    /** @type {(place: number) => number} */
    const middle = (place) => Math.min(inside.length - 1, Math.floor(place / pool) * pool + (pool >> 1));
    return { ...given, colourOf, maximum, map, places: given.blocks ? places.filter((place) => place === middle(place)) : places };
  });
  /** @type {(map: AttentionMap, place: number) => Cell} */
  const cellOf = (map, place) => (picked.side === "query" ? map.at(picked.place, place) : map.at(place, picked.place));
  const lines = strips.flatMap(({ places, weights }, head) =>
    places.slice(0, MOST_TOKEN_LINES).map((place) => {
      const [row, column] = picked.side === "query" ? [picked.place, place] : [place, picked.place];
      return makeLine(content, head, row, column, weights[place]);
    }),
  );
  lines.sort((one, another) => one.value - another.value);
  /** @type {LinesDrawing["notes"]} */
  const notes = { query: new Map(), key: new Map() };
  notes[picked.side].set(picked.place, { picked: true, rank: -1, text: "" });
  for (const { places, map, blocks } of strips) {
    places.slice(0, blocks ? 0 : Math.ceil(NUMBERED / strips.length)).forEach((place, rank) => {
      const cell = cellOf(map, place);
      const text = strips.length === 1 ? formatNumber(cell.value ?? NaN) : "";
      if (!notes[other].has(place)) notes[other].set(place, { rank, text, cell });
    });
  }
  const rest = strips.flatMap(({ places, weights }) => places.slice(MOST_TOKEN_LINES).map((place) => weights[place]));
  const counts = { drawn: lines.length, total: lines.length + rest.length, least: 0, largestLeft: rest.reduce((one, two) => Math.max(one, two), 0) };
  return { picked, lines, counts, strips, notes, found: content.found };
}

/**
 * Tokens of a drawing that are scrolled away: the most important are written at the edge behind which they lie, and
 * their lines end there; of the others there is only their number.
 *
 * @param {LinesLayout} layout
 * @param {LinesDrawing} drawing
 * @param {Side} side
 * @returns {LineEdges}
 */
export function edgesOf(layout, drawing, side) {
  /** @type {LineEdges} */
  const edges = { chips: new Map(), more: [] };
  if (!drawing.picked) return edges;
  const notes = drawing.notes[side];
  const ranked = rankedPlaces(notes);
  const ends = side === drawing.picked.side ? ranked : [...new Set(drawing.lines.map(({ row, column }) => (side === "query" ? row : column)))];
  for (const arrow of ["↑", "↓"]) {
    const up = arrow === "↑";
    const yOfRow = (/** @type {number} */ row) => (up ? LINES_HEADER : layout.height) + CHIP_HEIGHT * (row + 0.5) * (up ? 1 : -1);
    const beyond = (/** @type {number} */ place) => (up ? layout.yOf(side, place) < LINES_HEADER : layout.yOf(side, place) > layout.height);
    const written = ranked.filter(beyond).slice(0, MOST_CHIPS);
    written.forEach((place, row) => edges.chips.set(place, { y: yOfRow(row), arrow }));
    const left = ends.filter(beyond).length - written.length;
    if (left > 0) edges.more.push({ y: yOfRow(written.length), text: `${arrow} ${written.length ? `${left} more` : `${left} lines`}` });
  }
  return edges;
}

/** @param {Map<number, LineNote>} notes */
function rankedPlaces(notes) {
  return [...notes].sort(([, one], [, other]) => one.rank - other.rank).map(([place]) => place);
}

/**
 * The whole picture; the screen and an exported file are painted by the same calls.
 *
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {LinesDrawing} drawing
 */
export function paintLines(painter, layout, drawing) {
  const { theme } = painter;
  const edges = { query: edgesOf(layout, drawing, "query"), key: edgesOf(layout, drawing, "key") };
  painter.rect(0, 0, layout.width, layout.height, theme.page);
  painter.clipped(0, LINES_HEADER, layout.width, layout.height - LINES_HEADER, () => {
    for (const side of SIDES) paintStrip(painter, layout, drawing, side);
    for (const line of drawing.lines) paintLine(painter, layout, line, edges, drawing.picked ? 0.14 : 0.05);
    for (const side of SIDES) paintLabels(painter, layout, drawing, side, edges[side]);
  });
  for (const side of SIDES) {
    const { strip, count, labelWidth } = layout.sides[side];
    const x = side === "query" ? strip + STRIP_WIDTH : strip;
    const align = ALIGNED[side];
    const name = { query: ["query", "queries"], key: ["key", "keys"] }[side][count === 1 ? 0 : 1];
    painter.text(`${formatCount(count)} ${name}`, x, LINES_HEADER / 2 - 2, { size: 11.5, fill: theme.quiet, align, weight: 500, maxWidth: labelWidth });
  }
}

/**
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {Line} line
 * @param {Record<Side, LineEdges>} edges
 * @param {number} faintest
 */
function paintLine(painter, layout, { row, column, share, colour }, edges, faintest) {
  /** @type {(side: Side, place: number) => number | null} */
  const end = (side, place) => {
    const y = edges[side].chips.get(place)?.y ?? layout.yOf(side, place);
    return y < LINES_HEADER || y > layout.height ? null : y;
  };
  const [y1, y2] = [end("query", row), end("key", column)];
  if (y1 === null || y2 === null) return;
  const thin = Math.min(1, Math.max(0.4, layout.rowHeight / 18));
  painter.curve(layout.lineX("query"), y1, layout.lineX("key"), y2, colour, (0.6 + 3.4 * share) * thin, faintest + (0.95 - faintest) * share);
}

/**
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {LinesDrawing} drawing
 * @param {Side} side
 */
function paintStrip(painter, layout, drawing, side) {
  const { strip } = layout.sides[side];
  const [from, to] = layout.visible(side);
  const top = layout.yOf(side, from) - layout.rowHeight / 2;
  painter.rect(strip, top, STRIP_WIDTH, (to - from) * layout.rowHeight, painter.theme.line, 0.55);
  if (drawing.picked && side === OTHER_SIDE[drawing.picked.side]) {
    const width = STRIP_WIDTH / drawing.strips.length;
    drawing.strips.forEach((weights, head) => paintWeights(painter, layout, side, weights, strip + head * width, width));
  } else if (layout.rowHeight >= 4) {
    for (const place of layout.sides[side].invalid) {
      if (place >= from && place < to) painter.hatch(strip, layout.yOf(side, place) - layout.rowHeight / 2, STRIP_WIDTH, layout.rowHeight);
    }
  }
}

/**
 * What the picked token gives to each token in view, or gets from it: one colour each.
 *
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {Side} side
 * @param {LineStrip} strip
 * @param {number} x
 * @param {number} width
 */
function paintWeights(painter, layout, side, { weights, masked, partial, colourOf }, x, width) {
  const [from, to] = layout.visible(side);
  const top = layout.yOf(side, from) - layout.rowHeight / 2;
  if (to <= from) return;
  const pixels = new Uint8ClampedArray((to - from) * 4);
  const marked = [];
  for (let place = from; place < to; place += 1) {
    if (masked[place] || Number.isNaN(weights[place])) marked.push(place);
    else if (weights[place] || !partial) pixels.set([...colourOf(weights[place]), 255], (place - from) * 4);
  }
  painter.image(pixels, 1, to - from, x, top, width, (to - from) * layout.rowHeight);
  for (const place of marked) {
    const mark = masked[place] ? painter.hatch : painter.cross;
    mark(x, layout.yOf(side, place) - layout.rowHeight / 2, width, Math.max(masked[place] ? 1 : 3, layout.rowHeight));
  }
}

/**
 * Labels, the most important first. One that would lie on another is left out.
 *
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {LinesDrawing} drawing
 * @param {Side} side
 * @param {LineEdges} edges
 */
function paintLabels(painter, layout, drawing, side, edges) {
  const { strip, labelWidth } = layout.sides[side];
  const [from, to] = layout.visible(side);
  const notes = drawing.notes[side];
  /** @type {number[]} */
  const taken = [];
  /** @type {(y: number) => void} */
  const clear = (y) => {
    taken.push(y);
    painter.rect(side === "query" ? strip - labelWidth : strip + STRIP_WIDTH, y - CHIP_HEIGHT / 2, labelWidth, CHIP_HEIGHT, painter.theme.page);
  };
  /** @type {(place: number) => void} */
  const put = (place) => {
    const y = layout.yOf(side, place);
    if (place < from || place >= to || taken.some((other) => Math.abs(other - y) < LABEL_SPACE - 0.01)) return;
    taken.push(y);
    paintLabel(painter, layout, side, place, y, { note: notes.get(place), found: drawing.found[side].has(place) });
  };
  for (const [place, { y, arrow }] of edges.chips) {
    clear(y);
    paintLabel(painter, layout, side, place, y, { note: notes.get(place), arrow });
  }
  for (const { y, text } of edges.more) {
    clear(y);
    painter.text(text, labelEnd(side, strip), y, { size: 11, fill: painter.theme.quiet, align: ALIGNED[side] });
  }
  for (const place of rankedPlaces(notes)) put(place);
  for (const place of drawing.found[side]) put(place);
  const step = Math.max(1, Math.ceil(LABEL_SPACE / layout.rowHeight));
  for (let place = Math.floor(from / step) * step; place < to; place += step) put(place);
}

/**
 * Where labels end towards the lines.
 *
 * @param {Side} side
 * @param {number} strip
 */
function labelEnd(side, strip) {
  return side === "query" ? strip - 6 : strip + STRIP_WIDTH + 6;
}

/**
 * @param {Painter} painter
 * @param {LinesLayout} layout
 * @param {Side} side
 * @param {number} place
 * @param {number} y
 * @param {{ note?: LineNote, found?: boolean, arrow?: string }} marks
 */
function paintLabel(painter, layout, side, place, y, { note, found, arrow }) {
  const { labels, labelWidth, strip, invalid } = layout.sides[side];
  const { theme } = painter;
  const numberStyle = { size: 11, fill: theme.ink };
  const numberWidth = note?.text ? textWidth(note.text, numberStyle) + 8 : 0;
  const style = { ...LABEL_STYLE, fill: note ? theme.ink : theme.quiet, weight: note ? 600 : 400, opacity: invalid.has(place) && !note ? 0.6 : 1 };
  const text = (arrow ? `${arrow} ` : "") + shortenedText(labels[place], labelWidth - numberWidth - (arrow ? 30 : 14), style);
  const width = textWidth(text, style);
  const x = labelEnd(side, strip);
  const align = ALIGNED[side];
  const left = align === "right" ? x - width : x;
  if (note?.picked) painter.rect(left - 4, y - 8, width + 8, 16, theme.accent);
  if (found) painter.frame(left - 3.5, y - 7.5, width + 7, 15, theme.accent, 1.5);
  painter.text(text, x, y, { ...style, align, fill: note?.picked ? theme.page : style.fill });
  if (note?.text) painter.text(note.text, align === "right" ? left - 8 : left + width + 8, y, { ...numberStyle, align });
}
