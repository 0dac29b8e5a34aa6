// What every mark and colour means, and how certain the numbers are.
import { screenPainter } from "./painter.js";
import { LOG_DECADES, valueAtShare } from "./colours.js";
import { formatBound, formatEnd, readable } from "./format.js";
import { makeElement } from "./elements.js";
import { longNames } from "./names.js";
/** @import { ColourOf, Legend, LegendContent, Manifest, Mark, Parts, Scale, State, ViewName } from "./types.d.ts" */

const SCALE_SAID = { linear: "linear scale", sqrt: "square root scale", log: `logarithmic scale, ${LOG_DECADES} decades` };
const BAR_HEIGHT = 12;
/** @type {[width: number, height: number]} */
const SWATCH = [26, 14];

// Marks that views draw: [name, what it says, painting of the swatch].
/** @type {Mark[]} */
const COMMON_MARKS = [
  ["masked", "masked or padding: there can be no weight here", (painter) => painter.hatch(0, 0, ...SWATCH)],
  ["odd", "not a weight: NaN, infinite or negative", (painter) => painter.cross(0, 0, ...SWATCH)],
];
/** @type {Mark} */
const PINNED_MARK = ["pinned", "pinned query and key", (painter) => {
  painter.rect(0, 4, SWATCH[0], 2, painter.theme.accent);
  painter.rect(0, 10, SWATCH[0], 2, painter.theme.accent);
}];
/** @type {Mark} */
const POINTED_MARK = ["pointed", "row and column of the cross-hair", (painter) => {
  painter.rect(0, 6.5, SWATCH[0], 1, painter.theme.ink);
  painter.rect(12.5, 0, 1, SWATCH[1], painter.theme.ink);
}];
/** @type {(unit: string) => Mark} */
const foundMark = (unit) => ["found", `${unit} found by the search`, (painter) => {
  painter.rect(0, 6, 5, 2, painter.theme.accent);
  painter.text("abc", 8, 7, { size: 11, weight: 600, fill: painter.theme.accent });
}];
/** @type {Mark} */
const FAINT_MARK = ["faint", "faint label: padding", (painter) => painter.text("pad", 2, 7, { size: 11, opacity: 0.5 })];
/** @type {Mark} */
const FRAME_MARK = ["shown", "the head that the other views show", (painter) => painter.frame(6, 1, 13, 12, painter.theme.accent, 2)];
/** @type {Mark} */
const CHOSEN_MARK = ["chosen", "heads chosen for means and lines (x, or Shift and click)", (painter) => {
  painter.frame(6.5, 0.5, 13, 9, painter.theme.line);
  painter.rect(6, 11, 14, 3, painter.theme.accent);
}];

/** @type {Partial<Record<ViewName, (unit: string) => Mark[]>>} */
const VIEW_MARKS = {
  overview: () => [FRAME_MARK, CHOSEN_MARK],
  matrix: (unit) => [PINNED_MARK, POINTED_MARK, foundMark(unit), FAINT_MARK],
};

/**
 * @param {Pick<Parts, "manifest" | "selection" | "colours" | "names" | "views">} parts
 * @returns {Legend}
 */
