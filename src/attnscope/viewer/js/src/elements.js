// Elements without HTML strings: text is set as text, so that no token can become markup.
/** @import { Option, OptionGroup } from "./types.d.ts" */

/**
 * What an element is made with: `text` is its text, a function listens, and what is null or false is left out.
 *
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: never) => void)>} Attributes
 */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {(Node | string | null | undefined)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function makeElement(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, /** @type {EventListener} */ (value));
    else if (name === "text") made.textContent = String(value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * A control with a visible name.
 *
 * @param {string} name
 * @param {(value: string) => void} change
 */
export function makeSelect(name, change) {
  const select = makeElement("select", { "aria-label": name, change: () => change(select.value) });
  const element = makeElement("label", { class: "field" }, makeElement("span", { text: name }), select);
  let known = "";
  return {
    element,
    /**
     * @param {(Option | OptionGroup)[]} options
     * @param {string | number} value
     */
    fill(options, value) {
      const now = JSON.stringify(options);
      if (now !== known) select.replaceChildren(...options.map(makeOption));
      known = now;
      select.value = String(value);
      select.title = select.selectedOptions[0]?.title ?? "";
    },
  };
}

/**
 * @param {string | number} value
 * @param {string} name
 * @param {string} [title] the whole of a name that is shortened
 * @returns {Option}
 */
export function optionOf(value, name, title) {
  return title === undefined || title === name ? [value, name] : [value, name, title];
}

/**
 * @param {Option | OptionGroup} option
 * @returns {HTMLElement}
 */
function makeOption(option) {
  if (Array.isArray(option)) return makeElement("option", { value: option[0], text: option[1], title: option[2] });
  return makeElement("optgroup", { label: option.group }, ...option.options.map(makeOption));
}

/**
 * @param {string} name
 * @param {string} text
 * @param {() => void} click
 */
export function makeButton(name, text, click) {
  return makeElement("button", { type: "button", "aria-label": name, title: name, text, click });
}

let uniqueCount = 0;
const uniquePrefix = `attnscope-${Math.random().toString(36).slice(2, 10)}`;

/** An id for ARIA alone: never one that another copy of the viewer in the same page has too. */
export function uniqueId() {
  uniqueCount += 1;
  return `${uniquePrefix}-${uniqueCount}`;
}
