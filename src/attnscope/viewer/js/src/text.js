// The text view: tokens on the colour of what the pinned token gives them, or of what they receive.
import { formatCell, formatNumber, quoted, roundedUp, shortened } from "./format.js";
import { makeElement } from "./elements.js";
import { TokenParagraph, paintParagraph, paragraphHeight } from "./paragraph.js";
import { createRanking } from "./ranking.js";
import { searchMatches } from "./search.js";
import { weightsOfToken } from "./strongest.js";

const TOKENS_SHOWN = 160; // at once; the rest is paged to, for elements are what makes pages slow

class TextView {
  constructor(app) {
    this.app = app;
    this.paragraphs = {
      query: new TokenParagraph("query", this.listener("query")),
      key: new TokenParagraph("key", this.listener("key")),
    };
    this.ranking = createRanking(app);
    this.said = makeElement("p", { class: "told" });
    this.readout = makeElement("p", { class: "readout" });
    const texts = makeElement("div", { class: "texts" }, this.paragraphs.query.element, this.paragraphs.key.element, this.readout, this.said);
    this.element = makeElement("div", { class: "text" }, texts, this.ranking.element);
    this.hovered = null;
    this.revealed = null;
    this.sized = new ResizeObserver(() => {
      if (this.element.isConnected) this.map && this.paintStrips();
      else for (const paragraph of Object.values(this.paragraphs)) paragraph.empty();
    });
    this.sized.observe(this.element);
  }

  listener(side) {
    return {
      hover: (place) => this.hover(place < 0 ? null : { side: this.sideOf(side), place }),
      click: (place) => this.pin(this.sideOf(side), place),
      page: (start) => this.goTo(side, start),
    };
  }

  // One text that attends to itself is shown once; a token of it is a query or a key as one reads it.
  sideOf(side) {
    if (!this.same) return side;
    return this.app.state.direction === "to" ? "key" : "query";
  }

  async draw() {
    const { app } = this;
    this.turn = (this.turn ?? 0) + 1;
    const { turn } = this;
    const map = await app.map().catch((error) => {
      if (turn === this.turn) this.clear();
      throw error;
    });
    if (turn !== this.turn) return;
    const { state } = app;
    this.map = map;
    this.tokens = app.tokens();
    this.same = this.tokens.queries === this.tokens.keys;
    this.maximum = app.maximum(map);
    const name = `${state.sample}/${state.site}`;
    if (name !== this.drawn) Object.assign(this, { drawn: name, hovered: null, revealed: state.zoom ? this.pinnedName() : null });
    this.ranking.element.hidden = false;
    this.ranking.forget();
    this.turnPages();
    this.fill();
    this.paint();
  }

  // What cannot be had is not shown as what was shown before.
  clear() {
    Object.assign(this, { map: null, shown: null, hovered: null });
    for (const paragraph of Object.values(this.paragraphs)) paragraph.empty();
    this.ranking.element.hidden = true;
    this.readout.textContent = this.said.textContent = "";
  }

  pinnedName() {
    const { pinned } = this;
    return pinned ? `${pinned.side} ${pinned.place}` : "";
  }

  get pinned() {
    const side = this.app.state.direction === "to" ? "key" : "query";
    const place = this.app.state[side];
    return place >= 0 ? { side, place } : null;
  }

  // A pinned token is looked at: it decides before what is pointed at.
  get source() {
    if (this.pinned) return this.pinned;
    return this.same || this.hovered?.side === this.readSide ? this.hovered : null;
  }

  get readSide() {
    return this.app.state.direction === "to" ? "key" : "query";
  }

  get pageSize() {
    return this.same ? TOKENS_SHOWN : TOKENS_SHOWN / 2;
  }

  listOf(side) {
    return side === "query" ? this.tokens.queries : this.tokens.keys;
  }

  // Which part of each text is shown: what is zoomed to, and the page of a token that was pinned since.
  turnPages() {
    const { zoom } = this.app.state;
    const size = this.pageSize;
    const starts = { query: zoom ? Math.round(zoom.y0) : 0, key: zoom ? Math.round(zoom.x0) : 0 };
    const name = this.pinnedName();
    if (name !== this.revealed && this.pinned) {
      const { side, place } = this.pinned;
      if (place < starts[side] || place >= starts[side] + size) starts[side] = Math.floor(place / size) * size;
      if (this.same) starts.query = starts.key = starts[side];
    }
    this.revealed = name;
    this.starts = starts;
  }

