// What stands around every view: heading, samples, tabs, choices, messages.
import { RANGES, SCALES, VIEWS, isAggregate, panelsOf, rampNames, segmentRanges, shownSites } from "./state.js";
import { makeButton, makeElement, makeSelect, optionOf } from "./elements.js";
import { createHeadChooser } from "./heads.js";
import { roleName } from "./names.js";
/** @import { Option, OptionGroup, Parts, Search, SiteTokens, View } from "./types.d.ts" */

const SCALE_NAMES = { linear: "linear", sqrt: "square root", log: "logarithmic" };
const RANGE_NAMES = { one: "1", all: "largest of all", site: "largest of the site", head: "largest of the head" };
const DIRECTION_NAMES = { from: "query attends to", to: "key is attended to by" };
const WITH_DIRECTION = ["lines", "text", "image", "matrix"];

/**
 * @param {Parts} parts
 * @param {{ search: Search, help: () => void }} tools
 */
export function createShell(parts, { search, help }) {
  const { manifest, selection, names, messages, legend } = parts;
  const samples = createSampleBar(parts);
  const tabs = createTabs(parts);
  const choices = createChoices(parts);
  const looks = createLooks(parts);
  const stage = makeElement("div", { class: "stage", role: "tabpanel", "aria-label": "View" });
  const heading = makeElement(
    "header",
    { class: "heading" },
    makeElement("div", { class: "names" }, makeElement("h1", { text: manifest.title }), makeElement("p", { text: manifest.about })),
    makeElement("div", { class: "tools" }, looks.theme.element, makeButton("Help: keyboard shortcuts", "?", help)),
  );
  const bar = makeElement("div", { class: "bar" }, tabs.element, makeElement("div", { class: "acts" }, search.element, createActs(parts)));
  const aside = makeElement("aside", { "aria-label": "Legend" }, looks.element, legend.element);
  const body = makeElement("div", { class: "body" }, stage, aside);
  const elements = [heading, samples.element, bar, choices.element, messages.box, body, messages.live];
  const drawn = [samples, tabs, choices, looks, search];
  let latest = null;

  return {
    elements,
    draw() {
      for (const part of drawn) part.draw();
      stage.setAttribute("aria-label", `${names.view(selection.state.view)}: ${names.shown()}`);
    },
    /** @param {HTMLElement} element */
    show(element) {
      stage.hidden = false;
      if (stage.firstElementChild !== element) stage.replaceChildren(element);
    },
    /**
     * What was drawn before is dimmed when the next takes long.
     *
     * @param {Promise<void>} drawing
     */
    async busy(drawing) {
      const mine = Symbol("drawing");
      latest = mine;
      stage.setAttribute("aria-busy", "true");
      try {
        await drawing;
      } finally {
        if (latest === mine) stage.removeAttribute("aria-busy");
      }
    },
    /**
     * A view that could not be drawn must not go on showing what was there before, unless it has seen to that itself.
     *
     * @param {unknown} error
     * @param {View | null} view
     */
    fail(error, view) {
      stage.hidden = !view?.keeps;
      messages.fail(error);
    },
    dispose() {
      search.dispose();
      choices.dispose();
    },
  };
}

/** @param {Pick<Parts, "place" | "actions">} parts */
function createActs({ place, actions }) {
  const buttons = [
    makeButton("Save the picture as PNG", "PNG", () => actions.save("png")),
    makeButton("Save the picture as SVG", "SVG", () => actions.save("svg")),
  ];
  if (!place.embedded) buttons.push(makeButton("Copy a link to this exact view", "link", () => actions.copyLink()));
  return makeElement("div", { class: "saves", role: "group", "aria-label": "Save and share" }, ...buttons);
}

