// Which heads a mean or maximum is over, and which ones the lines show: a small box with a tick for each.
import { makeButton, makeElement } from "./elements.js";

export function createHeadChooser(app) {
  const summary = makeElement("summary", { title: "The heads that means, maxima and lines are of" });
  const boxes = makeElement("div", { class: "boxes", role: "group", "aria-label": "Chosen heads" });
  const element = makeElement("details", { class: "chooser" }, summary, boxes);
  let made = "";

  const chosen = () => {
    const { panels } = app.manifest.sites[app.state.site];
    return app.state.heads.length ? app.state.heads : panels.map((_, panel) => panel);
  };
  const toggle = (panel) => {
    const now = new Set(chosen());
    if (!now.delete(panel)) now.add(panel);
    if (now.size) app.set({ heads: [...now] });
    else draw();
  };

  function fill() {
    const { panels } = app.manifest.sites[app.state.site];
    const wanted = panels.join("\n");
    if (made === wanted) return;
    made = wanted;
    boxes.replaceChildren(
      makeButton("Choose all heads", "all", () => app.set({ heads: [] })),
      ...panels.map((name, panel) => {
        const box = makeElement("input", { type: "checkbox", change: () => toggle(panel) });
        return makeElement("label", {}, box, makeElement("span", { text: name }));
      }),
    );
  }

  function draw() {
    const { panels } = app.manifest.sites[app.state.site];
    const { heads } = app.state;
    const used = ["overview", "lines"].includes(app.state.view) || typeof app.state.panel !== "number";
    element.hidden = panels.length < 2 || (!used && !element.open);
    summary.textContent = heads.length ? `${heads.length} of ${panels.length} chosen` : "all chosen";
    if (!element.open) return;
    fill();
    const now = new Set(chosen());
    boxes.querySelectorAll("input").forEach((box, panel) => {
      box.checked = now.has(panel);
    });
  }

  const close = (event) => {
    if (element.open && !element.contains(event.target)) element.open = false;
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
  app.root.addEventListener("pointerdown", close);
  return { element, draw, dispose: () => app.root.removeEventListener("pointerdown", close) };
}
