// The current picture as a file: with what it shows above it, and its scale below.
import { valueAtShare } from "./colours.js";
import { formatNumber } from "./format.js";
import { TEXT_FAMILY, contextOf, createCanvasPainter, createSvgPainter, shortenedText, textWidth } from "./painter.js";
/** @import { ColourOf, Painter, Palette, Parts, Picture, Scale, ScaleStrip, TextStyle } from "./types.d.ts" */

const EXPORT_MARGIN = 16;
const EXPORT_RATIO = 2; // pixels of a PNG for each of the screen's
const MOST_PIXELS = 60e6;
const LONGEST_SIDE = 16000;
const SCALE_STEPS = 64;
const SCALE_WIDTH = 240;

/** @typedef {Pick<Parts, "manifest" | "selection" | "colours" | "names" | "views" | "legend">} PictureParts */
/** @typedef {ScaleStrip & { kind: Scale, colourOf: ColourOf }} CaptionScale */

/**
 * A picture with its title above, if it has one, and its colour scale below, so that it is understood wherever it is taken.
 *
 * @param {Picture} picture
 * @param {{ title: string, lines: string[], scale: CaptionScale | null }} caption
 * @returns {Picture}
 */
export function framedPicture(picture, { title, lines, scale }) {
  const width = Math.max(picture.width, 320) + 2 * EXPORT_MARGIN;
  const inside = width - 2 * EXPORT_MARGIN;
  const top = title ? 24 : 0;
  const header = top + lines.length * 17 + 8;
  const words = scale ? wrappedText(scale.text, inside, { size: 11 }) : [];
  const footer = scale ? 42 + words.length * 15 : 0;
  return {
    width,
    height: EXPORT_MARGIN + header + picture.height + 12 + footer + EXPORT_MARGIN,
    draw(painter) {
      const { theme } = painter;
      painter.rect(0, 0, width, this.height, theme.page);
      if (title) painter.text(title, EXPORT_MARGIN, EXPORT_MARGIN + 8, { size: 15, weight: 600, maxWidth: inside });
      lines.forEach((line, number) => painter.text(line, EXPORT_MARGIN, EXPORT_MARGIN + top + 6 + number * 17, { size: 12, fill: theme.quiet, maxWidth: inside }));
      const bottom = EXPORT_MARGIN + header + picture.height + 12;
      if (scale) drawScale(painter, scale, words, EXPORT_MARGIN, bottom, Math.min(SCALE_WIDTH, inside));
      painter.moved(EXPORT_MARGIN, EXPORT_MARGIN + header, () => picture.draw(painter));
    },
  };
}

/**
 * @param {Painter} painter
 * @param {CaptionScale} scale
 * @param {string[]} words
 * @param {number} x
 * @param {number} y
 * @param {number} width
 */
function drawScale(painter, { maximum, signed, kind, colourOf }, words, x, y, width) {
  const { theme } = painter;
  /** @type {(share: number) => number} */
  const valueAt = (share) => {
    if (!signed) return valueAtShare(share, maximum, kind);
    return Math.sign(share - 0.5) * valueAtShare(Math.abs(2 * share - 1), maximum, kind);
  };
  const pixels = new Uint8ClampedArray(SCALE_STEPS * 4);
  for (let step = 0; step < SCALE_STEPS; step += 1) pixels.set([...colourOf(valueAt(step / (SCALE_STEPS - 1)), maximum), 255], step * 4);
  painter.image(pixels, SCALE_STEPS, 1, x, y, width, 12);
  painter.frame(x - 0.5, y - 0.5, width + 1, 13, theme.line);
  const tick = (/** @type {number} */ share, /** @type {TextStyle["align"]} */ align) =>
    painter.text(formatNumber(valueAt(share)), x + share * width, y + 22, { size: 11, fill: theme.quiet, align });
  tick(0, "left");
  tick(0.5, "center");
  tick(1, "right");
  words.forEach((line, number) => painter.text(line, x, y + 40 + number * 15, { size: 11, fill: theme.quiet }));
}

