// What is looked at, and the map and the tokens that it means.
import { changedState, panelRequest, segmentWindow } from "./state.js";
/** @import { Store } from "./data.js" */
/** @import { Changes, MapRequest, State } from "./types.d.ts" */

export class Selection {
  /**
   * @param {Store} store
   * @param {State} state
   * @param {(changed: (keyof State)[]) => void} changed is told what has changed
   */
  constructor(store, state, changed) {
    this.store = store;
    this.manifest = store.manifest;
    this.state = state;
    this.changed = changed;
  }

  /** @param {Changes} changes */
  set(changes) {
    const next = changedState(this.manifest, this.state, changes);
    const names = /** @type {(keyof State)[]} */ (Object.keys(next));
    const changed = names.filter((name) => JSON.stringify(next[name]) !== JSON.stringify(this.state[name]));
    if (!changed.length) return;
    this.state = next;
    this.changed(changed);
  }

  /** @returns {MapRequest} */
  request() {
    const { sample, site } = this.state;
    return { sample, site, panel: panelRequest(this.manifest, this.state) };
  }

  /** The map that is looked at. */
  map() {
    return this.store.map(this.request());
  }

  /** What is shown beside it: the relevance of its keys. */
  relevance() {
    return this.store.relevance(this.state.sample, this.state.site);
  }

  tokens() {
    return this.store.tokens(this.state.sample, this.state.site);
  }

  /** The queries and keys between which the chosen sentences lie. */
  window() {
    return segmentWindow(this.tokens(), this.state.segments);
  }
}
