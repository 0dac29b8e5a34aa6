// What stands around every view: heading, samples, tabs, choices, messages.
import { AGGREGATES, RANGES, SCALES, VIEWS, canAggregate, rampNames, segmentRanges, shownSites } from "./state.js";
import { makeButton, makeElement, makeSelect } from "./elements.js";
import { createSearch } from "./search.js";
import { createHeadChooser } from "./heads.js";

const SCALE_NAMES = { linear: "linear", sqrt: "square root", log: "logarithmic" };
const RANGE_NAMES = { one: "1", all: "largest of all", site: "largest of the site", head: "largest of the head" };
const DIRECTION_NAMES = { from: "query attends to", to: "key is attended by" };
const ROLE_NAMES = { self: "self-attention", cross: "cross-attention", pool: "pooling" };
const WITH_DIRECTION = ["lines", "text", "image", "matrix"];

export function createShell(app, { legend, help }) {
  const search = createSearch(app);
  const samples = createSampleBar(app);
  const tabs = createTabs(app);
  const choices = createChoices(app);
  const looks = createLooks(app);
  const message = makeElement("div", { class: "alert", role: "alert", hidden: true });
  const live = makeElement("div", { class: "unseen", role: "status", "aria-live": "polite" });
  const stage = makeElement("div", { class: "stage", role: "tabpanel", "aria-label": "View" });
  const heading = makeElement(
    "header",
    { class: "heading" },
    makeElement("div", { class: "names" }, makeElement("h1", { text: app.manifest.title }), makeElement("p", { text: app.manifest.about })),
    makeElement("div", { class: "tools" }, looks.theme.element, makeButton("Help: keys and marks", "?", help)),
  );
  const bar = makeElement("div", { class: "bar" }, tabs.element, makeElement("div", { class: "acts" }, search.element, createActs(app)));
  const aside = makeElement("aside", { "aria-label": "Legend" }, looks.element, legend);
  const body = makeElement("div", { class: "body" }, stage, aside);
  const elements = [heading, samples.element, bar, choices.element, message, body, live];
  const parts = [samples, tabs, choices, looks, search];
  let latest = null;

  return {
    elements,
    search,
    draw() {
      for (const part of parts) part.draw();
      const shown = VIEWS.find(([name]) => name === app.state.view)[1];
      stage.setAttribute("aria-label", `${shown}: ${app.describe()}`);
    },
    show(element) {
      stage.hidden = false;
      if (stage.firstElementChild !== element) stage.replaceChildren(element);
    },
    // What was drawn before is dimmed when the next takes long.
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
    // A view that could not be drawn must not go on showing what was there before, unless it has seen to that itself.
    fail(error, view) {
      stage.hidden = !view?.keeps;
      this.alert(error);
    },
    announce(text) {
      live.textContent = text;
    },
    alert(error) {
      message.textContent = error.message ?? String(error);
      message.hidden = false;
    },
    // A link that could not be copied, to be copied by hand.
    showLink(link) {
      const field = makeElement("input", { readonly: true, value: link, "aria-label": "Link to exactly this" });
      message.replaceChildren(makeElement("p", { text: "This browser does not let the page copy. The link to exactly this:" }), field);
      message.hidden = false;
      field.select();
    },
    clearAlert() {
      message.hidden = true;
      message.textContent = "";
    },
    dispose() {
      search.dispose();
      choices.dispose();
    },
  };
}

function createActs(app) {
  const acts = [["png", "PNG", "Save the picture as PNG"], ["svg", "SVG", "Save the picture as SVG"]];
  if (!app.embedded) acts.push(["link", "link", "Copy a link to exactly this"]);
  const buttons = acts.map(([name, text, title]) => makeButton(title, text, () => app.act(name)));
  return makeElement("div", { class: "saves", role: "group", "aria-label": "Take along" }, ...buttons);
}

function createTabs(app) {
  const element = makeElement("div", { class: "tabs", role: "tablist", "aria-label": "Views" });
  const made = new Map(
    VIEWS.filter(([name]) => app.viewNames().includes(name)).map(([name, text]) => {
      const tab = makeElement("button", { type: "button", role: "tab", text, click: () => app.set({ view: name }) });
      element.append(tab);
      return [name, tab];
    }),
  );
  element.addEventListener("keydown", (event) => {
    const names = [...made.keys()];
    const place = names.indexOf(app.state.view);
    const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: names.length - 1 };
    if (!(event.key in steps)) return;
    const name = names[(steps[event.key] + names.length) % names.length];
    app.set({ view: name });
    made.get(name).focus();
    event.preventDefault();
  });
  return {
    element,
    draw() {
      for (const [name, tab] of made) {
        tab.setAttribute("aria-selected", String(name === app.state.view));
        tab.tabIndex = name === app.state.view ? 0 : -1;
      }
    },
  };
}

