// A text as a row of tokens that wraps: elements on the screen, and the same in a picture.
import { formatCount, shortened } from "./format.js";
import { makeButton, makeElement, uniqueId } from "./elements.js";
import { NO_TOKENS } from "./state.js";
import { cssColour, inkOn, screenPainter, shortenedText, textWidth } from "./painter.js";
/** @import { Painter, Palette, ParagraphListener, ShownTokens, Side, TokenLook, Tokens } from "./types.d.ts" */

const LONGEST_TOKEN = 80;
const STRIP_HEIGHT = 18;
const PICTURE_LINE = 27;
const PICTURE_STYLE = { size: 13, mono: true };

export class TokenParagraph {
  /**
   * @param {Side} side
   * @param {ParagraphListener} listener
   */
  constructor(side, listener) {
    this.side = side;
    this.listener = listener;
    /** @type {HTMLElement[]} */
    this.spans = [];
    /** @type {TokenLook[]} */
    this.looks = [];
    /** @type {Map<EventTarget, number>} */
    this.places = new Map();
    this.list = NO_TOKENS;
    this.start = 0;
    this.size = 1;
    this.units = "positions";
    /** @type {ShownTokens | null} */
    this.shown = null;
    /** @type {HTMLElement | undefined} */
    this.active = undefined;
    this.heading = makeElement("h2", {});
    this.range = makeElement("span", { class: "small" });
    this.before = makeButton("Previous page", "‹", () => listener.page(Math.max(0, this.start - this.size)));
    this.after = makeButton("Next page", "›", () => listener.page(this.start + this.size));
    this.pager = makeElement("div", { class: "pager" }, this.before, this.range, this.after);
    this.strip = makeElement("canvas", { class: "strip", "aria-hidden": "true" });
    this.tokens = makeElement("div", { class: "tokens", role: "listbox", tabindex: 0 });
    this.element = makeElement("section", {}, makeElement("div", { class: "view-bar" }, this.heading, this.pager), this.strip, this.tokens);
    this.listen();
  }

  listen() {
    const placeOf = (/** @type {Event} */ { target }) => (target && this.places.get(target)) ?? -1;
    this.tokens.addEventListener("pointerover", (event) => event.pointerType !== "touch" && this.listener.hover(placeOf(event)));
    this.tokens.addEventListener("pointerleave", () => this.listener.hover(-1));
    this.tokens.addEventListener("click", (event) => placeOf(event) >= 0 && this.listener.click(placeOf(event)));
    this.strip.addEventListener("click", (event) => {
      const place = Math.floor((event.offsetX / this.strip.clientWidth) * this.list.labels.length);
      this.listener.page(Math.max(0, Math.floor(place / this.size) * this.size));
    });
  }

  /**
   * @param {Tokens} list
   * @param {number} start
   * @param {number} size
   * @param {{ heading: string, units: string }} names what stands above it, and what it is made of
   */
  fill(list, start, size, { heading, units }) {
    const { labels } = list;
    const end = Math.min(labels.length, start + size);
    this.size = size;
    this.heading.textContent = heading;
    this.heading.hidden = !heading;
    this.units = units;
    const capital = units.charAt(0).toUpperCase() + units.slice(1);
    this.tokens.setAttribute("aria-label", heading ? `${capital}, ${heading}` : capital);
    this.pager.hidden = labels.length <= size;
    this.strip.hidden = labels.length <= size;
    this.range.textContent = `${formatCount(start)} to ${formatCount(Math.max(start, end - 1))} of ${formatCount(labels.length)}`;
    this.before.disabled = start === 0;
    this.after.disabled = end >= labels.length;
    if (this.list === list && this.start === start && this.spans.length === end - start) return;
    Object.assign(this, { list, start });
    this.places.clear();
    this.looks = [];
    this.spans = labels.slice(start, end).map((label, index) => {
      const span = makeElement("span", { class: "token", role: "option", text: shortened(label, LONGEST_TOKEN), title: label.length > LONGEST_TOKEN ? label : null });
      this.places.set(span, start + index);
      return span;
    });
    this.tokens.replaceChildren(...this.spans);
  }

