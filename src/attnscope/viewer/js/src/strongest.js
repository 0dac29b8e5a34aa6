// The strongest weights: of a whole map for its lines, of one token for its lines and its text.
import { MASKED_CODE } from "./attention.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Direction, TokenWeights, Window } from "./types.d.ts" */

const HISTOGRAM_BINS = 2048;

/** @typedef {{ cells: { row: number, column: number, value: number }[], total: number }} StrongestCells */

/**
 * Where a place of the values lies among the tokens: its own row and column, or the middle of its block.
 *
 * @param {number} place
 * @param {number} poolSize
 * @param {number} size
 */
function blockMiddle(place, poolSize, size) {
  const start = place * poolSize;
  return poolSize === 1 ? place : (start + Math.min(size, start + poolSize) - 1) / 2;
}

/**
 * At most `count` of the largest weights within a window, the largest first, and how many there are above zero.
 * A histogram finds the smallest that is wanted, so that a quarter of a million weights need no sorting.
 *
 * @param {AttentionMap} map
 * @param {Window} within
 * @param {number} count
 * @returns {StrongestCells}
 */
export function strongestCells(map, within, count) {
  if (map.known === "strongest") return strongestStored(map, within, count);
  const [rowFrom, rowTo] = within.rows.map((end) => Math.ceil(end / map.poolRows));
  const [columnFrom, columnTo] = within.columns.map((end) => Math.ceil(end / map.poolColumns));
  const { values, gridColumns, maximum } = map;
  const bins = new Uint32Array(HISTOGRAM_BINS + 1);
  const factor = maximum > 0 ? HISTOGRAM_BINS / Math.sqrt(maximum) : 0;
  let total = 0;
  for (let row = rowFrom; row < rowTo; row += 1) {
    for (let place = row * gridColumns + columnFrom; place < row * gridColumns + columnTo; place += 1) {
      if (!(values[place] > 0)) continue;
      bins[Math.min(HISTOGRAM_BINS, Math.sqrt(values[place]) * factor | 0)] += 1;
      total += 1;
    }
  }
  let [bin, above] = [HISTOGRAM_BINS, bins[HISTOGRAM_BINS]];
  while (bin > 0 && above < count) above += bins[--bin];
  const least = factor ? (bin / factor) ** 2 * (1 - 1e-6) : 0;
  const cells = [];
  for (let row = rowFrom; row < rowTo; row += 1) {
    for (let column = columnFrom; column < columnTo; column += 1) {
      const value = values[row * gridColumns + column];
      if (!(value > 0 && value >= least)) continue;
      const [middleRow, middleColumn] = [blockMiddle(row, map.poolRows, map.rows), blockMiddle(column, map.poolColumns, map.columns)];
      cells.push({ row: middleRow, column: middleColumn, value });
    }
  }
  cells.sort((one, other) => other.value - one.value);
  return { cells: cells.slice(0, count), total };
}

/**
 * @param {AttentionMap} map
 * @param {Window} within
 * @param {number} count
 * @returns {StrongestCells}
 */
function strongestStored(map, within, count) {
  const cells = [];
  for (let row = within.rows[0]; row < within.rows[1]; row += 1) {
    for (const { key, value } of map.strongest(row)) {
      if (key >= within.columns[0] && key < within.columns[1]) cells.push({ row, column: key, value });
    }
  }
  cells.sort((one, other) => other.value - one.value);
  return { cells: cells.slice(0, count), total: cells.length };
}

/**
 * What one token gives (`from`) or gets (`to`), one number per token of the other side; NaN where it is no weight.
 * Where single weights are not stored, each has the largest of its block, and `blocks` is true.
 *
 * @param {AttentionMap} map
 * @param {number} place
 * @param {Direction} direction
 * @returns {TokenWeights}
 */
export function weightsOfToken(map, place, direction) {
  const size = direction === "from" ? map.columns : map.rows;
  const masked = new Uint8Array(size);
  const partial = map.known === "strongest";
  const weights = partial ? (direction === "from" ? map.row(place) : map.column(place)) : new Float32Array(size);
  for (let other = 0; other < size; other += 1) {
    const [row, column] = direction === "from" ? [place, other] : [other, place];
    const grid = Math.floor(row / map.poolRows) * map.gridColumns + Math.floor(column / map.poolColumns);
    if (map.codes[grid] === MASKED_CODE) masked[other] = 1;
    if (!partial) weights[other] = map.values[grid];
    else if (map.odd.has(row * map.columns + column)) weights[other] = NaN;
  }
  return { weights, masked, blocks: map.known === "none", partial };
}

/**
 * The places of at most `count` weights of a list, the largest first; zeros and what is no weight are left out.
 *
 * @param {ArrayLike<number>} weights
 * @param {number} count
 */
export function strongestPlaces(weights, count) {
  /** @type {number[]} */
  const best = [];
  for (let place = 0; place < weights.length; place += 1) {
    const value = Math.abs(weights[place]);
    if (!(value > 0) || (best.length === count && value <= Math.abs(weights[best[count - 1]]))) continue;
    let at = best.length < count ? best.length : count - 1;
    while (at > 0 && Math.abs(weights[best[at - 1]]) < value) {
      best[at] = best[at - 1];
      at -= 1;
    }
    best[at] = place;
  }
  return best;
}