/** @param {Pick<Parts, "selection" | "views" | "names">} parts */
function createTabs({ selection, views, names }) {
  const element = makeElement("div", { class: "tabs", role: "tablist", "aria-label": "Views" });
  const made = new Map(
    VIEWS.filter(([name]) => views.names().includes(name)).map(([name]) => {
      const tab = makeElement("button", { type: "button", role: "tab", click: () => selection.set({ view: name }) });
      element.append(tab);
      return [name, tab];
    }),
  );
  element.addEventListener("keydown", (event) => {
    const there = [...made.keys()];
    const place = there.indexOf(selection.state.view);
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: there.length - 1 };
    if (!(event.key in steps)) return;
    const name = there[(steps[event.key] + there.length) % there.length];
    selection.set({ view: name });
    made.get(name)?.focus();
    event.preventDefault();
  });
  return {
    element,
    draw() {
      for (const [name, tab] of made) {
        tab.textContent = names.view(name);
        tab.setAttribute("aria-selected", String(name === selection.state.view));
        tab.tabIndex = name === selection.state.view ? 0 : -1;
      }
    },
  };
}

/** @param {Pick<Parts, "manifest" | "selection">} parts */
function createSampleBar({ manifest, selection }) {
  const { samples } = manifest;
  /** @type {(sample: number) => void} */
  const go = (sample) => selection.set({ sample: Math.min(samples.length - 1, Math.max(0, sample)) });
  const typed = () => {
    if (Number.isInteger(Number(number.value)) && number.value) go(Number(number.value) - 1);
    number.value = String(selection.state.sample + 1);
  };
  const number = makeElement("input", { type: "number", min: 1, max: samples.length, "aria-label": "Sample number", change: typed });
  const before = makeButton("Previous sample", "‹", () => go(selection.state.sample - 1));
  const after = makeButton("Next sample", "›", () => go(selection.state.sample + 1));
  const facts = makeElement("dl", { class: "facts" });
  const element = makeElement(
    "section",
    { class: "samples", "aria-label": "Sample" },
    makeElement("div", { class: "pager" }, "Sample", before, number, `of ${samples.length}`, after),
    facts,
  );
  let known = "";
  return {
    element,
    draw() {
      const place = selection.state.sample;
      const { run } = manifest.sites[selection.state.site];
      if (known === `${place}/${run}`) return;
      known = `${place}/${run}`;
      number.value = String(place + 1);
      before.disabled = place === 0;
      after.disabled = place === samples.length - 1;
      const sample = samples[place];
      const { label, output, input } = sample.runs[run];
      const told = { run: manifest.runs[run] || null, number: sample.name === String(place) ? null : sample.name, label, output, input };
      facts.replaceChildren(...Object.entries(told).filter(([, text]) => text !== null).map(sampleFact));
      element.hidden = samples.length === 1 && !facts.childElementCount;
    },
  };
}

/** @param {[name: string, text: string | null]} fact */
function sampleFact([name, text]) {
  const said = makeElement("dd", { text, title: text, tabindex: name === "input" ? 0 : null }); // a long one is scrolled
  return makeElement("div", { class: `fact-${name}` }, makeElement("dt", { text: name }), said);
}

/**
 * Which site, which heads, which sentences, which way.
 *
 * @param {Pick<Parts, "manifest" | "place" | "selection" | "names">} parts
 */
function createChoices(parts) {
  const { manifest, selection } = parts;
  const role = makeSelect("Kind", (value) => selection.set({ role: value, ...firstOfRole(parts, value) }));
  const site = makeSelect("Site", (value) => selection.set({ site: Number(value) }));
  const panel = makeSelect("Head", (value) => selection.set({ panel: isAggregate(value) ? value : Number(value) }));
  const direction = makeSelect("Read", (value) => selection.set({ direction: value }));
  const segments = makeSelect("Sentences", (value) => selection.set({ segments: value }));
  const chooser = createHeadChooser(parts);
  const roles = ["all", ...new Set(manifest.sites.map((each) => each.role))];
  const fields = [role.element, site.element, panel.element, chooser.element, direction.element, segments.element];
  const element = makeElement("div", { class: "choices", role: "group", "aria-label": "What is shown" }, ...fields);
  return {
    element,
    draw() {
      const { state } = selection;
      role.element.hidden = roles.length < 3;
      role.fill(roles.map((name) => [name, roleName(manifest, name)]), state.role);
      site.fill(siteOptions(parts), state.site);
      panel.fill(panelOptions(parts), state.panel);
      panel.element.hidden = manifest.sites[state.site].panels.length < 2;
      site.element.hidden = panel.element.hidden && manifest.sites.length < 2;
      direction.element.hidden = !WITH_DIRECTION.includes(state.view);
      direction.fill(Object.entries(DIRECTION_NAMES), state.direction);
      const pairs = segmentPairs(selection.tokens());
      segments.element.hidden = pairs.length < 3 || state.view === "overview";
      segments.fill(pairs, state.segments);
      chooser.draw();
    },
    dispose: () => chooser.dispose(),
  };
}

