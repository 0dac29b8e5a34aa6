import "./measuring.js";
import { expect, test } from "vitest";
import { fileName, framedPicture } from "../src/export.js";
import { notingPainter } from "./measuring.js";

test("a file has a name that every file system takes", () => {
  expect(fileName(["My model: v2/test", "matrix", "", "head 3"], "png")).toBe("My-model-v2-test_matrix_head-3.png");
  expect(fileName(["Aufmerksamkeit für Ärzte"], "svg")).toBe("Aufmerksamkeit-für-Ärzte.svg");
  expect(fileName(["///", ""], "png")).toBe("attention.png");
  expect(fileName(["x".repeat(300)], "png")).toHaveLength(124);
});

test("a saved picture says what it shows, and how its colours are to be read", () => {
  const painter = notingPainter({ page: "#fff", ink: "#000", quiet: "#888", line: "#eee" });
  const scale = { maximum: 0.5, signed: false, text: "weight, linear scale; ends at 0.5", kind: "linear", colourOf: (value) => [value * 100, 0, 0] };
  const drawn = [];
  framedPicture({ width: 400, height: 100, draw: () => drawn.push(true) }, { title: "Title", lines: ["site, head 0", "sample 1"], scale }).draw(painter);
  const texts = painter.calls.filter(([name]) => name === "text").map(([, text]) => text);
  expect(texts).toEqual(["Title", "site, head 0", "sample 1", "0", "0.250", "0.500", "weight, linear scale; ends at 0.5"]);
  const [, pixels, width] = painter.calls.find(([name]) => name === "image");
  expect([pixels[0], pixels[(width - 1) * 4]]).toEqual([0, 50]);
  expect(drawn).toEqual([true]);
});

test("where the page has the title, a picture is as much lower without it", () => {
  const painter = notingPainter({ page: "#fff", ink: "#000", quiet: "#888", line: "#eee" });
  const picture = { width: 400, height: 100, draw: () => {} };
  const titled = framedPicture(picture, { title: "Title", lines: ["site"], scale: null });
  const untitled = framedPicture(picture, { title: "", lines: ["site"], scale: null });
  expect(titled.height - untitled.height).toBe(24);
  untitled.draw(painter);
  expect(painter.calls.filter(([name]) => name === "text").map(([, text, , y]) => [text, y])).toEqual([["site", 22]]);
});
