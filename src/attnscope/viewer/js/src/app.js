// The viewer: what all views share, and what happens when something changes.
import { Store, canInflate } from "./data.js";
import { Colouring, differenceColour, orientedRamp, paletteOf, rampColour } from "./colours.js";
import { changedState, hashOfState, panelRequest, segmentWindow, stateOfHash, validState } from "./state.js";
import { roundedUp } from "./format.js";
import { makeElement } from "./elements.js";
import { createShell } from "./shell.js";
import { createKeyboard } from "./keyboard.js";
import { createLegend } from "./legend.js";
import { createOverview } from "./overview.js";
import { createMatrixView } from "./matrix.js";
import { createLinesView } from "./lines.js";
import { createTextView } from "./text.js";
import { createPictureView } from "./picture.js";
import { createCompareView } from "./compare.js";
import { savePicture } from "./export.js";

const VIEW_MAKERS = {
  overview: createOverview,
  matrix: createMatrixView,
  lines: createLinesView,
  text: createTextView,
  image: createPictureView,
  compare: createCompareView,
};
const REMEMBERED = ["view", "sample", "site", "panel", "query", "key", "segments", "a", "b", "search"];
const PAUSE = 700; // milliseconds: what follows sooner is the same step for the browser's back button
const REST = 200; // milliseconds of rest before the address is written: browsers allow it some 20 times a second

/**
 * Shows maps in an element.
 *
 * @param options {state, onState, hash}: a state to begin with, who is told of each one, and whether it is in the
 *     page's address and the page is ours alone.
 * @returns {{dispose, set}}
 */
export function mount(element, manifest, source, options = {}) {
  const root = makeElement("div", { class: "attnscope-view", role: "region", "aria-label": `Attention of ${manifest.title}` });
  element.replaceChildren(root);
  if (!canInflate()) {
    const text = "This browser cannot unpack the maps (it has no DecompressionStream for deflate-raw). Use one of 2023 or newer.";
    root.append(makeElement("p", { class: "alert", role: "alert", text }));
    return { dispose: () => root.remove(), set() {} };
  }
  const viewer = new Viewer(root, manifest, source, options);
  return { dispose: () => viewer.dispose(), set: (changes) => viewer.app.set(changes) };
}

class Viewer {
  constructor(root, manifest, source, options) {
    this.root = root;
    this.manifest = manifest;
    this.options = options;
    this.store = new Store(manifest, source);
    this.state = options.hash ? stateOfHash(manifest, location.hash) : validState(manifest, options.state ?? {});
    this.views = new Map();
    this.hovering = new Set();
    this.leaving = [];
    this.turn = 0;
    this.lastStep = 0;
    this.app = this.face();
    this.build();
    this.listen();
    this.colour();
    this.draw();
  }

  // What views, shell and legend know of the viewer.
  face() {
    const viewer = this;
    return {
      store: this.store,
      manifest: this.manifest,
      root: this.root,
      embedded: !this.options.hash,
      get state() {
        return viewer.state;
      },
      set: (changes) => this.change(changes),
      theme: () => this.palette,
      ramp: () => this.ramp,
      differenceRamp: () => this.differenceRamp,
      colouring: () => this.colouring,
      colourOf: (value, maximum) => rampColour(this.ramp, value, maximum, this.state.scale),
      differenceColourOf: (value, maximum) => differenceColour(this.differenceRamp, value, maximum, this.state.scale),
      coloured: () => this.coloured,
      maximum: (map, site) => this.maximum(map, site),
      request: () => ({ sample: this.state.sample, site: this.state.site, panel: panelRequest(this.manifest, this.state) }),
      map: () => {
        const { sample, site, panel } = this.app.request();
        return this.store.map(sample, site, panel);
      },
      tokens: () => this.store.tokens(this.state.sample, this.state.site),
      window: () => segmentWindow(this.app.tokens(), this.state.segments),
      siteName: (site) => this.siteName(site),
      panelName: (site, panel) => this.panelName(site, panel),
      describe: () => `${this.siteName(this.state.site)}, ${this.panelName(this.state.site, this.state.panel)}`,
      announce: (text) => this.shell.announce(text),
      hover: (row, column) => this.hover(row, column),
      onHover: (listener) => {
        this.hovering.add(listener);
        return () => this.hovering.delete(listener);
      },
      view: () => this.views.get(this.state.view),
      viewNames: () => Object.keys(VIEW_MAKERS).filter((name) => ({ image: this.hasPictures(), compare: this.hasOthers() })[name] ?? true),
      fail: (error) => this.shell.alert(error),
      act: (name) => this.act(name),
      explain: () => this.legend.draw(),
      link: () => `${location.href.split("#")[0]}#${hashOfState(this.manifest, this.state)}`,
    };
  }

