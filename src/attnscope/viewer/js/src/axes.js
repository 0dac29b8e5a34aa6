// Tokens along the sides of a map: as many as can be read, and numbered where some are left out.
import { textWidth } from "./painter.js";
/** @import { Plane } from "./plane.js" */
/** @import { AxisLabels, Painter, Palette, Span, TextStyle } from "./types.d.ts" */

export const AXIS_TEXT = 11;
const LINE_HEIGHT = 13;
const GUTTER_GAP = 7;
const NARROWEST_GUTTER = 50; // room for the names of the axes

/**
 * Every how many positions there is a label, when a position is `size` pixels wide.
 *
 * @param {number} size
 * @param {number} [least]
 */
export function labelStep(size, least = LINE_HEIGHT) {
  if (size >= least) return 1;
  const sparse = least + 3;
  const power = 10 ** Math.floor(Math.log10(sparse / size));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step * size >= sparse) ?? power * 10;
}

/**
 * @param {string[]} labels
 * @param {number} place
 * @param {number} step
 */
export function axisText(labels, place, step) {
  return step > 1 && labels[place] !== String(place) ? `${place} ${labels[place]}` : labels[place];
}

/**
 * Room for the labels from `from` to `to`, at most `most` pixels.
 *
 * @param {string[]} labels
 * @param {Span} span
 * @param {number} step
 * @param {number} most
 */
export function gutterWidth(labels, [from, to], step, most) {
  const longest = [];
  for (let place = Math.ceil(from / step) * step; place < to; place += step) {
    const text = axisText(labels, place, step);
    if (longest.length < 8) longest.push(text);
    else if (text.length > longest[0].length) longest[0] = text;
    longest.sort((one, other) => one.length - other.length);
  }
  const widest = Math.max(0, ...longest.map((text) => textWidth(text.slice(0, 80), { size: AXIS_TEXT, weight: 600 })));
  return Math.min(most, Math.max(NARROWEST_GUTTER, Math.ceil(widest) + GUTTER_GAP + 3));
}

/**
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {AxisLabels} axis
 */
export function drawRowLabels(painter, plane, axis) {
  const step = labelStep(plane.cellHeight);
  const first = Math.ceil((plane.region.y0 - 0.5) / step) * step;
  for (let row = Math.max(0, first); row + 0.5 < plane.region.y1; row += step) {
    const style = labelStyle(painter.theme, axis, row);
    const text = axisText(axis.labels, row, step);
    const right = plane.left - GUTTER_GAP;
    painter.text(text, right, plane.yOf(row + 0.5), { ...style, align: "right", maxWidth: right - 2 });
  }
  drawTicks(painter, plane, axis, true);
}

/**
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {AxisLabels} axis
 */
export function drawColumnLabels(painter, plane, axis) {
  const upright = uprightLabels(plane, axis.labels);
  const step = labelStep(plane.cellWidth);
  const first = Math.ceil((plane.region.x0 - 0.5) / step) * step;
  for (let column = Math.max(0, first); column + 0.5 < plane.region.x1; column += step) {
    const style = labelStyle(painter.theme, axis, column);
    const x = plane.xOf(column + 0.5);
    const [text, bottom] = [axisText(axis.labels, column, step), plane.top - GUTTER_GAP];
    if (upright) painter.text(text, x, bottom - 5, { ...style, align: "center", maxWidth: plane.cellWidth - 4 });
    else painter.text(text, x, bottom, { ...style, rotate: -90, maxWidth: bottom - 2 });
  }
  drawTicks(painter, plane, axis, false);
}

/**
 * Whether the labels of the keys can stand as one reads them.
 *
 * @param {Pick<Plane, "cellWidth" | "region">} plane
 * @param {string[]} labels
 */
export function uprightLabels({ cellWidth, region }, labels) {
  if (cellWidth < 28) return false;
  const shown = labels.slice(Math.floor(region.x0), Math.ceil(region.x1));
  return shown.every((label) => label.length < 40 && textWidth(label, { size: AXIS_TEXT }) <= cellWidth - 4);
}

/**
 * @param {Palette} theme
 * @param {AxisLabels} axis
 * @param {number} place
 * @returns {TextStyle}
 */
function labelStyle(theme, axis, place) {
  if (axis.pinned === place || axis.marked.has(place)) return { size: AXIS_TEXT, fill: theme.accent, weight: 600 };
  return { size: AXIS_TEXT, fill: theme.ink, opacity: axis.invalid.has(place) ? 0.5 : 1 };
}

/**
 * A short stroke at each match of the search, also where its label is left out.
 *
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {AxisLabels} axis
 * @param {boolean} alongRows
 */
function drawTicks(painter, plane, axis, alongRows) {
  const { x0, x1, y0, y1 } = plane.region;
  for (const place of axis.marked) {
    const inside = alongRows ? place + 0.5 > y0 && place + 0.5 < y1 : place + 0.5 > x0 && place + 0.5 < x1;
    if (!inside) continue;
    if (alongRows) painter.rect(plane.left - 5, plane.yOf(place + 0.5) - 1, 4, 2, painter.theme.accent);
    else painter.rect(plane.xOf(place + 0.5) - 1, plane.top - 5, 2, 4, painter.theme.accent);
  }
}

/**
 * A label on a ground of its own over the axis: that of the row or column under the cross-hair.
 *
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {string} text
 * @param {{ row: number, column?: undefined } | { row?: undefined, column: number }} pointed
 */
export function drawPointedLabel(painter, plane, text, { row, column }) {
  const { theme } = painter;
  const style = { size: AXIS_TEXT, fill: theme.page, weight: 600 };
  if (row !== undefined) {
    const width = Math.min(plane.left - 2, textWidth(text, style) + 8);
    const y = Math.min(plane.top + plane.height, Math.max(plane.top, plane.yOf(row + 0.5)));
    painter.rect(plane.left - 2 - width, y - 8, width, 16, theme.ink);
    painter.text(text, plane.left - 6, y, { ...style, align: "right", maxWidth: width - 6 });
    return;
  }
  const width = Math.min(plane.top + plane.height, textWidth(text, style) + 8);
  const x = Math.min(plane.left + plane.width, Math.max(plane.left, plane.xOf(column + 0.5)));
  if (uprightLabels(plane, [text]) || plane.top < 40) {
    const start = Math.min(plane.right - width, Math.max(0, x - width / 2));
    painter.rect(start, plane.top - 20, width, 16, theme.ink);
    painter.text(text, start + 4, plane.top - 12, { ...style, maxWidth: width - 6 });
    return;
  }
  const height = Math.min(plane.top - 2, width);
  painter.rect(x - 8, plane.top - 2 - height, 16, height, theme.ink);
  painter.text(text, x, plane.top - 6, { ...style, rotate: -90, maxWidth: height - 6 });
}
