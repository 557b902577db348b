// The machine's threads: workers that share its memory. The first one leads, so that the caller's thread never waits.
import { CpmError } from "../errors.ts";
import { instantiateTrain, LANE_STACK, type Machine, type TrainCall, type TrainLanes } from "./machine.ts";

/** Sent once to a worker; then the leader (index 0) is sent requests. */
export interface TrainLane {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly index: number;
  readonly stackTop: number;
}

interface Request {
  readonly call: TrainCall;
  readonly args: readonly number[];
}

/** A worker, whatever it is here. `keep`: whether it keeps the process alive. */
export interface TrainWorker {
  post(message: TrainLane | Request): void;
  onMessage(handler: (message: "ready" | number) => void): void;
  onDeath(handler: (cause: Error) => void): void;
  keep(busy: boolean): void;
  end(): Promise<void> | void;
}

/** What a worker's script runs: becomes the lane that it is told to be. */
export function serveLane(
  listen: (handler: (message: unknown) => void) => void,
  post: (message: "ready" | number) => void,
  fail: (error: unknown) => void,
): void {
  let lead: ((request: Request) => void) | undefined;
  const begin = async ({ module, memory, index, stackTop }: TrainLane) => {
    const exports = await instantiateTrain(module, memory);
    exports.__stack_pointer.value = stackTop;
    const guarded = (work: () => void) => {
      try {
        work();
      } catch (error) {
        exports.pool_fail();
        fail(error);
      }
    };
    lead = ({ call, args }) => guarded(() => post(exports[call](args[0]!, args[1]!)));
    post("ready");
    if (index > 0) guarded(() => exports.pool_worker(index));
  };
  listen((message) => {
    if (lead) lead(message as Request);
    else begin(message as TrainLane).catch(fail);
  });
}

const died = (cause: Error): CpmError =>
  new CpmError(
    "engine-failed",
    `a training thread ended: ${cause.message}; start the run again from its last checkpoint`,
    {},
    { cause },
  );

/** Starts a machine's threads; resolves when all are ready. @throws CpmError "engine-failed" */
export async function startLanes(machine: Machine, stacks: number, create: () => TrainWorker): Promise<TrainLanes> {
  const workers: TrainWorker[] = [];
  let dead: CpmError | undefined;
  let waiting: { resolve(status: number): void; reject(error: Error): void } | undefined;
  const end = async () => {
    dead ??= died(new Error("it was closed"));
    machine.exports.pool_fail();
    waiting?.reject(dead);
    await Promise.all(workers.splice(0).map((worker) => worker.end()));
  };
  machine.exports.pool_start(machine.threads);
  try {
    await Promise.all(
      Array.from(
        { length: machine.threads },
        (_, index) =>
          new Promise<void>((resolve, reject) => {
            const worker = create();
            workers.push(worker);
            worker.onDeath((cause) => {
              if (!dead) {
                dead = died(cause);
                machine.exports.pool_fail();
              }
              waiting?.reject(dead);
              reject(dead);
            });
            worker.onMessage((message) => {
              if (message === "ready") {
                worker.keep(false);
                resolve();
              } else {
                const { resolve: answer } = waiting!;
                waiting = undefined;
                worker.keep(false);
                answer(message);
              }
            });
            worker.post({
              module: machine.module,
              memory: machine.memory,
              index,
              stackTop: stacks + (index + 1) * LANE_STACK,
            });
          }),
      ),
    );
  } catch (error) {
    await end();
    throw error;
  }
  const leader = workers[0]!;
  return {
    lead: (call, args) =>
      new Promise((resolve, reject) => {
        if (dead) return reject(dead);
        waiting = { resolve, reject };
        leader.keep(true);
        leader.post({ call, args });
      }),
    end,
  };
}
