// Pointer and wheel as the plane understands them: point, click, drag, draw a box, pinch, zoom.

const STILL = 4; // pixels that a click may wander

/**
 * @param on {point, leave, click, drag, box, boxed, zoom}; points are {x, y} in the element's pixels
 * @param may {ready(), drag(), wheel(event)}: whether there is anything yet, and whether a drag and a turn of the wheel are ours,
 *     or the page's
 */
export function listenToGestures(element, on, may) {
  const pointers = new Map();
  let start = null;
  const placeOf = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [one, other] = [...pointers.values()];
    return { distance: Math.hypot(one.x - other.x, one.y - other.y) || 1, x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
  };
  const listeners = {
    pointerdown(event) {
      if (event.button || !may.ready()) return;
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, placeOf(event));
      start = { ...placeOf(event), box: event.shiftKey, moved: false, last: placeOf(event), spread: pointers.size === 2 ? spread() : null };
    },
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
    pointerup(event) {
      finish(event, true);
    },
    pointercancel(event) {
      finish(event, false);
    },
    pointerleave(event) {
      if (!pointers.has(event.pointerId)) on.leave();
    },
    wheel(event) {
      if (!may.ready() || !may.wheel(event)) return;
      event.preventDefault();
      const turned = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      on.zoom(Math.exp(-turned * (event.ctrlKey ? 0.01 : 0.002)), placeOf(event));
    },
  };

  function drag(place) {
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

  function finish(event, done) {
    if (!pointers.delete(event.pointerId) || !start) return;
    const place = placeOf(event);
    if (done && start.moved && start.box) on.boxed(start, place);
    else if (done && !start.moved) on.click(place, event);
    if (!done && start.box) on.boxed(null, null);
    if (!pointers.size) start = null;
  }

  for (const [type, listener] of Object.entries(listeners)) element.addEventListener(type, listener, { passive: type !== "wheel" });
  return () => {
    for (const [type, listener] of Object.entries(listeners)) element.removeEventListener(type, listener);
  };
}