function createSampleBar(app) {
  const { samples } = app.manifest;
  const go = (sample) => app.set({ sample: Math.min(samples.length - 1, Math.max(0, sample)) });
  const typed = () => {
    if (Number.isInteger(Number(number.value)) && number.value) go(Number(number.value) - 1);
    number.value = String(app.state.sample + 1);
  };
  const number = makeElement("input", { type: "number", min: 1, max: samples.length, "aria-label": "Sample number", change: typed });
  const before = makeButton("Previous sample", "‹", () => go(app.state.sample - 1));
  const after = makeButton("Next sample", "›", () => go(app.state.sample + 1));
  const facts = makeElement("dl", { class: "facts" });
  const element = makeElement(
    "section",
    { class: "samples", "aria-label": "Sample" },
    makeElement("div", { class: "pager" }, "Sample", before, number, `of ${samples.length}`, after),
    facts,
  );
  let known = -1;
  return {
    element,
    draw() {
      const place = app.state.sample;
      if (known === place) return;
      known = place;
      number.value = String(place + 1);
      before.disabled = place === 0;
      after.disabled = place === samples.length - 1;
      const sample = samples[place];
      const { name, label, output, input } = sample;
      const told = { number: name === String(place) ? null : name, label, output, input };
      facts.replaceChildren(...Object.entries(told).filter(([, text]) => text !== null).map(sampleFact));
      element.hidden = samples.length === 1 && !facts.childElementCount;
    },
  };
}

function sampleFact([name, text]) {
  const said = makeElement("dd", { text, title: text, tabindex: name === "input" ? 0 : null }); // a long one is scrolled
  return makeElement("div", { class: `fact-${name}` }, makeElement("dt", { text: name }), said);
}

// Which site, which heads, which sentences, which way.
function createChoices(app) {
  const { manifest } = app;
  const number = (name) => (value) => app.set({ [name]: Number(value) });
  const role = makeSelect("Kind", (value) => app.set({ role: value, ...firstOfRole(app, value) }));
  const site = makeSelect("Site", number("site"));
  const panel = makeSelect("Head", (value) => app.set({ panel: AGGREGATES.includes(value) ? value : Number(value) }));
  const direction = makeSelect("Read", (value) => app.set({ direction: value }));
  const segments = makeSelect("Sentences", (value) => app.set({ segments: value }));
  const chooser = createHeadChooser(app);
  const roles = ["all", ...new Set(manifest.sites.map((each) => each.role))];
  const fields = [role.element, site.element, panel.element, chooser.element, direction.element, segments.element];
  const element = makeElement("div", { class: "choices", role: "group", "aria-label": "What is shown" }, ...fields);
  return {
    element,
    draw() {
      const { state } = app;
      role.element.hidden = roles.length < 3;
      role.fill(roles.map((name) => [name, ROLE_NAMES[name] ?? name]), state.role);
      site.fill(siteOptions(app), state.site);
      panel.fill(panelOptions(app), state.panel);
      panel.element.hidden = manifest.sites[state.site].panels.length < 2;
      site.element.hidden = panel.element.hidden && manifest.sites.length < 2;
      direction.element.hidden = !WITH_DIRECTION.includes(state.view);
      direction.fill(Object.entries(DIRECTION_NAMES), state.direction);
      const pairs = segmentPairs(app.tokens());
      segments.element.hidden = pairs.length < 3 || state.view === "overview";
      segments.fill(pairs, state.segments);
      chooser.draw();
    },
    dispose: () => chooser.dispose(),
  };
}

function firstOfRole(app, role) {
  const { manifest, state } = app;
  const fits = (site) => role === "all" || manifest.sites[site].role === role;
  if (fits(state.site)) return {};
  const first = manifest.sites.findIndex((_, site) => fits(site) && manifest.axes[state.sample][site]);
  return first < 0 ? {} : { site: first };
}

function siteOptions(app) {
  const { manifest, state } = app;
  const shown = shownSites(manifest, state);
  const sites = shown.includes(state.site) ? shown : [state.site, ...shown];
  if (manifest.runs.length < 2) return sites.map((site) => [site, manifest.sites[site].name]);
  return manifest.runs.map((group, run) => ({
    group,
    options: sites.filter((site) => manifest.sites[site].run === run).map((site) => [site, manifest.sites[site].name]),
  }));
}

function panelOptions(app) {
  const { manifest, state } = app;
  const { panels } = manifest.sites[state.site];
  const single = panels.map((name, panel) => [panel, name || "the only head"]);
  if (!canAggregate(manifest.sites[state.site])) return single;
  return [...single, ...AGGREGATES.map((kind) => [kind, app.panelName(state.site, kind)])];
}

function segmentPairs({ queries, keys }) {
  const letter = (place) => String.fromCharCode(65 + place);
  const pairs = segmentRanges(queries).flatMap((_, from) =>
    segmentRanges(keys).map((__, to) => [`${from}-${to}`, `${letter(from)} → ${letter(to)}`]),
  );
  return [["all", "all"], ...pairs];
}

// How it is drawn: scale, its end, colours, light or dark.
function createLooks(app) {
  const scale = makeSelect("Scale", (value) => app.set({ scale: value }));
  const range = makeSelect("Scale ends at", (value) => app.set({ range: value }));
  const ramp = makeSelect("Colours", (value) => app.set({ ramp: value }));
  const theme = makeSelect("Theme", (value) => app.set({ theme: value }));
  const element = makeElement("div", { class: "looks", role: "group", "aria-label": "How it is drawn" }, scale.element, range.element, ramp.element);
  return {
    element,
    theme,
    draw() {
      const { state } = app;
      scale.fill(SCALES.map((name) => [name, SCALE_NAMES[name]]), state.scale);
      range.fill(RANGES.map((name) => [name, RANGE_NAMES[name]]), state.range);
      ramp.fill(rampNames(app.manifest).map((name) => [name, name]), state.ramp);
      theme.fill([["auto", app.embedded ? "as the notebook" : "as the system"], ["light", "light"], ["dark", "dark"]], state.theme);
    },
  };
}
