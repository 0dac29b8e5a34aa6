// What the head of a page holds for its script.
/** @import { Manifest } from "./types.d.ts" */

/**
 * The element that the viewer is shown in, and what it is to show.
 *
 * @returns {{ element: Element, manifest: Manifest }}
 */
export function readDocument() {
  const element = document.querySelector("[data-viewer]");
  const manifest = document.querySelector("script[data-manifest]");
  if (!element || !manifest) throw new Error("This page is incomplete: the file was cut short.");
  return { element, manifest: JSON.parse(manifest.textContent ?? "") };
}
