// Trajectories: answers that are made chunk by chunk, each chunk with its tokens, their log-probabilities and the policy that chose them.
import { CpmError } from "../../errors.ts";
import { shown } from "../../shown.ts";

/** Tokens that one policy chose in one go. */
export interface Chunk {
  readonly tokens: Int32Array;
  /** Log-probability of each token under `policy`, at temperature 1. */
  readonly logp: Float32Array;
  /** Number of the policy: how many times weights had changed. */
  readonly policy: number;
}

export interface Trajectory {
  readonly id: string;
  /** The group: all answers to one prompt. */
  readonly group: string;
  readonly prompt: Int32Array;
  /** Draws of position p are the same whoever makes them, in however many chunks. */
  readonly seed: number;
  readonly chunks: readonly Chunk[];
  /** "stop": ended by a token of its own, which is its last; "length": cut at the most tokens that there may be. */
  readonly state: "open" | "stop" | "length";
}

export const lengthOf = ({ chunks }: Trajectory): number => chunks.reduce((sum, { tokens }) => sum + tokens.length, 0);

/** All tokens behind the prompt. */
export function responseTokens(t: Trajectory): Int32Array {
  const out = new Int32Array(lengthOf(t));
  let at = 0;
  for (const { tokens } of t.chunks) {
    out.set(tokens, at);
    at += tokens.length;
  }
  return out;
}

/** The tokens of its text: without the one that ended it. */
export const answerTokens = (t: Trajectory): Int32Array =>
  responseTokens(t).subarray(0, lengthOf(t) - (t.state === "stop" ? 1 : 0));

/** Log-probability of each token behind the prompt, under the policy of its chunk. */
export function responseLogp(t: Trajectory): Float64Array {
  return Float64Array.from(t.chunks.flatMap(({ logp }) => Array.from(logp)));
}

/** The trajectory with one chunk more. @throws CpmError "bad-input" where tokens and log-probabilities do not belong together */
export function extended(t: Trajectory, chunk: Chunk, state: Trajectory["state"]): Trajectory {
  if (t.state !== "open") throw new CpmError("bad-input", `${t.id}: a trajectory that has ended takes no chunk`, { field: t.id });
  if (chunk.tokens.length !== chunk.logp.length || chunk.tokens.length === 0)
    throw new CpmError(
      "bad-input",
      `${t.id}: a chunk of ${chunk.tokens.length} tokens with ${chunk.logp.length} log-probabilities; it needs one each, of a token at least`,
      { field: t.id },
    );
  const bad = chunk.logp.findIndex((x) => !(x <= 1e-4 && x > Number.NEGATIVE_INFINITY));
  if (bad >= 0)
    throw new CpmError("bad-input", `${t.id}: ${shown(chunk.logp[bad])} is no log-probability`, {
      field: t.id,
      found: shown(chunk.logp[bad]),
    });
  return { ...t, chunks: [...t.chunks, chunk], state };
}

/** As JSON has it: numbers of float32 go through decimal text unchanged. */
export interface SavedTrajectory {
  readonly id: string;
  readonly group: string;
  readonly prompt: readonly number[];
  readonly seed: number;
  readonly state: Trajectory["state"];
  readonly chunks: readonly { readonly tokens: readonly number[]; readonly logp: readonly number[]; readonly policy: number }[];
}

export const saved = (t: Trajectory): SavedTrajectory => ({
  ...t,
  prompt: Array.from(t.prompt),
  chunks: t.chunks.map(({ tokens, logp, policy }) => ({ tokens: Array.from(tokens), logp: Array.from(logp), policy })),
});

export const restored = (t: SavedTrajectory): Trajectory => ({
  ...t,
  prompt: Int32Array.from(t.prompt),
  chunks: t.chunks.map(({ tokens, logp, policy }) => ({
    tokens: Int32Array.from(tokens),
    logp: Float32Array.from(logp),
    policy,
  })),
});
