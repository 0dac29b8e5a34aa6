// Search: finds positions by their text or number, marks them, and goes from one to the next.
import { makeButton, makeElement } from "./elements.js";
/** @import { Parts, Search, Side, State } from "./types.d.ts" */

const SEARCH_PAUSE = 120; // milliseconds of rest before a typed letter is looked for

/**
 * Positions whose label contains what is looked for, as a person means it: whatever the case, and however its
 * accents are encoded. `#12` is position 12; a text in double quotes is the whole label.
 *
 * @param {string[]} labels
 * @param {string} wanted
 * @returns {number[]}
 */
export function searchMatches(labels, wanted) {
  const known = searchesKnown.get(labels);
  if (known?.wanted === wanted) return known.matches;
  const matches = matchesOf(labels, wanted.trim());
  searchesKnown.set(labels, { wanted, matches });
  return matches;
}

/** @type {WeakMap<string[], { wanted: string, matches: number[] }>} */
const searchesKnown = new WeakMap();

/**
 * @param {string[]} labels
 * @param {string} text
 * @returns {number[]}
 */
function matchesOf(labels, text) {
  if (!text) return [];
  if (/^#\d+$/.test(text)) return Number(text.slice(1)) < labels.length ? [Number(text.slice(1))] : [];
  /** @type {(string: string) => string} */
  const folded = (string) => string.normalize("NFKC").toLowerCase();
  const whole = /^".+"$/.test(text);
  const sought = folded(whole ? text.slice(1, -1) : text);
  /** @type {number[]} */
  const matches = [];
  labels.forEach((label, place) => {
    const candidate = folded(label);
    if (whole ? candidate === sought : candidate.includes(sought)) matches.push(place);
  });
  return matches;
}

/**
 * The match after (or before) a position, going round at the ends; -1 where there is none.
 *
 * @param {number[]} matches
 * @param {number} place
 * @param {number} step
 */
export function nextMatch(matches, place, step) {
  if (!matches.length) return -1;
  if (step > 0) return matches.find((match) => match > place) ?? matches[0];
  return matches.findLast((match) => match < place) ?? matches[matches.length - 1];
}

/**
 * Which side a search walks along: the one whose token is pinned, that is the keys where one looks back from them.
 *
 * @param {State} state
 * @returns {Side}
 */
function searchedSide(state) {
  return state.direction === "to" ? "key" : "query";
}

/**
 * The field, the number of matches, and buttons from one to the next.
 *
 * @param {Pick<Parts, "selection" | "messages" | "names">} parts
 * @returns {Search}
 */
export function createSearch({ selection, messages, names }) {
  const field = makeElement("input", {
    type: "search",
    spellcheck: "false",
    autocomplete: "off",
  });
  const count = makeElement("output", { class: "search-count" });
  const before = makeButton("Previous match", "↑", () => go(-1));
  const after = makeButton("Next match", "↓", () => go(1));
  const element = makeElement("div", { class: "search", role: "search" }, field, count, before, after);

  let timer = 0;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => selection.set({ search: field.value }), SEARCH_PAUSE);
  });
  // Who types and at once goes elsewhere is searched for as well.
  field.addEventListener("change", () => {
    clearTimeout(timer);
    selection.set({ search: field.value });
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      clearTimeout(timer);
      if (selection.state.search !== field.value) selection.set({ search: field.value });
      go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape" && field.value) {
      field.value = "";
      selection.set({ search: "" });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function labelsSearched() {
    const tokens = selection.tokens();
    return (searchedSide(selection.state) === "key" ? tokens.keys : tokens.queries).labels;
  }

  /** @param {number} step */
  function go(step) {
    const labels = labelsSearched();
    const matches = searchMatches(labels, field.value);
    const side = searchedSide(selection.state);
    const place = nextMatch(matches, selection.state[side], step);
    if (place < 0) {
      messages.announce(field.value.trim() ? `No ${names.unit(searchedSide(selection.state))} contains ${field.value.trim()}.` : "Type something to look for.");
      return;
    }
    selection.set({ [side]: place });
    messages.announce(`Match ${matches.indexOf(place) + 1} of ${matches.length}: ${side} ${place}, ${labels[place]}.`);
  }

  return {
    element,
    go,
    focus() {
      field.focus();
      field.select();
    },
    draw() {
      const wanted = selection.state.search;
      const unit = names.unit(searchedSide(selection.state));
      field.placeholder = `find a ${unit}`;
      field.setAttribute("aria-label", `Find a ${unit} by its text, or by #number`);
      if (document.activeElement !== field && /** @type {Document | ShadowRoot} */ (element.getRootNode()).activeElement !== field) field.value = wanted;
      const labels = labelsSearched();
      const matches = searchMatches(labels, wanted);
      const place = matches.indexOf(selection.state[searchedSide(selection.state)]);
      const found = place >= 0 ? `${place + 1} of ${matches.length}` : `${matches.length.toLocaleString("en")} found`;
      count.textContent = wanted.trim() ? found : "";
      element.classList.toggle("nothing", Boolean(wanted.trim()) && !matches.length);
      before.disabled = after.disabled = !matches.length;
    },
    dispose() {
      clearTimeout(timer);
    },
  };
}
