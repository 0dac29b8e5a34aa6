// One map as it was stored, and what is computed from several: see ../README.md for the bytes.
/** @import { Aggregate, Cell, KnownCell, MapFields, Shape, Thumbnail } from "./types.d.ts" */

export const EXACT_CODE = 253;
export const MASKED_CODE = 254;
export const ODD_CODE = 255;
const THUMBNAIL_SIZE = 64;
export const THUMBNAIL_LEVELS = 63;
const SCALE_ERROR = 6e-8; // of a scale, which is a float16

export class AttentionMap {
  /** @param {MapFields} fields */
  constructor(fields) {
    this.rows = fields.rows;
    this.columns = fields.columns;
    this.gridRows = fields.gridRows;
    this.gridColumns = fields.gridColumns;
    this.values = fields.values;
    this.codes = fields.codes;
    this.received = fields.received;
    this.pooled = fields.pooled ?? false;
    this.poolRows = fields.poolRows ?? 1;
    this.poolColumns = fields.poolColumns ?? 1;
    this.known = fields.known ?? "all";
    this.signed = fields.signed ?? false;
    this.note = fields.note ?? "";
    this.maximum = fields.maximum ?? largestOf(fields.values);
    this.scale = fields.scale ?? new Float32Array(0);
    this.levels = fields.levels ?? new Uint8Array(0);
    /** @type {Map<number, number>} */
    this.odd = fields.odd ?? new Map();
    this.exact = fields.exact ?? 0;
    this.position = fields.position ?? new Uint16Array(0);
    this.weight = fields.weight ?? new Float32Array(0);
    this.rowBound = fields.rowBound ?? null;
    this.bytes = this.values.byteLength + this.codes.byteLength + this.received.byteLength;
  }

  /**
   * @param {number} row
   * @param {number} column
   * @returns {Cell}
   */
  at(row, column) {
    const place = Math.floor(row / this.poolRows) * this.gridColumns + Math.floor(column / this.poolColumns);
    const code = this.codes[place];
    if (this.pooled) return this.pooledAt(row, column, place, code);
    if (code === MASKED_CODE) return { value: 0, kind: "masked", bound: 0 };
    if (code === ODD_CODE) return { value: this.odd.get(row * this.columns + column), kind: "odd", bound: 0 };
    const value = this.values[place];
    if (code === EXACT_CODE || code === 0) return { value, kind: "exact", bound: 0 };
    const bound = this.boundAt(row, code);
    return value <= bound ? { value, kind: "below", bound: value + bound } : { value, kind: "coded", bound };
  }

  /**
   * @param {number} row of the grid
   * @param {number} code
   */
  boundAt(row, code) {
    if (this.rowBound) return this.rowBound[row];
    return (this.scale[row] * (code === 1 ? 1.25 : code + 0.25)) / this.levels[row] ** 2 + SCALE_ERROR;
  }

  /**
   * @param {number} row
   * @param {number} column
   * @param {number} place
   * @param {number} code
   * @returns {Cell}
   */
  pooledAt(row, column, place, code) {
    const exact = this.strongest(row).find((weight) => weight.key === column);
    if (exact) return { value: exact.value, kind: "exact", bound: 0 };
    const value = this.odd.get(row * this.columns + column);
    if (value !== undefined) return { value, kind: "odd", bound: 0 };
    if (code === MASKED_CODE) return { value: 0, kind: "masked", bound: 0 };
    if (code === ODD_CODE) return { value: undefined, kind: "odd", bound: 0 };
    if (code === 0) return { value: 0, kind: "exact", bound: 0 };
    const bound = this.boundAt(Math.floor(row / this.poolRows), code);
    return { value: this.values[place], kind: "pooled", bound };
  }

  /**
   * The exact weights of a row of a pooled map, the largest first.
   *
   * @param {number} row
   */
  strongest(row) {
    const found = [];
    for (let place = row * this.exact; place < (row + 1) * this.exact; place += 1) {
      if (this.weight[place] > 0) found.push({ key: this.position[place], value: this.weight[place], exact: true });
    }
    return found;
  }

