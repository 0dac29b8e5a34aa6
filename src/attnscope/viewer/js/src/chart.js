// A map as a chart: where it lies, its cells and labels, and the lines around a row and a column.
import { screenRatio } from "./painter.js";
import { drawColumnLabels, drawRowLabels, gutterWidth, labelStep, uprightLabels } from "./axes.js";
import { Plane, planeSize } from "./plane.js";
import { rasterOfMap } from "./raster.js";
/** @import { CellPlace, Colour, MapContent, Painter, Point, Raster, Region, SiteTokens, Span, Window } from "./types.d.ts" */

const NARROW_CHART = 560;
const UPRIGHT_GUTTER = 34;
const CHART_HEIGHTS = [480, 1400];
const TILED = 14; // pixels of a cell from which on cells stand apart
const CROSSED = 6; // pixels of a cell in which a cross can be seen
const MOST_CROSSES = 4000;
const THIN = 6; // pixels of a row or column that is to be seen between its lines

/**
 * Cells and gutters depend on each other: the labels' room on how many there are, the cells' on what is left for them.
 *
 * @param {{ tokens: SiteTokens, window: Window }} shown
 * @param {Region} region
 * @param {{ width: number, height: number }} room
 */
export function arrangedPlane({ tokens, window: within }, region, { width, height }) {
  const across = Math.max(200, width);
  const mostHeight = Math.max(CHART_HEIGHTS[0], Math.min(CHART_HEIGHTS[1], height));
  const most = across < NARROW_CHART ? 76 : 150;
  const [rows, columns] = [within.rows[1] - within.rows[0], within.columns[1] - within.columns[0]];
  let [left, top] = [most, most];
  const fit = () => planeSize(rows, columns, { width: across - left - 2, height: mostHeight - top, ratio: screenRatio() });
  /** @type {(from: number, to: number) => Span} */
  const seen = (from, to) => [Math.floor(from), Math.ceil(to)];
  let size = fit();
  for (let pass = 0; pass < 2; pass += 1) {
    const cellWidth = size.width / (region.x1 - region.x0);
    const cellHeight = size.height / (region.y1 - region.y0);
    const upright = uprightLabels({ cellWidth, region }, tokens.keys.labels);
    left = gutterWidth(tokens.queries.labels, seen(region.y0, region.y1), labelStep(cellHeight), most);
    top = upright ? UPRIGHT_GUTTER : gutterWidth(tokens.keys.labels, seen(region.x0, region.x1), labelStep(cellWidth), most);
    size = fit();
  }
  return new Plane({ left, top, ...size, right: across }, region);
}

/**
 * Everything but what is pinned and pointed at: the same on the screen and in an exported picture.
 *
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {MapContent} content
 * @returns {Raster} which knows what each dot stands for
 */
export function paintMap(painter, plane, { map, maximum, colouring, axes }) {
  const { left, top, width, height } = plane;
  const { theme } = painter;
  const dots = (/** @type {number} */ size) => Math.max(1, Math.floor(size * screenRatio() + 1e-6));
  const raster = rasterOfMap(map, plane.region, [dots(width), dots(height)], { colouring, maximum, theme });
  /** @type {[across: number, down: number]} */
  const dot = [raster.cellsAcross * plane.cellWidth, raster.cellsDown * plane.cellHeight];
  painter.clipped(left, top, width, height, () => {
    if (raster.masked) painter.hatch(left, top, width, height);
    const [x, y] = [plane.xOf(raster.x), plane.yOf(raster.y)];
    painter.image(raster.pixels, raster.width, raster.height, x, y, raster.width * dot[0], raster.height * dot[1]);
    paintCrosses(painter, raster, x, y, dot);
    paintTiles(painter, plane);
  });
  painter.frame(left - 0.5, top - 0.5, width + 1, height + 1, theme.line);
  drawRowLabels(painter, plane, axes.query);
  drawColumnLabels(painter, plane, axes.key);
  painter.text("key →", left - 7, 8, { size: 10.5, fill: theme.quiet, align: "right" });
  if (top >= 30) painter.text("query ↓", left - 7, 22, { size: 10.5, fill: theme.quiet, align: "right" });
  return raster;
}

/**
 * @param {Painter} painter
 * @param {Raster} raster
 * @param {number} x
 * @param {number} y
 * @param {[across: number, down: number]} dot
 */
function paintCrosses(painter, raster, x, y, [across, down]) {
  if (Math.min(across, down) < CROSSED) return;
  for (const place of raster.odd.slice(0, MOST_CROSSES)) {
    const [row, column] = [Math.floor(place / raster.width), place % raster.width];
    painter.cross(x + column * across, y + row * down, across, down);
  }
}

/**
 * @param {Painter} painter
 * @param {Plane} plane
 */
function paintTiles(painter, plane) {
  const { page } = painter.theme;
  const { x0, x1, y0, y1 } = plane.region;
  const columns = plane.cellWidth >= TILED ? Math.ceil(x1) : 0;
  const rows = plane.cellHeight >= TILED ? Math.ceil(y1) : 0;
  for (let column = Math.ceil(x0); column < columns; column += 1) {
    painter.rect(plane.xOf(column) - 0.5, plane.top, 1, plane.height, page);
  }
  for (let row = Math.ceil(y0); row < rows; row += 1) painter.rect(plane.left, plane.yOf(row) - 0.5, plane.width, 1, page);
}

/**
 * Lines on both sides of a row and of a column.
 *
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {CellPlace} cell
 * @param {Colour} colour
 * @param {number} thickness
 */
export function paintBand(painter, plane, { row, column }, colour, thickness) {
  const { left, top, width, height, cellWidth, cellHeight } = plane;
  /** @type {(from: number, size: number) => [number, number]} */
  const ends = (from, size) => {
    const away = size < THIN ? 1.5 : 0;
    return [from - thickness / 2 - away, from + size - thickness / 2 + away];
  };
  painter.clipped(left, top, width, height, () => {
    if (row >= 0) for (const y of ends(plane.yOf(row), cellHeight)) painter.rect(left, y, width, thickness, colour);
    if (column >= 0) for (const x of ends(plane.xOf(column), cellWidth)) painter.rect(x, top, thickness, height, colour);
  });
}

/**
 * @param {Painter} painter
 * @param {Plane} plane
 * @param {CellPlace} pins
 */
export function paintPins(painter, plane, pins) {
  const { accent } = painter.theme;
  const { left, top, region } = plane;
  paintBand(painter, plane, pins, accent, 1.5);
  if (pins.row >= 0 && plane.contains(pins.row, region.x0)) painter.rect(left - 4, plane.yOf(pins.row + 0.5) - 3, 4, 6, accent);
  if (pins.column >= 0 && plane.contains(region.y0, pins.column)) painter.rect(plane.xOf(pins.column + 0.5) - 3, top - 4, 6, 4, accent);
}

/**
 * @param {Painter} painter
 * @param {[from: Point, to: Point]} box
 */
export function paintBox(painter, [from, to]) {
  const [x, y] = [Math.min(from.x, to.x), Math.min(from.y, to.y)];
  const [width, height] = [Math.abs(from.x - to.x), Math.abs(from.y - to.y)];
  painter.rect(x, y, width, height, painter.theme.accent, 0.15);
  painter.frame(x, y, width, height, painter.theme.accent, 1.5);
}