/**
 * @param {string} text
 * @param {number} width
 * @param {TextStyle} style
 */
function wrappedText(text, width, style) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (textWidth(longer, style) <= width) lines[lines.length - 1] = longer;
    else lines.push(shortenedText(word, width, style));
  }
  return lines.filter(Boolean);
}

/**
 * A picture as an element.
 *
 * @param {Picture} picture
 * @param {Palette} palette
 */
export function svgElement(picture, palette) {
  const painter = createSvgPainter(picture.width, picture.height, palette);
  painter.element.setAttribute("font-family", TEXT_FAMILY);
  picture.draw(painter);
  return painter.element;
}

/**
 * A picture as the text of an SVG file.
 *
 * @param {Picture} picture
 * @param {Palette} palette
 */
export function svgText(picture, palette) {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(svgElement(picture, palette))}\n`;
}

/**
 * A picture as a PNG of twice the screen's size, or of what a canvas can hold.
 *
 * @param {Picture} picture
 * @param {Palette} palette
 * @param {number} [mostPixels]
 * @returns {Promise<Blob>}
 */
export function pngBlob(picture, palette, mostPixels = MOST_PIXELS) {
  const { width, height } = picture;
  const ratio = Math.min(EXPORT_RATIO, Math.sqrt(mostPixels / (width * height)), LONGEST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = contextOf(canvas);
  context.scale(canvas.width / width, canvas.height / height);
  picture.draw(createCanvasPainter(context, palette));
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`This browser cannot save a picture of ${canvas.width} x ${canvas.height} pixels. Make the window smaller, or save it as SVG.`))), "image/png");
  });
}

/**
 * A name that every file system takes.
 *
 * @param {string[]} parts
 * @param {string} ending
 */
export function fileName(parts, ending) {
  const plain = parts.map((part) => part.normalize("NFC").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^-+|-+$/g, "")).filter(Boolean);
  return `${plain.join("_").slice(0, 120) || "attention"}.${ending}`;
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function saveBlob(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * What the current view shows, with its title and scale, and the words of its name; null where there is no picture.
 *
 * @param {PictureParts} parts
 * @param {{ titled?: boolean }} [options] whether the picture has the title of the maps above it
 * @returns {{ picture: Picture, words: string[] } | null}
 */
export function shownPicture({ manifest, selection, colours, names, views, legend }, { titled = true } = {}) {
  const view = views.current();
  const drawn = view?.picture();
  if (!view || !drawn) return null;
  const { state } = selection;
  const strip = legend.strip();
  const sample = manifest.samples[state.sample];
  const { label } = sample.runs[manifest.sites[state.site].run];
  const about = [manifest.samples.length > 1 ? `sample ${state.sample + 1}` : "", label ?? ""].filter(Boolean).join(": ");
  const shown = state.view === "overview" ? "all heads" : (view.describe?.() ?? names.shown());
  /** @type {ColourOf} */
  const colourOf = (value, maximum) => (strip.signed ? colours.ofDifference(value, maximum) : colours.of(value, maximum));
  const path = ["overview", "compare"].includes(state.view) ? "" : names.shownPath();
  const picture = framedPicture(drawn, { title: titled ? manifest.title : "", lines: [shown, path, about].filter(Boolean), scale: { ...strip, kind: state.scale, colourOf } });
  return { picture, words: [manifest.title, state.view, state.view === "overview" ? "" : names.shown(), about] };
}

/**
 * Saves what the current view shows.
 *
 * @param {PictureParts} parts
 * @param {"png" | "svg"} kind
 * @returns {Promise<string | null>} the file's name; null where there is no picture
 */
export async function savePicture(parts, kind) {
  const shown = shownPicture(parts);
  if (!shown) return null;
  const { picture, words } = shown;
  const name = fileName(words, kind);
  const { palette } = parts.colours;
  const blob = kind === "svg" ? new Blob([svgText(picture, palette)], { type: "image/svg+xml" }) : await pngBlob(picture, palette);
  saveBlob(blob, name);
  return name;
}