export function createLegend({ manifest, selection, colours, names, views }) {
  const bar = makeElement("canvas", { role: "img" });
  const ticks = makeElement("div", { class: "ends" });
  const ends = makeElement("p", { class: "small" });
  const scalebar = makeElement("div", { class: "scalebar" }, bar, ticks, ends);
  const marks = makeElement("ul", { class: "marks", "aria-label": "Marks" });
  const certainty = makeElement("p", {});
  const notes = notesOf(manifest.notes);
  const element = makeElement("section", { class: "legend", "aria-label": "Legend" }, scalebar, marks, certainty, notes, pathsOf(manifest));

  // A view may say otherwise what the colours are of: {maximum, signed, end, title, marks}
  const said = () => {
    const usual = { maximum: colours.maximum(views.current()?.map?.()), signed: false, end: endOf(selection.state), title: "weight", marks: [] };
    return { ...usual, ...views.current()?.legend?.() };
  };
  /** @type {(content: LegendContent) => string} */
  const sentence = ({ maximum, end, title }) => `${title}, ${SCALE_SAID[selection.state.scale]}; ends at ${formatEnd(maximum)}${end ? `, ${end}` : ""}`;

  /** @param {LegendContent} content */
  function drawBar(content) {
    const { maximum, signed, title } = content;
    const width = Math.max(120, Math.round(scalebar.clientWidth) || 230);
    const painter = screenPainter(bar, width, BAR_HEIGHT, colours.palette);
    /** @type {ColourOf} */
    const colour = (value, end) => (signed ? colours.ofDifference(value, end) : colours.of(value, end));
    const { scale } = selection.state;
    /** @type {(share: number) => number} */
    const above = (share) => valueAtShare(share, maximum, scale);
    /** @type {(share: number) => number} */
    const valueAt = (share) => (signed ? Math.sign(share - 0.5) * above(Math.abs(2 * share - 1)) : above(share));
    for (let x = 0; x < width; x += 1) painter.rect(x, 0, 1.5, BAR_HEIGHT, colour(valueAt(x / (width - 1)), maximum));
    const shares = [0, 0.25, 0.5, 0.75, 1];
    ticks.replaceChildren(...shares.map((share) => makeElement("span", { text: tickText(valueAt(share), share, scale, signed, maximum / 10 ** LOG_DECADES) })));
    const from = signed ? `−${formatEnd(maximum)}` : "0";
    const text = `${title}, ${SCALE_SAID[scale]} from ${from} to ${formatEnd(maximum)}`;
    bar.setAttribute("aria-label", text);
    ends.textContent = sentence(content);
  }

  /** @param {Mark[]} own */
  function drawMarks(own) {
    const listed = [...(VIEW_MARKS[selection.state.view]?.(names.unit()) ?? []), ...own, ...COMMON_MARKS];
    marks.replaceChildren(
      ...listed.map(([, text, paint]) => {
        const canvas = makeElement("canvas", { "aria-hidden": "true" });
        paint(screenPainter(canvas, ...SWATCH, colours.palette));
        return makeElement("li", {}, canvas, makeElement("span", { text }));
      }),
    );
  }

  return {
    element,
    /** The same scale for an exported picture. */
    strip() {
      const content = said();
      return { maximum: content.maximum, signed: content.signed, text: sentence(content) };
    },
    draw() {
      const content = said();
      drawBar(content);
      drawMarks(content.marks);
      certainty.textContent = certaintyOf(manifest);
    },
  };
}

/**
 * @param {number} value
 * @param {number} share
 * @param {Scale} scale
 * @param {boolean} signed
 * @param {number} least
 */
function tickText(value, share, scale, signed, least) {
  if (scale === "log" && !signed && share === 0) return `≤ ${formatEnd(least)}`; // and 0 itself
  return readable(String(Number.isInteger(value) ? value : Number(value.toPrecision(2))));
}

/** @param {State} state */
function endOf({ range, view }) {
  if (range === "one") return "";
  const whose = { all: "all heads", site: "the site's heads", head: "" }[range];
  if (whose) return `the largest weight of ${whose}, rounded up`;
  return view === "overview" ? "each head's own largest weight" : "the largest weight of this head";
}

/** @param {Manifest} manifest */
function certaintyOf({ detail, error }) {
  if (detail === "thumbnails") return "Only thumbnails are stored: each dot shows the largest weight in a block, and no individual weight is known.";
  const exact = "The eight strongest weights of every row and all zeros are exact (float16)";
  if (detail === "pooled") return `${exact}. Of the others, only the largest in each block is known, shown as “at most”.`;
  return `${exact}. Other numbers are shown with their largest possible error, usually at most ${formatBound(error)}.`;
}

/**
 * The paths of sites that are called by shorter names.
 *
 * @param {Manifest} manifest
 */
function pathsOf(manifest) {
  const long = longNames(manifest);
  if (!long.length) return null;
  const list = makeElement("dl", {});
  const fill = () => list.replaceChildren(...long.map(([short, name]) => makeElement("div", {}, makeElement("dt", { text: short }), makeElement("dd", { text: name }))));
  return makeElement("details", { class: "paths", toggle: fill }, makeElement("summary", { text: "Paths of the sites" }), list); // when it is opened: elements are what makes pages slow
}

/** @param {string[]} notes */
function notesOf(notes) {
  if (!notes.length) return null;
  const list = makeElement("ul", {}, ...notes.slice(0, 40).map((text) => makeElement("li", { text })));
  const summary = makeElement("summary", { text: notes.length === 1 ? "1 note on these maps" : `${notes.length} notes on these maps` });
  return makeElement("details", { class: "notes", open: notes.length < 3 }, summary, list);
}
