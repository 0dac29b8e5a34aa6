// The cell that is pointed at, which every matrix on the page follows.

export class Pointer {
  constructor() {
    /** @type {Set<(row: number, column: number) => void>} */
    this.listeners = new Set();
  }

  /**
   * @param {number} row -1 for none
   * @param {number} column
   */
  move(row, column) {
    for (const listener of this.listeners) listener(row, column);
  }

  /**
   * @param {(row: number, column: number) => void} listener
   * @returns {() => void} to listen no more
   */
  follow(listener) {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }
}
