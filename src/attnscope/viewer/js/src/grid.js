// Where the thumbnails of the overview lie: a row for each site, in several lines where it has many heads.
import { canAggregate } from "./state.js";
import { textWidth } from "./painter.js";

const GAP = 6;
const BLOCK_GAP = 14;
const LABEL_WIDTHS = [110, 230];
export const SITE_TEXT = { size: 11.5 };
export const UNDER_TEXT = { size: 10 };
const NARROW = 620;
const SMALLEST = 22;
const LARGEST = 92;
const LARGEST_SHARE = 1 / 15; // of the width, on a large screen
const LOWEST = 52; // a side that is not made smaller only to show all rows at once
const FEW_HEADS = 128;
const HEADING = 18;

/**
 * @returns {{width, height, sites, cells, groups, labels, neighbour}} cells: {site, panel, column, x, y, width, height};
 *     groups: the names of sites; labels: numbers of heads
 */
export function overviewLayout(app, sites, width) {
  const { manifest, state } = app;
  const beside = width >= NARROW;
  const names = shortNames(app, sites);
  const left = beside ? labelWidth(app, sites, names) : 0;
  const columnsOf = (site) => overviewColumns(manifest.sites[site], state.means);
  const aggregates = Math.max(0, ...sites.map((site) => columnsOf(site).filter((panel) => typeof panel !== "number").length));
  const plain = sites.filter((site) => manifest.sites[site].role !== "rollout"); // a rollout has as many panels as there are layers
  const most = Math.max(1, ...(plain.length ? plain : sites).map((site) => manifest.sites[site].panels.length));
  const asideWidth = (side) => (aggregates ? aggregates * (side + GAP) + BLOCK_GAP : 0);
  const lineHeight = app.embedded ? LARGEST : Math.max(LOWEST, (window.innerHeight - 225) / sites.length - GAP - 2);
  const side = Math.floor(Math.min(lineHeight, thumbnailSide(width - left, most, aggregates)));
  const perLine = Math.max(1, Math.floor((width - left - asideWidth(side) + GAP) / (side + GAP)));
  const found = { cells: [], groups: [], labels: [], sites };
  let y = HEADING + 4;
  const numbered = most > perLine ? 0 : most;
  if (beside || numbered) headLabels(found, { numbered, left, aside: asideWidth(side), side, names: ["max", "mean"].slice(0, aggregates) });
  for (const site of sites) {
    const shape = app.store.shape(state.sample, site);
    const cell = cellSize(shape, side);
    if (!beside) y += HEADING;
    found.groups.push(siteLabel(app, site, { name: beside ? names.get(site) : app.siteName(site), beside, y, side: cell.height, width, left }));
    const { lines } = placeSite(found, site, columnsOf(site), { x: left, y, side, cell, perLine, aggregates });
    y += lines * (cell.height + GAP) + (beside ? 2 : 4);
  }
  return { width, height: Math.max(40, y), ...found, neighbour: (from, key) => neighbourCell(found.cells, from, key) };
}

// Names of sites for a narrow place: without the parts of their paths that all of them begin or end with.
function shortNames(app, sites) {
  const names = sites.map((site) => app.siteName(site));
  const fits = names.every((name) => textWidth(name, SITE_TEXT) <= LABEL_WIDTHS[1] - 16);
  const paths = names.map((name) => name.split("/"));
  const plain = sites.map((site, place) => [site, names[place]]);
  if (fits) return new Map(plain);
  const parts = paths.filter((_, place) => app.manifest.sites[sites[place]].role !== "rollout");
  const shortest = Math.min(...parts.map((path) => path.length)) - 1;
  const shared = (from) => {
    let count = 0;
    while (count < shortest && parts.every((path) => path.at(from(count)) === parts[0].at(from(count)))) count += 1;
    return count;
  };
  const front = shared((count) => count);
  const back = Math.min(shared((count) => -1 - count), shortest - front);
  const cut = (path) => path.slice(front, path.length - back).join("/");
  return new Map(plain.map(([site, name], place) => [site, parts.includes(paths[place]) ? cut(paths[place]) : name]));
}

function labelWidth(app, sites, names) {
  const widths = sites.flatMap((site) => [textWidth(names.get(site), SITE_TEXT), textWidth(siteFacts(app, site), UNDER_TEXT)]);
  return Math.min(LABEL_WIDTHS[1], Math.max(LABEL_WIDTHS[0], ...widths.map((width) => Math.ceil(width) + 16)));
}

function siteFacts(app, site) {
  const { panels, layer, role } = app.manifest.sites[site];
  const { rows, columns } = app.store.shape(app.state.sample, site);
  const size = rows === columns ? `${rows} ${rows === 1 ? "token" : "tokens"}` : `${rows} x ${columns}`;
  if (role === "rollout") return `${panels.length} layers, ${size}`;
  return [layer, panels.length > 1 ? `${panels.length} heads` : "", size].filter(Boolean).join(", ");
}

// The columns of a site: the maximum (and mean) of its heads, then the heads.
function overviewColumns(site, means) {
  const heads = site.panels.map((_, panel) => panel);
  if (!canAggregate(site)) return heads;
  return ["max", ...(means ? ["mean"] : []), ...heads];
}

function thumbnailSide(width, most, aggregates) {
  const largest = Math.min(180, Math.max(most <= 4 ? FEW_HEADS : LARGEST, width * LARGEST_SHARE));
  const fits = Math.floor((width - (aggregates ? BLOCK_GAP : 0) + GAP) / (most + aggregates)) - GAP;
  if (fits >= SMALLEST) return Math.min(largest, fits);
  return Math.min(largest, Math.max(SMALLEST, Math.min(44, Math.floor(width / 12))));
}

// The longer side of a map gets `side`, the other what it has, but so much that it can be seen.
function cellSize(shape, side) {
  const ratio = shape.rows / shape.columns;
  const thin = Math.max(10, side / 4);
  return {
    width: ratio > 1 ? Math.max(thin, Math.round(side / ratio)) : side,
    height: ratio < 1 ? Math.max(thin, Math.round(side * ratio)) : side,
  };
}

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

function siteLabel(app, site, { name, beside, y, side, width, left }) {
  if (beside) {
    const twoLines = side > 26;
    const middle = y + Math.min(side / 2 - (twoLines ? 7 : 0), 40);
    return { name, x: left - 12, y: middle, width: left - 14, align: "right", under: twoLines ? siteFacts(app, site) : "" };
  }
  return { name, x: 0, y: y - 9, width, align: "left", under: "" };
}

function headLabels(found, { numbered, left, aside, side, names }) {
  const middle = (place, from) => from + place * (side + GAP) + side / 2;
  names.forEach((text, place) => found.labels.push({ text, x: middle(place, left), y: 9 }));
  for (let head = 0; head < numbered; head += 1) found.labels.push({ text: String(head), x: middle(head, left + aside), y: 9 });
}

// The cell in that direction: the nearest of the next line, whatever its site.
function neighbourCell(cells, from, key) {
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
