// Rollouts in other processes: a step is cut into jobs, each done by whoever has the policy's weights. A job is JSON, and done twice it
// comes to the same: draws depend on seed and place alone. So any queue will do that delivers at least once.
import { isRecord } from "../../brands.ts";
import { CpmError } from "../../errors.ts";
import type { ModelFiles } from "../../file/source.ts";
import { shown } from "../../shown.ts";
import { untilAborted } from "../../signals.ts";
import { type Advance, idleShare, type RolloutEngine, type RolloutWork } from "./engine.ts";
import { extended, lengthOf, restored, type SavedTrajectory, saved, type Trajectory } from "./trajectory.ts";

/** What a worker is to do: a chunk more for each of these trajectories, under the weights of a policy. */
export interface RolloutJob {
  readonly policy: number;
  /** Tokens of a chunk, at most; null: no bound. */
  readonly length: number | null;
  /** Tokens of an answer, at most. */
  readonly most: number;
  readonly trajectories: readonly SavedTrajectory[];
}

/** The chunks, in the order of the job's trajectories. */
export interface RolloutJobResult {
  readonly policy: number;
  readonly chunks: readonly {
    readonly id: string;
    readonly tokens: readonly number[];
    readonly logp: readonly number[];
    readonly state: Trajectory["state"];
  }[];
  readonly work: RolloutWork;
}

export interface JobEngineOptions {
  /** Puts the weights of a policy where workers find them; when it resolves, all of them are there. */
  publish(weights: ModelFiles, policy: number, signal?: AbortSignal): Promise<void>;
  /** Has a job done somewhere. Its result is not trusted: what does not fit the job is refused. */
  run(job: RolloutJob, signal?: AbortSignal): Promise<unknown>;
  /** Trajectories of a job, at most. Default 16. */
  readonly most?: number | undefined;
  /** When the engine is closed. */
  close?(): Promise<void>;
}

