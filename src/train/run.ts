// A whole run: stages of updates, each with evaluations, samples and checkpoints; what was killed goes on where its checkpoint is, and comes
// to the same bytes.
import { now } from "../clock.ts";
import { CpmError } from "../errors.ts";
import type { ModelFile } from "../model/config.ts";
import { type Batch, weightOf } from "./batch.ts";
import { Checkpoint, type RunState, writeCheckpoint } from "./checkpoint.ts";
import { mix } from "./checksum.ts";
import type { StageConfig, TrainConfig } from "./config.ts";
import { beginWithTargetHead, putTapped } from "./eagle3.ts";
import { type Features, headBatch } from "./features.ts";
import type { Fed } from "./feed.ts";
import { folderFiles } from "./folder.ts";
import type { Objective } from "./graph.ts";
import { type LogEntry, RunLog } from "./log.ts";
import type { Machine } from "./machine.ts";
import { setWeights, shapeOfModel } from "./model.ts";
import {
  checkpointName,
  checkpointsOf,
  configKey,
  frozenKey,
  peakOf,
  type RunHooks,
  type RunInput,
  type RunResult,
  type RunStart,
} from "./running.ts";
import { normal, uniform } from "./scratch.ts";
import { modelTensors } from "./shape.ts";
import { TEACHER } from "./teacher.ts";
import { modelExport, parametersOf } from "./tensors.ts";
import { Trainer } from "./trainer.ts";

/**
 * Trains. An abort saves a checkpoint and rejects with the signal's reason.
 * Rejects with CpmError "bad-input" when the loss is no number or explodes (the last checkpoint stays); "bad-model" for a damaged checkpoint
 * or one of another configuration; "unsupported", "out-of-memory"; "io", also where the disk is full.
 */
export async function runTraining(input: RunInput, hooks: RunHooks = {}): Promise<RunResult> {
  return await new Run(input, hooks).all();
}

const putStates = ({ graph, machine }: Trainer, states: Float32Array | undefined): void => {
  if (states && graph.taps) putTapped(graph, states);
  else if (states) machine.reals(graph.hidden, states.length).set(states);
};

class Run {
  readonly #input: RunInput;
  readonly #hooks: RunHooks;
  readonly #config: TrainConfig;
  readonly #key: string;
  readonly #total: number;
  #state!: RunState;
  #log!: RunLog;
  #heldOut: readonly Batch[] = [];
  #lastHeldOut: number | undefined;
  /** Seconds before this process, and when it began. */
  #before = 0;
  #began = 0;

  constructor(input: RunInput, hooks: RunHooks) {
    this.#input = input;
    this.#hooks = hooks;
    this.#config = input.config;
    this.#key = configKey(input.config, input.dataKey);
    this.#total = input.config.stages.reduce((sum, { updates }) => sum + updates, 0);
  }

