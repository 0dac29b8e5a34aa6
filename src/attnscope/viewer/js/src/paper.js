// What is printed: the picture of the view as a whole, in the colours of paper, in place of the controls.
import { shownPicture, svgElement } from "./export.js";
import { makeElement } from "./elements.js";
/** @import { Parts } from "./types.d.ts" */

const ON_PAPER = "on-paper"; // the style sheet hides what only a screen needs
const PAPER = "#ffffff";

export class Paper {
  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    this.figure = makeElement("figure", { class: "printed" });
  }

  /** Where the view has no picture, the page is printed as it is. The colours in use have to be the light ones. */
  lay() {
    const { colours, legend, place } = this.parts;
    const shown = shownPicture(this.parts, { titled: false });
    if (!shown) return;
    legend.draw();
    this.figure.replaceChildren(svgElement(shown.picture, { ...colours.palette, page: PAPER }));
    place.root.append(this.figure);
    place.root.classList.add(ON_PAPER);
  }

  remove() {
    this.figure.remove();
    this.parts.place.root.classList.remove(ON_PAPER);
  }
}
