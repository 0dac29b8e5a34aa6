// A view in a notebook: Python holds the maps, and each block that is looked at is asked of it by a message.
import { mount } from "./app.js";
import { validState } from "./state.js";
import { makeElement } from "./elements.js";
/** @import { Manifest, State } from "./types.d.ts" */

/**
 * A model of anywidget's, as far as it is used here.
 *
 * @typedef {object} WidgetModel
 * @property {(name: string) => unknown} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(content: object, callbacks?: object, buffers?: ArrayBuffer[]) => void} send
 * @property {(event: string, listener: (...given: never[]) => void) => void} on
 * @property {(event: string, listener: (...given: never[]) => void) => void} off
 */

/** @typedef {{ call: string, kind: "block" | "failure" | "here", message?: string }} WidgetAnswer */

const PATIENCE = 4000; // milliseconds without an answer before the page says that it waits
const PAUSE = 2000; // milliseconds between two questions whether Python is there
const SAVE_PAGE = 'save a page that needs no Python: view.save("view.html").';
const GONE = `This view's Python kernel is gone, so nothing more can be loaded. Run the cell again, or ${SAVE_PAGE}`;
const WAITS = `Python has not answered yet: its kernel is busy or gone. If it is gone, run the cell again, or ${SAVE_PAGE}`;
const LOST = "this view's Python kernel is gone.";

/**
 * Questions to Python, each with a number that its answer bears. `say` is told what the reader must know, and whether
 * Python was ever there.
 *
 * @param {WidgetModel} model
 * @param {(text: string, heard: boolean) => void} say
 */
function createChannel(model, say) {
  /** @type {Map<string, { resolve: (block: Uint8Array<ArrayBuffer>) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  const own = Math.random().toString(36).slice(2); // several views of one model hear all its messages
  let asked = 0;
  let checked = -PAUSE;
  let gone = false;
  let timer = 0;
  let heard = false; // whether Python ever answered

  function watch() {
    clearTimeout(timer);
    say(gone ? GONE : "", heard);
    if (waiting.size && !gone) timer = setTimeout(() => say(WAITS, heard), PATIENCE);
  }

  /** @param {boolean} isGone */
  function turn(isGone) {
    if (gone === isGone) return;
    gone = isGone;
    if (gone) for (const call of waiting.values()) call.reject(new Error(LOST));
    if (gone) waiting.clear();
    watch();
  }

  /**
   * @param {{ kind: string, name?: string }} content
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  function ask(content) {
    if (gone) return Promise.reject(new Error(LOST));
    asked += 1;
    const call = `${own}-${asked}`;
    return new Promise((resolve, reject) => {
      waiting.set(call, { resolve, reject });
      watch();
      try {
        model.send({ ...content, call });
      } catch {
        turn(true); // JupyterLab's comm was closed with its kernel
      }
    });
  }

  /**
   * @param {WidgetAnswer | null} content
   * @param {(ArrayBuffer | DataView<ArrayBuffer>)[]} buffers
   */
  function answered(content, buffers) {
    const call = content && waiting.get(content.call);
    if (!call) return;
    waiting.delete(content.call);
    heard = true;
    if (content.kind === "failure") call.reject(new Error(content.message));
    else call.resolve(buffers.length ? bytesOfBuffer(buffers[0]) : new Uint8Array(0));
    watch();
  }

  model.on("msg:custom", answered);
  return {
    turn,
    /** @param {string} name */
    block(name) {
      if (name === "thumbnails/0") return Promise.resolve(bytesOfBuffer(/** @type {DataView<ArrayBuffer>} */ (model.get("thumbnails"))));
      return ask({ kind: "block", name });
    },
    /** Not every host says when its kernel goes: so Python is asked now and then, while somebody looks at the view. */
    check() {
      if (gone || performance.now() - checked < PAUSE) return;
      checked = performance.now();
      ask({ kind: "check" }).catch(() => {}); // what there is to say is said already
    },
    /** @param {Blob} picture what Python keeps for those who see the notebook without it */
    async keep(picture) {
      const content = await picture.arrayBuffer();
      if (gone) return;
      try {
        model.send({ kind: "picture" }, undefined, [content]);
      } catch {
        turn(true);
      }
    },
    dispose() {
      clearTimeout(timer);
      model.off("msg:custom", answered);
    },
  };
}

/** @param {ArrayBuffer | DataView<ArrayBuffer>} buffer */
function bytesOfBuffer(buffer) {
  return buffer instanceof ArrayBuffer ? new Uint8Array(buffer) : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/**
 * The state goes both ways: what the user does to Python, and what Python sets to the page, as changes.
 *
 * @param {WidgetModel} model
 * @param {Manifest} manifest
 */
function shareState(model, manifest) {
  const text = JSON.stringify;
  let known = validState(manifest, model.get("state") ?? {});
  /** @param {State} state */
  function tell(state) {
    known = state;
    if (text(model.get("state")) === text(state)) return;
    model.set("state", state);
    model.save_changes();
  }
  return {
    first: known,
    tell,
    changes() {
      const given = Object.entries(model.get("state") ?? {});
      return Object.fromEntries(given.filter(([name, value]) => text(value) !== text(known[/** @type {keyof State} */ (name)])));
    },
  };
}

/** @param {{ model: WidgetModel, el: HTMLElement }} view */
function render({ model, el }) {
  const manifest = JSON.parse(String(model.get("manifest")));
  const message = makeElement("p", { class: "attnscope-message", role: "status", hidden: true });
  const place = makeElement("div", {});
  // The picture beside a view for those who see it without Python is not for those who see the view.
  const hiding = makeElement("style", { text: `.attnscope-note-${model.get("note")} { display: none; }` });
  const box = makeElement("div", { class: "attnscope-widget" }, hiding, message, place);
  box.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys: D D deletes a cell
  box.addEventListener("keydown", (event) => event.stopPropagation());
  el.replaceChildren(box);

  const channel = createChannel(model, (said, heard) => {
    message.textContent = said;
    message.hidden = !said;
    hiding.media = said && !heard ? "not all" : "all"; // a page that was made of a notebook has no Python
  });
  const state = shareState(model, manifest);
  /** @type {(now: State) => void} */
  const onState = (now) => {
    state.tell(now);
    channel.check();
  };
  const mounted = mount(place, manifest, channel, { state: state.first, onState, onPicture: channel.keep });
  box.addEventListener("pointerenter", channel.check);
  state.tell(state.first);
  const follow = () => mounted.set(state.changes());
  const connection = () => setTimeout(() => channel.turn(Boolean(box.closest(".jupyter-widgets-disconnected"))));
  model.on("change:state", follow);
  model.on("comm_live_update", connection);
  return () => {
    model.off("change:state", follow);
    model.off("comm_live_update", connection);
    channel.dispose();
    mounted.dispose();
    box.remove();
  };
}

export default { render };
