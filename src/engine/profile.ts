// Where the time of one step goes: every kind of operation run by itself, layer after layer, against what the machine can do.
import type { Plan, PlannedLayer } from "../model/plan.ts";
import type { Stop } from "../signals.ts";
import type { Parts } from "./assemble.ts";
import { causalRows } from "./forward.ts";
import type { Sequence } from "./sequences.ts";
import type { EngineInfo, Profile, ProfileEntry, SamplingOptions } from "./types.ts";

/** enum Phase of cpp/model/forward.h, in the order of a layer. */
const PHASES = { embedding: 1, norm: 2, "q, k, v": 4, attention: 8, output: 16, "gate, up, SiLU": 32, down: 64 } as const;
const HEAD = 128;

const GREEDY: SamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyWindow: 0,
  logitBias: [],
  seed: 0,
  logprobs: -1,
};

/** Bytes that a read's peak is measured over: more than any cache. */
const PEAK_BYTES = 256 << 20;
const PIECE = 65536;
const PEAK_MS = 150;
const DOTS = { pieces: 16, rounds: 400, perRound: 60 * 32 };

/** Profiles `steps` steps of one row behind a sequence, which has room for it and stays as it is. Times are medians over the steps. */
export async function profileSequence(parts: Parts, sequence: Sequence, steps: number, stop: Stop | undefined): Promise<Profile> {
  const { host, plan, stepper, info } = parts;
  const layers = plan.layers.length;
  const context = sequence.tokens.length;
  stepper.prepare(causalRows(sequence, [0], context + 1));
  const phase = (begin: number, end: number, phases: number) => stepper.phases(begin, end, phases);
  const names = Object.keys(PHASES) as (keyof typeof PHASES)[];
  /** Milliseconds of each step by name. */
  const taken = new Map<string, number[]>();
  let step = -1;
  const timed = (name: string, task: () => void) => {
    const started = host.now();
    task();
    const ms = taken.get(name) ?? [];
    if (step >= 0) ms[step] = (ms[step] ?? 0) + host.now() - started;
    taken.set(name, ms);
  };
  const whole = () => {
    phase(0, layers, -1);
    phase(layers, layers, -1);
  };
  // The first step is spent on compiling and on waking lanes.
  for (; step < steps; step++) {
    timed("step", whole);
    timed("sampling", () => parts.samplers[0]!.sample(GREEDY, 0, new Int32Array(0)));
    for (let layer = 0; layer < layers; layer++)
      for (const name of names) if (name !== "embedding" || layer === 0) timed(name, () => phase(layer, layer + 1, PHASES[name]));
    timed("norm", () => phase(layers, layers, PHASES.norm));
    timed("head", () => phase(layers, layers, HEAD));
    // What a call that does nothing takes: every one above took it too.
    timed("call", () => {
      for (let i = 0; i < 100; i++) phase(0, 1, 0);
    });
    await stepper.breathe(stop);
  }
  const per = (name: string) => median(taken.get(name) ?? []);
  const call = Math.min(...(taken.get("call") ?? [])) / 100;
  const calls = (name: string) => (name === "embedding" || name === "head" ? 1 : name === "norm" ? layers + 1 : layers);
  const attention = info.sparse && context + 1 >= info.sparse.denseLen ? undefined : denseAttention(info, context);
  const entries: ProfileEntry[] = [...names, "head"].map((name) => ({
    name,
    ms: Math.max(0, per(name) - calls(name) * call),
    ...work(plan, name, attention),
  }));
  const computed = entries.reduce((sum, entry) => sum + entry.ms, 0);
  entries.push({ name: "sampling", ms: per("sampling") });
  entries.push({ name: "dispatch", ms: Math.max(0, per("step") - computed) });
  const stepMs = per("step") + per("sampling");
  return { steps, context, threads: plan.lanes, stepMs, entries, ...peaks(parts) };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** What an operation reads and multiplies in one step. */
function work(plan: Plan, name: string, attention: Partial<ProfileEntry> | undefined): Partial<ProfileEntry> {
  const matrices: Partial<Record<string, (layer: PlannedLayer) => PlannedLayer["q"][]>> = {
    "q, k, v": (l) => [l.q, l.k, l.v],
    output: (l) => [l.o],
    "gate, up, SiLU": (l) => [l.gate, l.up],
    down: (l) => [l.down],
  };
  const list = name === "head" ? [plan.head] : plan.layers.flatMap(matrices[name] ?? (() => []));
  if (list.length) {
    const bytes = list.reduce((sum, w) => sum + w.bytes, 0);
    return { bytes, operations: list.reduce((sum, w) => sum + 2 * w.rows * w.cols, 0), kind: list[0]!.kind };
  }
  return (name === "attention" && attention) || {};
}

/** Keys and values of all tokens are read once a layer; every head multiplies by both. */
function denseAttention({ config: c, kvType }: EngineInfo, context: number): Partial<ProfileEntry> {
  const values = 2 * c.layers * context * c.headDim;
  const width = kvType === "f32" ? 4 : kvType === "f16" ? 2 : 1 + 4 / c.headDim;
  return { bytes: values * c.kvHeads * width, operations: 2 * values * c.heads };
}

function peaks({ host, kernels, plan }: Parts): Pick<Profile, "readGBs" | "dotGOPs"> {
  const first = Math.min(...plan.weights.map((w) => w.at));
  const end = Math.max(...plan.weights.map((w) => w.at + w.bytes));
  const pieces = Math.max(1, Math.floor(Math.min(PEAK_BYTES, end - first) / PIECE));
  // Long enough for the engine's second compiler.
  const least = (task: () => void) => {
    let best = Number.POSITIVE_INFINITY;
    for (const begun = host.now(), tries = { left: 200 }; tries.left > 0 && host.now() - begun < PEAK_MS; tries.left--) {
      const started = host.now();
      task();
      best = Math.min(best, host.now() - started);
    }
    return Math.max(best, 1e-6);
  };
  const read = least(() => kernels.peak_read(first, pieces, 1));
  const dot = least(() => kernels.peak_dot(DOTS.pieces * plan.lanes, DOTS.rounds));
  return {
    readGBs: (pieces * PIECE) / read / 1e6,
    dotGOPs: (DOTS.pieces * plan.lanes * DOTS.rounds * DOTS.perRound) / dot / 1e6,
  };
}