/** An engine whose rollouts are jobs: `cpm rl` and learners take it in place of a model of their own, and come to the same weights. */
export function jobEngine({ publish, run, most: perJob = 16, close }: JobEngineOptions): RolloutEngine {
  if (!(Number.isInteger(perJob) && perJob >= 1))
    throw new CpmError("bad-option", `most: expected a whole number from 1 on, found ${shown(perJob)}`, { field: "most" });
  let policy = -1;
  return {
    get policy() {
      return policy;
    },
    async load(weights, number, signal) {
      policy = -1;
      await publish(weights, number, signal);
      policy = number;
    },
    async advance(open, length, most, signal): Promise<Advance> {
      if (policy < 0) throw new CpmError("closed", "the rollout engine has no weights; call load() first");
      const parts: (readonly Trajectory[])[] = [];
      for (let at = 0; at < open.length; at += perJob) parts.push(open.slice(at, at + perJob));
      // One that fails ends the others.
      const stop = new AbortController();
      const abort = () => stop.abort(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      if (signal?.aborted) abort();
      try {
        const done = await Promise.all(
          parts.map(async (part) => {
            stop.signal.throwIfAborted();
            const bound = Number.isFinite(length) ? length : null;
            const job: RolloutJob = { policy, length: bound, most, trajectories: part.map(saved) };
            // A queue without workers would be waited for without end.
            return checked(await untilAborted(run(job, stop.signal), stop.signal), job, part);
          }),
        );
        const trajectories = done.flatMap(({ trajectories }) => trajectories);
        const sum = (of: (work: RolloutWork) => number) => done.reduce((total, { work }) => total + of(work), 0);
        return {
          trajectories,
          work: {
            tokens: sum((work) => work.tokens),
            prefilled: sum((work) => work.prefilled),
            rebuilt: sum((work) => work.rebuilt),
            // Of a place for each trajectory: which worker had which is the queue's affair.
            idle: idleShare(
              trajectories.map((t, i) => lengthOf(t) - lengthOf(open[i]!)),
              trajectories.length,
            ),
          },
        };
      } catch (error) {
        stop.abort(error);
        throw error;
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    },
    async close() {
      policy = -1;
      await close?.();
    },
  };
}

/**
 * Does a job. `engine`: one that this process keeps; it takes the policy's weights from `weightsOf` where it has others.
 * Rejects with CpmError "bad-input" for what is no job.
 */
export async function runRolloutJob(
  engine: RolloutEngine,
  value: unknown,
  weightsOf: (policy: number) => Promise<ModelFiles>,
  signal?: AbortSignal,
): Promise<RolloutJobResult> {
  const job = readJob(value);
  if (engine.policy !== job.policy) {
    const files = await weightsOf(job.policy);
    try {
      await engine.load(files, job.policy, signal);
    } finally {
      await files.close();
    }
  }
  const open = job.trajectories.map(restored);
  const { trajectories, work } = await engine.advance(open, job.length ?? Number.POSITIVE_INFINITY, job.most, signal);
  return {
    policy: job.policy,
    chunks: trajectories.map(({ id, state, chunks }) => {
      const { tokens, logp } = chunks.at(-1)!;
      return { id, tokens: Array.from(tokens), logp: Array.from(logp), state };
    }),
    work,
  };
}

const whole = (x: unknown): x is number => typeof x === "number" && Number.isSafeInteger(x) && x >= 0 && x < 2 ** 31;

function readJob(value: unknown): RolloutJob {
  const fail = (what: string): never => {
    throw new CpmError("bad-input", `a rollout job: ${what}`, { field: "job" });
  };
  if (!isRecord(value)) return fail(`expected an object, found ${shown(value)}`);
  const { policy, length, most, trajectories } = value;
  if (!whole(policy)) return fail(`policy: expected a whole number, found ${shown(policy)}`);
  if (length !== null && !(whole(length) && length > 0))
    return fail(`length: expected a whole number or null, found ${shown(length)}`);
  if (!whole(most) || most === 0) return fail(`most: expected a whole number from 1 on, found ${shown(most)}`);
  if (!Array.isArray(trajectories) || !trajectories.every(isSaved)) return fail("trajectories: expected open trajectories");
  return { policy, length, most, trajectories };
}

function isSaved(value: unknown): value is SavedTrajectory {
  if (!isRecord(value)) return false;
  const { id, group, prompt, seed, chunks, state } = value;
  return (
    typeof id === "string" &&
    typeof group === "string" &&
    Array.isArray(prompt) &&
    prompt.every(whole) &&
    typeof seed === "number" &&
    state === "open" &&
    Array.isArray(chunks) &&
    chunks.every((chunk: unknown) => isRecord(chunk) && isNumbers(chunk["tokens"], whole) && isNumbers(chunk["logp"], isNumber))
  );
}

const isNumber = (x: unknown): x is number => typeof x === "number" && Number.isFinite(x);
const isNumbers = (value: unknown, is: (x: unknown) => x is number): value is number[] => Array.isArray(value) && value.every(is);

/** The trajectories with a job's chunks. @throws CpmError "bad-input" for a result that does not belong to the job */
function checked(
  value: unknown,
  job: RolloutJob,
  open: readonly Trajectory[],
): { readonly trajectories: readonly Trajectory[]; readonly work: RolloutWork } {
  const fail = (what: string): never => {
    throw new CpmError("bad-input", `a worker's result: ${what}; workers must be of this package's version`, { field: "result" });
  };
  if (!isRecord(value)) return fail(`expected an object, found ${shown(value)}`);
  const { policy, chunks, work } = value;
  if (policy !== job.policy) return fail(`it is of policy ${shown(policy)}, not ${job.policy}`);
  if (!Array.isArray(chunks) || chunks.length !== open.length) return fail(`expected ${open.length} chunks`);
  const trajectories = open.map((t, i) => {
    const chunk: unknown = chunks[i];
    if (!isRecord(chunk) || chunk["id"] !== t.id) return fail(`expected a chunk of ${t.id} at ${i}`);
    const { tokens, logp, state } = chunk;
    if (!isNumbers(tokens, whole) || !isNumbers(logp, isNumber)) return fail(`${t.id}: expected tokens and log-probabilities`);
    if (state !== "open" && state !== "stop" && state !== "length") return fail(`${t.id}: no state ${shown(state)}`);
    if (tokens.length > Math.min(job.length ?? job.most, job.most - lengthOf(t)))
      return fail(`${t.id}: ${tokens.length} tokens are more than it was to have`);
    return extended(t, { tokens: Int32Array.from(tokens), logp: Float32Array.from(logp), policy: job.policy }, state);
  });
  const fields = ["tokens", "prefilled", "rebuilt", "idle"] as const;
  if (!isRecord(work) || !fields.every((field) => isNumber(work[field]))) return fail("work: expected its numbers");
  return { trajectories, work: work as unknown as RolloutWork };
}
