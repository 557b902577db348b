// What a run of `cpm rl` is: its configuration, checked, with its defaults filled in.
import { type VerifierName, verifierNames } from "../../data/verify/suite.ts";
import {
  type ExportConfig,
  LINEARS,
  readEvery,
  readExport,
  readOptimiser,
  readSchedule,
  readStart,
  type StartConfig,
} from "../config.ts";
import type { OptimiserOptions } from "../optimiser.ts";
import { Part } from "../options.ts";
import type { LearnerOptions } from "./learner.ts";

export interface RolloutConfig {
  readonly start: StartConfig;
  readonly out: string;
  /** JSONL files of prompts: fields "prompt" or "messages", and what the reward reads ("answer", say). */
  readonly prompts: readonly string[];
  /** "exact", or verifiers that must all find nothing wrong. */
  readonly reward: "exact" | readonly VerifierName[];
  /** Times that weights change. */
  readonly updates: number;
  readonly learner: LearnerOptions;
  readonly lora: { readonly rank: number; readonly alpha: number; readonly targets?: readonly string[] | undefined } | undefined;
  readonly optimiser: OptimiserOptions;
  /** Of training batches: rows, and tokens of a row. Default length: the longest prompt with its answer. */
  readonly rows: number;
  readonly length: number | undefined;
  /** Answers side by side in the engine. */
  readonly slots: number;
  /** Texts of single tokens that end an answer, beside the model's own. */
  readonly stop: readonly string[];
  readonly evaluate: {
    readonly every: number;
    readonly files: readonly string[];
    readonly answers: number;
    readonly most: number;
  };
  readonly checkpoint: { readonly every: number; readonly keep: number };
  /** Steps without an update after which a run ends: nothing is learnt. */
  readonly patience: number;
  readonly exports: readonly ExportConfig[];
  readonly threads: number | undefined;
  readonly variant: "auto" | "base" | "relaxed";
  readonly maxMemoryBytes: number | undefined;
}

// biome-ignore format: a table
const NAMES = [
  "model", "out", "prompts", "reward", "updates", "answers", "groups", "miniBatch", "epochs", "inFlight", "chunk", "maxTokens", "referenceEvery",
  "filters", "importance", "seed", "objective", "optimiser", "schedule", "rows", "length", "slots", "stop", "evaluate", "checkpoint", "patience", "export",
  "threads", "variant", "maxMemoryBytes",
];

/**
 * Reads a configuration. `file`: what it is called in messages.
 * @throws CpmError "bad-option" that names the place, what is expected there and what stands there
 */
export function readRolloutConfig(value: unknown, file = "config"): RolloutConfig {
  const c = new Part(value, file, "", NAMES);
  const updates = c.count("updates", 1, undefined, 1e9);
  const groups = c.count("groups", 1, 16, 1 << 16);
  const miniBatch = c.count("miniBatch", 1, groups, groups);
  const epochs = c.count("epochs", 1, 1, 1 << 10);
  const answers = c.count("answers", 2, 16, 1 << 16);
  const objective = c.part("objective", ["low", "high", "dual", "beta", "lora"]);
  const filters = c.part("filters", ["overlong", "garbled", "dynamic"]);
  const bound = (name: "low" | "high" | "dual" | "beta", most?: number) =>
    objective.maybe(name, () => objective.number(name, most === undefined ? {} : { most }));
  const dual = bound("dual");
  if (dual !== undefined && dual <= 1) objective.fail("dual", "a number above 1", dual);
  if (typeof c.raw("chunk") === "string" && c.raw("chunk") !== "whole")
    c.fail("chunk", '"whole", or tokens of a chunk', c.raw("chunk"));
  const steps = updates * epochs * Math.ceil(groups / miniBatch);
  return {
    start: readStart(c),
    out: c.text("out"),
    prompts: c.texts("prompts", 1),
    reward: readReward(c),
    updates,
    learner: {
      answers,
      groups,
      miniBatch,
      epochs,
      inFlight: c.count("inFlight", answers, groups * answers, 1 << 20),
      chunk: c.raw("chunk") === "whole" ? Number.POSITIVE_INFINITY : c.count("chunk", 1),
      maxTokens: c.count("maxTokens", 1, undefined, 1 << 20),
      referenceEvery: c.count("referenceEvery", 0, 0),
      filters: {
        overlong: filters.flag("overlong", true),
        garbled: filters.flag("garbled", true),
        dynamic: filters.flag("dynamic", true),
      },
      importance: c.choice("importance", ["chunk", "update"], "chunk"),
      seed: c.count("seed", 0, 1, 2 ** 32 - 1),
      low: bound("low", 1),
      high: bound("high"),
      dual,
      beta: bound("beta"),
    },
    lora: objective.maybe("lora", () => readLora(objective.part("lora", ["rank", "alpha", "targets"]))),
    optimiser: { ...readOptimiser(c), schedule: readSchedule(c, steps) },
    rows: c.count("rows", 1, 4, 1 << 16),
    length: c.maybe("length", () => c.count("length", 2, undefined, 1 << 20)),
    slots: c.count("slots", 1, 16, 256),
    stop: c.texts("stop"),
    evaluate: readEvery(c, "evaluate", ["every", "files", "answers", "most"], (p) => ({
      every: p.count("every", 1, 10),
      files: p.texts("files"),
      answers: p.count("answers", 1, 1, 1 << 10),
      most: p.count("most", 1, 200, 1 << 20),
    })),
    checkpoint: readEvery(c, "checkpoint", ["every", "keep"], (p) => ({
      every: p.count("every", 1, 10),
      keep: p.count("keep", 1, 2),
    })),
    patience: c.count("patience", 1, 200),
    exports: c.has("export") ? c.parts("export", ["to", "type", "what"]).map(readExport) : [],
    threads: c.maybe("threads", () => c.count("threads", 1, undefined, 64)),
    variant: c.choice("variant", ["auto", "base", "relaxed"], "auto"),
    maxMemoryBytes: c.maybe("maxMemoryBytes", () => c.count("maxMemoryBytes", 1 << 20)),
  };
}

function readReward(c: Part): RolloutConfig["reward"] {
  if (c.raw("reward") === "exact") return "exact";
  const names = c.texts("reward", 1);
  // Code runs in a sandbox, which commands do not start for every answer of a run.
  const known = verifierNames.filter((name) => name !== "code");
  const wrong = names.find((name) => !known.some((one) => one === name));
  if (wrong !== undefined || names.length === 0) c.fail("reward", `"exact", or some of ${known.join(", ")}`, wrong ?? "nothing");
  return names as readonly VerifierName[];
}

function readLora(o: Part): NonNullable<RolloutConfig["lora"]> {
  const targets = o.maybe("targets", () => o.texts("targets", 1));
  const wrong = targets?.find((t) => !LINEARS.includes(t));
  if (wrong !== undefined) o.fail("targets", `some of ${LINEARS.join(", ")}`, wrong);
  const rank = o.count("rank", 1, 8, 4096);
  return { rank, alpha: o.number("alpha", { least: 1e-6 }, 2 * rank), targets };
}
