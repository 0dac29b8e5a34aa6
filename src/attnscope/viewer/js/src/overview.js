// All heads at once: a row for each site, a thumbnail for each head.
import { screenPainter, screenRatio } from "./painter.js";
import { makeElement } from "./elements.js";
import { formatCount, formatExact } from "./format.js";
import { packedHex } from "./colours.js";
import { EXACT_CODE, MASKED_CODE, ODD_CODE, THUMBNAIL_LEVELS } from "./attention.js";
import { createGridCursor } from "./cursor.js";
import { SITE_TEXT, UNDER_TEXT, neighbourCell, overviewLayout } from "./grid.js";
import { largestThumbnail, pasteThumbnail, thumbnailOfMap } from "./thumbnails.js";
import { shownSites } from "./state.js";
/** @import { GridParts } from "./grid.js" */
/** @import { Aggregate, Box, Colour, GridCell, OverviewLayout, Painter, Parts, Thumbnail, View } from "./types.d.ts" */

/** @typedef {GridParts & Pick<Parts, "colours" | "messages">} OverviewParts */

const NEAR = 3; // pixels around a thumbnail that belong to it
const NAME_HEIGHT = 15;

/** @type {OverviewLayout} */
const NO_LAYOUT = { width: 0, height: 0, sites: [], cells: [], groups: [], labels: [] };

class Overview {
  /** @param {OverviewParts} parts */
  constructor(parts) {
    this.parts = parts;
    this.manifest = parts.manifest;
    this.store = parts.store;
    this.selection = parts.selection;
    this.colours = parts.colours;
    this.names = parts.names;
    this.messages = parts.messages;
    this.layout = NO_LAYOUT;
    /** @type {GridCell | null} */
    this.pointed = null;
    this.pointedSite = -1;
    /** @type {Map<string, Thumbnail | null>} of the mean by "sample/site"; null while it is computed */
    this.means = new Map();
    /** @type {Map<string, Thumbnail>} */
    this.maxima = new Map();
    this.cursor = createGridCursor("All heads");
    this.cursor.element.classList.add("heads");
    this.base = makeElement("canvas", { "aria-hidden": "true" });
    this.overlay = makeElement("canvas", { "aria-hidden": "true" });
    this.cursor.element.prepend(this.base, this.overlay);
    this.readout = makeElement("p", { class: "readout" });
    this.tick = makeElement("input", { type: "checkbox", change: () => this.selection.set({ means: this.tick.checked }) });
    this.option = makeElement("label", { class: "tick" }, this.tick, makeElement("span", { text: "mean of heads" }));
    const over = makeElement("div", { class: "over" }, this.readout, this.option);
    this.element = makeElement("div", { class: "overview" }, over, this.cursor.element);
    this.listen();
  }

