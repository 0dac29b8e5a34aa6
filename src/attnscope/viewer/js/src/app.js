// The viewer: puts its parts together, and draws when something has changed.
import { Actions } from "./actions.js";
import { Address } from "./address.js";
import { HOST_ATTRIBUTES, isDark, systemDarkness } from "./darkness.js";
import { Store, canInflate } from "./data.js";
import { makeElement } from "./elements.js";
import { pngBlob, shownPicture } from "./export.js";
import { createKeyboard } from "./keyboard.js";
import { createLegend } from "./legend.js";
import { Messages } from "./messages.js";
import { Names } from "./names.js";
import { Paper } from "./paper.js";
import { Pointer } from "./pointer.js";
import { ColourScheme } from "./scheme.js";
import { createSearch } from "./search.js";
import { Selection } from "./selection.js";
import { createShell } from "./shell.js";
import { validState } from "./state.js";
import { Views } from "./views.js";
const SETTLED = 800; // milliseconds without a drawing after which what is shown is taken to stay
const KEPT_PIXELS = 1.4e6; // of the picture that is kept: it is stored in a notebook

/** @import { BlockSource, Manifest, MountOptions, Mounted, Parts, State } from "./types.d.ts" */

/**
 * Shows maps in an element.
 *
 * @param {Element} element
 * @param {Manifest} manifest
 * @param {BlockSource} source
 * @param {MountOptions} [options]
 * @returns {Mounted}
 */
export function mount(element, manifest, source, options = {}) {
  const root = makeElement("div", { class: "attnscope-view", role: "region", "aria-label": `Attention of ${manifest.title}` });
  element.replaceChildren(root);
  if (!canInflate()) {
    const text = "This browser cannot unpack the maps (it has no DecompressionStream for deflate-raw). Use a browser from 2023 or later.";
    root.append(makeElement("p", { class: "alert", role: "alert", text }));
    return { dispose: () => root.remove(), set() {} };
  }
  const viewer = new Viewer(root, manifest, source, options);
  return { dispose: () => viewer.dispose(), set: (changes) => viewer.selection.set(changes) };
}

class Viewer {
  /**
   * @param {HTMLElement} root
   * @param {Manifest} manifest
   * @param {BlockSource} source
   * @param {MountOptions} options
   */
  constructor(root, manifest, source, { state = {}, onState, onPicture, hash = false }) {
    this.place = { root, embedded: !hash };
    this.onState = onState;
    this.onPicture = onPicture;
    this.settling = 0;
    this.address = hash ? new Address(manifest) : null;
    this.store = new Store(manifest, source);
    const first = this.address?.read() ?? validState(manifest, state);
    this.selection = new Selection(this.store, first, (changed) => this.changed(changed));
    this.colours = new ColourScheme(this.selection, this.isDark());
    this.messages = new Messages();
    const parts = this.makeParts();
    this.parts = parts;
    this.views = parts.views;
    this.legend = parts.legend;
    this.search = createSearch(parts);
    this.keyboard = createKeyboard(parts, this.search);
    this.shell = createShell(parts, { search: this.search, help: () => this.keyboard.help() });
    root.append(...this.shell.elements);
    this.turn = 0;
    this.waiting = false;
    this.disposed = false;
    /** @type {(() => void)[]} */
    this.leaving = [];
    this.listen();
    this.showColours();
    this.draw();
  }

  /** What the parts know of one another. Views are made later, when all of it is there. */
  makeParts() {
    const { place, store, selection, colours, messages } = this;
    const { manifest } = store;
    const base = { manifest, place, store, selection, colours, messages, names: new Names(selection), pointer: new Pointer() };
    const views = new Views(selection, () => parts);
    const legend = createLegend({ ...base, views });
    const actions = new Actions({ ...base, views, legend }, this.address);
    /** @type {Parts} */
    const parts = { ...base, views, legend, actions };
    return parts;
  }

  listen() {
    const { root } = this.place;
    /** @type {(target: EventTarget, type: string, listener: (event: Event) => void) => void} */
    const on = (target, type, listener) => {
      target.addEventListener(type, listener);
      this.leaving.push(() => target.removeEventListener(type, listener));
    };
    on(this.address ? document : root, "keydown", (event) => this.keyboard.press(/** @type {KeyboardEvent} */ (event)));
    on(systemDarkness(), "change", () => this.recolour());
    if (this.address) {
      on(window, "popstate", () => this.arrive());
      on(window, "resize", () => this.drawSoon());
      this.printOn(on);
    } else this.watchHost();
    let width = 0;
    const sized = new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      this.drawSoon();
    });
    sized.observe(root);
    this.leaving.push(() => sized.disconnect());
  }

  /** @param {(target: EventTarget, type: string, listener: () => void) => void} on */
  printOn(on) {
    const paper = new Paper(this.parts);
    on(window, "beforeprint", () => {
      if (this.colours.use(false)) this.showColours();
      paper.lay();
    });
    on(window, "afterprint", () => {
      paper.remove();
      this.recolour();
    });
  }

  watchHost() {
    const observer = new MutationObserver(() => this.recolour());
    for (const host of [document.documentElement, document.body]) {
      observer.observe(host, { attributes: true, attributeFilter: HOST_ATTRIBUTES });
    }
    this.leaving.push(() => observer.disconnect());
  }

  isDark() {
    return isDark(this.selection.state.theme, this.place.embedded);
  }

  colour() {
    if (this.colours.use(this.isDark())) this.showColours();
  }

  showColours() {
    const { dark, page } = this.colours.palette;
    this.place.root.dataset.theme = dark ? "dark" : "light";
    if (this.place.embedded) return;
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    document.body.style.background = page;
  }

  recolour() {
    this.colour();
    this.drawSoon();
  }

  /** @param {(keyof State)[]} changed */
  changed(changed) {
    const { state } = this.selection;
    this.onState?.(structuredClone(state));
    this.address?.remember(state, changed);
    this.recolour();
  }

  /** Back, forward, or a link in the address bar. */
  arrive() {
    if (!this.address) return;
    this.selection.state = this.address.read();
    this.recolour();
  }

  drawSoon() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      if (!this.disposed) this.draw();
    });
  }

  draw() {
    this.turn += 1;
    const { turn } = this;
    this.messages.clear();
    this.shell.draw();
    return this.shell.busy(this.drawView(() => this.disposed || turn !== this.turn));
  }

  /** @param {() => boolean} stale whether another drawing has begun since */
  async drawView(stale) {
    try {
      await this.store.thumbnails(this.selection.state.sample);
    } catch (error) {
      if (!stale()) this.messages.fail(error);
    }
    if (stale()) return;
    let view = null;
    try {
      view = this.views.chosen();
      this.shell.show(view.element);
      await view.draw();
      if (!stale()) this.keepPictureSoon();
    } catch (error) {
      if (!stale()) this.shell.fail(error, view);
    }
    if (!stale()) this.legend.draw();
  }

  keepPictureSoon() {
    clearTimeout(this.settling);
    if (this.onPicture) this.settling = setTimeout(() => this.keepPicture(), SETTLED);
  }

  async keepPicture() {
    const shown = shownPicture(this.parts);
    const picture = shown && (await pngBlob(shown.picture, this.colours.palette, KEPT_PIXELS).catch(() => null)); // or the last one stays
    if (picture && !this.disposed) this.onPicture?.(picture);
  }

  dispose() {
    this.disposed = true;
    clearTimeout(this.settling);
    for (const leave of this.leaving) leave();
    this.address?.forget();
    this.views.dispose();
    this.shell.dispose();
    this.keyboard.dispose();
    this.place.root.remove();
  }
}
