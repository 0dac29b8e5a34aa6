// Where the cells of a map lie on the screen, and what zooming and panning make of it.
/** @import { CellPlace, Region, Span, Window } from "./types.d.ts" */

/** @typedef {{ width: number, height: number, ratio: number }} Room in CSS pixels, and the dots of each */

const SMALLEST_SIDE = 150;
const LARGEST_CELL = 72;
const SCROLLED = 1.8;
const SCROLLED_LITTLE = 1.2;
const FEWEST_CELLS = 2;

/**
 * Sizes in CSS pixels for a window of rows x columns within the room there is: cells are square unless one side got too thin.
 *
 * @param {number} rows
 * @param {number} columns
 * @param {Room} room
 */
export function planeSize(rows, columns, { width, height, ratio }) {
  const room = { width, height, ratio };
  const dense = height / rows < 1 / ratio && width / columns >= 1 / ratio && rows / ratio < height * SCROLLED;
  if (dense) room.height = rows / ratio; // a dot for each cell is worth some scrolling
  const cell = wholeDots(Math.min(room.width / columns, room.height / rows, LARGEST_CELL), rows, columns, room);
  /** @type {(count: number, most: number) => number} */
  const side = (count, most) => Math.max(cell * count, Math.min(most, SMALLEST_SIDE, count * 26));
  return { width: side(columns, room.width), height: side(rows, room.height) };
}

/**
 * Small cells get a whole number of dots, so that all of them are of one size; the next larger number for a little scrolling.
 *
 * @param {number} cell
 * @param {number} rows
 * @param {number} columns
 * @param {Room} room
 */
function wholeDots(cell, rows, columns, { width, height, ratio }) {
  const dots = cell * ratio;
  if (dots < 1 || dots >= 8) return cell;
  const more = Math.ceil(dots) / ratio;
  return more * columns <= width && more * rows <= height * SCROLLED_LITTLE ? more : Math.floor(dots) / ratio;
}

export class Plane {
  /**
   * @param {{ left: number, top: number, width: number, height: number, right: number }} box
   * @param {Region} region
   */
  constructor(box, region) {
    this.left = box.left;
    this.top = box.top;
    this.width = box.width;
    this.height = box.height;
    this.right = box.right;
    this.region = region;
    this.cellWidth = box.width / (region.x1 - region.x0);
    this.cellHeight = box.height / (region.y1 - region.y0);
  }

  get bottom() {
    return this.top + this.height;
  }

  /** @param {number} column */
  xOf(column) {
    return this.left + (column - this.region.x0) * this.cellWidth;
  }

  /** @param {number} row */
  yOf(row) {
    return this.top + (row - this.region.y0) * this.cellHeight;
  }

  /**
   * Cells as fractions of them; they may lie outside.
   *
   * @param {number} x
   */
  columnAt(x) {
    return this.region.x0 + (x - this.left) / this.cellWidth;
  }

  /** @param {number} y */
  rowAt(y) {
    return this.region.y0 + (y - this.top) / this.cellHeight;
  }

  /**
   * The cell under a point; -1 for an axis along which the point lies beside the cells.
   *
   * @param {number} x
   * @param {number} y
   * @returns {CellPlace}
   */
  cellAt(x, y) {
    /** @type {(place: number, from: number, to: number) => number} */
    const inside = (place, from, to) => (place >= from && place < to ? Math.floor(place) : -1);
    const { x0, x1, y0, y1 } = this.region;
    return { row: inside(this.rowAt(y), y0, y1), column: inside(this.columnAt(x), x0, x1) };
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  contains(row, column) {
    const { x0, x1, y0, y1 } = this.region;
    return column + 1 > x0 && column < x1 && row + 1 > y0 && row < y1;
  }
}

/**
 * @param {Window} window
 * @returns {Region}
 */
export function wholeRegion({ rows, columns }) {
  return { x0: columns[0], x1: columns[1], y0: rows[0], y1: rows[1] };
}

/**
 * @param {number} from
 * @param {number} size
 * @param {number} least
 * @param {number} most
 * @returns {Span}
 */
function slidInside(from, size, least, most) {
  const start = Math.min(Math.max(from, least), most - size);
  return [start, start + size];
}

/**
 * Makes cells larger (factor > 1) around a point given in cells.
 *
 * @param {Region} region
 * @param {Region} whole
 * @param {number} factor
 * @param {number} column
 * @param {number} row
 * @returns {Region}
 */
export function zoomedRegion(region, whole, factor, column, row) {
  /** @type {(from: number, to: number, least: number, most: number, fixed: number) => Span} */
  const along = (from, to, least, most, fixed) => {
    const size = Math.min(most - least, Math.max(Math.min(FEWEST_CELLS, most - least), (to - from) / factor));
    return slidInside(fixed - ((fixed - from) / (to - from)) * size, size, least, most);
  };
  const [x0, x1] = along(region.x0, region.x1, whole.x0, whole.x1, column);
  const [y0, y1] = along(region.y0, region.y1, whole.y0, whole.y1, row);
  return { x0, x1, y0, y1 };
}

/**
 * @param {Region} region
 * @param {Region} whole
 * @param {number} columns
 * @param {number} rows
 * @returns {Region}
 */
export function pannedRegion(region, whole, columns, rows) {
  const [x0, x1] = slidInside(region.x0 + columns, region.x1 - region.x0, whole.x0, whole.x1);
  const [y0, y1] = slidInside(region.y0 + rows, region.y1 - region.y0, whole.y0, whole.y1);
  return { x0, x1, y0, y1 };
}

/**
 * The region between two corners given in cells, grown to whole cells.
 *
 * @param {Region} whole
 * @param {CellPlace} from
 * @param {CellPlace} to
 * @returns {Region}
 */
export function boxedRegion(whole, from, to) {
  /** @type {(one: number, other: number, least: number, most: number) => Span} */
  const along = (one, other, least, most) => {
    const start = Math.max(least, Math.min(most - 1, Math.floor(Math.min(one, other))));
    return [start, Math.min(most, Math.max(start + Math.min(FEWEST_CELLS, most - start), Math.ceil(Math.max(one, other))))];
  };
  const [x0, x1] = along(from.column, to.column, whole.x0, whole.x1);
  const [y0, y1] = along(from.row, to.row, whole.y0, whole.y1);
  return { x0, x1, y0, y1 };
}

/**
 * The region that shows a cell: the same one if it does already.
 *
 * @param {Region} region
 * @param {Region} whole
 * @param {number} row
 * @param {number} column
 * @returns {Region}
 */
export function regionAround(region, whole, row, column) {
  /** @type {(place: number, from: number, to: number) => number} */
  const need = (place, from, to) => {
    if (place < 0) return 0;
    if (place < from) return place - from;
    return place + 1 > to ? place + 1 - to : 0;
  };
  return pannedRegion(region, whole, need(column, region.x0, region.x1), need(row, region.y0, region.y1));
}
