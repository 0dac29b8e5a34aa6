// The strongest weights of one token, as a short list beside the map.
import { formatCell, formatNumber, numbered, quoted } from "./format.js";
import { scaledShare } from "./colours.js";
import { makeElement } from "./elements.js";

const LISTED = 8;

export function createRanking(app) {
  const title = makeElement("h2", {});
  const rows = Array.from({ length: LISTED }, () => {
    const parts = { name: makeElement("span", { class: "name" }), bar: makeElement("i", {}), value: makeElement("span", { class: "value" }) };
    const item = makeElement("li", { hidden: true }, parts.name, parts.value, makeElement("span", { class: "track" }, parts.bar));
    item.addEventListener("click", () => item.dataset.place && app.set({ [item.dataset.side]: Number(item.dataset.place) }));
    return { item, ...parts };
  });
  const note = makeElement("p", { class: "small" });
  const list = makeElement("ol", { "aria-label": "Strongest weights" }, ...rows.map(({ item }) => item));
  const element = makeElement("section", { class: "ranking", "aria-label": "Strongest weights" }, title, list, note);
  let shown = "";

  function rankedOf(map, place, direction) {
    if (direction === "from") return map.top(place, LISTED).map(({ key, value }) => ({ place: key, value }));
    const column = map.column(place);
    const order = [...column.keys()].filter((row) => Math.abs(column[row]) > 0).sort((a, b) => Math.abs(column[b]) - Math.abs(column[a]));
    return order.slice(0, LISTED).map((row) => ({ place: row, value: column[row] }));
  }

  return {
    element,
    forget() {
      shown = "";
    },
    // place: of a query (direction "from") or a key ("to"); -1 for none. what: there is to point at
    show(map, tokens, place, direction, maximum, what) {
      const wanted = [place, direction, map.rows, map.columns, what].join();
      if (wanted === shown) return;
      shown = wanted;
      const [own, others] = direction === "from" ? [tokens.queries, tokens.keys] : [tokens.keys, tokens.queries];
      const ranked = place < 0 || map.known === "none" ? [] : rankedOf(map, place, direction);
      const side = direction === "from" ? "query" : "key";
      if (place < 0) title.textContent = `Strongest of one ${side}`;
      else {
        const [whose, does] = direction === "from" ? ["Query", "attends to"] : ["Key", "is attended by"];
        title.textContent = `${whose} ${place} “${quoted(own.labels[place])}” ${does}`;
      }
      rows.forEach(({ item, name, bar, value }, rank) => {
        const weight = ranked[rank];
        item.hidden = !weight;
        if (!weight) return;
        const cell = direction === "from" ? map.at(place, weight.place) : map.at(weight.place, place);
        name.textContent = numbered(others.labels, weight.place);
        value.textContent = cell.kind === "exact" ? formatNumber(cell.value) : formatCell(cell);
        bar.style.width = `${100 * scaledShare(Math.abs(weight.value), maximum, "linear")}%`;
        item.dataset.place = weight.place;
        item.dataset.side = direction === "from" ? "key" : "query";
      });
      note.textContent = noteOf(map, place, direction, ranked.length, what);
    },
  };
}

function noteOf(map, place, direction, count, what) {
  if (map.known === "none") return "Single weights are not known here: each colour is that of a block.";
  if (place < 0) return `Point at a ${what}, or click to pin it.`;
  if (!count) return "Nothing: every weight is 0 or masked.";
  return map.pooled && direction === "to" ? "Only of the queries that count this key among their eight strongest." : "";
}