/**
 * @param {Pick<Parts, "manifest" | "selection">} parts
 * @param {string} role
 * @returns {{ site?: number }}
 */
function firstOfRole({ manifest, selection }, role) {
  const { state } = selection;
  /** @type {(site: number) => boolean} */
  const fits = (site) => role === "all" || manifest.sites[site].role === role;
  if (fits(state.site)) return {};
  const first = manifest.sites.findIndex((_, site) => fits(site) && manifest.axes[state.sample][site]);
  return first < 0 ? {} : { site: first };
}

/**
 * @param {Pick<Parts, "manifest" | "selection">} parts
 * @returns {(Option | OptionGroup)[]}
 */
function siteOptions({ manifest, selection }) {
  const { state } = selection;
  const shown = shownSites(manifest, state);
  const sites = shown.includes(state.site) ? shown : [state.site, ...shown];
  const option = (/** @type {number} */ site) => optionOf(site, manifest.sites[site].short, manifest.sites[site].name);
  if (manifest.runs.length < 2) return sites.map(option);
  return manifest.runs.map((group, run) => ({
    group,
    options: sites.filter((site) => manifest.sites[site].run === run).map(option),
  }));
}

/**
 * @param {Pick<Parts, "manifest" | "selection" | "names">} parts
 * @returns {Option[]}
 */
function panelOptions({ manifest, selection, names }) {
  const { site } = selection.state;
  return panelsOf(manifest.sites[site]).map((panel) => optionOf(panel, names.panel(site, panel)));
}

/**
 * @param {SiteTokens} tokens
 * @returns {Option[]}
 */
function segmentPairs({ queries, keys }) {
  /** @type {(place: number) => string} */
  const letter = (place) => String.fromCharCode(65 + place);
  const pairs = segmentRanges(queries).flatMap((_, from) =>
    segmentRanges(keys).map((__, to) => optionOf(`${from}-${to}`, `${letter(from)} → ${letter(to)}`)),
  );
  return [["all", "all"], ...pairs];
}

/**
 * How it is drawn: scale, its end, colours, light or dark.
 *
 * @param {Pick<Parts, "manifest" | "place" | "selection">} parts
 */
function createLooks({ manifest, place, selection }) {
  const scale = makeSelect("Scale", (value) => selection.set({ scale: value }));
  const range = makeSelect("Scale ends at", (value) => selection.set({ range: value }));
  const ramp = makeSelect("Colours", (value) => selection.set({ ramp: value }));
  const theme = makeSelect("Theme", (value) => selection.set({ theme: value }));
  const element = makeElement("div", { class: "looks", role: "group", "aria-label": "How it is drawn" }, scale.element, range.element, ramp.element);
  return {
    element,
    theme,
    draw() {
      const { state } = selection;
      scale.fill(SCALES.map((name) => [name, SCALE_NAMES[name]]), state.scale);
      range.fill(RANGES.map((name) => [name, RANGE_NAMES[name]]), state.range);
      ramp.fill(rampNames(manifest).map((name) => [name, name]), state.ramp);
      theme.fill([["auto", place.embedded ? "same as the notebook" : "same as the system"], ["light", "light"], ["dark", "dark"]], state.theme);
    },
  };
}