  async all(): Promise<RunResult> {
    const { store, feed } = this.#input;
    const { signal } = this.#hooks;
    const [newest] = await checkpointsOf(store);
    const source = newest === undefined ? undefined : await store.open(newest);
    let trainer: Trainer | undefined;
    try {
      const checkpoint = source && (await Checkpoint.open(source, signal));
      this.#state = checkpoint ? this.#checked(checkpoint.state, source.name) : this.#fresh();
      if (checkpoint) feed.restore(checkpoint.state.feed);
      this.#log = await RunLog.open(store, this.#state.updates);
      this.#lastHeldOut = this.#log.entries.findLast((entry) => entry.kind === "heldOut")?.loss;
      this.#before = this.#log.seconds;
      this.#began = now();
      this.#heldOut = await feed.heldOut(this.#config.rows, this.#config.evaluate.rows, signal);
      trainer = await this.#open(checkpoint, undefined);
      for (;;) {
        await this.#updates(trainer);
        if (this.#state.stage + 1 >= this.#config.stages.length) break;
        trainer = await this.#next(trainer);
      }
      return { trainer, log: this.#log.entries, updates: this.#state.updates };
    } catch (error) {
      await trainer?.close().catch(() => {});
      throw error;
    } finally {
      await source?.close();
    }
  }

  #fresh(): RunState {
    return {
      version: 1,
      config: this.#key,
      base: "",
      stage: 0,
      step: 0,
      updates: 0,
      tokens: 0,
      feed: this.#input.feed.state(),
      recent: [],
      lowest: null,
    };
  }

  #checked(state: RunState, file: string): RunState {
    if (state.config !== this.#key)
      throw new CpmError(
        "bad-option",
        `${file}: this checkpoint is of another configuration, or of texts that have changed since; give another "out", or start afresh (--fresh)`,
        { file, field: "config" },
      );
    return state;
  }

  /** A machine that rounds as the run did so far: else its resumption would come to other bits. */
  async #machine(): Promise<Machine> {
    const { variant } = this.#state;
    const refuse = (found: string, cause?: unknown) =>
      new CpmError(
        "bad-option",
        `this run was computed with variant "${variant}", ${found}; go on with that one, give another "out", or start afresh (--fresh)`,
        { field: "variant", expected: `${variant}` },
        { cause },
      );
    const machine = await this.#input.machine(variant).catch((error: unknown) => {
      const lacks = variant && error instanceof CpmError && error.code === "unsupported" && error.detail.field === "variant";
      throw lacks ? refuse("which this runtime has not: it would round otherwise", error) : error;
    });
    if (variant && machine.variant !== variant) {
      await machine.close();
      throw refuse(`and "${machine.variant}" rounds otherwise`);
    }
    this.#state = { ...this.#state, variant: machine.variant };
    return machine;
  }

  #stage(): StageConfig {
    return this.#config.stages[this.#state.stage]!;
  }

  #teacher({ objective }: StageConfig): ModelFile | undefined {
    if (objective.kind !== "lm" || !objective.teacher) return undefined;
    const { path } = objective.teacher;
    const found = this.#input.teachers?.get(path);
    if (!found) throw new CpmError("bad-option", `teacher: no model was given for ${path}`, { field: "teacher" });
    return found;
  }

  #objective(stage: StageConfig): Objective {
    const { objective } = stage;
    if (objective.kind === "lm") {
      const teacher = this.#teacher(stage);
      const shape = teacher && shapeOfModel(teacher.config, this.#config.length);
      return { ...objective, teacher: shape && { shape, share: objective.teacher!.share } };
    }
    if (objective.kind !== "eagle") return objective;
    const { vocabulary, noise: _, target: __, ...rest } = objective;
    const ids = vocabulary === undefined ? undefined : this.#input.vocabularies?.get(vocabulary);
    // EAGLE-3's files say their tokens, in rising order; of EAGLE-2's the user says them again.
    return { ...rest, features: this.#features !== undefined, vocabulary: rest.layout === 3 ? ids?.slice().sort() : ids };
  }

  /** A trainer for the stage: weights from the checkpoint, from the stage before, or from the beginning. */
  async #open(checkpoint: Checkpoint | undefined, before: ReadonlyMap<string, ArrayLike<number>> | undefined): Promise<Trainer> {
    const { model, dequantise } = this.#input;
    const { length, rows, seed, sparse, recompute, chunk, start } = this.#config;
    const { signal } = this.#hooks;
    const stage = this.#stage();
    const shape = shapeOfModel(model.config, length, sparse);
    const machine = await this.#machine();
    let trainer: Trainer | undefined;
    try {
      trainer = await Trainer.create(machine, {
        shape,
        objective: this.#objective(stage),
        rows,
        length,
        recompute,
        chunk,
        optimiser: stage.optimiser,
      });
      const scratch = start.kind === "scratch";
      const models = new Set(modelTensors(shape).map(({ name }) => name));
      // Numbers that are nowhere yet, in the order of the tensors: of the model itself where there is none, and of what is put beside it.
      const made = [...trainer.graph.tensors.keys()].filter((name) => (models.has(name) ? scratch : !name.startsWith(TEACHER)));
      trainer.initialise(normal(mix(seed)), made, scratch ? start.std : undefined);
      if (!scratch) await setWeights(trainer, model, { dequantise, signal });
      if (stage.objective.kind === "eagle" && stage.objective.layout === 3) beginWithTargetHead(trainer.graph);
      const teacher = this.#teacher(stage);
      if (teacher) await setWeights(trainer, teacher, { signal }, TEACHER);
      for (const [name, values] of before ?? []) if (trainer.graph.tensors.has(name)) trainer.set(name, values);
      const base = frozenKey(trainer);
      if (checkpoint) {
        if (base !== this.#state.base)
          throw new CpmError(
            "bad-option",
            `${start.kind === "model" ? start.path : "model"}: these are other weights than the checkpoint's run began with; give the same model, or start afresh (--fresh)`,
            {
              field: "model",
            },
          );
        for (const { name, bytes } of trainer.sections()) await checkpoint.read(name, bytes, signal);
        trainer.optimiser!.steps = this.#state.step;
        trainer.graph.gatherHead();
      }
      this.#state = { ...this.#state, base };
      this.#hooks.onStart?.({ ...this.#started(trainer), peakGflops: await peakOf(machine) });
      return trainer;
    } catch (error) {
      await (trainer ?? machine).close().catch(() => {});
      throw error;
    }
  }

  #started(trainer: Trainer): Omit<RunStart, "peakGflops"> {
    const { rows, length, accumulate } = this.#config;
    return {
      parameters: [...trainer.graph.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
      trained: parametersOf(trainer),
      memoryBytes: trainer.machine.planned,
      threads: trainer.machine.threads,
      stage: this.#state.stage,
      resumedAt: this.#state.updates,
      updates: this.#total,
      tokensPerUpdate: rows * length * accumulate,
      documents: this.#input.feed.documents,
      log: this.#log.entries,
    };
  }

  /** The next stage's trainer. What the stage before has trained goes on; moments begin anew. */
  async #next(trainer: Trainer): Promise<Trainer> {
    const values = new Map<string, ArrayLike<number>>(trainer.trained.map(({ name }) => [name, trainer.get(name)]));
    await trainer.close();
    this.#state = { ...this.#state, stage: this.#state.stage + 1, step: 0, recent: [], lowest: null };
    const next = await this.#open(undefined, values);
    await this.#save(next);
    return next;
  }

  async #updates(trainer: Trainer): Promise<void> {
    const { signal } = this.#hooks;
    const { updates } = this.#stage();
    try {
      // What an abort left out.
      if (this.#state.step > 0) await this.#look(trainer);
      while (this.#state.step < updates) {
        signal?.throwIfAborted();
        await this.#update(trainer);
        await this.#look(trainer);
        if (this.#due(this.#config.checkpoint.every)) await this.#save(trainer);
      }
    } catch (error) {
      // The state is that after the last whole update: nothing of what was begun is in it.
      if (signal?.aborted) await this.#save(trainer);
      throw error;
    }
  }

  /** Whether something that happens every so many updates, and at the end of a stage, happens now. */
  #due(every: number): boolean {
    return this.#state.step === this.#stage().updates || this.#state.updates % every === 0;
  }

  /** Evaluates and samples where that is due and was not done. */
  async #look(trainer: Trainer): Promise<void> {
    const { evaluate, samples } = this.#config;
    const done = (kind: LogEntry["kind"]) =>
      this.#log.entries.some((entry) => entry.kind === kind && entry.update === this.#state.updates);
    if (this.#heldOut.length > 0 && this.#due(evaluate.every) && !done("heldOut")) await this.#evaluate(trainer);
    if (samples.prompts.length > 0 && this.#due(samples.every) && !done("samples")) await this.#sample(trainer);
  }

  async #update(trainer: Trainer): Promise<void> {
    const { feed } = this.#input;
    const { rows, accumulate } = this.#config;
    const { signal } = this.#hooks;
    const started = now();
    const fed: Fed[] = [];
    for (let i = 0; i < accumulate; i++) fed.push(await feed.next(rows, signal));
    const batches = fed.map(({ batch }) => this.#counted(batch));
    const states = await this.#statesOf(batches);
    const update = this.#state.updates + 1;
    const result = await trainer.step(batches, signal, this.#place(trainer, update, states)).catch((error: unknown) => {
      throw error instanceof CpmError && error.detail.field === "loss" ? this.#broken(error.message, fed) : error;
    });
    const read = batches.reduce((sum, { segments }) => sum + segments.reduce((n, s) => n + (s >= 0 ? 1 : 0), 0), 0);
    const recent = [...this.#state.recent, result.loss].slice(-8);
    const mean = recent.length === 8 ? recent.reduce((a, b) => a + b, 0) / 8 : undefined;
    const lowest = mean === undefined ? this.#state.lowest : Math.min(mean, this.#state.lowest ?? mean);
    if (mean !== undefined && mean > lowest! + this.#config.explode)
      throw this.#broken(
        `update ${update}: the loss explodes: the mean of the last 8 updates is ${mean.toFixed(3)}, the lowest was ${lowest!.toFixed(3)}; go back to the last checkpoint with a lower peak learning rate, a longer warm-up or a smaller clip, or raise "explode" (${this.#config.explode})`,
        fed,
      );
    this.#state = {
      ...this.#state,
      step: this.#state.step + 1,
      updates: update,
      tokens: this.#state.tokens + read,
      feed: feed.state(),
      recent,
      lowest,
    };
    const seconds = (now() - started) / 1000;
    const spent = this.#before + (now() - this.#began) / 1000;
    const { loss, parts, norm, rate } = result;
    const tokensPerSecond = read / seconds;
    await this.#enter({
      kind: "update",
      update,
      stage: this.#state.stage,
      loss,
      parts,
      norm,
      rate,
      tokens: this.#state.tokens,
      tokensPerSecond,
      seconds: spent,
    });
    this.#hooks.onProgress?.({
      update,
      updates: this.#total,
      loss,
      heldOut: this.#lastHeldOut,
      norm,
      rate,
      tokens: this.#state.tokens,
      tokensPerSecond,
      gflops: (trainer.graph.gradients.flops * accumulate) / seconds / 1e9,
      secondsLeft: (spent / update) * (this.#total - update),
      stage: this.#state.stage,
    });
  }

  /** States of the resident target, where a head is trained on those. */
  get #features(): Features | undefined {
    const { objective } = this.#stage();
    return objective.kind === "eagle" && objective.target === "resident" ? this.#input.features : undefined;
  }

  #counted(batch: Batch): Batch {
    return this.#stage().objective.kind === "eagle" ? headBatch(batch) : batch;
  }

  async #statesOf(batches: readonly Batch[]): Promise<Float32Array[]> {
    const states: Float32Array[] = [];
    for (const batch of batches) if (this.#features) states.push(await this.#features.of(batch, this.#hooks.signal));
    return states;
  }

  /** What goes into the trainer's memory before a batch is computed. */
  #place(trainer: Trainer, update: number, states: readonly Float32Array[]): ((batch: number) => void) | undefined {
    const noise = this.#noise(trainer, update);
    return (batch) => {
      noise?.(batch);
      putStates(trainer, states[batch]);
    };
  }

  /** EAGLE's noise on the target's states, U(-w, w) * 512 / length: the same for the same update. */
  #noise(trainer: Trainer, update: number): ((batch: number) => void) | undefined {
    const { objective } = this.#stage();
    if (objective.kind !== "eagle" || objective.noise === 0) return undefined;
    const { graph, machine } = trainer;
    const width = (2 * objective.noise * 512) / this.#config.length;
    return (batch) => {
      const next = uniform(mix(mix(this.#config.seed ^ 0x5eed) ^ mix(update * 65536 + batch)));
      const values = machine.reals(graph.noise, graph.setting.count * graph.shape.hidden);
      for (let i = 0; i < values.length; i++) values[i] = (next() - 0.5) * width;
    };
  }

  #broken(message: string, fed: readonly Fed[]): CpmError {
    const rows = fed.flatMap(({ places }) => places);
    const list = rows.slice(0, 8).map((row, i) => `row ${i + 1}: ${row.slice(0, 3).join(", ")}${row.length > 3 ? ", …" : ""}`);
    const more = rows.length > 8 ? `; and ${rows.length - 8} more rows` : "";
    return new CpmError("bad-input", `${message}. Its batch: ${list.join("; ")}${more}`, { field: "loss" });
  }

  async #enter(entry: LogEntry): Promise<void> {
    await this.#log.add(entry);
    this.#hooks.onEntry?.(entry);
  }

  async #evaluate(trainer: Trainer): Promise<void> {
    const { graph, machine } = trainer;
    if (graph.noise) machine.reals(graph.noise, graph.setting.count * graph.shape.hidden).fill(0);
    let [sum, weight] = [0, 0];
    for (const given of this.#heldOut) {
      const batch = this.#counted(given);
      if (weightOf(batch) === 0) continue;
      const [states] = await this.#statesOf([batch]);
      // Of a distilled model the part of the labels, so that runs compare.
      const { loss: whole, parts } = await trainer.evaluate(batch, this.#hooks.signal, () => putStates(trainer, states));
      const loss = graph.teacher ? parts[0] : whole;
      const counted = weightOf(batch);
      sum += loss * counted;
      weight += counted;
    }
    this.#lastHeldOut = sum / weight;
    await this.#enter({ kind: "heldOut", update: this.#state.updates, loss: this.#lastHeldOut });
  }

  async #sample(trainer: Trainer): Promise<void> {
    const { prompts, maxTokens } = this.#config.samples;
    const { kind } = this.#stage().objective;
    if (!this.#hooks.sample || kind === "eagle") return;
    await trainer.refresh();
    const files = folderFiles(this.#input.parts, modelExport(trainer));
    const texts = await this.#hooks.sample(files, prompts, maxTokens);
    const samples = prompts.map((prompt, i) => ({ prompt, text: texts[i] ?? "" }));
    await this.#enter({ kind: "samples", update: this.#state.updates, samples });
  }

  /** Writes a checkpoint, then forgets the oldest. */
  async #save(trainer: Trainer): Promise<void> {
    const { store } = this.#input;
    const name = checkpointName(this.#state.updates);
    await this.#features?.save();
    await writeCheckpoint((size) => store.create(name, size), this.#state, trainer.sections());
    for (const old of (await checkpointsOf(store)).slice(this.#config.checkpoint.keep)) await store.remove(old);
  }
}
