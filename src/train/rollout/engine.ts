// Whoever continues trajectories: a model that takes new weights, batched through its scheduler.
import type { Model } from "../../door/model.ts";
import type { LoadOptions } from "../../door/options.ts";
import { CpmError } from "../../errors.ts";
import type { ModelFiles } from "../../file/source.ts";
import { extended, lengthOf, responseTokens, type Trajectory } from "./trajectory.ts";

export interface Advance {
  /** The trajectories given, each with a chunk more, in their order. */
  readonly trajectories: readonly Trajectory[];
  readonly work: RolloutWork;
}

/** What a step of rollouts took. */
export interface RolloutWork {
  /** Tokens chosen. */
  readonly tokens: number;
  /** Prompt tokens computed for trajectories that begin. */
  readonly prefilled: number;
  /** Tokens of trajectories that go on, computed anew because their keys and values were of older weights. */
  readonly rebuilt: number;
  /** Share of the places side by side that had nothing to do until the longest was done. */
  readonly idle: number;
}

export interface RolloutEngine {
  /** The policy whose weights it has; -1 before the first. */
  readonly policy: number;
  /** Takes the weights of a policy; caches of others are void. */
  load(weights: ModelFiles, policy: number, signal?: AbortSignal): Promise<void>;
  /** Continues each open trajectory, of which there is at least one, by at most `length` tokens, and none beyond `most` tokens in all. */
  advance(open: readonly Trajectory[], length: number, most: number, signal?: AbortSignal): Promise<Advance>;
  close(): Promise<void>;
}

export interface ModelEngineOptions {
  /** Trajectories side by side. Default 16; at most 256. */
  readonly slots?: number | undefined;
  /** Tokens of a prompt and its answer. Default: the model's own, at most 4096. */
  readonly contextSize?: number | undefined;
  /** Tokens that end an answer beside the model's own. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Other options of load(), threads say. */
  readonly load?: Omit<LoadOptions, "parallel" | "queue" | "contextSize" | "signal"> | undefined;
}

/** Chosen as the policy says: no bound on what may be drawn, so that log-probabilities are those of the draw. */
const SAMPLING = { temperature: 1, topK: 0, topP: 1, minP: 0, logprobs: 0 } as const;

/** An engine over this package's models. `load`: the function of that name. */
export function modelEngine(
  load: (files: ModelFiles, options: LoadOptions) => Promise<Model>,
  options: ModelEngineOptions = {},
): RolloutEngine {
  const { slots = 16, contextSize, stopTokens } = options;
  let [model, policy]: [Model | undefined, number] = [undefined, -1];
  return {
    get policy() {
      return policy;
    },
    async load(weights, number, signal) {
      await model?.dispose();
      [model, policy] = [undefined, -1];
      model = await load(weights, { kvType: "f32", draft: false, ...options.load, parallel: slots, contextSize, signal });
      policy = number;
    },
    async advance(open, length, most, signal) {
      const found = model;
      if (!found) throw new CpmError("closed", "the rollout engine has no weights; call load() first");
      const out: { trajectory: Trajectory; computed: number; tokens: number }[] = [];
      signal?.throwIfAborted();
      let next = 0;
      // A signal of its own for each place: one that hundreds listen to makes runtimes warn of leaks.
      const stops = Array.from({ length: Math.min(slots, open.length) }, () => new AbortController());
      const stop = () => {
        for (const one of stops) one.abort(signal?.reason);
      };
      signal?.addEventListener("abort", stop, { once: true });
      const place = async ({ signal }: AbortController) => {
        while (next < open.length) {
          const at = next++;
          out[at] = await advanceOne(found, open[at]!, { length, most, policy, stopTokens, signal });
        }
      };
      try {
        await Promise.all(stops.map(place));
      } catch (error) {
        for (const one of stops) one.abort(error);
        throw error;
      } finally {
        signal?.removeEventListener("abort", stop);
      }
      const sum = (of: (o: (typeof out)[0]) => number) => out.reduce((total, o) => total + of(o), 0);
      return {
        trajectories: out.map(({ trajectory }) => trajectory),
        work: {
          tokens: sum(({ tokens }) => tokens),
          prefilled: sum(({ trajectory, computed }) => (trajectory.chunks.length === 1 ? computed : 0)),
          rebuilt: sum(({ trajectory, computed }) => (trajectory.chunks.length > 1 ? computed : 0)),
          idle: idleShare(
            out.map(({ tokens }) => tokens),
            slots,
          ),
        },
      };
    },
    async close() {
      await model?.dispose();
      [model, policy] = [undefined, -1];
    },
  };
}

interface One {
  readonly length: number;
  readonly most: number;
  readonly policy: number;
  readonly stopTokens: readonly number[] | undefined;
  readonly signal: AbortSignal | undefined;
}

async function advanceOne(model: Model, t: Trajectory, { length, most, policy, stopTokens, signal }: One) {
  const left = most - lengthOf(t);
  const maxTokens = Math.min(length, left);
  const prompt = [...t.prompt, ...responseTokens(t)];
  const generation = model.generate(prompt, {
    ...SAMPLING,
    seed: t.seed,
    maxTokens,
    special: true,
    draft: false,
    stopTokens,
    signal,
  });
  const logp: number[] = [];
  for await (const part of generation) for (const { logprob } of part.logprobs ?? []) logp.push(logprob);
  const { tokens, finishReason, stopToken, usage } = await generation;
  const chosen = [...tokens];
  if (finishReason === "stop" && stopToken) {
    chosen.push(stopToken.token);
    logp.push(stopToken.logprob);
  }
  const state = finishReason === "stop" ? "stop" : finishReason === "context" || chosen.length >= left ? "length" : "open";
  const chunk = { tokens: Int32Array.from(chosen), logp: Float32Array.from(logp), policy };
  return { trajectory: extended(t, chunk, state), computed: usage.promptTokens - usage.cachedTokens, tokens: chosen.length };
}

/** Of `slots` places that take the next text when theirs ends, a token each a step: the share of places and steps without a text. */
export function idleShare(lengths: readonly number[], slots: number): number {
  const places = new Array<number>(Math.min(slots, lengths.length)).fill(0);
  for (const length of lengths) places[places.indexOf(Math.min(...places))]! += length;
  const longest = Math.max(0, ...places);
  return longest > 0 ? 1 - places.reduce((a, b) => a + b, 0) / (longest * places.length) : 0;
}
