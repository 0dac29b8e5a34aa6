// Elements without HTML strings: text is set as text, so that no token can become markup.

export function makeElement(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A control with a visible name. `options`: [[value, name], ...] or [{group, options}, ...].
export function makeSelect(name, change) {
  const select = makeElement("select", { "aria-label": name, change: () => change(select.value) });
  const element = makeElement("label", { class: "field" }, makeElement("span", { text: name }), select);
  let known = "";
  return {
    element,
    select,
    fill(options, value) {
      const now = JSON.stringify(options);
      if (now !== known) select.replaceChildren(...options.map(makeOption));
      known = now;
      select.value = String(value);
    },
  };
}

function makeOption(option) {
  if (Array.isArray(option)) return makeElement("option", { value: option[0], text: option[1] });
  return makeElement("optgroup", { label: option.group }, ...option.options.map(makeOption));
}

export function makeButton(name, text, click, attributes = {}) {
  return makeElement("button", { type: "button", "aria-label": name, title: name, text, click, ...attributes });
}

let uniqueCount = 0;
const uniquePrefix = `attnscope-${Math.random().toString(36).slice(2, 10)}`;

// An id for ARIA alone: never one that another copy of the viewer in the same page has too.
export function uniqueId() {
  uniqueCount += 1;
  return `${uniquePrefix}-${uniqueCount}`;
}
