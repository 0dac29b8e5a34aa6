// What the reader is told: in a box above the view, and aloud by assistive programs.
import { makeElement } from "./elements.js";

export class Messages {
  constructor() {
    this.box = makeElement("div", { class: "alert", role: "alert", hidden: true });
    this.live = makeElement("div", { class: "unseen", role: "status", "aria-live": "polite" });
  }

  /** @param {string} text */
  announce(text) {
    this.live.textContent = text;
  }

  /** @param {unknown} error */
  fail(error) {
    this.box.textContent = messageOf(error);
    this.box.hidden = false;
  }

  /**
   * A link that could not be copied, to be copied by hand.
   *
   * @param {string} link
   */
  showLink(link) {
    const field = makeElement("input", { readonly: true, value: link, "aria-label": "Link to this exact view" });
    this.box.replaceChildren(makeElement("p", { text: "This browser does not let the page copy to the clipboard. Here is the link to this exact view:" }), field);
    this.box.hidden = false;
    field.select();
  }

  clear() {
    this.box.hidden = true;
    this.box.textContent = "";
  }
}

/**
 * What an error says; anything can be thrown.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
