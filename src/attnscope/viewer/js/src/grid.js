// Where the thumbnails of the overview lie: a row for each site, in several lines where it has many heads.
import { singular } from "./names.js";
import { canAggregate } from "./state.js";
import { textWidth } from "./painter.js";
/** @import { GridCell, GroupName, OverviewLayout, Panel, Parts, Shape, Site } from "./types.d.ts" */

const GAP = 6;
const BLOCK_GAP = 14;
const LABEL_WIDTHS = [110, 264];
export const SITE_TEXT = { size: 11.5 };
export const UNDER_TEXT = { size: 10 };
const NARROW = 620;
const SMALLEST = 22;
const LARGEST = 92;
const LARGEST_SHARE = 1 / 15; // of the width, on a large screen
const LOWEST = 52; // a side that is not made smaller only to show all rows at once
const FEW_HEADS = 128;
const HEADING = 18;

/** @typedef {Pick<Parts, "manifest" | "place" | "store" | "selection" | "names">} GridParts */

/**
 * @param {GridParts} parts
 * @param {number[]} sites
 * @param {number} width
 * @returns {OverviewLayout}
 */
export function overviewLayout(parts, sites, width) {
  const { manifest, place, selection, names } = parts;
  const { state } = selection;
  const beside = width >= NARROW;
  const siteNames = shortNames(parts, sites);
  const left = beside ? labelWidth(parts, sites, siteNames) : 0;
  /** @type {(site: number) => Panel[]} */
  const columnsOf = (site) => overviewColumns(manifest.sites[site], state.means);
  const aggregates = Math.max(0, ...sites.map((site) => columnsOf(site).filter((panel) => typeof panel !== "number").length));
  const plain = sites.filter((site) => manifest.sites[site].role !== "rollout"); // a rollout has as many panels as there are layers
  const most = Math.max(1, ...(plain.length ? plain : sites).map((site) => manifest.sites[site].panels.length));
  /** @type {(side: number) => number} */
  const asideWidth = (side) => (aggregates ? aggregates * (side + GAP) + BLOCK_GAP : 0);
  const lineHeight = place.embedded ? LARGEST : Math.max(LOWEST, (window.innerHeight - 225) / sites.length - GAP - 2);
  const side = Math.floor(Math.min(lineHeight, thumbnailSide(width - left, most, aggregates)));
  const perLine = Math.max(1, Math.floor((width - left - asideWidth(side) + GAP) / (side + GAP)));
  /** @type {Pick<OverviewLayout, "cells" | "groups" | "labels" | "sites">} */
  const found = { cells: [], groups: [], labels: [], sites };
  let y = HEADING + 4;
  const numbered = most > perLine ? 0 : most;
  if (beside || numbered) headLabels(found, { numbered, left, aside: asideWidth(side), side, names: ["max", "mean"].slice(0, aggregates) });
  for (const site of sites) {
    const shape = shapeOf(parts, site);
    const cell = cellSize(shape, side);
    if (!beside) y += HEADING;
    found.groups.push(siteLabel(parts, site, { name: (beside && siteNames.get(site)) || names.site(site), beside, y, side: cell.height, width, left }));
    const { lines } = placeSite(found, site, columnsOf(site), { x: left, y, side, cell, perLine, aggregates });
    y += lines * (cell.height + GAP) + (beside ? 2 : 4);
  }
  return { width, height: Math.max(40, y), ...found };
}

/**
 * Names of sites for a narrow place: without the parts of their paths that all of them begin or end with.
 *
 * @param {Pick<Parts, "manifest" | "names">} parts
 * @param {number[]} sites
 */
function shortNames({ manifest, names }, sites) {
  const whole = sites.map((site) => names.site(site));
  const fits = whole.every((name) => textWidth(name, SITE_TEXT) <= LABEL_WIDTHS[1] - 16);
  const paths = whole.map((name) => name.split("/"));
  const plain = sites.map((site, place) => /** @type {[number, string]} */ ([site, whole[place]]));
  if (fits) return new Map(plain);
  const parts = paths.filter((_, place) => manifest.sites[sites[place]].role !== "rollout");
  const shortest = Math.min(...parts.map((path) => path.length)) - 1;
  /** @type {(from: (count: number) => number) => number} */
  const shared = (from) => {
    let count = 0;
    while (count < shortest && parts.every((path) => path.at(from(count)) === parts[0].at(from(count)))) count += 1;
    return count;
  };
  const front = shared((count) => count);
  const back = Math.min(shared((count) => -1 - count), shortest - front);
  /** @type {(path: string[]) => string} */
  const cut = (path) => path.slice(front, path.length - back).join("/");
  return new Map(plain.map(([site, name], place) => /** @type {[number, string]} */ ([site, parts.includes(paths[place]) ? cut(paths[place]) : name])));
}

/**
 * @param {GridParts} parts
 * @param {number[]} sites
 * @param {Map<number, string>} siteNames
 */
function labelWidth(parts, sites, siteNames) {
  const widths = sites.flatMap((site) => [textWidth(siteNames.get(site) ?? "", SITE_TEXT), textWidth(siteFacts(parts, site), UNDER_TEXT)]);
  return Math.min(LABEL_WIDTHS[1], Math.max(LABEL_WIDTHS[0], ...widths.map((width) => Math.ceil(width) + 16)));
}

/**
 * @param {GridParts} parts
 * @param {number} site one that ran on the sample
 */
function shapeOf({ store, selection }, site) {
  return store.shape(selection.state.sample, site) ?? { rows: 0, columns: 0, panels: 0 };
}

/**
 * @param {GridParts} parts
 * @param {number} site
 */
