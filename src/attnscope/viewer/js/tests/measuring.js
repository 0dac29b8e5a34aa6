// Stands for the browser's measure of text: each letter is half as wide as it is high.
import { vi } from "vitest";

vi.stubGlobal("document", {
  createElement: () => ({
    getContext: () => ({
      font: "",
      measureText(text) {
        return { width: (text.length * Number(/(\d+(\.\d+)?)px/.exec(this.font)[1])) / 2 };
      },
    }),
  }),
});
vi.stubGlobal("devicePixelRatio", 1);

/** A painter that notes what is asked of it: [name, ...arguments]. */
export function notingPainter(theme = {}) {
  const calls = [];
  const note = (name) => (...given) => calls.push([name, ...given]);
  const inside = (name) => (...given) => {
    calls.push([name, ...given.slice(0, -1)]);
    given.at(-1)();
  };
  const names = ["rect", "frame", "line", "curve", "text", "image", "photo", "hatch", "cross"];
  return { theme, calls, ...Object.fromEntries(names.map((name) => [name, note(name)])), clipped: inside("clipped"), moved: inside("moved") };
}
