// The page of `attnscope view`: blocks are asked of the server that gave the page, one by one.
import { mount } from "./app.js";
import { readDocument } from "./document.js";
/** @import { BlockSource } from "./types.d.ts" */

/** @param {string} name */
async function answerOf(name) {
  try {
    return await fetch(`block/${name}`);
  } catch {
    throw new Error("the server of this page does not answer. Start it again (attnscope view), and reload the page.");
  }
}

/** @type {BlockSource} */
const source = {
  async block(name) {
    const answer = await answerOf(name);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return new Uint8Array(await answer.arrayBuffer());
  },
};

const { element, manifest } = readDocument();
mount(element, manifest, source, { hash: true });
