// Abort signals, joined and listened to without the traps of AbortSignal.any.

interface Listeners {
  readonly calls: Set<() => void>;
  readonly abort: () => void;
}
const listeners = new WeakMap<AbortSignal, Listeners>();

/**
 * Calls `call` once when `signal` aborts, and gives what lets go of it. However many listen here, the signal has one listener: more
 * than ten make Node warn of a leak, and a server's texts all listen to the end of their engine. A signal that has aborted calls nothing:
 * look at `aborted` first. `call` must not throw: those behind it would not be called.
 */
export function onAbort(signal: AbortSignal, call: () => void): () => void {
  let own = listeners.get(signal);
  if (!own) {
    const calls = new Set<() => void>();
    const abort = () => {
      listeners.delete(signal);
      // One may let go of another.
      for (const next of calls) if (calls.delete(next)) next();
    };
    own = { calls, abort };
    listeners.set(signal, own);
    signal.addEventListener("abort", abort, { once: true });
  }
  const { calls, abort } = own;
  // The same function may be there twice.
  const mine = () => call();
  calls.add(mine);
  return () => {
    if (!calls.delete(mine) || calls.size > 0 || listeners.get(signal)?.calls !== calls) return;
    listeners.delete(signal);
    signal.removeEventListener("abort", abort);
  };
}

/** Throws when what is being computed is not wanted any more: an AbortSignal, or several as one. */
export type Stop = Pick<AbortSignal, "throwIfAborted">;

/** A signal over several, and how to let go of them. */
export interface Joined {
  readonly signal: AbortSignal;
  /** Lets go of the sources: nothing they do reaches `signal` any more. */
  release(): void;
}

/**
 * One signal that aborts with the reason of the first of `sources` that does. It holds its sources until released: Node 20 collects
 * an `AbortSignal.timeout()` that only AbortSignal.any refers to, and it never fires. Sources may come from another realm.
 */
export function joinSignals(...sources: readonly (AbortSignal | undefined)[]): Joined {
  const control = new AbortController();
  const given = sources.filter((source) => source !== undefined);
  const stops: (() => void)[] = [];
  const release = () => {
    for (const stop of stops.splice(0)) stop();
  };
  for (const source of given) {
    const abort = () => {
      release();
      control.abort(source.reason);
    };
    if (source.aborted) {
      abort();
      break;
    }
    stops.push(onAbort(source, abort));
  }
  return { signal: control.signal, release };
}

/** Runs `work` with the joined signal, and lets go of the sources when it has settled. */
export async function withSignals<T>(
  sources: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T> | T,
): Promise<T> {
  const joined = joinSignals(...sources);
  try {
    return await work(joined.signal);
  } finally {
    joined.release();
  }
}

/** `work`, or the signal's reason as soon as it is aborted. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise<T>((resolve, reject) => {
    const release = onAbort(signal, () => reject(signal.reason));
    work.then(resolve, reject).finally(release);
  });
}
