// Starting and ending the worker lanes of a pool, whatever a worker is called here.
import { CpmError } from "../errors.ts";
import { failPool, type Lane } from "../wasm/lane.ts";

/** One lane's worker. */
export interface LaneWorker {
  start(lane: Lane): void;
  /** Calls back with "ready", then with the error it died of, if it does. */
  listen(onReady: () => void, onDeath: (cause: Error) => void): void;
  end(): Promise<void> | void;
}

/** The lanes that one engine has beside its own thread. */
export class Lanes {
  readonly #create: () => LaneWorker;
  readonly #workers: LaneWorker[] = [];
  #lane: Lane | undefined;
  #ended = false;

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
      worker.listen(resolve, (cause) => {
        reject(
          new CpmError(
            "engine-failed",
            `a compute thread could not start: ${cause.message}; load with fewer threads`,
            { field: "threads" },
            { cause },
          ),
        );
        if (!this.#ended) onDeath(lane);
      });
      worker.start(lane);
    });
  }

  /** Ends them at once. The pool is ended first: Deno does not end a worker that sleeps in wasm. */
  async end(): Promise<void> {
    this.#ended = true;
    if (this.#lane) await failPool(this.#lane).catch(() => {});
    await Promise.all(this.#workers.splice(0).map((worker) => worker.end()));
  }
}

/** EngineHost.startLanes over `create`, for engines in the caller's own thread. */
export const startLanes =
  (create: () => LaneWorker) =>
  async (lanes: readonly Lane[], onDeath: () => void): Promise<() => Promise<void>> => {
    const started = new Lanes(create);
    await started.start(lanes, onDeath);
    return () => started.end();
  };
