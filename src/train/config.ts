// What a run is: the configuration of `cpm train`, checked, with its defaults filled in.
import type { SparseOption } from "../model/sparse.ts";
import type { ChatDocumentOptions } from "./documents.ts";
import { EAGLE3_STEPS } from "./eagle3.ts";
import type { FloatType } from "./floats.ts";
import type { Objective } from "./graph.ts";
import type { OptimiserOptions } from "./optimiser.ts";
import { Part } from "./options.ts";
import type { PrepareOptions } from "./prepare.ts";
import type { Schedule } from "./schedule.ts";
import type { TernaryType } from "./ternaryfile.ts";

export interface DataConfig extends PrepareOptions {
  readonly files: readonly string[];
  /** Its share of the rows beside the other sources'. Default: its tokens. */
  readonly weight?: number | undefined;
}

/** Where weights begin: a model's file or folder, or nowhere. */
export type StartConfig =
  | { readonly kind: "model"; readonly path: string }
  | {
      readonly kind: "scratch";
      /** config.json's fields, or the path of a file with them. */
      readonly config: Readonly<Record<string, unknown>> | string;
      readonly tokenizer: string;
      /** Standard deviation of the weights before muP. */
      readonly std: number;
    };

/** An objective, but for what is read from files. */
export type ObjectiveConfig =
  | Exclude<Objective, { kind: "lm" | "eagle" | "policy" }>
  | (Omit<Extract<Objective, { kind: "lm" }>, "teacher"> & {
      /** A float model with the same vocabulary, and what its distribution counts beside the labels. */
      readonly teacher?: { readonly path: string; readonly share: number } | undefined;
    })
  | (Omit<Extract<Objective, { kind: "eagle" }>, "vocabulary" | "features"> & {
      /** A file of token ids, as `cpm freq` writes it. */
      readonly vocabulary?: string | undefined;
      /** Whose states a head learns: of the model as it is loaded here, quantised or not, or of its weights as floats. */
      readonly target: "resident" | "float";
      /** Width of the noise on the target's states, before it is scaled by 512 / length (EAGLE: 0.1). */
      readonly noise: number;
    });

export interface StageConfig {
  readonly objective: ObjectiveConfig;
  readonly updates: number;
  readonly optimiser: OptimiserOptions;
}

export interface ExportConfig {
  /** A file that ends in .gguf, or a folder. */
  readonly to: string;
  readonly type: FloatType | TernaryType;
  /** "model": as it computes (adapters merged, ternary layers rounded); "latent": before rounding; "trained": what was trained alone. */
  readonly what: "model" | "latent" | "trained";
}

export interface TrainConfig {
  readonly start: StartConfig;
  readonly out: string;
  readonly data: readonly DataConfig[];
  readonly heldOut: number;
  readonly packing: "stream" | "whole";
  readonly length: number;
  readonly rows: number;
  /** Batches of an update. */
  readonly accumulate: number;
  readonly seed: number;
  readonly sparse: SparseOption;
  readonly stages: readonly StageConfig[];
  /** Updates between two evaluations of what is held out; rows of it, at most. */
  readonly evaluate: { readonly every: number; readonly rows: number };
  readonly samples: { readonly every: number; readonly prompts: readonly string[]; readonly maxTokens: number };
  readonly checkpoint: { readonly every: number; readonly keep: number };
  /** Nats that the mean loss of eight updates may rise above the lowest so far. */
  readonly explode: number;
  readonly exports: readonly ExportConfig[];
  readonly recompute: boolean;
  readonly chunk: number | undefined;
  readonly threads: number | undefined;
  readonly variant: "auto" | "base" | "relaxed";
  readonly maxMemoryBytes: number | undefined;
}

const STAGE = ["objective", "updates", "optimiser", "schedule"];
// biome-ignore format: a table
const NAMES = [
  "model", "out", "data", "heldOut", "packing", "length", "rows", "accumulate", "seed", "sparse", ...STAGE, "stages", "evaluate",
  "samples", "checkpoint", "explode", "export", "recompute", "chunk", "threads", "variant", "maxMemoryBytes",
];

/**
 * Reads a configuration. `file`: what it is called in messages.
 * @throws CpmError "bad-option" that names the place, what is expected there and what stands there
 */