  goTo(side, start) {
    const size = this.pageSize;
    const counts = { query: this.tokens.queries.labels.length, key: this.tokens.keys.labels.length };
    const starts = this.same ? { query: start, key: start } : { ...this.starts, [side]: start };
    const [y0, x0] = ["query", "key"].map((each) => Math.max(0, Math.min(starts[each], counts[each] - 1)));
    this.app.set({ zoom: { y0, y1: Math.min(counts.query, y0 + size), x0, x1: Math.min(counts.key, x0 + size) } });
  }

  fill() {
    const { query, key } = this.paragraphs;
    key.element.hidden = this.same;
    query.fill(this.listOf("query"), this.starts.query, this.pageSize, this.same ? "text" : "queries");
    if (this.same) key.empty();
    else key.fill(this.listOf("key"), this.starts.key, this.pageSize, "keys");
  }

  // Colours of one side as {weights, masked, partial, maximum}; the other side has none.
  colours() {
    const { source, map, app } = this;
    const within = app.window();
    if (source) {
      const side = source.side === "query" ? "key" : "query";
      const given = weightsOfToken(map, source.place, source.side === "query" ? "from" : "to");
      return { side, ...given, maximum: this.maximum, within: side === "key" ? within.columns : within.rows };
    }
    const largest = map.received.reduce((most, value) => (value > most ? value : most), 0);
    const unknown = map.received.every(Number.isNaN) && map.known !== "all";
    const masked = new Uint8Array(map.columns);
    for (const place of this.tokens.keys.invalid) if (map.received[place] === 0) masked[place] = 1;
    return { side: "key", weights: map.received, masked, partial: false, unknown, maximum: roundedUp(largest), received: true, within: within.columns };
  }

  // What the colours and marks of this view mean.
  legend() {
    const marks = [
      ["pinned", "pinned token", (painter) => paintMarkedToken(painter, (x, y, width, height) => painter.frame(x, y, width, height, painter.theme.accent, 2))],
      ["found", "token that the search found", (painter) => paintMarkedToken(painter, (x, y, width, height) => painter.rect(x, y + height, width, 2, painter.theme.accent))],
    ];
    if (!this.shown?.received) return { marks };
    return { marks, maximum: this.shown.maximum, title: "attention received, the mean over the queries", end: "the largest, rounded up" };
  }

  paint() {
    const { app, source } = this;
    const shown = this.colours();
    this.shown = shown;
    for (const side of ["query", "key"]) {
      const paragraph = this.paragraphs[side];
      const coloured = this.same ? side === "query" : side === shown.side;
      paragraph.paint({
        ...shown,
        coloured: coloured && !shown.unknown,
        colourOf: (value) => app.colourOf(value, shown.maximum),
        source: source && (this.same || source.side === side) ? source.place : -1,
        pinned: this.pinned !== null,
        found: new Set(searchMatches(this.listOf(side).labels, app.state.search)),
        theme: app.theme(),
        spoken: (place) => this.spokenOf(side, place),
      });
    }
    this.ranking.show(this.map, this.tokens, source?.place ?? -1, source?.side === "key" ? "to" : "from", this.maximum, "token");
    this.said.textContent = this.sentence(shown);
    this.read();
  }

  paintStrips() {
    for (const paragraph of Object.values(this.paragraphs)) paragraph.paintStrip(this.app.theme());
  }

  hover(next) {
    if (next?.side === this.hovered?.side && next?.place === this.hovered?.place) return;
    this.hovered = next;
    if (!this.map) return;
    if (this.pinned) this.read();
    else {
      this.frame ||= requestAnimationFrame(() => {
        this.frame = 0;
        if (this.element.isConnected && this.map) this.repaint();
      });
    }
  }

  // Paints, and has the legend say so where the colours mean something else than before.
  repaint() {
    const before = this.shown?.received;
    this.paint();
    if (this.shown?.received !== before) this.app.explain();
  }

  // The number at the token that is pointed at.
  read() {
    this.readout.textContent = this.map ? this.reading() : "";
  }

  reading() {
    const { source, hovered, tokens, map } = this;
    if (source && hovered && (hovered.place !== source.place || this.pinned)) {
      const [query, key] = source.side === "query" ? [source.place, hovered.place] : [hovered.place, source.place];
      if (!this.same && hovered.side === source.side) return "";
      return `query ${query} ${quoted(tokens.queries.labels[query])} → key ${key} ${quoted(tokens.keys.labels[key])}: ${formatCell(map.at(query, key))}`;
    }
    if (!source && hovered) return this.spokenOf(hovered.side, hovered.place);
    return "";
  }

