// Timers and the clock as they were when the package was imported: a test's fake timers, installed later, do not stop an engine.
// Called as functions of their own, since browsers refuse them as methods of another object.

const [later, cancel, performance] = [globalThis.setTimeout, globalThis.clearTimeout, globalThis.performance];

export type Timer = ReturnType<typeof setTimeout>;

/** As setTimeout. */
export const after = (ms: number, work: () => void): Timer => later(work, ms);
/** As clearTimeout. */
export const cancelTimer = (timer: Timer | undefined): void => cancel(timer);
/** Milliseconds, monotonic. */
export const now = (): number => performance.now();
