// The one cell of a canvas that assistive programs see: a grid with a row with a cell, moved to wherever the cursor is.
import { makeElement, uniqueId } from "./elements.js";
/** @import { Box } from "./types.d.ts" */

/** @param {string} name */
export function createGridCursor(name) {
  const cell = makeElement("div", { role: "gridcell", class: "cursor", id: uniqueId() });
  const row = makeElement("div", { role: "row" }, cell);
  const element = makeElement("div", { class: "plane", role: "grid", tabindex: 0, "aria-label": name, "aria-readonly": "true" }, row);
  row.hidden = true; // a row without a cell that is seen would be a fault
  return {
    element,
    /**
     * @param {number} rows
     * @param {number} columns
     */
    size(rows, columns) {
      element.setAttribute("aria-rowcount", String(rows));
      element.setAttribute("aria-colcount", String(columns));
    },
    /** @param {string} text */
    name(text) {
      element.setAttribute("aria-label", text);
    },
    /**
     * Numbers from 0; `box` in pixels of the element.
     *
     * @param {number} rowNumber
     * @param {number} columnNumber
     * @param {string} text
     * @param {Box} box
     */
    place(rowNumber, columnNumber, text, box) {
      row.setAttribute("aria-rowindex", String(rowNumber + 1));
      cell.setAttribute("aria-colindex", String(columnNumber + 1));
      cell.setAttribute("aria-label", text);
      element.setAttribute("aria-activedescendant", cell.id);
      row.hidden = false;
      Object.assign(cell.style, { left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`, height: `${box.height}px` });
    },
    /** @param {boolean} selected */
    select(selected) {
      cell.setAttribute("aria-selected", String(selected));
    },
    reveal() {
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
    hide() {
      row.hidden = true;
      element.removeAttribute("aria-activedescendant");
    },
  };
}
