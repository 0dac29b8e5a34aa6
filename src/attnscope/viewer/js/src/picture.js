// The image view: the weights of patches over the picture that they are of, and beside it.
import { createGridCursor } from "./cursor.js";
import { makeElement, makeSelect } from "./elements.js";
import { formatCell, formatNumber, quoted, roundedUp } from "./format.js";
import { screenPainter } from "./painter.js";
import { TokenParagraph } from "./paragraph.js";
import { PatchGrid, paintPicture, patchBox, pictureLayout } from "./patches.js";
import { createRanking } from "./ranking.js";
import { searchMatches } from "./search.js";
import { weightsOfToken } from "./strongest.js";

const OVERLAYS = [["light", "darken what has little"], ["colour", "colours of the scale"]];
const TEXT_SHOWN = 120;
const ACROSS = { query: "key", key: "query" };

class PictureView {
  constructor(app) {
    this.app = app;
    this.canvas = makeElement("canvas", { "aria-hidden": "true" });
    this.cursor = createGridCursor("Patches of the picture");
    this.cursor.element.prepend(this.canvas);
    this.paragraph = new TokenParagraph("query", {
      hover: (place) => this.hover(place < 0 ? null : { side: this.paragraph.side, place }),
      click: (place) => this.pin(this.paragraph.side, place),
      page: (start) => {
        this.pageStart = start;
        this.paint();
      },
    });
    this.pageStart = 0;
    this.ranking = createRanking(app);
    this.readout = makeElement("p", { class: "readout" });
    this.said = makeElement("p", { class: "told" });
    const overlay = makeSelect("Over the picture", (value) => app.set({ overlay: value }));
    const range = makeElement("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "Strength, in percent", input: () => app.set({ strength: Number(range.value) }) });
    const strength = makeElement("label", { class: "field" }, makeElement("span", { text: "Strength" }), range);
    this.controls = { overlay, range, strength };
    this.bar = makeElement("div", { class: "view-bar picture-bar" }, overlay.element, strength);
    this.chart = makeElement("div", { class: "chart" }, this.bar, this.paragraph.element, this.cursor.element, this.readout, this.said);
    this.element = makeElement("div", { class: "picture" }, this.chart, this.ranking.element);
    this.hovered = null;
    this.photos = new Map();
    this.listen();
  }

  listen() {
    const plane = this.cursor.element;
    plane.addEventListener("pointermove", (event) => this.hover(this.pointed(event)));
    plane.addEventListener("pointerleave", () => this.hover(null));
    plane.addEventListener("click", (event) => {
      const pointed = this.pointed(event);
      if (pointed) this.pin(pointed.side, pointed.place);
    });
    this.sized = new ResizeObserver(() => this.map && this.element.isConnected && this.paint());
    this.sized.observe(this.element);
  }

  async draw() {
    const { app } = this;
    const { sample, site } = app.state;
    this.turn = (this.turn ?? 0) + 1;
    const { turn } = this;
    const [map, photo] = await Promise.all([app.map(), this.photoOf(sample)]).catch((error) => {
      if (turn === this.turn) this.clear();
      throw error;
    });
    if (turn !== this.turn) return;
    const name = `${sample}/${site}`;
    if (name !== this.drawn) Object.assign(this, { hovered: null, pageStart: 0, drawn: name });
    this.map = map;
    this.photo = photo;
    this.tokens = app.tokens();
    this.lists = { query: this.tokens.queries, key: this.tokens.keys };
    this.grids = {};
    for (const side of ["query", "key"]) {
      const { grid, labels } = this.lists[side];
      this.grids[side] = grid ? new PatchGrid(grid, labels.length) : null;
    }
    this.maximum = app.maximum(map);
    this.ranking.element.hidden = false;
    this.ranking.forget();
    this.revealPinned();
    this.paint();
  }

  // What cannot be had is not shown as what was shown before.
  clear() {
    Object.assign(this, { map: null, shown: null, hovered: null, gridSide: null });
    for (const element of [this.bar, this.paragraph.element, this.cursor.element, this.ranking.element]) element.hidden = true;
    this.readout.textContent = this.said.textContent = "";
  }

  // The picture of a sample, the last few are kept; null where it cannot be read, which is said.
  photoOf(sample) {
    if (!this.app.manifest.samples[sample].image) return null;
    if (!this.photos.has(sample)) {
      if (this.photos.size >= 4) this.photos.delete(this.photos.keys().next().value);
      this.photos.set(sample, this.app.store.picture(sample));
    }
    return this.photos.get(sample).catch((error) => {
      this.photos.delete(sample);
      this.app.fail(new Error(`The picture of this sample cannot be read: ${error.message}`));
      return null;
    });
  }

  get readSide() {
    return this.app.state.direction === "to" ? "key" : "query";
  }

  readName() {
    return this.grids[this.readSide] ? "patch" : "token";
  }

  get pinned() {
    const side = this.readSide;
    const place = this.app.state[side];
    if (place >= 0) return { side, place };
    return this.lists[side].labels.length === 1 ? { side, place: 0 } : null; // there is nothing to choose from
  }

  get source() {
    return this.pinned ?? (this.hovered?.side === this.readSide ? this.hovered : null);
  }

  // A pinned token that is listed as text comes onto the page that is shown.
  revealPinned() {
    const { pinned } = this;
    const name = pinned ? `${pinned.side} ${pinned.place}` : "";
    if (name === this.revealed) return;
    this.revealed = name;
    if (pinned) this.pageStart = Math.floor(pinned.place / TEXT_SHOWN) * TEXT_SHOWN;
  }

  // What is coloured: the tokens across from the source, else the keys by what they receive.
  colours() {
    const { source, map, app } = this;
    const within = app.window();
    const whole = (side) => (side === "key" ? within.columns : within.rows);
    if (source) {
      const side = ACROSS[source.side];
      return { side, ...weightsOfToken(map, source.place, source.side === "query" ? "from" : "to"), maximum: this.maximum, within: whole(side) };
    }
    const { received } = map;
    const masked = new Uint8Array(received.length);
    for (const place of this.tokens.keys.invalid) if (received[place] === 0) masked[place] = 1;
    const unknown = map.known !== "all" && received.every(Number.isNaN);
    const maximum = roundedUp(received.reduce((most, value) => (value > most ? value : most), 0));
    return { side: "key", weights: received, masked, partial: false, blocks: false, unknown, maximum, received: true, within: whole("key") };
  }

  paint() {
    const { app, grids, lists, source } = this;
    const { state } = app;
    const shown = this.colours();
    this.shown = shown;
    const listed = ["query", "key"].find((side) => !grids[side] && lists[side].labels.length > 1);
    const gridSide = grids[shown.side] ? shown.side : ACROSS[shown.side];
    const grid = grids[gridSide];
    this.gridSide = grid ? gridSide : null;
    this.controls.overlay.fill(OVERLAYS, state.overlay);
    this.controls.range.value = String(state.strength);
    this.bar.hidden = !this.photo || !grid || shown.side !== gridSide;
    this.cursor.element.hidden = !grid;
    this.paintText(grid ? listed : null, shown);
    if (grid) this.paintGrid(grid, gridSide, shown);
    const place = source?.place ?? -1;
    this.ranking.show(this.map, this.tokens, place, source?.side === "key" ? "to" : "from", this.maximum, this.readName());
    this.said.textContent = grid ? this.sentence(shown, gridSide) : this.withoutPatches();
    this.read();
  }

  // The side that is no picture (the words of a caption, say) is a text above it.
  paintText(side, shown) {
    const { paragraph, source, app } = this;
    paragraph.element.hidden = !side;
    if (!side) {
      paragraph.empty();
      return;
    }
    paragraph.side = side;
    paragraph.fill(this.lists[side], this.pageStart, TEXT_SHOWN, side === "query" ? "queries" : "keys");
    paragraph.paint({
      ...shown,
      coloured: shown.side === side && !shown.unknown,
      colourOf: (value) => app.colourOf(value, shown.maximum),
      source: source?.side === side ? source.place : -1,
      pinned: this.pinned !== null,
      found: new Set(searchMatches(this.lists[side].labels, app.state.search)),
      theme: app.theme(),
      spoken: (place) => `${quoted(this.lists[side].labels[place])}, ${side} ${place}`,
    });
  }

  paintGrid(grid, side, shown) {
    const { app, photo, source } = this;
    const { state } = app;
    const { labels } = this.lists[side];
    const width = Math.max(240, this.chart.clientWidth);
    const mostHeight = app.embedded ? 520 : Math.max(300, innerHeight * 0.68);
    const ratio = photo ? photo.width / photo.height : grid.columns / grid.rows;
    const coloured = shown.side === side && !shown.unknown;
    const layout = pictureLayout({ width, mostHeight, ratio, special: grid.special, labels, columns: grid.columns, coloured: coloured && photo });
    const content = {
      ...shown,
      grid,
      labels,
      photo,
      coloured,
      scale: state.scale,
      overlay: state.overlay,
      strength: state.strength,
      colourOf: (value) => app.colourOf(value, shown.maximum),
    };
    const marks = {
      source: source && this.grids[source.side] ? { grid: this.grids[source.side], place: source.place } : null,
      pinned: this.pinned !== null,
      found: new Set(searchMatches(labels, state.search)),
    };
    Object.assign(this, { layout, content, marks });
    paintPicture(screenPainter(this.canvas, layout.width, layout.height, app.theme()), layout, content, marks);
    this.cursor.element.style.height = `${layout.height}px`;
    this.cursor.size(grid.rows, grid.columns);
    this.cursor.name(`Patches, ${grid.rows} rows of ${grid.columns}, ${app.describe()}`);
    this.placeCursor();
  }

  placeCursor() {
    const { pinned, marks, layout } = this;
    const grid = marks.source?.grid;
    if (!this.byKeys || !pinned || !grid?.holds(pinned.place)) {
      this.cursor.hide();
      return;
    }
    const { row, column } = grid.cellOf(pinned.place);
    this.cursor.place(row, column, this.spoken(pinned), patchBox(layout.panels[0], grid, pinned.place));
    this.cursor.select(true);
  }

  // Under the pointer: the patch of the side that is read from, else the one that is coloured; or a token that is no patch.
  pointed({ offsetX, offsetY, target }) {
    if (!this.layout || !this.gridSide || target !== this.canvas) return null;
    const side = this.grids[this.readSide] ? this.readSide : this.gridSide;
    const grid = this.grids[side];
    const inside = ({ x, y, width, height }) => offsetX >= x && offsetX < x + width && offsetY >= y && offsetY < y + height;
    const chip = this.layout.chips.find(inside);
    if (chip) return { side: this.lists.query === this.lists.key ? this.readSide : this.gridSide, place: chip.place };
    const panel = this.layout.panels.find(inside);
    if (!panel) return null;
    const row = Math.min(grid.rows - 1, Math.floor(((offsetY - panel.y) / panel.height) * grid.rows));
    const column = Math.min(grid.columns - 1, Math.floor(((offsetX - panel.x) / panel.width) * grid.columns));
    return { side, place: grid.placeOf(row, column), across: { x: (offsetX - panel.x) / panel.width, y: (offsetY - panel.y) / panel.height } };
  }

  hover(next) {
    if (!this.map || (next?.side === this.hovered?.side && next?.place === this.hovered?.place)) return;
    this.hovered = next;
    if (this.pinned) {
      this.read();
      return;
    }
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.element.isConnected && this.map) this.repaint();
    });
  }

  // Paints, and has the legend say so where the colours mean something else than before.
  repaint() {
    const before = this.shown?.received;
    this.paint();
    if (this.shown?.received !== before) this.app.explain();
  }

  read() {
    this.readout.textContent = this.reading();
  }

  reading() {
    const { source, hovered, map } = this;
    if (!hovered) return "";
    const label = (side, place) => `${side} ${place} “${quoted(this.lists[side].labels[place])}”`;
    if (!source) {
      if (hovered.side !== "key") return label(hovered.side, hovered.place);
      return `${label("key", hovered.place)} receives ${formatNumber(map.received[hovered.place])} on average`;
    }
    const other = ACROSS[source.side];
    const place = hovered.side === other ? hovered.place : this.acrossOf(hovered, other);
    if (place < 0) return label(hovered.side, hovered.place);
    const [query, key] = source.side === "query" ? [source.place, place] : [place, source.place];
    return `${label("query", query)} → ${label("key", key)}: ${formatCell(map.at(query, key))}`;
  }

  // The token of the other side at the same point of the picture; both may have patches of their own size.
  acrossOf({ across, side, place }, other) {
    const grid = this.grids[other];
    if (!grid) return -1;
    if (!across) return this.lists[side] === this.lists[other] ? place : -1;
    const clamped = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return grid.placeOf(clamped(across.y, grid.rows), clamped(across.x, grid.columns));
  }

  sentence({ received, unknown, partial, blocks, maximum }, gridSide) {
    const { source } = this;
    const end = `The scale goes from 0 to ${formatNumber(maximum)}.`;
    if (unknown) return "What tokens receive is not stored in this file. Point at a patch for what is.";
    if (received) {
      const what = gridSide === "key" ? "By the attention that each patch receives, the mean over all queries that are no padding." : "Point at a patch for what it attends to.";
      return `${what} ${end} Point at a ${this.readName()} for its own weights; click to pin it.`;
    }
    const label = `${source.side} ${source.place} “${quoted(this.lists[source.side].labels[source.place])}”`;
    const what = source.side === "query" ? `By what ${label} attends to.` : `By which queries attend to ${label}.`;
    const note = partial ? " Only the strongest weights of each query are stored; patches without a colour have less." : blocks ? " Single weights are not stored: each colour is the largest of its block." : "";
    return `${what} ${end}${note}`;
  }

  withoutPatches() {
    const { manifest, state } = this.app;
    const gridOf = (number) => manifest.tokens[number]?.grid;
    const site = manifest.sites.findIndex((_, number) => manifest.axes[state.sample]?.[number]?.some(gridOf));
    if (site >= 0) return `The tokens of this site are no patches of the picture. Those of ${this.app.siteName(site)} are.`;
    return "It is not known which tokens are patches of the picture. Say so where the page is made: ats.view(maps, images=images, grid=(14, 14)).";
  }

  spoken({ side, place }) {
    const given = weightsOfToken(this.map, place, side === "query" ? "from" : "to").weights;
    const most = given.reduce((best, value, other) => (value > (given[best] || 0) ? other : best), 0);
    const [query, key] = side === "query" ? [place, most] : [most, place];
    const other = ACROSS[side];
    return `${side} ${place}, ${quoted(this.lists[side].labels[place])}; strongest ${other} ${quoted(this.lists[other].labels[most])}, ${formatCell(this.map.at(query, key))}`;
  }

  // In a saved picture: whose weights these are.
  describe() {
    const { source } = this;
    if (!source) return `${this.app.describe()}: what each key receives`;
    return `${this.app.describe()}: what ${source.side} ${source.place} “${quoted(this.lists[source.side].labels[source.place])}” ${source.side === "query" ? "attends to" : "is attended by"}`;
  }

  pin(side, place) {
    this.byKeys = false;
    const same = this.app.state[side] === place && this.readSide === side;
    this.app.set({ [side]: same ? -1 : place, direction: side === "key" ? "to" : "from" });
    this.app.announce(same ? "Nothing pinned." : this.spoken({ side, place }));
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.map) return false;
    const side = this.readSide;
    const grid = this.grids[side];
    const last = this.lists[side].labels.length - 1;
    const place = this.app.state[side];
    const arrows = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    let next;
    if (event.key === "Home") next = 0;
    else if (event.key === "End") next = last;
    else if (event.key in arrows) next = grid ? grid.neighbour(place, event.key) : Math.min(last, Math.max(0, place + arrows[event.key]));
    else if (event.key === "Escape" && place >= 0) next = -1;
    else if (event.key === "Enter" && this.hovered) {
      this.pin(this.hovered.side, this.hovered.place);
      return true;
    } else return false;
    this.byKeys = true;
    this.app.set({ [side]: next });
    this.app.announce(next < 0 ? "Nothing pinned." : this.spoken({ side, place: next }));
    return true;
  }

  legend() {
    const { shown, app } = this;
    const marks = [
      ["pinned", "pinned patch or token", (painter) => {
        painter.rect(0, 0, 26, 14, painter.theme.line);
        painter.frame(7, 1.5, 12, 11, painter.theme.accent, 2.5);
      }],
    ];
    if (this.photo && this.gridSide && app.state.overlay === "light") {
      marks.push(["dark", "the picture itself is the darker the smaller the weight", (painter) => {
        for (let x = 0; x < 26; x += 1) painter.rect(x, 0, 1, 14, [150, 150, 150]);
        for (let x = 0; x < 26; x += 1) painter.rect(x, 0, 1, 14, "#000", (app.state.strength / 100) * (1 - x / 25));
      }]);
    }
    if (!shown?.received) return { marks };
    return { marks, maximum: shown.maximum, title: "attention received, the mean over the queries", end: "the largest, rounded up" };
  }

  picture() {
    if (!this.gridSide) return null;
    const { layout, content, marks } = this;
    return { width: layout.width, height: layout.height, draw: (painter) => paintPicture(painter, layout, content, marks) };
  }

  dispose() {
    this.turn = -1;
    this.sized.disconnect();
    cancelAnimationFrame(this.frame ?? 0);
  }
}

export function createPictureView(app) {
  const view = new PictureView(app);
  return {
    element: view.element,
    draw: () => view.draw(),
    key: (event) => view.key(event),
    picture: () => view.picture(),
    map: () => view.map,
    legend: () => view.legend(),
    describe: () => view.describe(),
    dispose: () => view.dispose(),
  };
}