  /**
   * The largest weights of a row: [{key, value, exact}]. Of a pooled map there are no more than are stored.
   *
   * @param {number} row
   * @param {number} count
   */
  top(row, count) {
    if (this.pooled) return this.strongest(row).slice(0, count);
    const start = row * this.columns;
    /** @type {{ key: number, size: number }[]} */
    const best = [];
    for (let key = 0; key < this.columns; key += 1) {
      const value = Math.abs(this.values[start + key]);
      if (!(value > 0) || (best.length === count && value <= best[count - 1].size)) continue;
      let place = best.length < count ? best.length : count - 1;
      while (place > 0 && best[place - 1].size < value) {
        best[place] = best[place - 1];
        place -= 1;
      }
      best[place] = { key, size: value };
    }
    return best.map(({ key }) => ({ key, value: this.values[start + key], exact: this.codes[start + key] === EXACT_CODE }));
  }

  /**
   * What query `row` gives to each key. Of a pooled map, 0 wherever it is not known: the caller must say so.
   *
   * @param {number} row
   */
  row(row) {
    if (!this.pooled) return this.values.slice(row * this.columns, (row + 1) * this.columns);
    const found = new Float32Array(this.columns);
    for (const weight of this.strongest(row)) found[weight.key] = weight.value;
    return found;
  }

  /**
   * What each query gives to `key`; of a pooled map as `row`.
   *
   * @param {number} key
   */
  column(key) {
    const found = new Float32Array(this.rows);
    for (let row = 0; row < this.rows; row += 1) {
      if (!this.pooled) found[row] = this.values[row * this.columns + key];
      else found[row] = this.strongest(row).find((weight) => weight.key === key)?.value ?? 0;
    }
    return found;
  }
}

/** @param {Float32Array} values */
export function largestOf(values) {
  let largest = 0;
  for (let place = 0; place < values.length; place += 1) {
    const size = values[place] < 0 ? -values[place] : values[place];
    if (size > largest) largest = size;
  }
  return largest;
}

/**
 * An IEEE half as a number.
 *
 * @param {number} bits
 */
export function halfValue(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** Reads typed arrays one behind the other; copies, for they need not be aligned. */
class BlockReader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.place = 0;
  }

  /**
   * @template {Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>} Numbers
   * @param {{ new (buffer: ArrayBuffer, start: number, count: number): Numbers, BYTES_PER_ELEMENT: number }} Kind
   * @param {number} count
   */
  take(Kind, count) {
    const size = count * Kind.BYTES_PER_ELEMENT;
    if (this.place + size > this.bytes.length) throw new Error("it ends too early.");
    const copy = this.bytes.slice(this.place, this.place + size);
    this.place += size;
    return new Kind(copy.buffer, 0, count);
  }

  /** @param {number} count */
  halves(count) {
    return Float32Array.from(this.take(Uint16Array, count), halfValue);
  }
}

/** @param {Uint8Array} bytes */
export function decodedMap(bytes) {
  const reader = new BlockReader(bytes);
  const [rows, columns, exact, oddCount, poolRows, poolColumns] = reader.take(Uint32Array, 6);
  const pooled = poolRows > 1 || poolColumns > 1;
  const [gridRows, gridColumns] = [Math.ceil(rows / poolRows), Math.ceil(columns / poolColumns)];
  const received = reader.take(Float32Array, columns);
  const oddPlaces = reader.take(Uint32Array, oddCount);
  const oddValues = reader.take(Float32Array, oddCount);
  const scale = reader.halves(gridRows);
  const positions = pooled ? rows * exact : 0;
  const position = columns > 65536 ? reader.take(Uint32Array, positions) : reader.take(Uint16Array, positions);
  const weight = reader.halves(rows * exact);
  const levels = reader.take(Uint8Array, gridRows);
  const codes = reader.take(Uint8Array, gridRows * gridColumns);
  const odd = new Map(Array.from(oddPlaces, (place, index) => [place, oddValues[index]]));
  const values = decodedValues(codes, gridRows, gridColumns, scale, levels, weight, exact);
  const shape = { rows, columns, gridRows, gridColumns, pooled, poolRows, poolColumns };
  const known = pooled ? "strongest" : "all";
  const maximum = pooled ? Math.max(largestOf(values), largestOf(weight)) : undefined;
  return new AttentionMap({ ...shape, values, codes, received, scale, levels, odd, exact, position, weight, known, maximum });
}

/**
 * @param {Uint8Array} codes
 * @param {number} rows
 * @param {number} columns
 * @param {Float32Array} scale
 * @param {Uint8Array} levels
 * @param {Float32Array} weight what the exact codes stand for
 * @param {number} exact
 */
