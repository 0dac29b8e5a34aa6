// Which heads a mean or maximum is over, and which ones the lines show: a small box with a tick for each.
import { makeButton, makeElement } from "./elements.js";
/** @import { Parts } from "./types.d.ts" */

/** @param {Pick<Parts, "manifest" | "place" | "selection">} parts */
export function createHeadChooser({ manifest, place, selection }) {
  const summary = makeElement("summary", { title: "The heads used for means, maxima and lines" });
  const boxes = makeElement("div", { class: "boxes", role: "group", "aria-label": "Chosen heads" });
  const element = makeElement("details", { class: "chooser" }, summary, boxes);
  let made = "";

  const chosen = () => {
    const { panels } = manifest.sites[selection.state.site];
    return selection.state.heads.length ? selection.state.heads : panels.map((_, panel) => panel);
  };
  /** @type {(panel: number) => void} */
  const toggle = (panel) => {
    const now = new Set(chosen());
    if (!now.delete(panel)) now.add(panel);
    if (now.size) selection.set({ heads: [...now] });
    else draw();
  };

  function fill() {
    const { panels } = manifest.sites[selection.state.site];
    const wanted = panels.join("\n");
    if (made === wanted) return;
    made = wanted;
    boxes.replaceChildren(
      makeButton("Choose all heads", "all", () => selection.set({ heads: [] })),
      ...panels.map((name, panel) => {
        const box = makeElement("input", { type: "checkbox", change: () => toggle(panel) });
        return makeElement("label", {}, box, makeElement("span", { text: name }));
      }),
    );
  }

  function draw() {
    const { panels } = manifest.sites[selection.state.site];
    const { heads } = selection.state;
    const used = ["overview", "lines"].includes(selection.state.view) || typeof selection.state.panel !== "number";
    element.hidden = panels.length < 2 || (!used && !element.open);
    summary.textContent = heads.length ? `${heads.length} of ${panels.length} chosen` : "all chosen";
    if (!element.open) return;
    fill();
    const now = new Set(chosen());
    boxes.querySelectorAll("input").forEach((box, panel) => {
      box.checked = now.has(panel);
    });
  }

  /** @type {(event: Event) => void} */
  const close = (event) => {
    if (element.open && !element.contains(/** @type {Node} */ (event.target))) element.open = false;
  };
  element.addEventListener("toggle", () => {
    if (element.open) draw();
    else {
      boxes.replaceChildren();
      made = "";
    }
  });
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !element.open) return;
    element.open = false;
    summary.focus();
    event.stopPropagation();
  });
  place.root.addEventListener("pointerdown", close);
  return { element, draw, dispose: () => place.root.removeEventListener("pointerdown", close) };
}