function siteFacts(parts, site) {
  const { panels, layer, role } = parts.manifest.sites[site];
  const { rows, columns } = shapeOf(parts, site);
  const size = sizeOf(rows, columns, [parts.names.units("query", site), parts.names.units("key", site)]);
  if (role === "rollout") return `${panels.length} layers, ${size}`;
  return [layer, panels.length > 1 ? `${panels.length} heads` : "", size].filter(Boolean).join(", ");
}

/**
 * @param {number} rows
 * @param {number} columns
 * @param {[queries: string, keys: string]} units
 */
export function sizeOf(rows, columns, [queries, keys]) {
  /** @type {(count: number, units: string) => string} */
  const counted = (count, units) => `${count} ${count === 1 ? singular(units) : units}`;
  if (queries !== keys) return `${counted(rows, queries)} x ${counted(columns, keys)}`;
  return rows === columns ? counted(rows, keys) : `${rows} x ${counted(columns, keys)}`;
}

/**
 * The columns of a site: the maximum (and mean) of its heads, then the heads.
 *
 * @param {Site} site
 * @param {boolean} means
 * @returns {Panel[]}
 */
function overviewColumns(site, means) {
  const heads = site.panels.map((_, panel) => panel);
  if (!canAggregate(site)) return heads;
  return means ? ["max", "mean", ...heads] : ["max", ...heads];
}

/**
 * @param {number} width
 * @param {number} most
 * @param {number} aggregates
 */
function thumbnailSide(width, most, aggregates) {
  const largest = Math.min(180, Math.max(most <= 4 ? FEW_HEADS : LARGEST, width * LARGEST_SHARE));
  const fits = Math.floor((width - (aggregates ? BLOCK_GAP : 0) + GAP) / (most + aggregates)) - GAP;
  if (fits >= SMALLEST) return Math.min(largest, fits);
  return Math.min(largest, Math.max(SMALLEST, Math.min(44, Math.floor(width / 12))));
}

/**
 * The longer side of a map gets `side`, the other what it has, but so much that it can be seen.
 *
 * @param {Shape} shape
 * @param {number} side
 */
function cellSize(shape, side) {
  const ratio = shape.rows / shape.columns;
  const thin = Math.max(10, side / 4);
  return {
    width: ratio > 1 ? Math.max(thin, Math.round(side / ratio)) : side,
    height: ratio < 1 ? Math.max(thin, Math.round(side * ratio)) : side,
  };
}

/**
 * @param {Pick<OverviewLayout, "cells">} found
 * @param {number} site
 * @param {Panel[]} columns
 * @param {{ x: number, y: number, side: number, cell: { width: number, height: number }, perLine: number, aggregates: number }} box
 */
function placeSite(found, site, columns, { x, y, side, cell, perLine, aggregates }) {
  const heads = columns.filter((panel) => typeof panel === "number");
  const aside = columns.length - heads.length;
  const start = x + (aggregates ? aggregates * (side + GAP) + BLOCK_GAP : 0);
  columns.forEach((panel, column) => {
    const place = column - aside;
    const [across, line] = place < 0 ? [column, 0] : [place % perLine, Math.floor(place / perLine)];
    const from = place < 0 ? x : start;
    found.cells.push({ site, panel, column, x: from + across * (side + GAP), y: y + line * (cell.height + GAP), ...cell });
  });
  return { lines: Math.max(1, Math.ceil(heads.length / perLine)) };
}

/**
 * @param {GridParts} parts
 * @param {number} site
 * @param {{ name: string, beside: boolean, y: number, side: number, width: number, left: number }} box
 * @returns {GroupName}
 */
function siteLabel(parts, site, { name, beside, y, side, width, left }) {
  if (beside) {
    const twoLines = side > 26;
    const middle = y + Math.min(side / 2 - (twoLines ? 7 : 0), 40);
    return { site, name, x: left - 12, y: middle, width: left - 14, align: "right", under: twoLines ? siteFacts(parts, site) : "" };
  }
  return { site, name, x: 0, y: y - 9, width, align: "left", under: "" };
}

/**
 * @param {Pick<OverviewLayout, "labels">} found
 * @param {{ numbered: number, left: number, aside: number, side: number, names: string[] }} box
 */
function headLabels(found, { numbered, left, aside, side, names }) {
  /** @type {(place: number, from: number) => number} */
  const middle = (place, from) => from + place * (side + GAP) + side / 2;
  names.forEach((text, place) => found.labels.push({ text, x: middle(place, left), y: 9 }));
  for (let head = 0; head < numbered; head += 1) found.labels.push({ text: String(head), x: middle(head, left + aside), y: 9 });
}

/**
 * The cell in that direction: the nearest of the next line, whatever its site.
 *
 * @param {GridCell[]} cells
 * @param {GridCell} from
 * @param {string} key
 * @returns {GridCell}
 */
export function neighbourCell(cells, from, key) {
  const line = cells.filter((cell) => cell.site === from.site && cell.y === from.y);
  const place = line.indexOf(from);
  if (key === "Home") return line[0];
  if (key === "End") return line[line.length - 1];
  if (key === "ArrowLeft" || key === "ArrowRight") {
    return cells[cells.indexOf(from) + (key === "ArrowLeft" ? -1 : 1)] ?? from;
  }
  const down = key === "ArrowDown";
  const others = cells.filter((cell) => (down ? cell.y > from.y : cell.y < from.y));
  if (!others.length) return line[place];
  const next = (down ? Math.min : Math.max)(...others.map((cell) => cell.y));
  return others.filter((cell) => cell.y === next).reduce((best, cell) => (Math.abs(cell.x - from.x) < Math.abs(best.x - from.x) ? cell : best));
}
