// Whether the viewer is dark: as the reader chose, else as what is around it.
/** @import { Theme } from "./types.d.ts" */

/** What a notebook says of itself changes in these attributes of the page and its body. */
export const HOST_ATTRIBUTES = ["class", "theme", "data-jp-theme-light"];

/** The system's own choice. */
export function systemDarkness() {
  return matchMedia("(prefers-color-scheme: dark)");
}

/**
 * @param {Theme} theme
 * @param {boolean} embedded
 */
export function isDark(theme, embedded) {
  if (theme !== "auto") return theme === "dark";
  return (embedded ? hostDarkness() : null) ?? systemDarkness().matches;
}

/** What the notebook around the viewer is; null where it does not say. */
function hostDarkness() {
  const { body, documentElement } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (documentElement.hasAttribute("theme")) return documentElement.getAttribute("theme") === "dark";
  if (/\bvscode-(dark|high-contrast)\b/.test(body.className)) return true;
  return /\bvscode-light\b/.test(body.className) ? false : null;
}
