// The page's address: it says what is looked at, so that it can be sent, and so that the browser's buttons go back and forth.
import { hashOfState, stateOfHash } from "./state.js";
/** @import { Manifest, State } from "./types.d.ts" */

/** @type {(keyof State)[]} */
const REMEMBERED = ["view", "sample", "site", "panel", "query", "key", "segments", "a", "b", "search"];
const PAUSE = 700; // milliseconds: what follows sooner is the same step for the browser's back button
const REST = 200; // milliseconds of rest before the address is written: browsers allow it some 20 times a second

export class Address {
  /** @param {Manifest} manifest */
  constructor(manifest) {
    this.manifest = manifest;
    this.lastStep = 0;
    this.rest = 0;
    /** @type {string | null} */
    this.unwritten = null;
  }

  /** The state that the address means. */
  read() {
    this.forget();
    return stateOfHash(this.manifest, location.hash);
  }

  /** @param {State} state */
  link(state) {
    return `${location.href.split("#")[0]}#${hashOfState(this.manifest, state)}`;
  }

  /**
   * @param {State} state
   * @param {(keyof State)[]} changed
   */
  remember(state, changed) {
    if (location.protocol === "about:") return; // a frame of a notebook has no address
    const step = changed.some((name) => REMEMBERED.includes(name)) && performance.now() - this.lastStep > PAUSE;
    const hash = `#${hashOfState(this.manifest, state)}`;
    clearTimeout(this.rest);
    if (!step) {
      this.unwritten = hash;
      this.rest = setTimeout(() => this.write(), REST);
      return;
    }
    this.write();
    history.pushState(null, "", hash);
    this.lastStep = performance.now();
  }

  write() {
    if (this.unwritten) history.replaceState(null, "", this.unwritten);
    this.forget();
  }

  forget() {
    clearTimeout(this.rest);
    this.unwritten = null;
  }
}
