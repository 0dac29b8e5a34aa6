// All heads at once: a row for each site, a thumbnail for each head.
import { screenPainter, screenRatio } from "./painter.js";
import { makeElement } from "./elements.js";
import { formatCount, formatExact } from "./format.js";
import { packedHex } from "./colours.js";
import { EXACT_CODE, MASKED_CODE, ODD_CODE, THUMBNAIL_LEVELS } from "./attention.js";
import { createGridCursor } from "./cursor.js";
import { SITE_TEXT, UNDER_TEXT, overviewLayout } from "./grid.js";
import { largestThumbnail, pasteThumbnail, thumbnailOfMap } from "./thumbnails.js";
import { shownSites } from "./state.js";

const NEAR = 3; // pixels around a thumbnail that belong to it

class Overview {
  constructor(app) {
    this.app = app;
    this.layout = null;
    this.pointed = null; // a cell of the layout
    this.means = new Map(); // "sample/site" -> thumbnail of the mean, or null while it is computed
    this.maxima = new Map();
    this.build();
    this.listen();
  }

  build() {
    const { app } = this;
    this.cursor = createGridCursor("All heads");
    this.cursor.element.classList.add("heads");
    [this.base, this.overlay] = [0, 1].map(() => makeElement("canvas", { "aria-hidden": "true" }));
    this.cursor.element.prepend(this.base, this.overlay);
    this.readout = makeElement("p", { class: "readout" });
    this.tick = makeElement("input", { type: "checkbox", change: () => app.set({ means: this.tick.checked }) });
    this.option = makeElement("label", { class: "tick" }, this.tick, makeElement("span", { text: "mean of heads" }));
    const over = makeElement("div", { class: "over" }, this.readout, this.option);
    this.element = makeElement("div", { class: "overview" }, over, this.cursor.element);
  }

