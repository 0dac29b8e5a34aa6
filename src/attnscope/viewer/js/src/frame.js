// Work that waits for the browser's next frame.

/** One piece of work, done once in the next frame however often it was asked for until then. */
export class NextFrame {
  /** @param {() => void} work */
  constructor(work) {
    this.work = work;
    this.pending = 0;
  }

  ask() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.work();
    });
  }

  cancel() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
  }
}

/**
 * Paints a view, and has the legend say so where the colours mean something else than before.
 *
 * @param {{ shown: { received: boolean } | null, paint: () => void, explain: () => void }} view
 */
export function repaint(view) {
  const before = view.shown?.received;
  view.paint();
  if (view.shown?.received !== before) view.explain();
}
