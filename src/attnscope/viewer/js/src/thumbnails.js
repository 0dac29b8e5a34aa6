// Thumbnails: put among the pixels of the screen, and made of several others or of a map.
import { MASKED_CODE, ODD_CODE, THUMBNAIL_LEVELS, largestOf } from "./attention.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Box, Thumbnail } from "./types.d.ts" */

const THUMBNAIL_SIDE = 64;

/**
 * A thumbnail among the pixels of the screen. Where it has more blocks than there are pixels, the largest is seen.
 *
 * @param {Uint32Array} packed
 * @param {number} stride
 * @param {Box} cell
 * @param {number} ratio
 * @param {Thumbnail} thumbnail
 * @param {Uint32Array} table
 */
export function pasteThumbnail(packed, stride, cell, ratio, { rows, columns, codes }, table) {
  const [left, top] = [Math.round(cell.x * ratio), Math.round(cell.y * ratio)];
  const [width, height] = [Math.round((cell.x + cell.width) * ratio) - left, Math.round((cell.y + cell.height) * ratio) - top];
  const across = blockEnds(columns, width);
  const down = blockEnds(rows, height);
  for (let y = 0; y < height; y += 1) {
    let pixel = (top + y) * stride + left;
    for (let x = 0; x < width; x += 1, pixel += 1) {
      let best = -1;
      for (let row = down[2 * y]; row < down[2 * y + 1]; row += 1) {
        const end = row * columns + across[2 * x + 1];
        for (let place = row * columns + across[2 * x]; place < end; place += 1) {
          const code = codes[place];
          if (code > best && code !== MASKED_CODE) best = code; // the code of what is no weight is the largest
        }
      }
      packed[pixel] = table[best < 0 ? MASKED_CODE : best];
    }
  }
}

/**
 * The first block, and the one behind the last, that each pixel shows.
 *
 * @param {number} count
 * @param {number} size
 */
function blockEnds(count, size) {
  const ends = new Uint16Array(2 * size);
  for (let pixel = 0; pixel < size; pixel += 1) {
    const first = Math.floor((pixel * count) / size);
    ends[2 * pixel] = first;
    ends[2 * pixel + 1] = Math.max(first + 1, Math.ceil(((pixel + 1) * count) / size));
  }
  return ends;
}

/**
 * The largest of all heads, from their thumbnails: exactly the thumbnail of their maximum.
 *
 * @param {Thumbnail[]} all
 * @returns {Thumbnail}
 */
export function largestThumbnail(all) {
  const scale = Math.max(...all.map((thumbnail) => thumbnail.scale));
  const codes = new Uint8Array(all[0].codes.length).fill(MASKED_CODE);
  for (const thumbnail of all) {
    const factor = scale > 0 ? Math.sqrt(thumbnail.scale / scale) : 0;
    const scaled = Uint8Array.from({ length: 256 }, (_, code) => (code && code < MASKED_CODE ? Math.max(1, Math.round(code * factor)) : code));
    for (let place = 0; place < codes.length; place += 1) {
      const [code, before] = [scaled[thumbnail.codes[place]], codes[place]];
      if (code === MASKED_CODE || before === ODD_CODE) continue;
      if (code === ODD_CODE || before === MASKED_CODE || code > before) codes[place] = code;
    }
  }
  return { ...all[0], codes, scale };
}

/**
 * A map in at most 64 x 64 blocks, each with its largest weight, as thumbnails are.
 *
 * @param {AttentionMap} map
 * @returns {Thumbnail}
 */
export function thumbnailOfMap(map) {
  const [down, across] = [Math.ceil(map.gridRows / THUMBNAIL_SIDE), Math.ceil(map.gridColumns / THUMBNAIL_SIDE)];
  const [rows, columns] = [Math.ceil(map.gridRows / down), Math.ceil(map.gridColumns / across)];
  const scale = largestOf(map.values);
  const codes = new Uint8Array(rows * columns).fill(MASKED_CODE);
  for (let row = 0, place = 0; row < map.gridRows; row += 1) {
    for (let column = 0; column < map.gridColumns; column += 1, place += 1) {
      const block = Math.floor(row / down) * columns + Math.floor(column / across);
      const code = map.codes[place];
      if (code === ODD_CODE || codes[block] === ODD_CODE) codes[block] = ODD_CODE;
      else if (code !== MASKED_CODE) {
        const level = map.values[place] > 0 ? Math.max(1, Math.round(Math.sqrt(map.values[place] / scale) * THUMBNAIL_LEVELS)) : 0;
        codes[block] = Math.max(codes[block] === MASKED_CODE ? 0 : codes[block], level);
      }
    }
  }
  return { rows, columns, codes, scale, mapRows: map.rows, mapColumns: map.columns };
}
