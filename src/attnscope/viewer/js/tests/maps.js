// Maps made of plain numbers.
import { AttentionMap } from "../src/attention.js";

/** A map that is known in full; a code for each value is 1, or 0 for 0, unless given. */
export function plainMap(rows, columns, values, codes = values.map((value) => (value ? 1 : 0))) {
  return new AttentionMap({
    rows,
    columns,
    gridRows: rows,
    gridColumns: columns,
    values: Float32Array.from(values),
    codes: Uint8Array.from(codes),
    received: new Float32Array(columns),
    scale: new Float32Array(rows),
    levels: new Uint8Array(rows).fill(1),
    odd: new Map(),
    exact: 0,
    position: new Uint16Array(0),
    weight: new Float32Array(0),
  });
}

/** Numbers between 0 and 1 that are the same in each run. */
export function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 32;
  };
}
