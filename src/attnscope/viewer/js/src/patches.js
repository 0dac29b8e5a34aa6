// Patches over a picture: where they lie, and how their weights are painted over it and beside it.
import { scaledShare } from "./colours.js";
import { inkOn, shortenedText, textWidth } from "./painter.js";
/** @import { Box, Grid, Painter, PatchMarks, PictureChip, PictureLayout, ShownPatches } from "./types.d.ts" */

const CAPTION_HEIGHT = 20;
/** @type {Record<string, [down: number, across: number]>} */
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const CHIP_STYLE = { size: 12, mono: true };
const CHIP_ROW = 28;
const MOST_SPECIAL = 40;
const PANEL_GAP = 20;
const TWO_PANELS = 560; // pixels of width from which the weights stand beside the picture too
const MOST_PANEL = 620;

/** The patches of one side: [rows, columns, first] of the labels, and which positions are none. */
export class PatchGrid {
  /**
   * @param {Grid} grid
   * @param {number} count
   */
  constructor(grid, count) {
    const [rows, columns, first] = grid;
    this.rows = rows;
    this.columns = columns;
    this.first = first;
    this.size = this.rows * this.columns;
    this.special = Array.from({ length: count }, (_, place) => place).filter((place) => !this.holds(place));
  }

  /** @param {number} place */
  holds(place) {
    return place >= this.first && place < this.first + this.size;
  }

