// How numbers are written: to three digits, and never with more certainty than there is.
/** @import { Cell } from "./types.d.ts" */

/**
 * A number as a person reads it: with a minus, where a program writes a hyphen.
 *
 * @param {string} digits
 */
export function readable(digits) {
  return digits.replaceAll("-", "−");
}

/** @param {number} value */
export function formatNumber(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return readable(value.toExponential(2));
  return readable(size >= 1 ? String(Number(value.toPrecision(4))) : value.toPrecision(3));
}

/**
 * A number of a scale: a round one, without zeros behind it.
 *
 * @param {number} value
 */
export function formatEnd(value) {
  return readable(String(Number(value.toPrecision(4))));
}

/**
 * Exact weights are float16: four digits are all there are.
 *
 * @param {number} value
 */
export function formatExact(value) {
  if (value === 0 || !Number.isFinite(value)) return formatNumber(value);
  return readable(Math.abs(value) < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(4))));
}

/**
 * An upper bound is rounded up, or it would be none.
 *
 * @param {number} bound
 */
export function formatBound(bound) {
  if (!(bound > 0)) return "0";
  const power = 10 ** (Math.floor(Math.log10(bound)) - 1);
  const rounded = Math.ceil(bound / power - 1e-9) * power;
  return readable(rounded < 1e-4 ? rounded.toExponential(1) : String(Number(rounded.toPrecision(2))));
}

/**
 * A cell as AttentionMap.at gives it.
 *
 * @param {Cell} cell
 * @returns {string}
 */
export function formatCell(cell) {
  switch (cell.kind) {
    case "exact":
      return cell.value === 0 ? "0 exactly" : `${formatExact(cell.value)} exact`;
    case "coded": {
      const digits = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(cell.bound))));
      return `${readable(cell.value.toFixed(digits))} ± ${formatBound(cell.bound)}`;
    }
    case "below":
      return `under ${formatBound(cell.bound)}`;
    case "pooled":
      return `at most ${formatBound(cell.value + cell.bound)}`;
    case "masked":
      return "masked";
    default:
      return cell.value === undefined ? "not a weight" : `not a weight: ${formatNumber(cell.value)}`;
  }
}

/** @param {number} count */
export function formatCount(count) {
  return count.toLocaleString("en-US");
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * The next number of the kind 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 x 10^n: the end of a scale. 1 for 0.
 *
 * @param {number} value
 */
export function roundedUp(value) {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((candidate) => candidate * power >= value * (1 - 1e-6)) ?? 10;
  return Number((step * power).toPrecision(12));
}

/**
 * A label for a narrow place: its middle is left out, for words are told apart by their ends.
 *
 * @param {string} label
 * @param {number} most
 */
export function shortened(label, most) {
  const letters = [...label];
  if (letters.length <= most) return label;
  const front = Math.ceil((most - 1) * 0.6);
  return `${letters.slice(0, front).join("")}…${letters.slice(letters.length - (most - 1 - front)).join("")}`;
}

/**
 * A position and its label; what is labelled by its position alone is named once.
 *
 * @param {string[]} labels
 * @param {number} place
 */
export function numbered(labels, place) {
  return labels[place] === String(place) ? String(place) : `${place} ${quoted(labels[place])}`;
}

/**
 * A label inside of a sentence, its writing direction kept to itself.
 *
 * @param {string} label
 */
export function quoted(label) {
  return `\u2068${shortened(label, 60)}\u2069`;
}
