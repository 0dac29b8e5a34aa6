// What tokens are coloured by in the text and over a picture.
import { roundedUp } from "./format.js";
import { OTHER_SIDE } from "./state.js";
import { weightsOfToken } from "./strongest.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Direction, Picked, ShownWeights, Side, SiteTokens, Window } from "./types.d.ts" */

/**
 * What a token gives to those across from it, or gets from them; without one, what each key receives.
 *
 * @param {AttentionMap} map
 * @param {Picked | null} source
 * @param {{ tokens: SiteTokens, maximum: number, window: Window }} shown the end of the scale is that of single weights
 * @returns {ShownWeights}
 */
export function shownWeights(map, source, { tokens, maximum, window: within }) {
  if (source) {
    const side = OTHER_SIDE[source.side];
    const given = weightsOfToken(map, source.place, directionFrom(source.side));
    return { ...given, side, unknown: false, received: false, maximum, within: side === "key" ? within.columns : within.rows };
  }
  const { received } = map;
  const masked = new Uint8Array(map.columns);
  for (const place of tokens.keys.invalid) if (received[place] === 0) masked[place] = 1;
  const largest = received.reduce((most, value) => (value > most ? value : most), 0);
  return {
    side: "key",
    weights: received,
    masked,
    partial: false,
    blocks: false,
    unknown: map.known !== "all" && received.every(Number.isNaN),
    received: true,
    maximum: roundedUp(largest),
    within: within.columns,
  };
}

/**
 * How one reads from a token of this side.
 *
 * @param {Side} side
 * @returns {Direction}
 */
export function directionFrom(side) {
  return side === "query" ? "from" : "to";
}

/**
 * The token across from a picked one that has most to do with it, and the weight between them.
 *
 * @param {AttentionMap} map
 * @param {Picked} picked
 */
export function strongestAcross(map, { side, place }) {
  const { weights } = weightsOfToken(map, place, directionFrom(side));
  const other = weights.reduce((best, value, next) => (value > (weights[best] || 0) ? next : best), 0);
  const [query, key] = side === "query" ? [place, other] : [other, place];
  return { place: other, cell: map.at(query, key) };
}
