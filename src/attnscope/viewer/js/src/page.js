// The offline page: blocks are the text of script elements, which may come after this one.
import { mount } from "./app.js";
import { bytesOfBase64 } from "./data.js";
import { readDocument } from "./document.js";
/** @import { BlockSource } from "./types.d.ts" */

/** @type {Promise<void>} */
const loaded = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => resolve(), { once: true });
  else resolve();
});

/** @type {BlockSource} */
const source = {
  async block(name) {
    const find = () => document.querySelector(`script[data-block="${name}"]`);
    if (!find()) await loaded;
    const found = find();
    if (!found) throw new Error(`This file has no block ${name}: it is incomplete.`);
    return bytesOfBase64(found.textContent ?? "");
  },
};

const { element, manifest } = readDocument();
mount(element, manifest, source, { hash: true });
