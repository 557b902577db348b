// A whole run of learning from rewards: steps, evaluations, checkpoints; killed anywhere, it goes on from its last checkpoint to the same bytes.
import { isRecord } from "../../brands.ts";
import { CpmError } from "../../errors.ts";
import type { ModelFile } from "../../model/config.ts";
import { Checkpoint, writeCheckpoint } from "../checkpoint.ts";
import { checksumOf, hex, mix } from "../checksum.ts";
import { type FolderParts, folderFiles } from "../folder.ts";
import type { Machine } from "../machine.ts";
import { type Dequantise, setWeights, shapeOfModel } from "../model.ts";
import { normal } from "../scratch.ts";
import { type RunStore, storedText, storeText } from "../store.ts";
import { modelExport } from "../tensors.ts";
import { Trainer } from "../trainer.ts";
import type { RolloutConfig } from "./config.ts";
import type { RolloutEngine } from "./engine.ts";
import type { RolloutPrompt } from "./groups.ts";
import { Learner, type LearnerStep } from "./learner.ts";
import { exactReward, type Reward, verifierReward } from "./rewards.ts";

export interface RolloutInput {
  readonly config: RolloutConfig;
  readonly store: RunStore;
  readonly model: ModelFile;
  readonly parts: FolderParts;
  readonly prompts: readonly RolloutPrompt[];
  /** Prompts of evaluations. */
  readonly heldOut?: readonly RolloutPrompt[] | undefined;
  readonly engine: RolloutEngine;
  decode(tokens: Int32Array): string;
  /** A machine for the policy, and one for the reference; the run closes them. */
  machine(): Promise<Machine>;
  /** Default: what the configuration names. */
  readonly reward?: Reward | undefined;
  readonly dequantise?: Dequantise | undefined;
}

/** A line of log.jsonl. */
export type RolloutEntry =
  | ({ readonly kind: "step" } & LearnerStep)
  | {
      readonly kind: "heldOut";
      readonly step: number;
      readonly policy: number;
      readonly reward: number;
      readonly length: number;
    };

export interface RolloutHooks {
  readonly signal?: AbortSignal | undefined;
  /** Once: at which policy it goes on, 0 at the beginning, and what the log has of before. */
  onStart?(start: { readonly policy: number; readonly step: number; readonly log: readonly RolloutEntry[] }): void;
  onEntry?(entry: RolloutEntry): void;
}

interface SavedRun {
  readonly version: 1;
  /** Tells configuration and prompts. */
  readonly key: string;
  readonly step: number;
  readonly learner: string;
}

function isSavedRun(value: unknown): value is SavedRun {
  if (!isRecord(value)) return false;
  const { version, key, step, learner } = value;
  return version === 1 && typeof key === "string" && Number.isSafeInteger(step) && typeof learner === "string";
}

const NAME = /^checkpoint-(\d{8})\.ckpt$/;
const nameOf = (step: number): string => `checkpoint-${String(step).padStart(8, "0")}.ckpt`;
const LOG = "log.jsonl";

/** The longest row that a prompt and its answer need. */
export const rowLength = (config: RolloutConfig, prompts: readonly RolloutPrompt[]): number =>
  config.length ?? Math.max(2, ...prompts.map(({ tokens }) => tokens.length)) + config.learner.maxTokens;

/**
 * Runs to the end, or rejects with the signal's reason after a step. The trainer is the caller's to export from and to close.
 * Rejects with CpmError "bad-option", "bad-input" (also where nothing is learnt), "bad-model" for a checkpoint of another configuration, "io".
 */