  /** Without elements, for as long as nobody sees it. */
  empty() {
    this.fill(NO_TOKENS, 0, this.size, { heading: "", units: this.units });
  }

  /**
   * @param {ShownTokens} shown
   */
  paint(shown) {
    this.shown = shown;
    this.spans.forEach((span, index) => {
      const look = this.lookOf(this.start + index);
      const known = this.looks[index];
      if (known?.kind !== look.kind) span.className = `token ${look.kind}`;
      if (known?.fill !== look.fill) {
        span.style.backgroundColor = look.fill;
        span.style.color = look.ink;
      }
      this.looks[index] = look;
    });
    this.mark(shown);
    this.paintStrip(shown.theme);
  }

  /**
   * @param {number} place
   * @returns {TokenLook}
   */
  lookOf(place) {
    if (!this.shown) return { kind: "", fill: "", ink: "" };
    const { weights, masked, partial, within, coloured, signed, colourOf, source, pinned, found } = this.shown;
    const marks = [place === source ? (pinned ? "pinned" : "pointed") : "", found.has(place) ? "found" : "", this.list.invalid.has(place) ? "padding" : ""];
    /** @type {(kind: string, fill?: string, ink?: string) => TokenLook} */
    const look = (kind, fill = "", ink = "") => ({ kind: [kind, ...marks].filter(Boolean).join(" "), fill, ink });
    if (!coloured) return look("");
    if (place < within[0] || place >= within[1]) return look("outside");
    if (masked[place]) return look("masked");
    const weight = weights[place];
    if (!Number.isFinite(weight)) return look("odd");
    if (partial && weight === 0) return look("unknown");
    const colour = colourOf(weight);
    return look(signed && weight < 0 ? "less" : "", cssColour(colour), inkOn(colour));
  }

  /** @param {ShownTokens} shown */
  mark({ source, spoken }) {
    const active = this.spans[source - this.start];
    this.active?.removeAttribute("aria-selected");
    this.active?.removeAttribute("aria-label");
    this.active = active;
    if (!active) return this.tokens.removeAttribute("aria-activedescendant");
    if (!active.id) active.id = uniqueId();
    active.setAttribute("aria-selected", "true");
    active.setAttribute("aria-label", spoken(source));
    return this.tokens.setAttribute("aria-activedescendant", active.id);
  }

  /**
   * The whole text as a strip of colours: what is strong on other pages is seen too.
   *
   * @param {Palette} theme
   */
  paintStrip(theme) {
    if (this.strip.hidden || !this.shown) return;
    const width = this.element.clientWidth;
    const painter = screenPainter(this.strip, width, STRIP_HEIGHT, theme);
    const { labels } = this.list;
    const { weights, masked, within, coloured, colourOf, source, found } = this.shown;
    const pixels = new Uint8ClampedArray(labels.length * 4);
    const odd = [];
    for (let place = 0; place < labels.length; place += 1) {
      if (!coloured || masked[place] || place < within[0] || place >= within[1]) continue;
      if (Number.isFinite(weights[place])) pixels.set([...colourOf(weights[place]), 255], place * 4);
      else odd.push(place);
    }
    /** @type {(place: number) => number} */
    const at = (place) => (place / labels.length) * width;
    painter.rect(0, 3, width, STRIP_HEIGHT - 6, theme.masked);
    painter.image(pixels, labels.length, 1, 0, 3, width, STRIP_HEIGHT - 6);
    for (const place of odd) painter.rect(at(place), 3, at(1), STRIP_HEIGHT - 6, theme.nan);
    for (const place of found) painter.rect(at(place), STRIP_HEIGHT - 2, Math.max(1.5, at(1)), 2, theme.accent);
    if (source >= 0) painter.rect(at(source), 0, Math.max(2, at(1)), STRIP_HEIGHT, theme.accent);
    painter.frame(at(this.start) + 0.75, 0.75, at(this.spans.length) - 1.5, STRIP_HEIGHT - 1.5, theme.ink, 1.5);
  }

