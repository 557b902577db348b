// Who computes now: steps and other calls take turns, since the kernels and the scratch memory are one.
import { CpmError, typed } from "../errors.ts";
import { type Stop, untilAborted } from "../signals.ts";

export class Turns {
  readonly #requestBound: boolean;
  #turn: Promise<unknown> = Promise.resolve();
  /** The calls of each session take turns, however long one is. */
  readonly #lines = new Map<number, Promise<unknown>>();
  readonly #end = new AbortController();
  #waiting = 0;

  /** `requestBound`: see EngineHost. */
  constructor(requestBound: boolean) {
    this.#requestBound = requestBound;
  }

  /** Aborted when the engine is closed or has failed. */
  get end(): AbortSignal {
    return this.#end.signal;
  }

  /** Whether somebody waits for a turn. */
  get contended(): boolean {
    return this.#waiting > 0;
  }

  /** Ends what is being computed, and refuses what comes; resolves when nothing is computed any more. */
  async close(reason: CpmError): Promise<void> {
    this.#end.abort(reason);
    await this.#turn;
  }

  /**
   * Runs `task` when what is being computed is done: a step, or a batch of another call. A closed or failed engine refuses. What
   * the task gets to look at also tells when the engine ends; no signal of its own, since making one takes longer than all else here.
   */
  inTurn<T>(task: (stop: Stop) => Promise<T> | T, outer?: AbortSignal): Promise<T> {
    this.#waiting++;
    const stop = either(outer, this.end);
    const result = this.#turn.then(async () => {
      this.#waiting--;
      stop.throwIfAborted();
      try {
        return await task(stop);
      } catch (error) {
        throw typed(error);
      }
    });
    this.#turn = result.catch((error: unknown) => {
      if (error instanceof CpmError && error.code === "engine-failed")
        this.#end.abort(
          new CpmError(
            "engine-failed",
            `the engine failed earlier (${error.message}); close this model and load it again`,
            {},
            { cause: error },
          ),
        );
    });
    return result;
  }

  /** Runs `task` when all earlier calls of its session are done. An abort while waiting rejects at once. */
  inSession<T>(session: number, task: () => Promise<T>, outer?: AbortSignal): Promise<T> {
    const result = (this.#lines.get(session) ?? Promise.resolve()).then(() => {
      outer?.throwIfAborted();
      return task();
    });
    const line = result
      .catch(() => {})
      .then(() => {
        if (this.#lines.get(session) === line) this.#lines.delete(session);
      });
    this.#lines.set(session, line);
    return this.heard(result, outer);
  }

  /** One turn of a session. */
  turnOf<T>(session: number, task: (stop: Stop) => Promise<T> | T, outer?: AbortSignal): Promise<T> {
    return this.inSession(session, () => this.inTurn(task, outer), outer);
  }

  /** `work`, or the signal's reason as soon as it is aborted, where a call may settle before its work has. */
  heard<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return signal && !this.#requestBound ? untilAborted(work, signal) : work;
  }
}

/** Two signals as one: where both have aborted, `outer`'s reason is thrown. */
function either(outer: AbortSignal | undefined, end: AbortSignal): Stop {
  if (!outer) return end;
  return {
    throwIfAborted() {
      if (outer.aborted) throw outer.reason;
      end.throwIfAborted();
    },
  };
}
