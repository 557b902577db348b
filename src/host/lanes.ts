// Starting the worker lanes of a pool, whatever a worker is called here.
import { CpmError } from "../errors.ts";
import type { Lane } from "../wasm/lane.ts";

/** One lane's worker. */
export interface LaneWorker {
  start(lane: Lane): void;
  /** Calls back with "ready", then with the error it died of, if it does. */
  listen(onReady: () => void, onDeath: (cause: Error) => void): void;
  end(): Promise<void> | void;
}

/** Lanes start side by side; when one cannot, all end and it rejects with CpmError "engine-failed". */
export async function startLanes(create: () => LaneWorker, lanes: readonly Lane[], onDeath: () => void): Promise<() => Promise<void>> {
  const workers: LaneWorker[] = [];
  let ended = false;
  const end = async () => {
    ended = true;
    await Promise.all(workers.map((worker) => worker.end()));
  };
  const start = (lane: Lane) =>
    new Promise<void>((resolve, reject) => {
      const worker = create();
      workers.push(worker);
      worker.listen(resolve, (cause) => {
        reject(new CpmError("engine-failed", `a compute thread could not start: ${cause.message}; load with fewer threads`, { field: "threads" }, { cause }));
        if (!ended) onDeath();
      });
      worker.start(lane);
    });
  try {
    await Promise.all(lanes.map(start));
  } catch (error) {
    await end();
    throw error;
  }
  return end;
}
