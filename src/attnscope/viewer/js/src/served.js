// The page of `attnscope view`: blocks are asked of the server that gave the page, one by one.
import { mount } from "./app.js";

const servedElement = document.querySelector("[data-viewer]");
const servedManifest = JSON.parse(document.querySelector("script[data-manifest]").textContent);

async function servedAnswer(name) {
  try {
    return await fetch(`block/${name}`);
  } catch {
    throw new Error("the server of this page does not answer. Start it again (attnscope view), and reload the page.");
  }
}

const servedSource = {
  async block(name) {
    const answer = await servedAnswer(name);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return new Uint8Array(await answer.arrayBuffer());
  },
};

mount(servedElement, servedManifest, servedSource, { hash: true });
