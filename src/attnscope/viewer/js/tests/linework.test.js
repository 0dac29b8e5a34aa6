import "./measuring.js";
import { describe, expect, test } from "vitest";
import { decodedMap } from "../src/attention.js";
import { LINES_HEADER, LINES_MARGIN, LinesLayout, edgesOf, linesToDraw, paintLines } from "../src/linework.js";
import { mapBlock } from "./blocks.js";
import { plainMap } from "./maps.js";
import { notingPainter } from "./measuring.js";

const labels = (count) => Array.from({ length: count }, (_, place) => `w${place}`);

function layoutOf({ queries = 7, keys = 11, rowHeight = 20, room = 100, share = 0 } = {}) {
  const tokens = { queries: { labels: labels(queries), invalid: new Set() }, keys: { labels: labels(keys), invalid: new Set([10]) } };
  return new LinesLayout({ width: 600, height: room + LINES_MARGIN, rowHeight, share, tokens });
}

function contentOf(map, more = {}) {
  const heads = [{ map, colour: "#123456", colourOf: () => [1, 2, 3], maximum: 1 }];
  const within = { rows: [0, map.rows], columns: [0, map.columns] };
  return { heads, scale: "linear", within, found: { query: new Set(), key: new Set() }, ...more };
}

const inView = (map) => ({ rows: [0, map.rows], columns: [0, map.columns] });

describe("the layout", () => {
  test("places a token where a click on it finds it again", () => {
    const layout = layoutOf({ share: 0.37 });
    for (const [side, count] of [["query", 7], ["key", 11]]) {
      for (let place = 0; place < count; place += 1) {
        const y = layout.yOf(side, place);
        if (y >= LINES_HEADER) expect(layout.placeAt(side, y)).toBe(place);
      }
    }
  });

  test("shows the first tokens when it is not scrolled, and the last when it is scrolled to the end, both sides in step", () => {
    expect([layoutOf().visible("query"), layoutOf().visible("key")]).toEqual([[0, 6], [0, 6]]);
    const end = layoutOf({ share: 1 });
    expect([end.visible("query"), end.visible("key")]).toEqual([[1, 7], [5, 11]]);
  });

  test("has no token above the first, below the last, or in the header", () => {
    const layout = layoutOf({ queries: 2 });
    expect([layout.placeAt("query", LINES_HEADER - 1), layout.placeAt("query", LINES_HEADER + 60)]).toEqual([-1, -1]);
  });
});

describe("lines of the whole map", () => {
  const map = plainMap(2, 3, [0.5, 0, 0.25, 0.125, 0.75, 0]);

  test("come from the weakest to the strongest", () => {
    const { lines, counts, picked } = linesToDraw(contentOf(map), null, inView(map));
    expect(lines.map(({ row, column, value }) => [row, column, value])).toEqual([[1, 0, 0.125], [0, 2, 0.25], [0, 0, 0.5], [1, 1, 0.75]]);
    expect(lines.map(({ share }) => share)).toEqual([0.125, 0.25, 0.5, 0.75]);
    expect([counts, picked]).toEqual([{ drawn: 4, total: 4, least: 0.125, largestLeft: 0 }, null]);
  });

  test("lie between the tokens that are in view and in the chosen sentences", () => {
    const content = contentOf(map, { within: { rows: [0, 2], columns: [0, 2] } });
    const { lines } = linesToDraw(content, null, { rows: [0, 1], columns: [0, 3] });
    expect(lines.map(({ row, column }) => [row, column])).toEqual([[0, 0]]);
  });

  test("are 400 at most, the strongest", () => {
    const large = plainMap(23, 29, Array.from({ length: 667 }, (_, place) => (place + 1) / 667));
    const { lines, counts } = linesToDraw(contentOf(large), null, inView(large));
    expect([lines.length, lines[0].value, counts.total]).toEqual([400, Math.fround(268 / 667), 667]);
  });
});

