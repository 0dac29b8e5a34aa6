// What keys and buttons do besides changing what is looked at.
import { savePicture } from "./export.js";
/** @import { Address } from "./address.js" */
/** @import { Parts } from "./types.d.ts" */

export class Actions {
  /**
   * @param {Omit<Parts, "actions">} parts
   * @param {Address | null} address null in a page that is not ours
   */
  constructor(parts, address) {
    this.parts = parts;
    this.address = address;
  }

  /** @param {"png" | "svg"} kind */
  async save(kind) {
    const { messages } = this.parts;
    try {
      const name = await savePicture(this.parts, kind);
      messages.announce(name ? `Saved as ${name}.` : "There is no picture to save here.");
    } catch (error) {
      messages.fail(error);
    }
  }

  async copyLink() {
    const { messages, selection } = this.parts;
    if (!this.address) return;
    const link = this.address.link(selection.state);
    try {
      await navigator.clipboard.writeText(link);
      messages.announce("Link copied. It restores this exact view.");
    } catch {
      messages.showLink(link);
    }
  }
}