  /** @param {number} place */
  cellOf(place) {
    const number = place - this.first;
    return { row: Math.floor(number / this.columns), column: number % this.columns };
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  placeOf(row, column) {
    return this.first + row * this.columns + column;
  }

  /**
   * The position that an arrow key leads to: class and register tokens lie above the first row of patches.
   *
   * @param {number} place
   * @param {string} key
   */
  neighbour(place, key) {
    const step = STEPS[key];
    if (place < 0) return this.first;
    if (!this.holds(place)) {
      if (key === "ArrowDown") return this.first;
      return this.special[this.special.indexOf(place) + step[1]] ?? place;
    }
    const { row, column } = this.cellOf(place);
    if (row + step[0] < 0 && this.special.length) return this.special[Math.min(column, this.special.length - 1)];
    /** @type {(value: number, most: number) => number} */
    const clamped = (value, most) => Math.min(most - 1, Math.max(0, value));
    return this.placeOf(clamped(row + step[0], this.rows), clamped(column + step[1], this.columns));
  }
}

/**
 * Where chips, picture and weights lie within a width: {width, height, chips: [{place, x, y, width}], panels: [{x, y, width, height}]}
 *
 * @param {{ width: number, mostHeight: number, ratio: number, special: number[], labels: string[], columns: number, coloured: boolean }} room
 * @returns {PictureLayout}
 */
export function pictureLayout({ width, mostHeight, ratio, special, labels, columns, coloured }) {
  const chips = [];
  let [x, y] = [0, 0];
  for (const place of special.slice(0, MOST_SPECIAL)) {
    const wide = Math.min(width, Math.max(34, textWidth(shortenedText(labels[place], 120, CHIP_STYLE), CHIP_STYLE) + 14));
    if (x && x + wide > width) [x, y] = [0, y + CHIP_ROW];
    chips.push({ place, x, y, width: wide, height: CHIP_ROW - 5 });
    x += wide + 5;
  }
  const top = (chips.length ? y + CHIP_ROW + 4 : 0) + CAPTION_HEIGHT;
  const count = coloured && width >= TWO_PANELS ? 2 : 1;
  const widest = Math.min(MOST_PANEL, (width - PANEL_GAP * (count - 1)) / count);
  const panelWidth = Math.max(60, Math.min(widest, Math.max(140, mostHeight - top) * ratio));
  const panelHeight = panelWidth / ratio;
  const whole = panelWidth >= columns * 4 ? Math.floor(panelWidth) : panelWidth;
  const panels = Array.from({ length: count }, (_, number) => ({ x: number * (whole + PANEL_GAP), y: top, width: whole, height: panelHeight }));
  return { width, height: Math.ceil(top + panelHeight + 2), chips, panels };
}

/**
 * @param {Painter} painter
 * @param {PictureLayout} layout
 * @param {ShownPatches} shown
 * @param {PatchMarks} marks
 */
export function paintPicture(painter, layout, shown, marks) {
  const { theme } = painter;
  painter.rect(0, 0, layout.width, layout.height, theme.page);
  for (const chip of layout.chips) paintChip(painter, chip, shown, marks);
  const first = shown.coloured ? (shown.photo ? "weights over the picture" : "weights") : "patches; the text above shows the weights";
  const captions = shown.captions ?? [first, "weights alone"];
  layout.panels.forEach((panel, number) => {
    const style = { size: 11.5, fill: theme.quiet, weight: 500, maxWidth: panel.width };
    painter.text(captions[number], panel.x, panel.y - CAPTION_HEIGHT / 2 - 1, style);
    painter.rect(panel.x, panel.y, panel.width, panel.height, theme.masked);
    const photo = number === 0 ? shown.photo : null;
    if (photo) painter.photo(photo, panel.x, panel.y, panel.width, panel.height);
    if (shown.coloured) paintPatches(painter, panel, shown, photo !== null);
    paintPatchMarks(painter, panel, shown, marks);
    painter.frame(panel.x - 0.5, panel.y - 0.5, panel.width + 1, panel.height + 1, theme.line);
  });
}

/**
 * @param {ShownPatches} shown
 * @param {number} place
 */
function weightKind({ weights, masked, partial, within }, place) {
  if (place < within[0] || place >= within[1]) return "outside";
  if (masked[place]) return "masked";
  if (!Number.isFinite(weights[place])) return "odd";
  return partial && weights[place] === 0 ? "unknown" : "weight";
}

/**
 * @param {Painter} painter
 * @param {Box} panel
 * @param {ShownPatches} shown
 * @param {boolean} over
 */
function paintPatches(painter, panel, shown, over) {
  const { grid, weights, maximum, scale, colourOf, overlay, strength, signed } = shown;
  const pixels = new Uint8ClampedArray(grid.size * 4);
  const [across, down] = [panel.width / grid.columns, panel.height / grid.rows];
  /** @type {[number: number, kind: "masked" | "odd"][]} */
  const marked = [];
  for (let number = 0; number < grid.size; number += 1) {
    const place = grid.first + number;
    const kind = weightKind(shown, place);
    if (kind === "masked" || kind === "odd") marked.push([number, kind]);
    if (kind === "outside") continue;
    if (over && signed) {
      if (kind === "weight") pixels.set([...colourOf(Math.sign(weights[place]) * maximum), alphaOf(weights[place] / maximum, strength)], number * 4);
    } else if (over && overlay === "light") {
      const share = kind === "weight" ? scaledShare(weights[place], maximum, scale) : 0;
      pixels[number * 4 + 3] = Math.round(255 * (strength / 100) * (1 - share));
    } else if (kind === "weight") pixels.set([...colourOf(weights[place]), over ? Math.round(2.55 * strength) : 255], number * 4);
  }
  painter.image(pixels, grid.columns, grid.rows, panel.x, panel.y, panel.width, panel.height);
  for (const [number, kind] of marked) {
    const [x, y] = [panel.x + (number % grid.columns) * across, panel.y + Math.floor(number / grid.columns) * down];
    (kind === "masked" ? painter.hatch : painter.cross)(x, y, across, down);
  }
}

/**
 * How much a signed number covers the picture: 0 not at all, so that the picture stays what it is.
 *
 * @param {number} share
 * @param {number} strength in percent
 */
function alphaOf(share, strength) {
  return Math.round(2.55 * strength * Math.min(1, Math.abs(share)));
}

/**
 * @param {Box} panel
 * @param {PatchGrid} grid
 * @param {number} place
 * @returns {Box}
 */
export function patchBox(panel, grid, place) {
  const { row, column } = grid.cellOf(place);
  const [width, height] = [panel.width / grid.columns, panel.height / grid.rows];
  return { x: panel.x + column * width, y: panel.y + row * height, width, height };
}

/**
 * @param {Painter} painter
 * @param {Box} panel
 * @param {ShownPatches} shown
 * @param {PatchMarks} marks
 */
function paintPatchMarks(painter, panel, shown, { source, pinned, found }) {
  const { theme } = painter;
  for (const place of found) {
    if (!shown.grid.holds(place)) continue;
    const { x, y, width, height } = patchBox(panel, shown.grid, place);
    painter.frame(x + 1, y + 1, width - 2, height - 2, theme.accent, 1);
  }
  if (!source?.grid?.holds(source.place)) return;
  const { x, y, width, height } = patchBox(panel, source.grid, source.place);
  painter.frame(x - 1, y - 1, width + 2, height + 2, theme.page, pinned ? 5 : 3.5);
  painter.frame(x - 1, y - 1, width + 2, height + 2, theme.accent, pinned ? 2.5 : 1.5);
}

/**
 * Class and register tokens stand apart, above the picture, for they are no part of it.
 *
 * @param {Painter} painter
 * @param {PictureChip} chip
 * @param {ShownPatches} shown
 * @param {PatchMarks} marks
 */
function paintChip(painter, { place, x, y, width, height }, shown, { source, pinned, found }) {
  const { theme } = painter;
  const kind = shown.coloured ? weightKind(shown, place) : "outside";
  let ink = theme.quiet;
  if (kind === "weight") {
    const colour = shown.colourOf(shown.weights[place]);
    ink = inkOn(colour);
    painter.rect(x, y, width, height, colour);
  } else if (kind === "masked") painter.hatch(x, y, width, height);
  else if (kind === "odd") {
    painter.rect(x, y, width, height, theme.nan);
    ink = "#fff";
  }
  painter.frame(x + 0.5, y + 0.5, width - 1, height - 1, theme.line);
  if (source?.place === place && !(source.grid && source.grid.holds(place))) painter.frame(x + 1, y + 1, width - 2, height - 2, theme.accent, pinned ? 2.5 : 1.5);
  if (found.has(place)) painter.rect(x, y + height - 2, width, 2, theme.accent);
  painter.text(shortenedText(shown.labels[place], width - 12, CHIP_STYLE), x + width / 2, y + height / 2, { ...CHIP_STYLE, fill: ink, align: "center" });
}
