// Values to colours, on light and dark pages; the tables themselves come with the manifest.
import { bytesOfBase64 } from "./data.js";
/** @import { Manifest, Palette, Rgb, Scale } from "./types.d.ts" */

export const LOG_DECADES = 4;
const TABLE_SIZE = 4096;

/**
 * The colours of a light or a dark page, as `attnscope.colours` names them; those of heads are a list, for they have no names.
 *
 * @param {Pick<Manifest, "palette">} manifest
 * @param {boolean} dark
 * @returns {Palette}
 */
export function paletteOf(manifest, dark) {
  const tokens = manifest.palette[dark ? "dark" : "light"];
  const heads = Object.entries(tokens).filter(([name]) => name.startsWith("group-"));
  return { ...tokens, dark, heads: heads.map(([, colour]) => colour) };
}

/**
 * A ramp as 256 x 3 bytes whose first colour is the one nearest to the page.
 *
 * @param {Pick<Manifest, "ramps">} manifest
 * @param {string} name
 * @param {boolean} dark
 */
export function orientedRamp(manifest, name, dark) {
  const bytes = bytesOfBase64(manifest.ramps[name]);
  if (!dark) return bytes;
  const turned = new Uint8Array(bytes.length);
  for (let level = 0; level < 256; level += 1) turned.set(bytes.subarray(level * 3, level * 3 + 3), (255 - level) * 3);
  return turned;
}

/**
 * Where a value stands on the scale, from 0 to 1.
 *
 * @param {number} value
 * @param {number} maximum
 * @param {Scale} scale
 */
export function scaledShare(value, maximum, scale) {
  const share = Math.min(1, Math.max(0, value / maximum));
  if (scale === "linear") return share;
  if (scale === "sqrt") return Math.sqrt(share);
  return share > 0 ? Math.max(0, 1 + Math.log10(share) / LOG_DECADES) : 0;
}

/**
 * The value at a place of the scale: the inverse, for the legend's ticks.
 *
 * @param {number} share
 * @param {number} maximum
 * @param {Scale} scale
 */
export function valueAtShare(share, maximum, scale) {
  if (scale === "linear") return share * maximum;
  if (scale === "sqrt") return share * share * maximum;
  return share > 0 ? maximum * 10 ** ((share - 1) * LOG_DECADES) : 0;
}

/**
 * @param {Uint8Array} ramp
 * @param {number} level
 */
function packedColour(ramp, level) {
  return (255 << 24) | (ramp[level * 3 + 2] << 16) | (ramp[level * 3 + 1] << 8) | ramp[level * 3];
}

/**
 * @param {number} value
 * @param {number} maximum
 * @param {Scale} scale
 */
function levelOf(value, maximum, scale) {
  return Math.round(scaledShare(value, maximum, scale) * 255);
}

/**
 * @param {Uint8Array} ramp
 * @param {number} value
 * @param {number} maximum
 * @param {Scale} scale
 * @returns {Rgb}
 */
export function rampColour(ramp, value, maximum, scale) {
  const level = levelOf(value, maximum, scale);
  return [ramp[level * 3], ramp[level * 3 + 1], ramp[level * 3 + 2]];
}

/**
 * A difference on the ramp of two arms; the scale bends both alike.
 *
 * @param {number} value
 * @param {number} maximum
 * @param {Scale} scale
 */
export function differenceLevel(value, maximum, scale) {
  return Math.round(127.5 + Math.sign(value) * scaledShare(Math.abs(value), maximum, scale) * 127.5);
}

/**
 * @param {Uint8Array} ramp
 * @param {number} value
 * @param {number} maximum
 * @param {Scale} scale
 * @returns {Rgb}
 */
export function differenceColour(ramp, value, maximum, scale) {
  const level = differenceLevel(value, maximum, scale);
  return [ramp[level * 3], ramp[level * 3 + 1], ramp[level * 3 + 2]];
}

/** Paints many values at once. The tables are over the square root of a value's share, so that small ones are told apart. */
export class Colouring {
  /**
   * difference: the ramp of two arms; null where there is none
   *
   * @param {Uint8Array} ramp
   * @param {Uint8Array} difference the ramp of two arms
   * @param {Scale} scale
   */
  constructor(ramp, difference, scale) {
    const shares = Array.from({ length: TABLE_SIZE }, (_, place) => (place / (TABLE_SIZE - 1)) ** 2);
    this.above = Uint32Array.from(shares, (share) => packedColour(ramp, levelOf(share, 1, scale)));
    this.more = Uint32Array.from(shares, (share) => packedColour(difference, differenceLevel(share, 1, scale)));
    this.less = Uint32Array.from(shares, (share) => packedColour(difference, differenceLevel(-share, 1, scale)));
  }

  /**
   * Colours as one number each, for the Uint32Array of an ImageData. NaN is 0: nothing.
   *
   * @param {number} value
   * @param {number} maximum
   * @param {boolean} signed
   */
  packed(value, maximum, signed) {
    const size = value < 0 ? -value : value;
    const root = Math.sqrt(size / maximum) * (TABLE_SIZE - 1) + 0.5;
    const place = root >= TABLE_SIZE ? TABLE_SIZE - 1 : root | 0;
    if (value !== value) return 0;
    if (!signed) return this.above[place];
    return value < 0 ? this.less[place] : this.more[place];
  }
}

/** @param {string} hex */
export function packedHex(hex) {
  const [red, green, blue] = [1, 3, 5].map((place) => Number.parseInt(hex.slice(place, place + 2), 16));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
