// Keys for everything, and the dialog that lists them.
import { RANGES, SCALES, canAggregate, rampNames, shownSites } from "./state.js";
import { makeButton, makeElement } from "./elements.js";

const THEME_ORDER = ["auto", "light", "dark"];
const KEYS_SAID = [
  [["1", "…", "6"], "show a view: heads, matrix, lines, text, image, compare"],
  [["[", "]"], "head before, next head"],
  [["{", "}"], "site before, next site"],
  [[",", "."], "sample before, next sample"],
  [["m"], "one head, mean of heads, maximum of heads"],
  [["↑", "↓", "←", "→"], "move through heads, cells or tokens"],
  [["Home", "End"], "to the first, the last of a row"],
  [["Enter"], "open a head; pin what the cursor is at"],
  [["Esc"], "unpin; then show the whole map"],
  [["x"], "choose a head for means and lines (in Heads)"],
  [["+", "−", "0"], "larger, smaller, the whole map"],
  [["Shift", "arrows"], "move a zoomed map"],
  [["Shift", "drag"], "zoom into a box"],
  [["d"], "read from queries, or to keys"],
  [["s"], "scale: linear, square root, logarithmic"],
  [["r"], "where the scale ends"],
  [["c"], "colours"],
  [["t"], "theme: as around it, light, dark"],
  [["/"], "find a token"],
  [["n", "N"], "next match, match before"],
  [["e", "E"], "save the picture as PNG, as SVG"],
  [["l"], "copy a link to exactly this"],
  [["?"], "this list"],
];

export function createKeyboard(app) {
  let letters = true; // whether single letters act
  let dialog = null;

  const among = (list, now, step = 1) => list[(list.indexOf(now) + step + list.length) % list.length];
  const cycle = (name, list) => app.set({ [name]: among(list, app.state[name]) });

  function stepPanel(by) {
    const { panels } = app.manifest.sites[app.state.site];
    const now = typeof app.state.panel === "number" ? app.state.panel : by > 0 ? -1 : panels.length;
    app.set({ panel: (now + by + panels.length) % panels.length });
  }

  function cycleAggregate() {
    if (canAggregate(app.manifest.sites[app.state.site])) app.set({ panel: { mean: "max", max: 0 }[app.state.panel] ?? "mean" });
  }

  function stepSample(by) {
    app.set({ sample: Math.min(app.manifest.samples.length - 1, Math.max(0, app.state.sample + by)) });
  }

  const acts = {
    "[": () => stepPanel(-1),
    "]": () => stepPanel(1),
    "{": () => app.set({ site: among(shownSites(app.manifest, app.state), app.state.site, -1) }),
    "}": () => app.set({ site: among(shownSites(app.manifest, app.state), app.state.site) }),
    ",": () => stepSample(-1),
    ".": () => stepSample(1),
    m: cycleAggregate,
    d: () => cycle("direction", ["from", "to"]),
    s: () => cycle("scale", SCALES),
    r: () => cycle("range", RANGES),
    c: () => cycle("ramp", rampNames(app.manifest)),
    t: () => cycle("theme", THEME_ORDER),
    "/": () => app.act("search"),
    n: () => app.act("next"),
    N: () => app.act("before"),
    e: () => app.act("png"),
    E: () => app.act("svg"),
    l: () => app.act("link"),
    "?": () => help(),
  };

  function press(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return;
    const { target } = event;
    const own = app.root.contains(target);
    if (!own && target !== document.body && target !== document.documentElement) return;
    if (own && target.closest("input:not([type=checkbox]), select, textarea")) return;
    const onControl = own && target.closest("button, input, summary, dd");
    const inView = !onControl && app.view()?.key(event);
    if (inView || (letters && pressed(event))) event.preventDefault();
  }

  function pressed({ key }) {
    const act = Object.hasOwn(acts, key) ? acts[key] : null;
    const view = /^[1-6]$/.test(key) ? app.viewNames()[Number(key) - 1] : undefined;
    if (view) app.set({ view });
    else if (!act) return false;
    const before = app.describe();
    act?.();
    if (app.describe() !== before) app.announce(app.describe());
    else if (view) app.announce(`View: ${view}`);
    return true;
  }

  function help() {
    dialog ??= helpDialog();
    if (!dialog.isConnected) app.root.append(dialog);
    dialog.showModal();
  }

  function helpDialog() {
    const rows = KEYS_SAID.map(([keys, text]) =>
      makeElement("div", {}, makeElement("dt", {}, ...keys.map((key) => makeElement("kbd", { text: key }))), makeElement("dd", { text })),
    );
    const box = makeElement("input", { type: "checkbox", change: () => (letters = box.checked) });
    box.checked = true;
    const made = makeElement(
      "dialog",
      { "aria-label": "Keys", close: () => made.remove() },
      makeElement("h2", { text: "Keys" }),
      makeElement("p", { text: "Point at anything for its number; click to pin it. What each mark and colour means stands in the legend beside the picture." }),
      makeElement("dl", { class: "keys" }, ...rows),
      makeElement(
        "footer",
        {},
        makeElement("label", { class: "tick" }, box, makeElement("span", { text: "single letters and digits are keys" })),
        makeButton("Close", "Close", () => made.close()),
      ),
    );
    return made;
  }

  return { press, help, dispose: () => dialog?.remove() };
}
