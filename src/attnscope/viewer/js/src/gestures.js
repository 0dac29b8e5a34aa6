// Pointer and wheel as the plane understands them: point, click, drag, draw a box, pinch, zoom.
/** @import { Point } from "./types.d.ts" */

const STILL = 4; // pixels that a click may wander

/**
 * What is done with a gesture; points are in the element's pixels.
 *
 * @typedef {object} GestureListener
 * @property {(place: Point) => void} point
 * @property {() => void} leave
 * @property {(place: Point) => void} click
 * @property {(x: number, y: number) => void} drag by so many pixels
 * @property {(from: Point, to: Point) => void} box while it is drawn
 * @property {(box: [from: Point, to: Point] | null) => void} boxed when it is drawn; null where it was given up
 * @property {(factor: number, place: Point) => void} zoom
 */

/**
 * Whether there is anything yet, and whether a drag and a turn of the wheel are ours, or the page's.
 *
 * @typedef {object} GestureRules
 * @property {() => boolean} ready
 * @property {() => boolean} drag
 * @property {(event: WheelEvent) => boolean} wheel
 */

/** @typedef {Point & { distance: number }} Spread between two fingers, and where its middle is */

/**
 * @param {HTMLElement} element
 * @param {GestureListener} on
 * @param {GestureRules} may
 * @returns {() => void} to listen no more
 */
export function listenToGestures(element, on, may) {
  /** @type {Map<number, Point>} */
  const pointers = new Map();
  /** @type {(Point & { box: boolean, moved: boolean, last: Point, spread: Spread | null }) | null} */
  let start = null;
  /** @type {(event: MouseEvent) => Point} */
  const placeOf = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  /** @type {() => Spread} */
  const spread = () => {
    const [one, other] = [...pointers.values()];
    return { distance: Math.hypot(one.x - other.x, one.y - other.y) || 1, x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  };
  const listeners = {
    /** @param {PointerEvent} event */
    pointerdown(event) {
      if (event.button || !may.ready()) return;
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, placeOf(event));
      start = { ...placeOf(event), box: event.shiftKey, moved: false, last: placeOf(event), spread: pointers.size === 2 ? spread() : null };
    },
    /** @param {PointerEvent} event */
    pointermove(event) {
      const place = placeOf(event);
      if (!pointers.has(event.pointerId)) {
        if (may.ready()) on.point(place);
        return;
      }
      pointers.set(event.pointerId, place);
      if (pointers.size === 2) pinch();
      else if (start) drag(place);
    },
    /** @param {PointerEvent} event */
    pointerup(event) {
      finish(event, true);
    },
    /** @param {PointerEvent} event */
    pointercancel(event) {
      finish(event, false);
    },
    /** @param {PointerEvent} event */
    pointerleave(event) {
      if (!pointers.has(event.pointerId)) on.leave();
    },
    /** @param {WheelEvent} event */
    wheel(event) {
      if (!may.ready() || !may.wheel(event)) return;
      event.preventDefault();
      const turned = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      on.zoom(Math.exp(-turned * (event.ctrlKey ? 0.01 : 0.002)), placeOf(event));
    },
  };

  /** @param {Point} place */
  function drag(place) {
    if (!start) return;
    if (Math.hypot(place.x - start.x, place.y - start.y) > STILL) start.moved = true;
    if (!start.moved) return;
    if (start.box) on.box(start, place);
    else if (may.drag()) on.drag(place.x - start.last.x, place.y - start.last.y);
    start.last = place;
  }

  function pinch() {
    const now = spread();
    if (start?.spread) {
      on.zoom(now.distance / start.spread.distance, now);
      on.drag(now.x - start.spread.x, now.y - start.spread.y);
      start.moved = true;
      start.spread = now;
    }
  }

  /**
   * @param {PointerEvent} event
   * @param {boolean} done
   */
  function finish(event, done) {
    if (!pointers.delete(event.pointerId) || !start) return;
    const place = placeOf(event);
    if (done && start.moved && start.box) on.boxed([start, place]);
    else if (done && !start.moved) on.click(place);
    if (!done && start.box) on.boxed(null);
    if (!pointers.size) start = null;
  }

  const entries = /** @type {[string, EventListener][]} */ (Object.entries(listeners));
  for (const [type, listener] of entries) element.addEventListener(type, listener, { passive: type !== "wheel" });
  return () => {
    for (const [type, listener] of entries) element.removeEventListener(type, listener);
  };
}
