// The offline page: blocks are the text of script elements, which may come after this one.
import { mount } from "./app.js";

const pageElement = document.querySelector("[data-viewer]");
const pageManifest = JSON.parse(document.querySelector("script[data-manifest]").textContent);
const pageLoaded = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve, { once: true });
  else resolve();
});

function pageBytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes;
}

const pageSource = {
  async block(name) {
    const find = () => document.querySelector(`script[data-block="${name}"]`);
    if (!find()) await pageLoaded;
    const found = find();
    if (!found) throw new Error(`This file holds no block ${name}: it was cut short.`);
    return pageBytes(found.textContent);
  },
};

mount(pageElement, pageManifest, pageSource, { hash: true });