  /**
   * The token under (or above) another one on the next line of the screen.
   *
   * @param {number} place
   * @param {number} step
   */
  lineBelow(place, step) {
    const now = this.spans[place - this.start];
    if (!now) return this.start;
    const middle = now.offsetLeft + now.offsetWidth / 2;
    const beyond = this.spans.filter((span) => (step > 0 ? span.offsetTop > now.offsetTop + 4 : span.offsetTop < now.offsetTop - 4));
    if (!beyond.length) return place + step;
    const top = step > 0 ? beyond[0].offsetTop : beyond[beyond.length - 1].offsetTop;
    /** @type {(span: HTMLElement) => number} */
    const away = (span) => Math.abs(span.offsetLeft + span.offsetWidth / 2 - middle);
    const line = beyond.filter((span) => Math.abs(span.offsetTop - top) < 4);
    return this.places.get(line.reduce((best, span) => (away(span) < away(best) ? span : best))) ?? this.start;
  }
}

/**
 * @param {TokenParagraph} paragraph
 * @param {number} width
 */
function pictureLines(paragraph, width) {
  const words = paragraph.spans.map((_, index) => {
    const text = shortenedText(paragraph.list.labels[paragraph.start + index], width - 20, PICTURE_STYLE);
    return { text, index, width: textWidth(text, PICTURE_STYLE) + 10 };
  });
  /** @type {{ text: string, index: number, width: number, x: number }[][]} */
  const lines = [[]];
  let used = 0;
  for (const word of words) {
    if (used && used + word.width > width) {
      lines.push([]);
      used = 0;
    }
    lines[lines.length - 1].push({ ...word, x: used });
    used += word.width + 3;
  }
  return lines;
}

/**
 * @param {TokenParagraph} paragraph
 * @param {number} width
 */
export function paragraphHeight(paragraph, width) {
  return pictureLines(paragraph, width).length * PICTURE_LINE + 30;
}

/**
 * @param {Painter} painter
 * @param {TokenParagraph} paragraph
 * @param {number} width
 * @param {number} top
 */
export function paintParagraph(painter, paragraph, width, top) {
  const { theme } = painter;
  const { start, list, heading } = paragraph;
  const part = list.labels.length > paragraph.spans.length ? `, ${paragraph.range.textContent}` : "";
  painter.text(`${heading.textContent || paragraph.units}${part}`, 0, top + 10, { size: 11.5, fill: theme.quiet, weight: 500 });
  pictureLines(paragraph, width).forEach((words, line) => {
    const y = top + 24 + line * PICTURE_LINE;
    for (const { text, index, x, width: wide } of words) {
      const { kind, fill, ink } = paragraph.lookOf(start + index);
      if (fill) painter.rect(x, y, wide, PICTURE_LINE - 4, fill);
      if (kind.includes("masked")) painter.hatch(x, y, wide, PICTURE_LINE - 4);
      if (kind.includes("odd")) painter.rect(x, y, wide, PICTURE_LINE - 4, theme.nan);
      if (/pinned|pointed/.test(kind)) painter.frame(x + 1, y + 1, wide - 2, PICTURE_LINE - 6, theme.accent, 2);
      if (kind.includes("found")) painter.line(x, y + PICTURE_LINE - 3, x + wide, y + PICTURE_LINE - 3, theme.accent, 2);
      if (kind.includes("less")) for (let dash = x + 4; dash < x + wide - 6; dash += 6) painter.line(dash, y + PICTURE_LINE - 6, dash + 3, y + PICTURE_LINE - 6, ink, 1.5);
      const colour = ink || (kind.includes("odd") ? "#fff" : theme.ink);
      painter.text(text, x + 5, y + PICTURE_LINE / 2 - 2, { ...PICTURE_STYLE, fill: colour });
    }
  });
}