function decodedValues(codes, rows, columns, scale, levels, weight, exact) {
  const values = new Float32Array(rows * columns);
  for (let row = 0, place = 0; row < rows; row += 1) {
    const factor = scale[row] / levels[row] ** 2;
    let next = row * exact;
    for (const end = place + columns; place < end; place += 1) {
      const code = codes[place];
      if (code < EXACT_CODE) values[place] = code * code * factor;
      else if (code === EXACT_CODE) values[place] = weight[next++];
      else if (code === ODD_CODE) values[place] = NaN;
    }
  }
  return values;
}

/**
 * Thumbnails of all sites that have axes, one for each panel; null for the others.
 *
 * @param {Uint8Array} bytes
 * @param {(Shape | null)[]} shapes
 * @returns {(Thumbnail[] | null)[]}
 */
export function decodedThumbnails(bytes, shapes) {
  const reader = new BlockReader(bytes);
  return shapes.map((shape) => shape && Array.from({ length: shape.panels }, () => {
    const [scale] = reader.take(Float32Array, 1);
    const [rows, columns] = [thumbnailSize(shape.rows), thumbnailSize(shape.columns)];
    const codes = reader.take(Uint8Array, rows * columns);
    reader.take(Uint8Array, (4 - ((rows * columns) % 4)) % 4);
    return { rows, columns, codes, scale, mapRows: shape.rows, mapColumns: shape.columns };
  }));
}

/** @param {number} size */
function thumbnailSize(size) {
  return Math.ceil(size / Math.ceil(size / THUMBNAIL_SIZE));
}

/**
 * A thumbnail as a map, for files that hold no more than thumbnails.
 *
 * @param {Thumbnail} thumbnail
 */
export function mapOfThumbnail(thumbnail) {
  const { rows, columns, codes, scale, mapRows, mapColumns } = thumbnail;
  const levels = new Uint8Array(rows).fill(THUMBNAIL_LEVELS);
  const scales = new Float32Array(rows).fill(scale);
  return new AttentionMap({
    rows: mapRows,
    columns: mapColumns,
    gridRows: rows,
    gridColumns: columns,
    pooled: true,
    poolRows: Math.ceil(mapRows / THUMBNAIL_SIZE),
    poolColumns: Math.ceil(mapColumns / THUMBNAIL_SIZE),
    known: "none",
    values: decodedValues(codes, rows, columns, scales, levels, new Float32Array(0), 0),
    codes,
    scale: scales,
    levels,
    received: new Float32Array(mapColumns).fill(NaN),
    maximum: scale,
  });
}

/**
 * Where any of the parts is odd the result is; masked where all of them are.
 *
 * @param {number} first
 * @param {number} second
 */
function combinedCode(first, second) {
  if (first === ODD_CODE || second === ODD_CODE) return ODD_CODE;
  if (first === MASKED_CODE) return second;
  if (second === MASKED_CODE) return first;
  return Math.max(first, second);
}

/** @param {AttentionMap} map */
function rowBoundsOf(map) {
  if (map.rowBound) return map.rowBound;
  return map.scale.map((scale, row) => (scale * (map.levels[row] + 0.25)) / map.levels[row] ** 2 + SCALE_ERROR);
}

/** Mean or maximum over heads, one map after the other, so that only two are held at a time. */
export class HeadAggregate {
  /**
   * @param {Aggregate} kind
   * @param {AttentionMap} first
   */
  constructor(kind, first) {
    this.kind = kind;
    this.count = 1;
    this.like = first;
    this.values = Float32Array.from(first.values);
    this.codes = Uint8Array.from(first.codes);
    this.received = Float32Array.from(first.received);
    this.rowBound = Float32Array.from(rowBoundsOf(first));
  }

  /** @param {AttentionMap} map */
  add(map) {
    this.count += 1;
    const mean = this.kind === "mean";
    const { values, codes } = this;
    for (let place = 0; place < values.length; place += 1) {
      const value = map.values[place];
      if (mean) values[place] += value;
      else if (!(value <= values[place])) values[place] = value; // NaN stays NaN
      codes[place] = combinedCode(codes[place], map.codes[place]);
    }
    for (let key = 0; key < this.received.length; key += 1) this.received[key] += map.received[key];
    rowBoundsOf(map).forEach((bound, row) => {
      this.rowBound[row] = mean ? this.rowBound[row] + bound : Math.max(this.rowBound[row], bound);
    });
  }