  listen() {
    const { element } = this.cursor;
    element.addEventListener("pointermove", (event) => {
      this.cursor.hide();
      this.pointAt(this.cellAt(event), this.siteAt(event));
    });
    element.addEventListener("pointerleave", () => this.pointAt(null));
    element.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (!cell) return;
      if (event.shiftKey || event.ctrlKey || event.metaKey) this.choose(cell);
      else this.open(cell);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) this.showCursor(this.pointed ?? this.current);
    });
    element.addEventListener("blur", () => this.cursor.hide());
  }

  async draw() {
    const { manifest, cursor } = this;
    const { state } = this.selection;
    this.tick.checked = state.means;
    this.option.hidden = manifest.detail === "thumbnails" || manifest.sites.every((site) => site.panels.length < 2);
    this.layout = overviewLayout(this.parts, shownSites(manifest, state), this.element.clientWidth || 800);
    const { layout, pointed } = this;
    if (pointed) this.pointed = layout.cells.find((cell) => cell.site === pointed.site && cell.panel === pointed.panel) ?? null;
    cursor.element.style.height = `${layout.height}px`;
    cursor.size(layout.sites.length, Math.max(1, ...layout.cells.map((cell) => cell.column + 1)));
    cursor.name(`All heads of sample ${state.sample + 1}: a row for each site, a column for each head`);
    this.paintAll();
    this.fillLater().catch((error) => this.messages.fail(error));
  }

  /** What is computed comes after the heads themselves are on the screen. */
  async fillLater() {
    const { sample } = this.selection.state;
    await nextFrame();
    if (!this.isShown(sample)) return;
    this.fillMaxima(sample);
    if (this.selection.state.means) await this.fillMeans(sample);
  }

  /** @param {number} sample */
  isShown(sample) {
    return this.selection.state.view === "overview" && this.selection.state.sample === sample;
  }

  /**
   * @param {Map<string, Thumbnail | null>} kept
   * @param {Aggregate} panel
   * @param {number} sample
   */
  sitesWithout(kept, panel, sample) {
    const cells = this.layout.cells.filter((cell) => cell.panel === panel && !kept.has(`${sample}/${cell.site}`));
    return cells.map((cell) => cell.site);
  }

  /** @param {number} sample */
  fillMaxima(sample) {
    const { store } = this;
    const sites = this.sitesWithout(this.maxima, "max", sample);
    for (const site of sites) {
      const all = this.panelsOf(site).flatMap((panel) => store.thumbnail(sample, site, panel) ?? []);
      if (all.length === this.panelsOf(site).length) this.maxima.set(`${sample}/${site}`, largestThumbnail(all));
    }
    if (sites.length) this.paintAll();
  }

  /**
   * One site after the other, with room for the screen in between.
   *
   * @param {number} sample
   */
  async fillMeans(sample) {
    for (const site of this.sitesWithout(this.means, "mean", sample)) {
      const name = `${sample}/${site}`;
      this.means.set(name, null);
      try {
        this.means.set(name, thumbnailOfMap(await this.store.map({ sample, site, panel: { mean: this.panelsOf(site) } })));
      } finally {
        if (!this.means.get(name)) this.means.delete(name); // so that it is tried again
      }
      await nextFrame();
      if (!this.isShown(sample) || !this.selection.state.means) return;
      this.paintAll();
    }
  }

  /** @param {number} site */
  panelsOf(site) {
    return [...this.manifest.sites[site].panels.keys()];
  }

  /**
   * @param {GridCell} cell
   * @returns {Thumbnail | null | undefined}
   */
  thumbnailOf({ site, panel }) {
    const { sample } = this.selection.state;
    if (typeof panel === "number") return this.store.thumbnail(sample, site, panel);
    return { mean: this.means, max: this.maxima }[panel].get(`${sample}/${site}`);
  }

  paintAll() {
    const { width, height } = this.layout;
    this.paintScreen(screenPainter(this.base, width, height, this.colours.palette));
    this.paintOverlay();
    this.tell();
  }

  /**
   * The screen: all thumbnails as one image, in the screen's own pixels.
   *
   * @param {Painter} painter
   */
  paintScreen(painter) {
    const { layout } = this;
    const tables = this.tablesOfColours();
    const ratio = screenRatio();
    const [across, down] = [Math.round(layout.width * ratio), Math.round(layout.height * ratio)];
    const packed = new Uint32Array(across * down);
    paintNames(painter, layout);
    for (const cell of layout.cells) {
      const thumbnail = this.thumbnailOf(cell);
      paintGround(painter, cell, thumbnail);
      if (thumbnail) pasteThumbnail(packed, across, cell, ratio, thumbnail, tables(thumbnail, cell));
    }
    painter.image(new Uint8ClampedArray(packed.buffer), across, down, 0, 0, across / ratio, down / ratio);
  }

  /**
   * A picture to keep: every thumbnail with all that it has.
   *
   * @param {Painter} painter
   */
  paint(painter) {
    const tables = this.tablesOfColours();
    paintNames(painter, this.layout);
    for (const cell of this.layout.cells) {
      const thumbnail = this.thumbnailOf(cell);
      paintGround(painter, cell, thumbnail);
      if (!thumbnail) continue;
      const table = tables(thumbnail, cell);
      const packed = Uint32Array.from(thumbnail.codes, (code) => table[code]);
      const { x, y, width, height } = cell;
      painter.image(new Uint8ClampedArray(packed.buffer), thumbnail.columns, thumbnail.rows, x, y, width, height);
    }
  }

  /** From a thumbnail and its cell to the colours of its 256 codes. */
  tablesOfColours() {
    /** @type {Map<number, Uint32Array>} by the thumbnail's share of the scale */
    const made = new Map();
    /** @type {Map<number | "all", number>} */
    const ends = new Map();
    const { colours } = this;
    const { range } = this.selection.state;
    const nan = packedHex(colours.palette.nan);
    /** @type {(thumbnail: Thumbnail, site: number) => number} */
    const endOf = (thumbnail, site) => {
      if (range === "head") return thumbnail.scale || 1;
      const place = range === "site" ? site : "all";
      const end = ends.get(place) ?? colours.maximum(null, site);
      ends.set(place, end);
      return end;
    };
    /** @type {(share: number) => Uint32Array} */
    const tableOf = (share) => {
      /** @type {(code: number) => number} */
      const valueOf = (code) => share * (code / THUMBNAIL_LEVELS) ** 2;
      const table = Uint32Array.from({ length: 256 }, (_, code) => (code < EXACT_CODE ? colours.colouring.packed(valueOf(code), 1, false) : 0));
      table[ODD_CODE] = nan;
      return table;
    };
    return (/** @type {Thumbnail} */ thumbnail, /** @type {GridCell} */ { site }) => {
      const share = thumbnail.scale / endOf(thumbnail, site);
      const table = made.get(share) ?? tableOf(share);
      made.set(share, table);
      return table;
    };
  }

  paintOverlay() {
    const { layout, pointed } = this;
    const { site, panel, heads } = this.selection.state;
    const painter = screenPainter(this.overlay, layout.width, layout.height, this.colours.palette);
    const { accent, ink } = painter.theme;
    /** @type {(box: Box, colour: Colour, thickness: number) => void} */
    const mark = ({ x, y, width, height }, colour, thickness) => painter.frame(x - 2, y - 2, width + 4, height + 4, colour, thickness);
    for (const cell of layout.cells.filter((each) => each.site === site)) {
      if (typeof cell.panel === "number" && heads.includes(cell.panel)) painter.rect(cell.x, cell.y + cell.height + 2.5, cell.width, 3, accent);
      if (cell.panel === panel) mark(cell, accent, 2);
    }
    if (pointed) mark(pointed, ink, 1.5);
  }

  /** @param {GridCell} cell */
  sentence(cell) {
    const thumbnail = this.thumbnailOf(cell);
    const name = `${this.names.site(cell.site)}, ${this.names.panel(cell.site, cell.panel)}`;
    if (!thumbnail) return `${name}: not computed yet`;
    const odd = thumbnail.codes.includes(ODD_CODE) ? "; some cells are not weights" : "";
    const blocks = cell.panel === "mean" && this.manifest.detail === "pooled" ? " of a block" : "";
    return `${name}: largest weight${blocks} ${formatExact(thumbnail.scale)}${odd}`;
  }

  tell() {
    const { manifest } = this;
    const sites = this.layout.sites.filter((site) => manifest.sites[site].role !== "rollout");
    const heads = sites.reduce((sum, site) => sum + manifest.sites[site].panels.length, 0);
    /** @type {(count: number, word: string) => string} */
    const plural = (count, word) => `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
    if (this.pointedSite >= 0 && !this.pointed) {
      this.readout.textContent = this.names.path(this.pointedSite);
      return;
    }
    const usual = `${plural(heads, "head")} of ${plural(sites.length, "site")}. Click one to enlarge it.`;
    this.readout.textContent = this.pointed ? this.sentence(this.pointed) : usual;
  }

  /**
   * @param {GridCell | null} cell
   * @param {number} site whose name it is, if it is no cell; -1 for none
   */
  pointAt(cell, site = -1) {
    if (cell === this.pointed && site === this.pointedSite) return;
    this.pointed = cell;
    this.pointedSite = site;
    this.paintOverlay();
    this.tell();
  }

  /** @param {MouseEvent} event */
  cellAt(event) {
    const box = this.cursor.element.getBoundingClientRect();
    /** @type {(place: number, from: number, size: number) => boolean} */
    const within = (place, from, size) => place >= from - NEAR && place < from + size + NEAR;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return this.layout.cells.find((cell) => within(x, cell.x, cell.width) && within(y, cell.y, cell.height)) ?? null;
  }

  /**
   * The site whose name is under the pointer; -1 for none.
   *
   * @param {MouseEvent} event
   */
  siteAt(event) {
    const box = this.cursor.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const named = this.layout.groups.find((group) => {
      const left = group.align === "right" ? group.x - group.width : group.x;
      return x >= left && x < left + group.width && y >= group.y - NAME_HEIGHT / 2 && y < group.y + NAME_HEIGHT * (group.under ? 1.5 : 0.5);
    });
    return named?.site ?? -1;
  }

  get current() {
    const { site, panel } = this.selection.state;
    return this.layout.cells.find((cell) => cell.site === site && cell.panel === panel) ?? this.layout.cells[0];
  }

  /** @param {GridCell} cell */
  open(cell) {
    this.selection.set({ site: cell.site, panel: cell.panel, view: "matrix" });
  }

  /** @param {GridCell} cell */
  choose(cell) {
    if (typeof cell.panel !== "number") return;
    const { selection } = this;
    const heads = new Set(cell.site === selection.state.site ? selection.state.heads : []);
    if (!heads.delete(cell.panel)) heads.add(cell.panel);
    selection.set({ site: cell.site, heads: [...heads] });
    this.messages.announce(`${heads.size || "all"} heads chosen`);
  }

  /** @param {GridCell | undefined} cell */
  showCursor(cell) {
    if (!cell) return;
    const { site, panel } = this.selection.state;
    this.pointAt(cell);
    this.cursor.place(this.layout.sites.indexOf(cell.site), cell.column, this.sentence(cell), cell);
    this.cursor.select(cell.site === site && cell.panel === panel);
  }

  /** @param {string} key */
  move(key) {
    const next = this.pointed ? neighbourCell(this.layout.cells, this.pointed, key) : this.current;
    this.showCursor(next);
    this.cursor.reveal();
    this.messages.announce(this.sentence(next));
  }

  picture() {
    const { width, height, cells } = this.layout;
    return cells.length ? { width, height, draw: (/** @type {Painter} */ painter) => this.paint(painter) } : null;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.layout.cells.length || event.shiftKey) return false;
    const at = this.pointed ?? this.current;
    if (["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) this.move(event.key);
    else if (event.key === "Enter") this.open(at);
    else if (event.key === " " || event.key === "x") this.choose(at);
    else return false;
    return true;
  }
}

/**
 * @param {Painter} painter
 * @param {OverviewLayout} layout
 */
function paintNames(painter, { groups, labels }) {
  const { ink, quiet } = painter.theme;
  for (const { name, under, x, y, width, align } of groups) {
    painter.text(name, x, y, { ...SITE_TEXT, fill: ink, maxWidth: width, align });
    if (under) painter.text(under, x, y + 15, { ...UNDER_TEXT, fill: quiet, maxWidth: width, align });
  }
  for (const { text, x, y } of labels) painter.text(text, x, y, { ...UNDER_TEXT, fill: quiet, align: "center" });
}

/**
 * @param {Painter} painter
 * @param {GridCell} cell
 * @param {Thumbnail | null | undefined} thumbnail
 */
function paintGround(painter, { x, y, width, height }, thumbnail) {
  if (!thumbnail) painter.rect(x, y, width, height, painter.theme.masked);
  else if (thumbnail.codes.includes(MASKED_CODE)) painter.hatch(x, y, width, height);
  painter.frame(x - 0.5, y - 0.5, width + 1, height + 1, painter.theme.line);
}

function nextFrame() {
  return new Promise((resolve) => {
    setTimeout(() => requestAnimationFrame(resolve));
  });
}

/**
 * @param {OverviewParts} parts
 * @returns {View}
 */
export function createOverview(parts) {
  const view = new Overview(parts);
  return {
    element: view.element,
    draw: () => view.draw(),
    key: (event) => view.key(event),
    picture: () => view.picture(),
    dispose() {},
  };
}
