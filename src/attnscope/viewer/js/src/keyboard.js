// Keys for everything, and the dialog that lists them.
import { RANGES, SCALES, canAggregate, rampNames, shownSites } from "./state.js";
import { makeButton, makeElement } from "./elements.js";
import { singular } from "./names.js";
/** @import { Parts, Search, State, Theme } from "./types.d.ts" */

/** @type {Theme[]} */
const THEME_ORDER = ["auto", "light", "dark"];
/** @type {(units: string, views: string[]) => [keys: string[], text: string][]} */
const keysSaid = (units, views) => [
  [["1", "…", String(views.length)], `show a view: ${views.join(", ").toLowerCase()}`],
  [["[", "]"], "previous head, next head"],
  [["{", "}"], "previous site, next site"],
  [[",", "."], "previous sample, next sample"],
  [["m"], "one head, mean of heads, maximum of heads"],
  [["↑", "↓", "←", "→"], `move through heads, cells or ${units}`],
  [["Home", "End"], "to the first or last in a row"],
  [["Enter"], "open a head; pin what the cursor is on"],
  [["Esc"], "unpin; then show the whole map"],
  [["x"], "choose a head for means and lines (in Heads)"],
  [["+", "−", "0"], "zoom in, zoom out, show the whole map"],
  [["Shift", "arrows"], "move a zoomed map"],
  [["Shift", "drag"], "zoom into a box"],
  [["d"], "read from queries or towards keys"],
  [["s"], "scale: linear, square root, logarithmic"],
  [["r"], "where the scale ends"],
  [["c"], "colours"],
  [["t"], "theme: automatic, light, dark"],
  [["/"], `find a ${singular(units)}`],
  [["n", "N"], "next match, previous match"],
  [["e", "E"], "save the picture as PNG, as SVG"],
  [["l"], "copy a link to this exact view"],
  [["?"], "this list"],
];

/**
 * @param {Pick<Parts, "manifest" | "place" | "selection" | "names" | "messages" | "views" | "actions">} parts
 * @param {Search} search
 */
export function createKeyboard({ manifest, place, selection, names, messages, views, actions }, search) {
  let letters = true; // whether single letters act
  /** @type {HTMLDialogElement | null} */
  let dialog = null;

  /**
   * @template Value
   * @param {Value[]} list
   * @param {Value} now
   * @param {number} [step]
   */
  const among = (list, now, step = 1) => list[(list.indexOf(now) + step + list.length) % list.length];
  /**
   * @template {keyof State} Name
   * @param {Name} name
   * @param {State[Name][]} list
   */
  const cycle = (name, list) => selection.set({ [name]: among(list, selection.state[name]) });

  /** @param {number} by */
  function stepPanel(by) {
    const { panels } = manifest.sites[selection.state.site];
    const now = typeof selection.state.panel === "number" ? selection.state.panel : by > 0 ? -1 : panels.length;
    selection.set({ panel: (now + by + panels.length) % panels.length });
  }

  function cycleAggregate() {
    if (canAggregate(manifest.sites[selection.state.site])) selection.set({ panel: { mean: "max", max: 0 }[selection.state.panel] ?? "mean" });
  }

  /** @param {number} by */
  function stepSample(by) {
    selection.set({ sample: Math.min(manifest.samples.length - 1, Math.max(0, selection.state.sample + by)) });
  }

  /** @type {Record<string, () => void>} */
  const acts = {
    "[": () => stepPanel(-1),
    "]": () => stepPanel(1),
    "{": () => selection.set({ site: among(shownSites(manifest, selection.state), selection.state.site, -1) }),
    "}": () => selection.set({ site: among(shownSites(manifest, selection.state), selection.state.site) }),
    ",": () => stepSample(-1),
    ".": () => stepSample(1),
    m: cycleAggregate,
    d: () => cycle("direction", ["from", "to"]),
    s: () => cycle("scale", SCALES),
    r: () => cycle("range", RANGES),
    c: () => cycle("ramp", rampNames(manifest)),
    t: () => cycle("theme", THEME_ORDER),
    "/": () => search.focus(),
    n: () => search.go(1),
    N: () => search.go(-1),
    e: () => actions.save("png"),
    E: () => actions.save("svg"),
    l: () => actions.copyLink(),
    "?": () => help(),
  };

  /** @param {KeyboardEvent} event */
  function press(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return;
    const target = /** @type {Element} */ (event.target);
    const own = place.root.contains(target);
    if (!own && target !== document.body && target !== document.documentElement) return;
    if (own && target.closest("input:not([type=checkbox]), select, textarea")) return;
    const onControl = own && target.closest("button, input, summary, dd");
    const inView = !onControl && views.current()?.key(event);
    if (inView || (letters && pressed(event))) event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  function pressed({ key }) {
    const act = Object.hasOwn(acts, key) ? acts[key] : null;
    const view = /^[1-6]$/.test(key) ? views.names()[Number(key) - 1] : undefined;
    if (view) selection.set({ view });
    else if (!act) return false;
    const before = names.shown();
    act?.();
    if (names.shown() !== before) messages.announce(names.shown());
    else if (view) messages.announce(`View: ${view}`);
    return true;
  }

  function help() {
    if (!dialog?.isConnected) dialog = helpDialog();
    place.root.append(dialog);
    dialog.showModal();
  }

  function helpDialog() {
    const rows = keysSaid(names.units(), views.names().map((name) => names.view(name))).map(([keys, text]) =>
      makeElement("div", {}, makeElement("dt", {}, ...keys.map((key) => makeElement("kbd", { text: key }))), makeElement("dd", { text })),
    );
    const box = makeElement("input", { type: "checkbox", change: () => (letters = box.checked) });
    box.checked = letters;
    const made = makeElement(
      "dialog",
      { "aria-label": "Keys", close: () => made.remove() },
      makeElement("h2", { text: "Keys" }),
      makeElement("p", { text: "Point at anything for its number; click to pin it. The legend beside the picture explains every mark and colour." }),
      makeElement("dl", { class: "keys" }, ...rows),
      makeElement(
        "footer",
        {},
        makeElement("label", { class: "tick" }, box, makeElement("span", { text: "use single letters and digits as shortcuts" })),
        makeButton("Close", "Close", () => made.close()),
      ),
    );
    return made;
  }

  return { press, help, dispose: () => dialog?.remove() };
}