export async function runRollout(
  input: RolloutInput,
  hooks: RolloutHooks = {},
): Promise<{ readonly trainer: Trainer; readonly steps: number }> {
  const { config, store, prompts, heldOut = [], engine, parts, model } = input;
  const { signal } = hooks;
  const { seed = 0, beta = 1e-3 } = config.learner;
  const size = {
    shape: shapeOfModel(model.config, rowLength(config, prompts)),
    rows: config.rows,
    length: rowLength(config, prompts),
  };
  const trainer = await Trainer.create(await input.machine(), {
    ...size,
    objective: { kind: "policy", ...boundsOf(config), lora: config.lora },
    optimiser: config.optimiser,
  });
  let reference: Trainer | undefined;
  try {
    trainer.initialise(
      normal(mix(seed)),
      config.start.kind === "scratch" ? [...trainer.graph.tensors.keys()] : trainer.trained.map(({ name }) => name),
    );
    if (config.start.kind === "model") await setWeights(trainer, model, { dequantise: input.dequantise, signal });
    if (beta > 0)
      reference = await Trainer.create(await input.machine(), { ...size, objective: { kind: "policy" }, evaluateOnly: true });
    const reward = input.reward ?? (config.reward === "exact" ? exactReward : verifierReward(config.reward));
    const { decode } = input;
    const weights = () => folderFiles(parts, modelExport(trainer));
    const learner = new Learner({ prompts, engine, trainer, reference, reward, decode, weights }, config.learner);
    const key = keyOf(config, prompts);
    await resume(store, learner, key, signal);
    const log = await openLog(store, learner.step);
    hooks.onStart?.({ policy: learner.policy, step: learner.step, log });
    const tell = async (entry: RolloutEntry) => {
      await store.append(LOG, JSON.stringify(entry));
      hooks.onEntry?.(entry);
    };
    const { every, answers, most } = config.evaluate;
    for (let idle = 0; learner.policy < config.updates; ) {
      signal?.throwIfAborted();
      const step = await learner.advance(signal);
      idle = step.update ? 0 : idle + 1;
      await tell({ kind: "step", ...step });
      const ends = learner.policy === config.updates;
      if (heldOut.length > 0 && step.update && (ends || learner.policy % every === 0)) {
        const found = await learner.score(heldOut.slice(0, most), answers, signal);
        await tell({ kind: "heldOut", step: learner.step, policy: learner.policy, ...found });
      }
      if (ends || learner.step % config.checkpoint.every === 0) await keep(store, learner, key, config.checkpoint.keep);
      if (idle >= config.patience)
        throw new CpmError(
          "bad-input",
          `${idle} steps went by without an update: of each group none or all answers were right, or all were cut or garbled; take prompts that are answered right now and then, more answers to each, or a larger maxTokens`,
          { field: "prompts" },
        );
    }
    return { trainer, steps: learner.step };
  } catch (error) {
    await trainer.close();
    throw error;
  } finally {
    await reference?.close();
  }
}

const boundsOf = ({ learner: { low, high, dual, beta } }: RolloutConfig) => ({ low, high, dual, beta });

/** Tells a run from another: all that its weights depend on. */
function keyOf(config: RolloutConfig, prompts: readonly RolloutPrompt[]): string {
  const {
    out: _,
    updates: __,
    exports: ___,
    threads: ____,
    maxMemoryBytes: _____,
    checkpoint: ______,
    evaluate: _______,
    ...rest
  } = config;
  return hex(checksumOf(new TextEncoder().encode(JSON.stringify([rest, prompts]))));
}

async function resume(store: RunStore, learner: Learner, key: string, signal: AbortSignal | undefined): Promise<void> {
  const last = (await store.names())
    .filter((name) => NAME.test(name))
    .sort()
    .at(-1);
  const source = last === undefined ? undefined : await store.open(last);
  if (!source) return;
  try {
    const checkpoint = await Checkpoint.openAs(source, isSavedRun, signal);
    if (checkpoint.state.key !== key)
      throw new CpmError(
        "bad-model",
        `${source.name}: a checkpoint of another configuration or of other prompts; give the run a folder of its own, or remove this one's checkpoints`,
        { file: source.name },
      );
    for (const { name, bytes } of learner.sections()) await checkpoint.read(name, bytes, signal);
    learner.restore(checkpoint.state.learner);
  } finally {
    await source.close();
  }
}

async function keep(store: RunStore, learner: Learner, key: string, most: number): Promise<void> {
  const state: SavedRun = { version: 1, key, step: learner.step, learner: learner.save() };
  const name = nameOf(learner.step);
  await writeCheckpoint((size) => store.create(name, size), state, learner.sections());
  const names = (await store.names()).filter((n) => NAME.test(n)).sort();
  for (const old of names.slice(0, -most)) await store.remove(old);
}

/** The log up to a step: what a killed run wrote after its checkpoint is forgotten. */
async function openLog(store: RunStore, step: number): Promise<RolloutEntry[]> {
  const entries: RolloutEntry[] = [];
  for (const line of ((await storedText(store, LOG)) ?? "").split("\n")) {
    try {
      const entry = JSON.parse(line) as RolloutEntry;
      if (entry.step <= step) entries.push(entry);
    } catch {}
  }
  await storeText(store, LOG, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
  return entries;
}
