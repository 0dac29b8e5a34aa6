// One way to draw with two backs: a canvas for the screen and for PNG, elements of an SVG for a file that can be edited.
/** @import { Colour, Painter, Palette, Rgb, TextStyle } from "./types.d.ts" */

/** @typedef {[x1: number, y1: number, x2: number, y2: number]} Ends */

export const TEXT_FAMILY =
  'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif';
export const MONO_FAMILY =
  'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace';
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const BASELINE = 0.35; // of the size, from the middle of a line down to its baseline
const MOST_WIDTHS = 20000;
const LONGEST_MEASURED = 400;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]|[\ud802\ud803\ud83a\ud83b]/;
const NOT_IN_XML = /[^\t\n\r\x20-\ufffd]/g;

/** @param {Colour} colour */
export function cssColour(colour) {
  return typeof colour === "string" ? colour : `rgb(${colour[0]}, ${colour[1]}, ${colour[2]})`;
}

/**
 * Black or white, whichever is read better on a colour (WCAG 2: they are equal at a luminance of 0.179).
 *
 * @param {Rgb} colour
 */
export function inkOn(colour) {
  /** @type {(part: number) => number} */
  const linear = (part) => (part <= 10.3 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]) > 0.179 ? "#000" : "#fff";
}

/** @param {TextStyle} style */
function painterFont({ size = 12, mono = false, weight = 400 }) {
  return `${weight} ${size}px ${mono ? MONO_FAMILY : TEXT_FAMILY}`;
}

/**
 * Keeps the direction of a text to itself, so that what stands beside it stays in its place.
 *
 * @param {string} string
 */
function isolatedText(string) {
  return RIGHT_TO_LEFT.test(string) ? `\u2068${string}\u2069` : string;
}

/** @param {HTMLCanvasElement} canvas */
export function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives the page no canvas to draw on.");
  return context;
}

/** @type {Map<string, number>} */
const textWidths = new Map();
/** @type {CanvasRenderingContext2D | null} */
let measuringContext = null;

/**
 * @param {string} string
 * @param {TextStyle} [style]
 * @returns {number}
 */
export function textWidth(string, style = {}) {
  const font = painterFont(style);
  const name = `${font}\n${string}`;
  let width = textWidths.get(name);
  if (width === undefined) {
    measuringContext ??= contextOf(document.createElement("canvas"));
    measuringContext.font = font;
    width = measuringContext.measureText(string).width;
    if (textWidths.size >= MOST_WIDTHS) textWidths.clear();
    textWidths.set(name, width);
  }
  return width;
}

/**
 * What a reader takes for single characters: an emoji of five code points is not cut in two.
 *
 * @param {string} string
 */
function lettersOf(string) {
  if (!globalThis.Intl?.Segmenter) return Array.from(string);
  return Array.from(new Intl.Segmenter().segment(string), ({ segment }) => segment);
}

/** @type {Map<string, string>} */
const shortenedTexts = new Map();

/**
 * A text that fits into so many pixels. Its middle is left out, for words are told apart by their ends.
 *
 * @param {string} string
 * @param {number} maxWidth
 * @param {TextStyle} [style]
 * @returns {string}
 */
export function shortenedText(string, maxWidth, style = {}) {
  if (!(maxWidth > 0)) return "";
  if (string.length < LONGEST_MEASURED && textWidth(string, style) <= maxWidth) return string;
  const name = `${maxWidth}\n${painterFont(style)}\n${string}`;
  let shortened = shortenedTexts.get(name);
  if (shortened === undefined) {
    const letters = lettersOf(string);
    /** @type {(count: number) => string} */
    const cut = (count) => {
      const front = Math.ceil(count * 0.6);
      return `${letters.slice(0, front).join("")}…${letters.slice(letters.length - (count - front)).join("")}`;
    };
    let [fits, fitsNot] = [0, Math.min(letters.length, LONGEST_MEASURED)];
    while (fitsNot - fits > 1) {
      const middle = (fits + fitsNot) >> 1;
      if (textWidth(cut(middle), style) <= maxWidth) fits = middle;
      else fitsNot = middle;
    }
    shortened = cut(fits);
    if (shortenedTexts.size >= MOST_WIDTHS) shortenedTexts.clear();
    shortenedTexts.set(name, shortened);
  }
  return shortened;
}