  /**
   * @param {(row: number) => boolean} counted which rows are no padding, for what the keys receive from the maxima
   */
  finished(counted) {
    const { like, values, codes, received, rowBound, count } = this;
    const mean = this.kind === "mean";
    for (let place = 0; place < values.length; place += 1) {
      if (mean) values[place] /= count;
      if (codes[place] === ODD_CODE) values[place] = NaN;
      else if (codes[place] === EXACT_CODE && count > 1) codes[place] = 252; // the others need not be exact
    }
    if (mean) {
      for (let key = 0; key < received.length; key += 1) received[key] /= count;
      for (let row = 0; row < rowBound.length; row += 1) rowBound[row] /= count;
    }
    const shape = { rows: like.rows, columns: like.columns, gridRows: like.gridRows, gridColumns: like.gridColumns };
    const pool = { pooled: like.pooled, poolRows: like.poolRows, poolColumns: like.poolColumns };
    const known = like.pooled ? "none" : "all";
    const note = like.pooled && mean ? "Each block shows the mean of the heads' largest weights in it." : "";
    const map = new AttentionMap({ ...shape, ...pool, known, values, codes, received, rowBound, note });
    if (!mean) map.received = map.pooled ? received.fill(NaN) : columnMeans(map, counted);
    return map;
  }
}

/**
 * @param {AttentionMap} map
 * @param {(row: number) => boolean} counted
 */
function columnMeans(map, counted) {
  const means = new Float32Array(map.columns);
  let count = 0;
  for (let row = 0; row < map.rows; row += 1) {
    if (!counted(row)) continue;
    count += 1;
    for (let key = 0; key < map.columns; key += 1) means[key] += map.values[row * map.columns + key];
  }
  return means.map((sum) => sum / Math.max(1, count));
}

/** Cell by cell, first - second; masked where either is. Both of one shape and pooling. */
export class DifferenceMap extends AttentionMap {
  /**
   * @param {AttentionMap} first
   * @param {AttentionMap} second
   */
  constructor(first, second) {
    const values = new Float32Array(first.values.length);
    const codes = new Uint8Array(first.codes.length);
    for (let place = 0; place < values.length; place += 1) {
      const [one, other] = [first.codes[place], second.codes[place]];
      if (one === ODD_CODE || other === ODD_CODE) codes[place] = ODD_CODE;
      else if (one === MASKED_CODE || other === MASKED_CODE) codes[place] = MASKED_CODE;
      else if (one || other) codes[place] = one === EXACT_CODE && other === EXACT_CODE ? EXACT_CODE : 1;
      if (codes[place] < MASKED_CODE) values[place] = first.values[place] - second.values[place];
      else if (codes[place] === ODD_CODE) values[place] = NaN;
    }
    super({
      rows: first.rows,
      columns: first.columns,
      gridRows: first.gridRows,
      gridColumns: first.gridColumns,
      pooled: first.pooled,
      poolRows: first.poolRows,
      poolColumns: first.poolColumns,
      known: first.pooled ? "none" : "all",
      signed: true,
      values,
      codes,
      received: first.received.map((value, key) => value - second.received[key]),
      note: first.pooled ? "The difference between the largest weights of each block, not between individual weights." : "",
    });
    this.first = first;
    this.second = second;
  }

  /**
   * @param {number} row
   * @param {number} column
   * @returns {Cell}
   */
  at(row, column) {
    const [first, second] = [this.first.at(row, column), this.second.at(row, column)];
    if (first.kind === "odd") return first;
    if (second.kind === "odd") return second;
    if (first.kind === "masked" || second.kind === "masked") return { value: 0, kind: "masked", bound: 0 };
    if (first.kind === "exact" && second.kind === "exact") {
      return { value: first.value - second.value, kind: "exact", bound: 0 };
    }
    const bound = uncertaintyOf(first) + uncertaintyOf(second);
    return { value: middleOf(first) - middleOf(second), kind: "coded", bound };
  }

  strongest() {
    return [];
  }
}

/**
 * "below" and "pooled" lie between 0 and their upper end.
 *
 * @param {KnownCell} cell
 */
function middleOf(cell) {
  if (cell.kind === "below") return cell.bound / 2;
  return cell.kind === "pooled" ? (cell.value + cell.bound) / 2 : cell.value;
}

/** @param {KnownCell} cell */
function uncertaintyOf(cell) {
  return cell.kind === "below" || cell.kind === "pooled" ? middleOf(cell) : cell.bound;
}