describe("lines of a token", () => {
  const map = plainMap(2, 3, [0.5, 0, 0.25, 0.125, 0.75, 0], [1, 254, 1, 1, 1, 0]);

  test("that gives go along its row", () => {
    const { lines, notes, counts } = linesToDraw(contentOf(map), { side: "query", place: 0 }, inView(map));
    expect(lines.map(({ row, column, value }) => [row, column, value])).toEqual([[0, 2, 0.25], [0, 0, 0.5]]);
    expect([...notes.key].map(([place, { rank, text }]) => [place, rank, text])).toEqual([[0, 0, "0.500"], [2, 1, "0.250"]]);
    expect(notes.query.get(0)).toEqual({ picked: true, rank: -1, text: "" });
    expect(counts).toEqual({ drawn: 2, total: 2, least: 0, largestLeft: 0 });
  });

  test("that gets go along its column", () => {
    const { lines } = linesToDraw(contentOf(map), { side: "key", place: 0 }, inView(map));
    expect(lines.map(({ row, column, value }) => [row, column, value])).toEqual([[1, 0, 0.125], [0, 0, 0.5]]);
  });

  test("are 64 at most, and the largest of the others is told", () => {
    const wide = plainMap(1, 71, Array.from({ length: 71 }, (_, place) => (place + 1) / 128));
    const { lines, counts } = linesToDraw(contentOf(wide), { side: "query", place: 0 }, inView(wide));
    expect([lines.length, counts]).toEqual([64, { drawn: 64, total: 71, least: 0, largestLeft: 7 / 128 }]);
  });

  test("stand in the middle of its blocks where single weights are not known", () => {
    const blocks = decodedMap(mapBlock({ rows: 4, columns: 7, pool: [2, 3], received: new Array(7).fill(0), scale: [0.5, 0.5], levels: [20, 20], codes: [20, 10, 0, 0, 0, 0] }));
    blocks.known = "none";
    const { lines } = linesToDraw(contentOf(blocks), { side: "query", place: 1 }, inView(blocks));
    expect(lines.map(({ column, value }) => [column, value])).toEqual([[4, 0.125], [1, 0.5]]);
  });
});

test("strong weights of tokens that are scrolled away are written at the edge, at most three", () => {
  const map = plainMap(1, 11, Array.from({ length: 11 }, (_, place) => (place + 1) / 16));
  const layout = layoutOf({ queries: 1 });
  const { chips, more } = edgesOf(layout, linesToDraw(contentOf(map), { side: "query", place: 0 }, inView(map)), "key");
  expect([...chips].map(([place, { arrow }]) => [place, arrow])).toEqual([[10, "↓"], [9, "↓"], [8, "↓"]]);
  expect(more.map(({ text }) => text)).toEqual(["↓ 3 more"]); // the last 6 of 11 keys lie below the edge
});

test("one line is painted for each weight in view, the strongest last and thickest", () => {
  const map = plainMap(2, 3, [0.5, 0, 0.25, 0.125, 0.75, 0]);
  const tokens = { queries: { labels: labels(2), invalid: new Set() }, keys: { labels: labels(3), invalid: new Set() } };
  const layout = new LinesLayout({ width: 600, height: 200, rowHeight: 20, share: 0, tokens });
  const painter = notingPainter({ page: "#fff", ink: "#000", quiet: "#888", line: "#eee", accent: "#00f" });
  paintLines(painter, layout, linesToDraw(contentOf(map), null, inView(map)));
  const curves = painter.calls.filter(([name]) => name === "curve");
  expect(curves.map(([, , y1, , y2]) => [y1, y2])).toEqual([[1, 0], [0, 2], [0, 0], [1, 1]].map(([row, column]) => [layout.yOf("query", row), layout.yOf("key", column)]));
  const widths = curves.map(([, , , , , , width]) => width);
  expect(widths).toEqual([...widths].sort((one, other) => one - other));
  expect(painter.calls.filter(([name]) => name === "text").map(([, text]) => text)).toEqual(["w0", "w1", "w0", "w1", "w2", "2 queries", "3 keys"]);
});