/**
 * @param {Uint8ClampedArray<ArrayBuffer>} pixels
 * @param {number} width
 * @param {number} height
 */
function canvasOfPixels(pixels, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  contextOf(canvas).putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** How many of the screen's pixels one CSS pixel has. */
export function screenRatio() {
  return Math.min(3, globalThis.devicePixelRatio || 1);
}

/**
 * Sets a canvas to a size in CSS pixels and gives a painter of it, cleared and scaled to the screen's own pixels.
 * Setting a canvas to the size that it has already would still throw its memory away, which is slow.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @param {Palette} theme
 */
export function screenPainter(canvas, width, height, theme) {
  const [across, down] = [Math.max(1, width), Math.max(1, height)];
  const ratio = screenRatio();
  const pixels = [across, down].map((size) => Math.round(size * ratio));
  if (canvas.width !== pixels[0]) canvas.width = pixels[0];
  if (canvas.height !== pixels[1]) canvas.height = pixels[1];
  canvas.style.width = `${across}px`;
  canvas.style.height = `${down}px`;
  const context = contextOf(canvas);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(pixels[0] / across, 0, 0, pixels[1] / down, 0, 0);
  return createCanvasPainter(context, theme);
}

/**
 * A painter of a context that was scaled to CSS pixels.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Palette} theme
 * @returns {Painter}
 */
export function createCanvasPainter(context, theme) {
  context.lineCap = "butt";
  /** @type {(opacity: number, draw: () => void) => void} */
  const faded = (opacity, draw) => {
    context.globalAlpha = opacity;
    draw();
    context.globalAlpha = 1;
  };
  /** @type {(stroke: Colour, width: number, opacity: number, trace: () => void) => void} */
  const stroked = (stroke, width, opacity, trace) =>
    faded(opacity, () => {
      context.strokeStyle = cssColour(stroke);
      context.lineWidth = width;
      context.beginPath();
      trace();
      context.stroke();
    });
  /** @type {(x: number, y: number, width: number, height: number, draw: () => void) => void} */
  const inside = (x, y, width, height, draw) => {
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    draw();
    context.restore();
  };
  return {
    theme,
    rect(x, y, width, height, fill, opacity = 1) {
      context.fillStyle = cssColour(fill);
      faded(opacity, () => context.fillRect(x, y, width, height));
    },
    frame(x, y, width, height, stroke, thickness = 1, opacity = 1) {
      stroked(stroke, thickness, opacity, () => context.rect(x, y, width, height));
    },
    line(x1, y1, x2, y2, stroke, width = 1, opacity = 1) {
      stroked(stroke, width, opacity, () => {
        context.moveTo(x1, y1);
        context.lineTo(x2, y2);
      });
    },
    curve(x1, y1, x2, y2, stroke, width = 1, opacity = 1) {
      const middle = (x1 + x2) / 2;
      stroked(stroke, width, opacity, () => {
        context.moveTo(x1, y1);
        context.bezierCurveTo(middle, y1, middle, y2, x2, y2);
      });
    },
    text(string, x, y, style = {}) {
      const { size = 12, fill = theme.ink, align = "left", rotate = 0, maxWidth = 0, opacity = 1 } = style;
      const short = maxWidth ? shortenedText(string, maxWidth, style) : string;
      context.font = painterFont(style);
      context.fillStyle = cssColour(fill);
      context.textAlign = align;
      context.direction = "ltr";
      context.textBaseline = "alphabetic";
      if (rotate) {
        context.save();
        context.translate(x, y);
        context.rotate((rotate * Math.PI) / 180);
        faded(opacity, () => context.fillText(isolatedText(short), 0, size * BASELINE));
        context.restore();
      } else faded(opacity, () => context.fillText(isolatedText(short), x, y + size * BASELINE));
    },
    image(pixels, width, height, x, y, drawnWidth, drawnHeight, opacity = 1) {
      context.imageSmoothingEnabled = false;
      faded(opacity, () => context.drawImage(canvasOfPixels(pixels, width, height), x, y, drawnWidth, drawnHeight));
    },
    photo(source, x, y, width, height, opacity = 1) {
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      faded(opacity, () => context.drawImage(source, x, y, width, height));
    },
    hatch(x, y, width, height) {
      context.fillStyle = cssColour(theme.masked);
      context.fillRect(x, y, width, height);
      inside(x, y, width, height, () =>
        stroked(theme.hatch, 1, 1, () => {
          for (const [x1, y1, x2, y2] of hatchLines(x, y, width, height)) {
            context.moveTo(x1, y1);
            context.lineTo(x2, y2);
          }
        }),
      );
    },
    cross(x, y, width, height) {
      context.fillStyle = cssColour(theme.nan);
      context.fillRect(x, y, width, height);
      stroked("#fff", Math.max(0.75, Math.min(2, width / 8)), 1, () => {
        for (const [x1, y1, x2, y2] of crossLines(x, y, width, height)) {
          context.moveTo(x1, y1);
          context.lineTo(x2, y2);
        }
      });
    },
    clipped(x, y, width, height, draw) {
      inside(x, y, width, height, draw);
    },
    moved(x, y, draw) {
      context.save();
      context.translate(x, y);
      draw();
      context.restore();
    },
  };
}

/**
 * Diagonals at even distances of the page, so that neighbouring hatched cells run into each other.
 *
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @returns {Ends[]}
 */
function hatchLines(x, y, width, height) {
  const step = 5;
  /** @type {Ends[]} */
  const lines = [];
  const first = Math.floor((x - y - height) / step) * step;
  for (let offset = first; offset <= x + width - y; offset += step) lines.push([y + offset, y, y + height + offset, y + height]);
  return lines;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @returns {Ends[]}
 */
function crossLines(x, y, width, height) {
  const inset = Math.min(width, height) * 0.28;
  const [middleX, middleY, half] = [x + width / 2, y + height / 2, Math.min(width, height) / 2 - inset];
  return [
    [middleX - half, middleY - half, middleX + half, middleY + half],
    [middleX - half, middleY + half, middleX + half, middleY - half],
  ];
}

/**
 * What XML can hold: control characters and halves of surrogate pairs would make the whole file unreadable.
 *
 * @param {string} string
 */
function xmlText(string) {
  const whole = string.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return whole.replace(NOT_IN_XML, "\ufffd");
}

/** @param {number} number */
function svgNumber(number) {
  return String(Math.round(number * 100) / 100);
}

/**
 * A painter whose `element` is an SVG of that size; what it draws is what the canvas would show.
 *
 * @param {number} width
 * @param {number} height
 * @param {Palette} theme
 * @returns {Painter & { element: SVGElement }}
 */
export function createSvgPainter(width, height, theme) {
  /** @type {(name: string, attributes: Record<string, string | number | undefined>, parent: Element) => Element} */
  const make = (name, attributes, parent) => {
    const made = document.createElementNS(SVG_NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined) made.setAttribute(key, typeof value === "number" ? svgNumber(value) : value);
    }
    parent.append(made);
    return made;
  };
  const element = document.createElementNS(SVG_NAMESPACE, "svg");
  element.setAttribute("xmlns", SVG_NAMESPACE);
  element.setAttribute("viewBox", `0 0 ${svgNumber(width)} ${svgNumber(height)}`);
  element.setAttribute("width", svgNumber(width));
  element.setAttribute("height", svgNumber(height));
  const definitions = make("defs", {}, element);
  /** @type {Element} */
  let group = element;
  let clips = 0;
  /** @type {(opacity: number) => number | undefined} */
  const seen = (opacity) => (opacity === 1 ? undefined : opacity);
  /** @type {(canvas: HTMLCanvasElement, x: number, y: number, drawnWidth: number, drawnHeight: number, opacity: number, rendering?: string) => Element} */
  const bitmap = (canvas, x, y, drawnWidth, drawnHeight, opacity, rendering) =>
    make(
      "image",
      {
        x,
        y,
        width: drawnWidth,
        height: drawnHeight,
        preserveAspectRatio: "none",
        opacity: seen(opacity),
        href: canvas.toDataURL("image/png"),
        "image-rendering": rendering,
      },
      group,
    );
  /** @type {Painter & { element: SVGElement }} */
  const painter = {
    theme,
    element,
    rect(x, y, w, h, fill, opacity = 1) {
      make("rect", { x, y, width: w, height: h, fill: cssColour(fill), "fill-opacity": seen(opacity) }, group);
    },
    frame(x, y, w, h, stroke, thickness = 1, opacity = 1) {
      const style = { stroke: cssColour(stroke), "stroke-width": thickness, "stroke-opacity": seen(opacity) };
      make("rect", { x, y, width: w, height: h, fill: "none", ...style }, group);
    },
    line(x1, y1, x2, y2, stroke, thickness = 1, opacity = 1) {
      const style = { stroke: cssColour(stroke), "stroke-width": thickness, "stroke-opacity": seen(opacity) };
      make("line", { x1, y1, x2, y2, ...style }, group);
    },
    curve(x1, y1, x2, y2, stroke, thickness = 1, opacity = 1) {
      const middle = svgNumber((x1 + x2) / 2);
      const d = `M${svgNumber(x1)} ${svgNumber(y1)}C${middle} ${svgNumber(y1)} ${middle} ${svgNumber(y2)} ${svgNumber(x2)} ${svgNumber(y2)}`;
      const style = { stroke: cssColour(stroke), "stroke-width": thickness, "stroke-opacity": seen(opacity) };
      make("path", { d, fill: "none", ...style }, group);
    },
    text(string, x, y, style = {}) {
      const { size = 12, fill = theme.ink, align = "left", rotate = 0, maxWidth = 0, mono = false, weight, opacity = 1 } = style;
      const short = maxWidth ? shortenedText(string, maxWidth, style) : string;
      const made = make(
        "text",
        {
          x: rotate ? 0 : x,
          y: size * BASELINE + (rotate ? 0 : y),
          fill: cssColour(fill),
          "fill-opacity": seen(opacity),
          "font-family": mono ? MONO_FAMILY : TEXT_FAMILY,
          "font-size": size,
          "font-weight": weight === undefined ? undefined : String(weight),
          "text-anchor": { left: undefined, right: "end", center: "middle" }[align],
          "xml:space": "preserve",
          transform: rotate ? `translate(${svgNumber(x)} ${svgNumber(y)}) rotate(${svgNumber(rotate)})` : undefined,
        },
        group,
      );
      made.textContent = isolatedText(xmlText(short));
    },
    image(pixels, w, h, x, y, drawnWidth, drawnHeight, opacity = 1) {
      bitmap(canvasOfPixels(pixels, w, h), x, y, drawnWidth, drawnHeight, opacity, "pixelated");
    },
    photo(source, x, y, w, h, opacity = 1) {
      const canvas = document.createElement("canvas");
      canvas.width = source.width;
      canvas.height = source.height;
      contextOf(canvas).drawImage(source, 0, 0);
      bitmap(canvas, x, y, w, h, opacity);
    },
    hatch(x, y, w, h) {
      painter.rect(x, y, w, h, theme.masked);
      painter.clipped(x, y, w, h, () => {
        const d = hatchLines(x, y, w, h).map((ends) => `M${svgNumber(ends[0])} ${svgNumber(ends[1])}L${svgNumber(ends[2])} ${svgNumber(ends[3])}`);
        make("path", { d: d.join(""), fill: "none", stroke: cssColour(theme.hatch), "stroke-width": 1 }, group);
      });
    },
    cross(x, y, w, h) {
      painter.rect(x, y, w, h, theme.nan);
      for (const ends of crossLines(x, y, w, h)) painter.line(...ends, "#fff", Math.max(0.75, Math.min(2, w / 8)));
    },
    clipped(x, y, w, h, draw) {
      clips += 1;
      const name = `clip-${clips}`;
      make("rect", { x, y, width: w, height: h }, make("clipPath", { id: name }, definitions));
      const outer = group;
      group = make("g", { "clip-path": `url(#${name})` }, outer);
      draw();
      group = outer;
    },
    moved(x, y, draw) {
      const outer = group;
      group = make("g", { transform: `translate(${svgNumber(x)} ${svgNumber(y)})` }, outer);
      draw();
      group = outer;
    },
  };
  return painter;
}
