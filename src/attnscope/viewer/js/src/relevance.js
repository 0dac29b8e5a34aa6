// Relevance beside a map: for each method a row of tokens, or of patches over their picture, on a scale around 0.
import { makeElement } from "./elements.js";
import { formatEnd, formatNumber, quoted } from "./format.js";
import { screenPainter, shortenedText } from "./painter.js";
import { TokenParagraph, paintParagraph, paragraphHeight } from "./paragraph.js";
import { PatchGrid, paintPicture, pictureLayout } from "./patches.js";
/** @import { Mark, Painter, Parts, PictureLayout, RelevanceContent, Rgb, ShownPatches, ShownRelevance } from "./types.d.ts" */

/** @typedef {Pick<Parts, "colours">} RelevanceParts */

/** @type {[width: number, height: number]} */
const BAR = [200, 12];
const MOST_HEIGHT = 340; // of a picture
const CAPTIONS = /** @type {[string, string]} */ (["relevance over the picture", "relevance alone"]);
const TITLE_HEIGHT = 52; // of words and scale, in a saved picture
const GAP = 18;

/**
 * A number with its sign, which is never told by colour alone.
 *
 * @param {number} value
 */
export function signedNumber(value) {
  const sign = value > 0 ? "+" : value < 0 ? "−" : "";
  return `${sign}${formatNumber(Math.abs(value))}`;
}

/** One method's relevance of one sample. */
class RelevanceRow {
  /** @param {RelevanceParts} parts */
  constructor({ colours }) {
    this.colours = colours;
    /** @type {ShownRelevance | null} */
    this.shown = null;
    /** @type {RelevanceContent | null} */
    this.content = null;
    /** @type {{ grid: PatchGrid, layout: PictureLayout, patches: ShownPatches } | null} */
    this.patches = null;
    this.words = makeElement("h3", {});
    this.bar = makeElement("canvas", { role: "img" });
    this.less = makeElement("span", {});
    this.more = makeElement("span", {});
    this.paragraph = new TokenParagraph("key", { hover: (place) => this.read(place), click: () => {}, page: (start) => this.content?.page?.(start) });
    this.canvas = makeElement("canvas", { role: "img" });
    this.readout = makeElement("p", { class: "readout", "aria-live": "polite" });
    const scale = makeElement("p", { class: "relevance-scale" }, this.less, this.bar, this.more);
    this.element = makeElement("section", {}, this.words, scale, this.paragraph.element, this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => this.read(this.placeAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.read(-1));
  }

  /**
   * @param {ShownRelevance} shown
   * @param {RelevanceContent} content
   */
  paint(shown, content) {
    if (shown !== this.shown) this.read(-1);
    Object.assign(this, { shown, content });
    const { words, maximum } = shown;
    const grid = content.width === null ? null : content.list.grid;
    this.words.textContent = words;
    this.less.textContent = `−${formatEnd(maximum)} lowers`;
    this.more.textContent = `raises +${formatEnd(maximum)}`;
    this.bar.setAttribute("aria-label", `colour scale from −${formatEnd(maximum)} through 0 to +${formatEnd(maximum)}`);
    paintBar(screenPainter(this.bar, ...BAR, this.colours.palette), (share) => this.colourOf(share * maximum), 0, 0);
    this.canvas.hidden = !grid;
    this.paragraph.element.hidden = Boolean(grid);
    if (grid) this.paintPatches(shown, content, new PatchGrid(grid, content.list.labels.length));
    else this.paintTokens(shown, content);
  }

  /** @param {number} value */
  colourOf(value) {
    return this.colours.ofRelevance(value, this.shown?.maximum ?? 1);
  }

  /**
   * What tokens and patches are painted from.
   *
   * @param {ShownRelevance} shown
   */
  painted({ values, masked, within, maximum }) {
    const colourOf = (/** @type {number} */ value) => this.colourOf(value);
    return { side: /** @type {const} */ ("key"), weights: values, masked, within, maximum, colourOf, partial: false, blocks: false, unknown: false, received: false, coloured: true, signed: true };
  }

  /**
   * @param {ShownRelevance} shown
   * @param {RelevanceContent} content
   */
  paintTokens(shown, { list, start, size, found, units }) {
    const { paragraph } = this;
    this.patches = null;
    paragraph.fill(list, start, size, { heading: "", units });
    paragraph.tokens.setAttribute("aria-label", `Relevance: ${shown.words}`);
    paragraph.paint({ ...this.painted(shown), source: -1, pinned: false, found, theme: this.colours.palette, spoken: (place) => this.spoken(place) });
  }

  /**
   * @param {ShownRelevance} shown
   * @param {RelevanceContent} content
   * @param {PatchGrid} grid
   */
  paintPatches(shown, { list, photo, width, strength, found }, grid) {
    this.paragraph.empty();
    const { labels } = list;
    const ratio = photo ? photo.width / photo.height : grid.columns / grid.rows;
    const layout = pictureLayout({ width: width ?? 0, mostHeight: MOST_HEIGHT, ratio, special: grid.special, labels, columns: grid.columns, coloured: photo !== null });
    /** @type {ShownPatches} */
    const patches = { ...this.painted(shown), grid, labels, photo, scale: "linear", overlay: "colour", strength, captions: CAPTIONS };
    const marks = { source: null, pinned: false, found };
    this.patches = { grid, layout, patches };
    this.canvas.setAttribute("aria-label", `Relevance of patches: ${shown.words}`);
    paintPicture(screenPainter(this.canvas, layout.width, layout.height, this.colours.palette), layout, patches, marks);
  }

  /** @param {MouseEvent} event */
  placeAt({ offsetX, offsetY }) {
    if (!this.patches) return -1;
    const { grid, layout } = this.patches;
    const inside = (/** @type {{ x: number, y: number, width: number, height: number }} */ box) => offsetX >= box.x && offsetX < box.x + box.width && offsetY >= box.y && offsetY < box.y + box.height;
    const chip = layout.chips.find(inside);
    if (chip) return chip.place;
    const panel = layout.panels.find(inside);
    if (!panel) return -1;
    return grid.placeOf(Math.floor(((offsetY - panel.y) / panel.height) * grid.rows), Math.floor(((offsetX - panel.x) / panel.width) * grid.columns));
  }

  /** @param {number} place -1 where nothing is pointed at */
  read(place) {
    this.readout.textContent = place < 0 ? "" : this.spoken(place);
  }

  /** @param {number} place */
  spoken(place) {
    if (!this.shown || !this.content) return "";
    const { values, within, masked } = this.shown;
    const label = `“${quoted(this.content.list.labels[place])}”`;
    if (place < within[0] || place >= within[1]) return `${label}: not among what it is the relevance of`;
    return `${label}: ${masked[place] ? "padding" : `relevance ${signedNumber(values[place])}`}`;
  }

  /** @param {number} width */
  pictureHeight(width) {
    return TITLE_HEIGHT + (this.patches ? this.patches.layout.height : paragraphHeight(this.paragraph, width)) + GAP;
  }

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} top
   */
  paintInto(painter, width, top) {
    const { shown, patches } = this;
    if (!shown) return;
    const { theme } = painter;
    const title = { size: 12.5, weight: 600 };
    painter.text(shortenedText(`relevance: ${shown.words}`, width, title), 0, top + 10, title);
    const style = { size: 11, fill: theme.quiet };
    painter.text(this.less.textContent ?? "", 0, top + 33, style);
    paintBar(painter, (share) => this.colourOf(share * shown.maximum), 96, top + 27);
    painter.text(this.more.textContent ?? "", 96 + BAR[0] + 10, top + 33, style);
    if (!patches) return paintParagraph(painter, this.paragraph, width, top + TITLE_HEIGHT);
    const { layout } = patches;
    return painter.moved(0, top + TITLE_HEIGHT, () => paintPicture(painter, layout, patches.patches, { source: null, pinned: false, found: new Set() }));
  }
}