  spokenOf(side, place) {
    const { source, map, tokens } = this;
    const label = quoted(this.listOf(side).labels[place]);
    if (source) {
      const [query, key] = source.side === "query" ? [source.place, place] : [place, source.place];
      if (this.same || side !== source.side) return `${label}, ${formatCell(map.at(query, key))}`;
    }
    const key = this.same || side === "key";
    return key && !source ? `key ${place} ${quoted(tokens.keys.labels[place])}: receives ${formatNumber(map.received[place])} on average` : `${label}, ${side} ${place}`;
  }

  sentence({ received, unknown, partial, blocks, maximum }) {
    const { source } = this;
    const end = `The colours go from 0 to ${formatNumber(maximum)}.`;
    if (unknown) return "What tokens receive is not stored in this file. Point at a token for what is.";
    if (received) {
      const point = this.same ? "Point at a token for its own weights; click to pin it." : "Point at a token of the queries for its own weights; click any to pin it.";
      return `Coloured by the attention that each key receives, the mean over all queries that are no padding. ${end} ${point}`;
    }
    const label = `“${quoted(shortened(this.listOf(source.side).labels[source.place], 40))}”`;
    const what = source.side === "query" ? `by what query ${source.place} ${label} attends to` : `by which queries attend to key ${source.place} ${label}`;
    const note = partial ? " Only the strongest weights of each query are stored; tokens without a colour have less." : blocks ? " Single weights are not stored: each colour is the largest of its block." : "";
    return `Coloured ${what}. ${end}${note}`;
  }

  // In a saved picture: whose weights these are.
  describe() {
    const { source } = this;
    if (!source) return `${this.app.describe()}: what each key receives`;
    return `${this.app.describe()}: what ${source.side} ${source.place} “${quoted(shortened(this.listOf(source.side).labels[source.place], 40))}” ${source.side === "query" ? "attends to" : "is attended by"}`;
  }

  pin(side, place) {
    const same = this.pinned?.side === side && this.pinned.place === place;
    this.revealed = same ? "" : `${side} ${place}`;
    this.app.set({ [side]: same ? -1 : place, direction: side === "key" ? "to" : "from" });
    this.announcePinned(same ? null : { side, place });
  }

  announcePinned(picked) {
    if (!picked) return this.app.announce("Nothing pinned.");
    const { side, place } = picked;
    const given = weightsOfToken(this.map, place, side === "query" ? "from" : "to").weights;
    const most = given.reduce((best, value, other) => (value > (given[best] ?? 0) ? other : best), 0);
    const other = side === "query" ? "key" : "query";
    const [query, key] = side === "query" ? [place, most] : [most, place];
    const strongest = `strongest ${other} ${quoted(this.listOf(other).labels[most])}, ${formatCell(this.map.at(query, key))}`;
    return this.app.announce(`${side} ${place}, ${quoted(this.listOf(side).labels[place])}; ${strongest}.`);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.map) return false;
    const { state } = this.app;
    const side = this.readSide;
    const paragraph = this.paragraphs[this.same ? "query" : side];
    const last = this.listOf(side).labels.length - 1;
    const place = this.pinned?.place ?? -1;
    const moves = {
      ArrowRight: () => place + 1,
      ArrowLeft: () => place - 1,
      ArrowDown: () => paragraph.lineBelow(place, 1),
      ArrowUp: () => paragraph.lineBelow(place, -1),
      PageDown: () => place + this.pageSize,
      PageUp: () => place - this.pageSize,
      Home: () => 0,
      End: () => last,
    };
    if (Object.hasOwn(moves, event.key)) {
      const next = Math.min(last, Math.max(0, moves[event.key]()));
      this.app.set({ [side]: next });
      this.announcePinned({ side, place: next });
      return true;
    }
    if (event.key === "Escape" && state[side] >= 0) this.app.set({ [side]: -1 });
    else if (event.key === "Enter" && this.hovered) this.pin(this.hovered.side, this.hovered.place);
    else return false;
    return true;
  }

  picture() {
    if (!this.map || !this.shown) return null;
    const width = 760;
    const shown = Object.values(this.paragraphs).filter((paragraph) => !paragraph.element.hidden);
    const heights = shown.map((paragraph) => paragraphHeight(paragraph, width));
    return {
      width,
      height: heights.reduce((sum, height) => sum + height, 0),
      draw(painter) {
        shown.reduce((top, paragraph, number) => {
          paintParagraph(painter, paragraph, width, top);
          return top + heights[number];
        }, 0);
      },
    };
  }

  dispose() {
    this.turn = -1;
    cancelAnimationFrame(this.frame ?? 0);
    this.sized.disconnect();
  }
}

function paintMarkedToken(painter, mark) {
  painter.text("abc", 13, 6, { size: 10.5, mono: true, align: "center" });
  mark(2, 1, 22, 11);
}

export function createTextView(app) {
  const view = new TextView(app);
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
