// A part of a map as pixels: one per cell, or one per block of cells where there are more cells than pixels.
import { MASKED_CODE, ODD_CODE } from "./attention.js";
import { packedHex } from "./colours.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Colouring } from "./colours.js" */
/** @import { Palette, Raster, RasterAxis, RasterDrawing, RasterFound, Region } from "./types.d.ts" */

/**
 * Where along one axis the pixels begin, how many there are, and how many stored values each stands for.
 *
 * @param {number} from
 * @param {number} to
 * @param {number} pool
 * @param {number} most
 * @returns {RasterAxis}
 */
function rasterAxis(from, to, pool, most) {
  const [first, last] = [Math.floor(from / pool), Math.ceil(to / pool)];
  const step = Math.max(1, Math.ceil((last - first) / Math.max(1, most)));
  const start = Math.floor(first / step) * step;
  return { start, end: last, step, count: Math.ceil((last - start) / step), cells: step * pool };
}

/**
 * @param {AttentionMap} map
 * @param {Region} region in cells
 * @param {[across: number, down: number]} most dots that there is room for
 * @param {{ colouring: Pick<Colouring, "packed">, maximum: number, theme: Pick<Palette, "nan"> }} drawing
 * @returns {Raster}
 */
export function rasterOfMap(map, region, most, { colouring, maximum, theme }) {
  const across = rasterAxis(region.x0, region.x1, map.poolColumns, most[0]);
  const down = rasterAxis(region.y0, region.y1, map.poolRows, most[1]);
  const packed = new Uint32Array(across.count * down.count);
  const found = { masked: false, odd: [] };
  const single = across.step === 1 && down.step === 1;
  (single ? paintCells : paintBlocks)(map, across, down, packed, found, { colouring, maximum, nan: packedHex(theme.nan) });
  return {
    pixels: new Uint8ClampedArray(packed.buffer),
    width: across.count,
    height: down.count,
    x: across.start * map.poolColumns,
    y: down.start * map.poolRows,
    cellsAcross: across.cells,
    cellsDown: down.cells,
    ...found,
  };
}

/**
 * @param {AttentionMap} map
 * @param {RasterAxis} across
 * @param {RasterAxis} down
 * @param {Uint32Array} packed
 * @param {RasterFound} found
 * @param {RasterDrawing} drawing
 */
function paintCells(map, across, down, packed, found, { colouring, maximum, nan }) {
  const { values, codes, gridColumns, signed } = map;
  let pixel = 0;
  for (let row = down.start; row < down.end; row += 1) {
    const end = row * gridColumns + across.end;
    for (let place = row * gridColumns + across.start; place < end; place += 1, pixel += 1) {
      const code = codes[place];
      if (code < MASKED_CODE) packed[pixel] = colouring.packed(values[place], maximum, signed);
      else if (code === MASKED_CODE) found.masked = true;
      else {
        packed[pixel] = nan;
        found.odd.push(pixel);
      }
    }
  }
}

/**
 * The largest of each block; masked where all of it is, odd where any of it is.
 *
 * @param {AttentionMap} map
 * @param {RasterAxis} across
 * @param {RasterAxis} down
 * @param {Uint32Array} packed
 * @param {RasterFound} found
 * @param {RasterDrawing} drawing
 */
function paintBlocks(map, across, down, packed, found, { colouring, maximum, nan }) {
  const { values, codes, gridColumns, signed } = map;
  const [best, seen] = [new Float32Array(across.count), new Uint8Array(across.count)];
  const pixelOf = Uint32Array.from({ length: across.end - across.start }, (_, place) => Math.floor(place / across.step));
  for (let line = 0; line < down.count; line += 1) {
    best.fill(0);
    seen.fill(0);
    const last = Math.min(down.end, down.start + (line + 1) * down.step);
    for (let row = down.start + line * down.step; row < last; row += 1) {
      const first = row * gridColumns + across.start;
      for (let place = 0; place < pixelOf.length; place += 1) {
        const [code, pixel] = [codes[first + place], pixelOf[place]];
        if (code === MASKED_CODE) continue;
        seen[pixel] |= code === ODD_CODE ? 2 : 1;
        const value = values[first + place];
        if ((value < 0 ? -value : value) > (best[pixel] < 0 ? -best[pixel] : best[pixel])) best[pixel] = value;
      }
    }
    for (let pixel = 0; pixel < across.count; pixel += 1) {
      const place = line * across.count + pixel;
      if (seen[pixel] & 2) found.odd.push(place);
      if (!seen[pixel]) found.masked = true;
      else packed[place] = seen[pixel] & 2 ? nan : colouring.packed(best[pixel], maximum, signed);
    }
  }
}