/**
 * @param {Painter} painter
 * @param {(share: number) => Rgb} colourAt of a share from -1 to 1
 * @param {number} left
 * @param {number} top
 */
function paintBar(painter, colourAt, left, top) {
  const [width, height] = BAR;
  const pixels = new Uint8ClampedArray(width * 4);
  for (let x = 0; x < width; x += 1) pixels.set([...colourAt((2 * x) / (width - 1) - 1), 255], x * 4);
  painter.image(pixels, width, 1, left, top, width, height);
}

/** All rows of a view. */
export class RelevanceRows {
  /** @param {RelevanceParts} parts */
  constructor(parts) {
    this.parts = parts;
    /** @type {RelevanceRow[]} */
    this.rows = [];
    this.element = makeElement("div", { class: "relevance", role: "group", "aria-label": "Relevance", hidden: true });
    this.heading = makeElement("h2", { text: "Relevance" });
    this.element.append(this.heading);
  }

  /**
   * @param {ShownRelevance[]} shown
   * @param {RelevanceContent} content
   */
  paint(shown, content) {
    while (this.rows.length < shown.length) this.rows.push(new RelevanceRow(this.parts));
    this.rows.length = shown.length;
    const elements = this.rows.map(({ element }) => element);
    if (this.element.childElementCount !== elements.length + 1) this.element.replaceChildren(this.heading, ...elements);
    this.element.hidden = !shown.length;
    shown.forEach((each, number) => this.rows[number].paint(each, content));
  }

  /** @returns {Mark[]} */
  marks() {
    if (!this.rows.length) return [];
    const less = this.rows.some(({ patches }) => patches) ? "blue lowers it" : "blue above a dashed line lowers it";
    return [
      ["relevance", `relevance: orange raises what is explained, ${less}; each row has its own scale`, (painter) => {
        const { colours } = this.parts;
        painter.rect(0, 0, 12, 14, colours.ofRelevance(-1, 1));
        painter.rect(14, 0, 12, 14, colours.ofRelevance(1, 1));
      }],
    ];
  }

  /** @param {number} width */
  pictureHeight(width) {
    return this.rows.reduce((sum, row) => sum + row.pictureHeight(width), this.rows.length ? GAP : 0);
  }

  /**
   * @param {Painter} painter
   * @param {number} width
   * @param {number} top
   */
  paintInto(painter, width, top) {
    this.rows.reduce((y, row) => {
      row.paintInto(painter, width, y);
      return y + row.pictureHeight(width);
    }, top + GAP);
  }
}
