// The current picture as a file: with what it shows above it, and its scale below.
import { valueAtShare } from "./colours.js";
import { formatNumber } from "./format.js";
import { TEXT_FAMILY, createCanvasPainter, createSvgPainter, shortenedText, textWidth } from "./painter.js";

const EXPORT_MARGIN = 16;
const EXPORT_RATIO = 2; // pixels of a PNG for each of the screen's
const MOST_PIXELS = 60e6;
const LONGEST_SIDE = 16000;
const SCALE_STEPS = 64;
const SCALE_WIDTH = 240;

/**
 * A picture with its title above and its colour scale below, so that it is understood wherever it is taken.
 *
 * @param {{width, height, draw}} picture
 * @param caption {title, lines: [texts], scale: {maximum, signed, text, kind, colourOf} or null}
 */
export function framedPicture(picture, { title, lines, scale }) {
  const width = Math.max(picture.width, 320) + 2 * EXPORT_MARGIN;
  const inside = width - 2 * EXPORT_MARGIN;
  const header = 24 + lines.length * 17 + 8;
  const words = scale ? wrappedText(scale.text, inside, { size: 11 }) : [];
  const footer = scale ? 42 + words.length * 15 : 0;
  return {
    width,
    height: EXPORT_MARGIN + header + picture.height + 12 + footer + EXPORT_MARGIN,
    draw(painter) {
      const { theme } = painter;
      painter.rect(0, 0, width, this.height, theme.page);
      painter.text(title, EXPORT_MARGIN, EXPORT_MARGIN + 8, { size: 15, weight: 600, maxWidth: inside });
      lines.forEach((line, number) => painter.text(line, EXPORT_MARGIN, EXPORT_MARGIN + 30 + number * 17, { size: 12, fill: theme.quiet, maxWidth: inside }));
      const bottom = EXPORT_MARGIN + header + picture.height + 12;
      if (scale) drawScale(painter, scale, words, EXPORT_MARGIN, bottom, Math.min(SCALE_WIDTH, inside));
      painter.moved(EXPORT_MARGIN, EXPORT_MARGIN + header, () => picture.draw(painter));
    },
  };
}

function drawScale(painter, { maximum, signed, kind, colourOf }, words, x, y, width) {
  const { theme } = painter;
  const valueAt = (share) => {
    if (!signed) return valueAtShare(share, maximum, kind);
    return Math.sign(share - 0.5) * valueAtShare(Math.abs(2 * share - 1), maximum, kind);
  };
  const pixels = new Uint8ClampedArray(SCALE_STEPS * 4);
  for (let step = 0; step < SCALE_STEPS; step += 1) pixels.set([...colourOf(valueAt(step / (SCALE_STEPS - 1)), maximum), 255], step * 4);
  painter.image(pixels, SCALE_STEPS, 1, x, y, width, 12);
  painter.frame(x - 0.5, y - 0.5, width + 1, 13, theme.line);
  for (const [share, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
    const value = valueAt(share);
    painter.text(formatNumber(value).replace("-", "−"), x + share * width, y + 22, { size: 11, fill: theme.quiet, align });
  }
  words.forEach((line, number) => painter.text(line, x, y + 40 + number * 15, { size: 11, fill: theme.quiet }));
}

function wrappedText(text, width, style) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (textWidth(longer, style) <= width) lines[lines.length - 1] = longer;
    else lines.push(shortenedText(word, width, style));
  }
  return lines.filter(Boolean);
}

/** A picture as the text of an SVG file. */
export function svgText(picture, theme) {
  const painter = createSvgPainter(picture.width, picture.height, theme);
  painter.element.setAttribute("font-family", TEXT_FAMILY);
  picture.draw(painter);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(painter.element)}\n`;
}

/** A picture as a PNG of twice the screen's size, or of what a canvas can hold. */
export function pngBlob(picture, theme) {
  const { width, height } = picture;
  const ratio = Math.min(EXPORT_RATIO, Math.sqrt(MOST_PIXELS / (width * height)), LONGEST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(canvas.width / width, canvas.height / height);
  picture.draw(createCanvasPainter(context, theme));
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`A picture of ${canvas.width} x ${canvas.height} pixels is more than this browser can save. Make the window smaller, or save it as SVG.`))), "image/png");
  });
}

/** A name that every file system takes. */
export function fileName(parts, ending) {
  const plain = parts.map((part) => part.normalize("NFC").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^-+|-+$/g, "")).filter(Boolean);
  return `${plain.join("_").slice(0, 120) || "attention"}.${ending}`;
}

export function saveBlob(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Saves what the current view shows. `kind`: "png" or "svg". Returns the file's name; null where there is no picture. */
export async function savePicture(app, kind, strip) {
  const drawn = app.view()?.picture();
  if (!drawn) return null;
  const { manifest, state } = app;
  const sample = manifest.samples[state.sample];
  const about = [manifest.samples.length > 1 ? `sample ${state.sample + 1}` : "", sample.label ?? ""].filter(Boolean).join(": ");
  const shown = state.view === "overview" ? "all heads" : (app.view().describe?.() ?? app.describe());
  const colourOf = strip.signed ? app.differenceColourOf : app.colourOf;
  const picture = framedPicture(drawn, { title: manifest.title, lines: [shown, about].filter(Boolean), scale: { ...strip, kind: state.scale, colourOf } });
  const name = fileName([manifest.title, state.view, state.view === "overview" ? "" : app.describe(), about], kind);
  const theme = app.theme();
  const blob = kind === "svg" ? new Blob([svgText(picture, theme)], { type: "image/svg+xml" }) : await pngBlob(picture, theme);
  saveBlob(blob, name);
  return name;
}