  listen() {
    const { element } = this.cursor;
    element.addEventListener("pointermove", (event) => {
      this.cursor.hide();
      this.pointAt(this.cellAt(event));
    });
    element.addEventListener("pointerleave", () => this.pointAt(null));
    element.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (!cell) return;
      if (event.shiftKey || event.ctrlKey || event.metaKey) this.choose(cell);
      else this.open(cell);
    });
    element.addEventListener("focus", () => {
      if (this.layout && element.matches(":focus-visible")) this.showCursor(this.pointed ?? this.current);
    });
    element.addEventListener("blur", () => this.cursor.hide());
  }

  async draw() {
    const { app, cursor } = this;
    const { manifest, state } = app;
    this.tick.checked = state.means;
    this.option.hidden = manifest.detail === "thumbnails" || manifest.sites.every((site) => site.panels.length < 2);
    this.layout = overviewLayout(app, shownSites(manifest, state), this.element.clientWidth || 800);
    const { layout, pointed } = this;
    if (pointed) this.pointed = layout.cells.find((cell) => cell.site === pointed.site && cell.panel === pointed.panel) ?? null;
    cursor.element.style.height = `${layout.height}px`;
    cursor.size(layout.sites.length, Math.max(1, ...layout.cells.map((cell) => cell.column + 1)));
    cursor.name(`All heads of sample ${state.sample + 1}: a row for each site, a column for each head`);
    this.paintAll();
    this.fillLater().catch(app.fail);
  }

  // What is computed comes after the heads themselves are on the screen.
  async fillLater() {
    const { sample } = this.app.state;
    await nextFrame();
    if (!this.isShown(sample)) return;
    this.fillMaxima(sample);
    if (this.app.state.means) await this.fillMeans(sample);
  }

  isShown(sample) {
    return this.app.state.view === "overview" && this.app.state.sample === sample;
  }

  sitesWithout(kept, panel, sample) {
    const cells = this.layout.cells.filter((cell) => cell.panel === panel && !kept.has(`${sample}/${cell.site}`));
    return cells.map((cell) => cell.site);
  }

  fillMaxima(sample) {
    const { store } = this.app;
    const sites = this.sitesWithout(this.maxima, "max", sample);
    for (const site of sites) {
      const all = this.panelsOf(site).map((panel) => store.thumbnail(sample, site, panel));
      if (all.every(Boolean)) this.maxima.set(`${sample}/${site}`, largestThumbnail(all));
    }
    if (sites.length) this.paintAll();
  }

  // One site after the other, with room for the screen in between.
  async fillMeans(sample) {
    for (const site of this.sitesWithout(this.means, "mean", sample)) {
      const name = `${sample}/${site}`;
      this.means.set(name, null);
      try {
        this.means.set(name, thumbnailOfMap(await this.app.store.map(sample, site, { mean: this.panelsOf(site) })));
      } finally {
        if (!this.means.get(name)) this.means.delete(name); // so that it is tried again
      }
      await nextFrame();
      if (!this.isShown(sample) || !this.app.state.means) return;
      this.paintAll();
    }
  }

  panelsOf(site) {
    return [...this.app.manifest.sites[site].panels.keys()];
  }

  thumbnailOf({ site, panel }) {
    const { sample } = this.app.state;
    const kept = { mean: this.means, max: this.maxima }[panel];
    return kept ? kept.get(`${sample}/${site}`) : this.app.store.thumbnail(sample, site, panel);
  }

  paintAll() {
    const { width, height } = this.layout;
    this.paintScreen(screenPainter(this.base, width, height, this.app.theme()));
    this.paintOverlay();
    this.tell();
  }

  // The screen: all thumbnails as one image, in the screen's own pixels.
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

  // A picture to keep: every thumbnail with all that it has.
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

  // From a thumbnail and its cell to the colours of its 256 codes.
  tablesOfColours() {
    const made = new Map();
    const ends = new Map();
    const { app } = this;
    const { range } = app.state;
    const nan = packedHex(app.theme().nan);
    const endOf = (thumbnail, site) => {
      if (range === "head") return thumbnail.scale || 1;
      const place = range === "site" ? site : "all";
      if (!ends.has(place)) ends.set(place, app.maximum(null, site));
      return ends.get(place);
    };
    return (thumbnail, { site }) => {
      const end = endOf(thumbnail, site);
      const share = thumbnail.scale / end;
      if (!made.has(share)) {
        const valueOf = (code) => share * (code / THUMBNAIL_LEVELS) ** 2;
        const table = Uint32Array.from({ length: 256 }, (_, code) => (code < EXACT_CODE ? app.colouring().packed(valueOf(code), 1, false) : 0));
        table[ODD_CODE] = nan;
        made.set(share, table);
      }
      return made.get(share);
    };
  }

  paintOverlay() {
    const { layout, pointed } = this;
    const { site, panel, heads } = this.app.state;
    const painter = screenPainter(this.overlay, layout.width, layout.height, this.app.theme());
    const { accent, ink } = painter.theme;
    const mark = ({ x, y, width, height }, colour, thickness) => painter.frame(x - 2, y - 2, width + 4, height + 4, colour, thickness);
    for (const cell of layout.cells.filter((each) => each.site === site)) {
      if (heads.includes(cell.panel)) painter.rect(cell.x, cell.y + cell.height + 2.5, cell.width, 3, accent);
      if (cell.panel === panel) mark(cell, accent, 2);
    }
    if (pointed) mark(pointed, ink, 1.5);
  }

  sentence(cell) {
    const thumbnail = this.thumbnailOf(cell);
    const name = `${this.app.siteName(cell.site)}, ${this.app.panelName(cell.site, cell.panel)}`;
    if (!thumbnail) return `${name}: not computed yet`;
    const odd = thumbnail.codes.includes(ODD_CODE) ? "; some cells are no weights" : "";
    const blocks = cell.panel === "mean" && this.app.manifest.detail === "pooled" ? " of a block" : "";
    return `${name}: largest weight${blocks} ${formatExact(thumbnail.scale)}${odd}`;
  }

  tell() {
    const { manifest } = this.app;
    const sites = this.layout.sites.filter((site) => manifest.sites[site].role !== "rollout");
    const heads = sites.reduce((sum, site) => sum + manifest.sites[site].panels.length, 0);
    const plural = (count, word) => `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
    const usual = `${plural(heads, "head")} of ${plural(sites.length, "site")}. Click one to see it large.`;
    this.readout.textContent = this.pointed ? this.sentence(this.pointed) : usual;
  }

  pointAt(cell) {
    if (cell === this.pointed) return;
    this.pointed = cell;
    this.paintOverlay();
    this.tell();
  }

  cellAt(event) {
    const box = this.cursor.element.getBoundingClientRect();
    const within = (place, from, size) => place >= from - NEAR && place < from + size + NEAR;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return this.layout?.cells.find((cell) => within(x, cell.x, cell.width) && within(y, cell.y, cell.height)) ?? null;
  }

  get current() {
    const { site, panel } = this.app.state;
    return this.layout.cells.find((cell) => cell.site === site && cell.panel === panel) ?? this.layout.cells[0];
  }

  open(cell) {
    this.app.set({ site: cell.site, panel: cell.panel, view: "matrix" });
  }

  choose(cell) {
    if (typeof cell.panel !== "number") return;
    const { app } = this;
    const heads = cell.site === app.state.site ? new Set(app.state.heads) : new Set();
    if (!heads.delete(cell.panel)) heads.add(cell.panel);
    app.set({ site: cell.site, heads: [...heads] });
    app.announce(`${heads.size || "all"} heads chosen`);
  }

  showCursor(cell) {
    if (!cell) return;
    const { site, panel } = this.app.state;
    this.pointAt(cell);
    this.cursor.place(this.layout.sites.indexOf(cell.site), cell.column, this.sentence(cell), cell);
    this.cursor.select(cell.site === site && cell.panel === panel);
  }

  move(key) {
    const next = this.pointed ? this.layout.neighbour(this.pointed, key) : this.current;
    this.showCursor(next);
    this.cursor.reveal();
    this.app.announce(this.sentence(next));
  }

  key(event) {
    if (!this.layout?.cells.length || event.shiftKey) return false;
    const at = this.pointed ?? this.current;
    if (["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) this.move(event.key);
    else if (event.key === "Enter") this.open(at);
    else if (event.key === " " || event.key === "x") this.choose(at);
    else return false;
    return true;
  }
}

function paintNames(painter, { groups, labels }) {
  const { ink, quiet } = painter.theme;
  for (const { name, under, x, y, width, align } of groups) {
    painter.text(name, x, y, { ...SITE_TEXT, fill: ink, maxWidth: width, align });
    if (under) painter.text(under, x, y + 15, { ...UNDER_TEXT, fill: quiet, maxWidth: width, align });
  }
  for (const { text, x, y } of labels) painter.text(text, x, y, { ...UNDER_TEXT, fill: quiet, align: "center" });
}

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

export function createOverview(app) {
  const view = new Overview(app);
  return {
    element: view.element,
    draw: () => view.draw(),
    key: (event) => view.key(event),
    picture: () => view.layout && { width: view.layout.width, height: view.layout.height, draw: (painter) => view.paint(painter) },
    dispose() {},
  };
}
