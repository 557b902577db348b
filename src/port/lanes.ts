// Starting and ending the worker lanes of a pool, whatever a worker is called here.

import { CpmError } from "../errors.ts";
import type { StartedLanes } from "../wasm/host.ts";
import { failPool, type Lane, type LeadRequest } from "../wasm/lane.ts";

/** One lane's worker. */
export interface LaneWorker {
  start(lane: Lane): void;
  /** Calls back with "ready", then with the error it died of, if it does; `onStatus`: with the answers of a lane that leads. */
  listen(onReady: () => void, onDeath: (cause: Error) => void, onStatus?: (status: number) => void): void;
  /** Asks a lane that leads; absent where none does. */
  ask?(request: LeadRequest): void;
  end(): Promise<void> | void;
}

/** The lanes that one engine has beside its own thread. */
export class Lanes {
  readonly #create: () => LaneWorker;
  readonly #workers: LaneWorker[] = [];
  #lane: Lane | undefined;
  #ended = false;
  /** The lane that leads, and what waits for its answer: one call at a time. */
  #leader: LaneWorker | undefined;
  #dead: CpmError | undefined;
  #waiting: { resolve(status: number): void; reject(error: Error): void } | undefined;

  constructor(create: () => LaneWorker) {
    this.#create = create;
  }

  /**
   * Starts all side by side; resolves when they are ready. When one cannot start, all end and it rejects with CpmError
   * "engine-failed". `onDeath` is called with the lane that ends by itself later.
   */
  async start(lanes: readonly Lane[], onDeath: (lane: Lane) => void): Promise<void> {
    this.#lane = lanes[0];
    try {
      await Promise.all(lanes.map((lane) => this.#start(lane, onDeath)));
    } catch (error) {
      await this.end();
      throw error;
    }
  }

  #start(lane: Lane, onDeath: (lane: Lane) => void): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const worker = this.#create();
      this.#workers.push(worker);
      if (lane.index === 0) this.#leader = worker;
      const died = (cause: Error) => {
        if (worker === this.#leader) {
          this.#dead ??= leaderDied(cause);
          this.#answer()?.reject(this.#dead);
        }
        reject(
          new CpmError(
            "engine-failed",
            `a compute thread could not start: ${cause.message}; load with fewer threads`,
            { field: "threads" },
            { cause },
          ),
        );
        if (!this.#ended) onDeath(lane);
      };
      worker.listen(resolve, died, (status) => this.#answer()?.resolve(status));
      worker.start(lane);
    });
  }

  #answer() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }

  /** Has the leading lane run a kernel; its status. Rejects with CpmError "engine-failed" when that lane is dead. */
  lead(call: string, args: readonly number[]): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      this.#waiting = { resolve, reject };
      this.#leader!.ask!({ call, args });
    });
  }

  /** Ends them at once. The pool is ended first: Deno does not end a worker that sleeps in wasm. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#dead ??= leaderDied(new Error("it was ended"));
    this.#answer()?.reject(this.#dead);
    if (this.#lane) await failPool(this.#lane).catch(() => {});
    await Promise.all(this.#workers.splice(0).map((worker) => worker.end()));
  }
}

const leaderDied = (cause: Error): CpmError =>
  new CpmError("engine-failed", `a compute thread ended: ${cause.message}; close this model and load it again`, {}, { cause });

/** EngineHost.startLanes over `create`, for engines in the caller's own thread. */
export const startLanes =
  (create: () => LaneWorker) =>
  async (lanes: readonly Lane[], onDeath: () => void): Promise<StartedLanes> => {
    const started = new Lanes(create);
    await started.start(lanes, onDeath);
    const leads = lanes.some((lane) => lane.index === 0);
    return { end: () => started.end(), lead: leads ? (call, args) => started.lead(call, args) : undefined };
  };