export function readConfig(value: unknown, file = "config"): TrainConfig {
  const c = new Part(value, file, "", NAMES);
  const stages = c.has("stages") ? c.parts("stages", STAGE, 1).map((part) => readStage(part, c)) : [readStage(c, c)];
  for (const [i, { objective }] of stages.entries()) {
    const alone = objective.kind === "lora" || objective.kind === "eagle";
    if ((alone && stages.length > 1) || (objective.kind === "mtp" && i < stages.length - 1))
      c.fail(
        "stages",
        '"lora" and "eagle" by themselves, "mtp" last: they are made beside weights that are fixed',
        objective.kind,
      );
  }
  return {
    start: readStart(c),
    out: c.text("out", "run"),
    data: c.parts("data", DATA, 1).map(readData),
    heldOut: c.number("heldOut", { most: 0.5 }, 0),
    packing: c.choice("packing", ["stream", "whole"], "stream"),
    length: c.count("length", 2, undefined, 1 << 20),
    rows: c.count("rows", 1, 1, 1 << 16),
    accumulate: c.count("accumulate", 1, 1, 1 << 16),
    seed: c.count("seed", 0, 1, 2 ** 32 - 1),
    sparse: typeof c.raw("sparse") === "object" ? (c.record("sparse") as SparseOption) : c.flag("sparse"),
    stages,
    evaluate: readEvery(c, "evaluate", ["every", "rows"], (p) => ({
      every: p.count("every", 1, 100),
      rows: p.count("rows", 1, 64),
    })),
    samples: readEvery(c, "samples", ["every", "prompts", "maxTokens"], (p) => ({
      every: p.count("every", 1, 500),
      prompts: p.texts("prompts"),
      maxTokens: p.count("maxTokens", 1, 64),
    })),
    checkpoint: readEvery(c, "checkpoint", ["every", "keep"], (p) => ({
      every: p.count("every", 1, 100),
      keep: p.count("keep", 1, 2),
    })),
    explode: c.number("explode", {}, 3),
    exports: c.has("export") ? c.parts("export", ["to", "type", "what"]).map(readExport) : [],
    recompute: c.flag("recompute"),
    chunk: c.maybe("chunk", () => c.count("chunk", 1)),
    threads: c.maybe("threads", () => c.count("threads", 1, undefined, 64)),
    variant: c.choice("variant", ["auto", "base", "relaxed"], "auto"),
    maxMemoryBytes: c.maybe("maxMemoryBytes", () => c.count("maxMemoryBytes", 1 << 20)),
  };
}

export const readEvery = <T>(c: Part, name: string, names: readonly string[], read: (part: Part) => T): T =>
  read(c.part(name, names));

export function readStart(c: Part): StartConfig {
  if (typeof c.raw("model") === "string") return { kind: "model", path: c.text("model") };
  if (!c.has("model")) c.fail("model", "a model's path, or { config, tokenizer } to begin from nothing");
  const part = c.part("model", ["config", "tokenizer", "std"]);
  return {
    kind: "scratch",
    config: typeof part.raw("config") === "string" ? part.text("config") : part.record("config"),
    tokenizer: part.text("tokenizer"),
    std: part.number("std", { least: 1e-6, most: 10 }, 0.1),
  };
}

const DATA = ["files", "weight", "format", "field", "separator", "badRecords", "answers", "enableThinking", "templateArguments"];

function readData(part: Part): DataConfig {
  const template = {
    ...(part.has("enableThinking") ? { enableThinking: part.flag("enableThinking") } : {}),
    ...(part.has("templateArguments") ? { templateArguments: part.record("templateArguments") } : {}),
  };
  const chat: ChatDocumentOptions = { answers: part.choice("answers", ["all", "each", "last"], "all"), template };
  return {
    files: part.texts("files", 1),
    weight: part.maybe("weight", () => part.number("weight", { least: 1e-9 })),
    format: part.maybe("format", () => part.choice("format", ["text", "chat"])),
    field: part.maybe("field", () => part.text("field")),
    separator: part.maybe("separator", () => part.text("separator")),
    badRecords: part.choice("badRecords", ["stop", "skip"], "stop"),
    chat,
  };
}

/** A stage's own fields before those of the whole. */
function readStage(stage: Part, whole: Part): StageConfig {
  const from = (name: string): Part => (stage.has(name) ? stage : whole);
  const updates = from("updates").count("updates", 1, undefined, 1e9);
  return {
    objective: readObjective(from("objective")),
    updates,
    optimiser: { ...readOptimiser(from("optimiser")), schedule: readSchedule(from("schedule"), updates) },
  };
}

const OBJECTIVES = {
  lm: ["zCoef", "teacher", "share"],
  ternary: ["zCoef", "teacher", "share", "group"],
  lora: ["rank", "alpha", "targets"],
  eagle: ["valueWeight", "probabilityWeight", "vocabulary", "window", "noise", "target", "layout", "steps"],
  mtp: ["lambda"],
} as const;
export const LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