  build() {
    this.legend = createLegend(this.app);
    this.keyboard = createKeyboard(this.app);
    this.shell = createShell(this.app, { legend: this.legend.element, help: () => this.keyboard.help() });
    this.root.append(...this.shell.elements);
  }

  listen() {
    const on = (target, type, listener, extra) => {
      target.addEventListener(type, listener, extra);
      this.leaving.push(() => target.removeEventListener(type, listener, extra));
    };
    on(this.options.hash ? document : this.root, "keydown", (event) => this.keyboard.press(event));
    const darkness = matchMedia("(prefers-color-scheme: dark)");
    on(darkness, "change", () => this.recolour());
    if (this.options.hash) on(window, "popstate", () => this.arrive());
    else this.watchHost();
    this.leaving.push(() => clearTimeout(this.rest));
    let width = 0;
    const sized = new ResizeObserver(() => {
      if (this.root.clientWidth === width) return;
      width = this.root.clientWidth;
      this.drawSoon();
    });
    sized.observe(this.root);
    if (this.options.hash) on(window, "resize", () => this.drawSoon());
    this.leaving.push(() => sized.disconnect());
  }

  // A notebook says in attributes of its own whether it is dark.
  watchHost() {
    const observer = new MutationObserver(() => this.recolour());
    for (const host of [document.documentElement, document.body]) {
      observer.observe(host, { attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light"] });
    }
    this.leaving.push(() => observer.disconnect());
  }

  isDark() {
    if (this.state.theme !== "auto") return this.state.theme === "dark";
    const { body, documentElement } = document;
    if (this.app.embedded) {
      if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
      if (documentElement.hasAttribute("theme")) return documentElement.getAttribute("theme") === "dark";
      if (/\bvscode-(dark|high-contrast)\b/.test(body.className)) return true;
      if (/\bvscode-light\b/.test(body.className)) return false;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }

  // Tables of colours, made anew only when something about them has changed.
  colour() {
    const dark = this.isDark();
    const { ramp, scale } = this.state;
    const wanted = [dark, ramp, scale].join();
    if (wanted === this.coloured) return;
    this.coloured = wanted;
    this.palette = paletteOf(dark);
    this.ramp = orientedRamp(this.manifest, ramp, dark);
    this.differenceRamp = orientedRamp(this.manifest, dark ? "diverging-dark" : "diverging", false);
    this.colouring = new Colouring(this.ramp, this.differenceRamp, scale);
    this.root.dataset.theme = dark ? "dark" : "light";
    if (this.options.hash) document.documentElement.style.colorScheme = dark ? "dark" : "light";
    if (this.options.hash) document.body.style.background = this.palette.page;
  }

  recolour() {
    this.colour();
    this.drawSoon();
  }

  // The end of the colour scale: stated in the legend, and the same for all that is on the screen together.
  maximum(map, site = this.state.site) {
    const { range, sample, panel } = this.state;
    if (range === "one") return 1;
    if (range === "head" && map) return map.maximum || 1;
    const largest = (number) => this.manifest.sites[number].panels.map((_, head) => this.store.largest(sample, number, head));
    if (range === "head" && typeof panel === "number") return this.store.largest(sample, site, panel) || 1;
    const sites = range === "all" ? this.manifest.sites.keys() : [site];
    return roundedUp(Math.max(0, ...[...sites].flatMap(largest)));
  }

  siteName(site) {
    const { name, run } = this.manifest.sites[site];
    const runName = this.manifest.runs[run];
    return runName ? `${runName}: ${name}` : name;
  }

  panelName(site, panel) {
    const { panels } = this.manifest.sites[site];
    if (typeof panel === "number") return panels[panel] || "the only head";
    const chosen = site === this.state.site ? this.state.heads : [];
    return `${panel} of ${chosen.length ? `heads ${chosen.join(", ")}` : `all ${panels.length} heads`}`;
  }

  hasPictures() {
    return this.manifest.samples.some((sample) => sample.image) || this.manifest.tokens.some((tokens) => tokens.grid);
  }

  // Whether there are two maps at all.
  hasOthers() {
    const { samples, sites } = this.manifest;
    return samples.length > 1 || sites.length > 1 || sites[0].panels.length > 1;
  }

  hover(row, column) {
    for (const listener of this.hovering) listener(row, column);
  }

  change(changes) {
    const next = changedState(this.manifest, this.state, changes);
    const changed = Object.keys(next).filter((name) => JSON.stringify(next[name]) !== JSON.stringify(this.state[name]));
    if (!changed.length) return;
    this.state = next;
    this.remember(changed);
    this.colour();
    this.drawSoon();
  }

  remember(changed) {
    this.options.onState?.(structuredClone(this.state));
    if (!this.options.hash || location.protocol === "about:") return; // a frame of a notebook has no address
    const step = changed.some((name) => REMEMBERED.includes(name)) && performance.now() - this.lastStep > PAUSE;
    clearTimeout(this.rest);
    if (!step) {
      this.unwritten = `#${hashOfState(this.manifest, this.state)}`;
      this.rest = setTimeout(() => this.writeHash("replaceState"), REST);
      return;
    }
    if (this.unwritten) history.replaceState(null, "", this.unwritten);
    this.writeHash("pushState");
    this.lastStep = performance.now();
  }

  writeHash(how) {
    clearTimeout(this.rest);
    this.unwritten = null;
    history[how](null, "", `#${hashOfState(this.manifest, this.state)}`);
  }

  act(name) {
    const { search } = this.shell;
    const acts = {
      search: () => search.focus(),
      next: () => search.go(1),
      before: () => search.go(-1),
      link: () => this.copyLink(),
      png: () => this.save("png"),
      svg: () => this.save("svg"),
    };
    acts[name]?.();
  }

  async save(kind) {
    try {
      const name = await savePicture(this.app, kind, this.legend.strip());
      this.app.announce(name ? `Saved as ${name}.` : "There is no picture to save here.");
    } catch (error) {
      this.shell.alert(error);
    }
  }

  async copyLink() {
    if (!this.options.hash) return;
    const link = this.app.link();
    try {
      await navigator.clipboard.writeText(link);
      this.app.announce("The link is copied. It restores exactly this view.");
    } catch {
      this.shell.showLink(link);
    }
  }

  // Back, forward, or a link in the address bar.
  arrive() {
    clearTimeout(this.rest);
    this.unwritten = null;
    this.state = stateOfHash(this.manifest, location.hash);
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
    this.shell.clearAlert();
    this.shell.draw();
    return this.shell.busy(this.drawView(() => this.disposed || turn !== this.turn));
  }

  async drawView(stale) {
    try {
      await this.store.thumbnails(this.state.sample);
    } catch (error) {
      if (!stale()) this.shell.alert(error);
    }
    if (stale()) return;
    let view = null;
    try {
      view = this.viewOf(this.state.view);
      this.shell.show(view.element);
      await view.draw();
    } catch (error) {
      if (!stale()) this.shell.fail(error, view);
    }
    if (!stale()) this.legend.draw();
  }

  viewOf(name) {
    const known = Object.hasOwn(VIEW_MAKERS, name) ? name : "overview";
    if (!this.views.has(known)) this.views.set(known, VIEW_MAKERS[known](this.app));
    return this.views.get(known);
  }

  dispose() {
    this.disposed = true;
    for (const leave of this.leaving) leave();
    for (const view of this.views.values()) view.dispose();
    this.shell.dispose();
    this.keyboard.dispose();
    this.root.remove();
  }
}
