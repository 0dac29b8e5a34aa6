// Builds what the package ships from what is in `src` and `styles`: `node build.js`. With `--check` nothing is written,
// and it fails where what is committed is not what the source gives.
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const STATIC = fileURLToPath(new URL("../static/", import.meta.url));
const COMMON = { absWorkingDir: HERE, bundle: true, minify: true, target: "es2022", write: false, outdir: "out", logLevel: "warning" };
const BUNDLES = [
  { entryPoints: ["src/page.js", "src/served.js"], format: "iife", banner: { js: '"use strict";' } },
  { entryPoints: ["src/widget.js"], format: "esm" }, // anywidget imports it
  { entryPoints: ["styles/page.css", "styles/widget.css"] },
];
const ENDS_AN_ELEMENT = /<\/(script|style)|<!--/i; // in the page the bundles are the text of elements

/** @returns {Promise<Map<string, string>>} the name and the text of each file */
async function built() {
  const results = await Promise.all(BUNDLES.map((bundle) => build({ ...COMMON, ...bundle })));
  const files = results.flatMap(({ outputFiles }) => outputFiles ?? []);
  return new Map(files.map(({ path, text }) => [path.split(/[\\/]/).at(-1) ?? path, text]));
}

/** @param {Map<string, string>} files */
function check(files) {
  for (const [name, text] of files) {
    const found = ENDS_AN_ELEMENT.exec(text);
    if (found) throw new Error(`${name} holds ${found[0]}, which would end the element of the page that it is put into.`);
  }
}

/** @param {Map<string, string>} files */
async function differences(files) {
  const committed = await readdir(STATIC);
  const texts = await Promise.all([...files.keys()].map((name) => readFile(STATIC + name, "utf8").catch(() => null)));
  const changed = [...files].filter(([, text], place) => text !== texts[place]).map(([name]) => name);
  return [...changed, ...committed.filter((name) => !files.has(name))];
}

const files = await built();
check(files);
const differing = await differences(files);
if (!process.argv.includes("--check")) {
  for (const name of differing) {
    const text = files.get(name);
    await (text === undefined ? rm(STATIC + name) : writeFile(STATIC + name, text));
  }
  for (const [name, text] of files) console.log(`${name}  ${Buffer.byteLength(text)} bytes`);
} else if (differing.length) {
  console.error(`Not what the source gives: ${differing.map((name) => `static/${name}`).join(", ")}. Build them again: npm run build`);
  process.exitCode = 1;
}