function readObjective(c: Part): ObjectiveConfig {
  const kinds = Object.keys(OBJECTIVES) as (keyof typeof OBJECTIVES)[];
  const kind = c.part("objective", ["kind", ...new Set(Object.values(OBJECTIVES).flat())]).choice("kind", kinds, "lm");
  const o = c.part("objective", ["kind", ...OBJECTIVES[kind]]);
  const number = (name: string) => o.maybe(name, () => o.number(name));
  const teacher = o.maybe("teacher", () => ({ path: o.text("teacher"), share: o.number("share", { most: 1 }, 0.5) }));
  switch (kind) {
    case "lm":
      return { kind, zCoef: number("zCoef"), teacher };
    case "ternary":
      return { kind: "lm", zCoef: number("zCoef"), teacher, ternaryGroup: o.count("group", 0, 256) };
    case "lora": {
      const targets = o.maybe("targets", () => o.texts("targets", 1));
      const wrong = targets?.find((t) => !LINEARS.includes(t));
      if (wrong !== undefined) o.fail("targets", `some of ${LINEARS.join(", ")}`, wrong);
      const rank = o.count("rank", 1, 8, 4096);
      return { kind, rank, alpha: o.number("alpha", { least: 1e-6 }, 2 * rank), targets };
    }
    case "eagle": {
      const layout = o.maybe("layout", () => o.count("layout", 2, 2, 3)) as 2 | 3 | undefined;
      if (layout === 3) {
        for (const name of ["valueWeight", "probabilityWeight", "noise"])
          if (o.has(name)) o.fail(name, "nothing beside layout 3: EAGLE-3 is trained on distributions alone", o.raw(name));
        const steps = o.maybe("steps", () => o.count("steps", 1, 3, 16));
        return {
          kind,
          layout,
          steps,
          vocabulary: o.maybe("vocabulary", () => o.text("vocabulary")),
          window: o.maybe("window", () => o.count("window", steps ?? EAGLE3_STEPS)),
          noise: 0,
          target: o.choice("target", ["resident", "float"], "resident"),
        };
      }
      if (o.has("steps")) o.fail("steps", "nothing beside layout 2", o.raw("steps"));
      return {
        kind,
        valueWeight: number("valueWeight"),
        probabilityWeight: number("probabilityWeight"),
        vocabulary: o.maybe("vocabulary", () => o.text("vocabulary")),
        window: o.maybe("window", () => o.count("window", 1)),
        noise: o.number("noise", {}, 0),
        target: o.choice("target", ["resident", "float"], "resident"),
      };
    }
    case "mtp":
      return { kind, lambda: number("lambda") };
  }
}

const OPTIMISER = ["kind", "clip", "weightDecay", "betas", "eps", "momentum", "scale", "mup"];

export function readOptimiser(c: Part): Omit<OptimiserOptions, "schedule"> {
  const o = c.part("optimiser", OPTIMISER);
  const number = (name: string, most?: number) => o.maybe(name, () => o.number(name, most === undefined ? {} : { most }));
  const betas = o.maybe("betas", () => o.numbers("betas", 2));
  if (betas?.some((b) => !(b >= 0 && b < 1))) o.fail("betas", "two numbers from 0 to below 1");
  return {
    kind: o.choice("kind", ["adamw", "muon"], "adamw"),
    clip: number("clip"),
    weightDecay: number("weightDecay"),
    betas: betas && [betas[0]!, betas[1]!],
    eps: number("eps"),
    momentum: number("momentum", 0.999999),
    scale: o.choice("scale", ["rms", "spectral"], "rms"),
    mup: o.flag("mup"),
  };
}

const SCHEDULE = ["kind", "peak", "warmup", "stableEnd", "decaySteps", "halfLife", "floor"];

/** WSD over `updates`: 2 % warm-up, stable to 80 %, then down along 1 - sqrt. */
export function readSchedule(c: Part, updates: number): Schedule {
  if (!c.has("schedule")) c.fail("schedule", 'an object with at least "peak", the highest learning rate');
  const s = c.part("schedule", SCHEDULE);
  const kind = s.choice("kind", ["1-sqrt", "linear", "cosine", "exponential", "constant"], "1-sqrt");
  const common = { peak: s.number("peak"), warmup: s.number("warmup", {}, Math.ceil(0.02 * updates)) };
  if (kind === "constant") return { kind, ...common };
  const stableEnd = s.number("stableEnd", {}, Math.max(common.warmup, Math.floor((kind === "cosine" ? 0 : 0.8) * updates)));
  const floor = s.maybe("floor", () => s.number("floor"));
  const left = Math.max(1, updates - stableEnd);
  if (kind === "exponential")
    return { kind, ...common, stableEnd, halfLife: s.number("halfLife", { least: 1e-3 }, left / 6), floor };
  return { kind, ...common, stableEnd, decaySteps: s.number("decaySteps", { least: 1 }, left), floor };
}

export function readExport(part: Part): ExportConfig {
  const to = part.text("to");
  const type = part.choice("type", ["F32", "F16", "BF16", "TQ1_0", "TQ2_0"], "F32");
  if (type.startsWith("TQ") && !/\.gguf$/i.test(to)) part.fail("type", "F32, F16 or BF16 for a folder");
  const what = part.choice("what", ["model", "latent", "trained"], "model");
  return { to, type, what };
}
