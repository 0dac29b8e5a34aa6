// The strongest weights of one token, as a short list beside the map.
import { formatCell, formatNumber, numbered, quoted } from "./format.js";
import { scaledShare } from "./colours.js";
import { makeElement } from "./elements.js";
import { strongestPlaces } from "./strongest.js";
/** @import { AttentionMap } from "./attention.js" */
/** @import { Direction, Parts, SiteTokens } from "./types.d.ts" */

const LISTED = 8;

/** @param {Pick<Parts, "selection">} parts */
export function createRanking({ selection }) {
  const title = makeElement("h2", { hidden: true });
  const rows = Array.from({ length: LISTED }, () => {
    const parts = { name: makeElement("span", { class: "name" }), bar: makeElement("i", {}), value: makeElement("span", { class: "value" }) };
    const item = makeElement("li", { hidden: true }, parts.name, parts.value, makeElement("span", { class: "track" }, parts.bar));
    item.addEventListener("click", () => {
      const { side, place } = item.dataset;
      if (side && place) selection.set({ [side]: Number(place) });
    });
    return { item, ...parts };
  });
  const note = makeElement("p", { class: "small" });
  const list = makeElement("ol", { "aria-label": "Strongest weights" }, ...rows.map(({ item }) => item));
  const element = makeElement("section", { class: "ranking", "aria-label": "Strongest weights" }, title, list, note);
  let shown = "";

  return {
    element,
    forget() {
      shown = "";
    },
    /**
     * @param {AttentionMap} map
     * @param {SiteTokens} tokens
     * @param {number} place of a query (direction "from") or a key ("to"); -1 for none
     * @param {Direction} direction
     * @param {number} maximum
     * @param {string} what there is to point at
     */
    show(map, tokens, place, direction, maximum, what) {
      const wanted = [place, direction, map.rows, map.columns, what].join();
      if (wanted === shown) return;
      shown = wanted;
      const [own, others] = direction === "from" ? [tokens.queries, tokens.keys] : [tokens.keys, tokens.queries];
      const ranked = place < 0 || map.known === "none" ? [] : rankedWeights(map, place, direction, LISTED);
      const side = direction === "from" ? "query" : "key";
      title.hidden = false;
      if (place < 0) title.textContent = `Strongest of one ${side}`;
      else {
        const [whose, does] = direction === "from" ? ["Query", "attends to"] : ["Key", "is attended to by"];
        title.textContent = `${whose} ${place} “${quoted(own.labels[place])}”${map.signed ? ", A − B" : ` ${does}`}`;
      }
      rows.forEach(({ item, name, bar, value }, rank) => {
        const weight = ranked[rank];
        item.hidden = !weight;
        if (!weight) return;
        const cell = direction === "from" ? map.at(place, weight.place) : map.at(weight.place, place);
        name.textContent = numbered(others.labels, weight.place);
        value.textContent = cell.kind === "exact" ? formatNumber(cell.value) : formatCell(cell);
        bar.style.width = `${100 * scaledShare(Math.abs(weight.value), maximum, "linear")}%`;
        item.dataset.place = String(weight.place);
        item.dataset.side = direction === "from" ? "key" : "query";
      });
      note.textContent = noteOf(map, place, direction, ranked.length, what);
    },
  };
}

/**
 * The strongest weights that a query gives (`from`), or that a key gets (`to`): at most `count`, the largest first.
 *
 * @param {AttentionMap} map
 * @param {number} place
 * @param {Direction} direction
 * @param {number} count
 * @returns {{ place: number, value: number }[]}
 */
export function rankedWeights(map, place, direction, count) {
  if (direction === "from") return map.top(place, count).map(({ key, value }) => ({ place: key, value }));
  const column = map.column(place);
  return strongestPlaces(column, count).map((row) => ({ place: row, value: column[row] }));
}

/**
 * @param {AttentionMap} map
 * @param {number} place
 * @param {Direction} direction
 * @param {number} count of the weights that are listed
 * @param {string} what there is to point at
 */
export function noteOf(map, place, direction, count, what) {
  if (map.known === "none") return "Individual weights are not known here: each colour stands for a whole block.";
  if (place < 0) return `Point at a ${what}, or click to pin it.`;
  if (!count) return "Nothing: every weight is 0 or masked.";
  return map.pooled && direction === "to" ? "Only queries with this key among their eight strongest are listed." : "";
}
