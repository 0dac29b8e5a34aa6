// Blocks as ../../README.md describes them, written in the plainest way, for the tests to read back.

/** The bits of an IEEE half, for numbers that one holds exactly. */
export function halfBits(value) {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  if (exponent < -14) return Math.round(Math.abs(value) * 2 ** 24) | (value < 0 ? 0x8000 : 0);
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024);
}

function bytesOf(parts) {
  return Uint8Array.from(parts.flatMap((part) => [...new Uint8Array(part.buffer)]));
}

/** The bytes of a map; `exact` is the number of exact weights of each row. */
export function mapBlock({ rows, columns, exact = 0, odd = [], pool = [1, 1], received, scale, positions = [], weights = [], levels, codes }) {
  return bytesOf([
    Uint32Array.of(rows, columns, exact, odd.length, ...pool),
    Float32Array.from(received),
    Uint32Array.from(odd, ([place]) => place),
    Float32Array.from(odd, ([, value]) => value),
    Uint16Array.from(scale, halfBits),
    Uint16Array.from(positions),
    Uint16Array.from(weights, halfBits),
    Uint8Array.from(levels),
    Uint8Array.from(codes),
  ]);
}

/** The bytes of thumbnails: [{scale, codes}]. */
export function thumbnailBlock(thumbnails) {
  return bytesOf(
    thumbnails.flatMap(({ scale, codes }) => [Float32Array.of(scale), Uint8Array.from(codes), new Uint8Array((4 - (codes.length % 4)) % 4)]),
  );
}

/** A manifest of two samples, three sites and three lists of labels, of which sample 1 does not run the third site. */
export function smallManifest() {
  return {
    title: "Small",
    about: "",
    detail: "full",
    error: 0.001,
    notes: [],
    runs: [""],
    samples: ["0", "1"].map((name) => ({ name, image: null, runs: [{ input: null, output: null, label: null }] })),
    tokens: [
      { labels: ["the", "dog", "saw", "the", "cat"], invalid: [4], segments: [0, 3], grid: null },
      { labels: ["le", "chat", "noir"], invalid: [], segments: [0], grid: null },
      { labels: ["a", "b"], invalid: [], segments: [0], grid: null },
    ],
    sites: [
      { name: "encoder/mha", short: "mha", run: 0, layer: "MultiHeadAttention", role: "self", told_by: "lineage", panels: ["head 0", "head 1", "head 2"], units: { query: "tokens", key: "tokens" } },
      { name: "decoder/cross", short: "cross", run: 0, layer: "MultiHeadAttention", role: "cross", told_by: "lineage", panels: ["head 0", "head 1"], units: { query: "features", key: "tokens" } },
      { name: "pool", short: "pool", run: 0, layer: "Attention", role: "pool", told_by: "lineage", panels: [""], units: { query: "patches", key: "patches" } },
    ],
    axes: [
      [[0, 0], [1, 0], [2, 0]],
      [[1, 1], [1, 1], null],
    ],
    palette: { light: { page: "#ffffff" }, dark: { page: "#000000" } },
    relevance: [],
    ramps: { Blues: "", diverging: "", "diverging-dark": "", Greys: "" },
  };
}
