// A whole run: tensors outside the layers, then layer after layer, each written and remembered before the next begins. A run that was
// killed goes on at the layer it was in; nothing depends on where that was, so the bytes are the same.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { bytesOf } from "../brands.ts";
import type { ModelFiles } from "../file/source.ts";
import { type FileTensor, isInteger } from "../file/tensor.ts";
import type { LayerFiles } from "../model/config.ts";
import type { Destination } from "./destination.ts";
import { embedSequences } from "./embedding.ts";
import { fuse, type Imatrix } from "./imatrix.ts";
import { LayerRun, SMOOTHED } from "./layers.ts";
import type { BlockType } from "./linear.ts";
import { feedsBack, type Quantised, quantiseMatrix, skipsFirst, smooths } from "./method.ts";
import type { Machine } from "./module.ts";
import { PARTS, type Part, Passes } from "./passes.ts";
import { planTensors, type RunSettings } from "./plan.ts";
import { Progress, type QuantizeProgress } from "./progress.ts";
import type { Target } from "./recipe.ts";
import { type QuantizeReport, readState, STATE_VERSION, type State, type TensorReport } from "./report.ts";
import { type ChosenRows, chooseRows } from "./rows.ts";
import { type OpenedSource, plainTensor, readValues, readVector } from "./source.ts";
import { ggufTarget, gptqTarget, namesOf, type TargetFile, type TensorPlan } from "./targets.ts";

export interface RunHooks {
  readonly signal?: AbortSignal | undefined;
  onProgress?(progress: QuantizeProgress): void;
  onWarning?(message: string): void;
}

/** Quantises `source` into `destination`. `sequences`: tokens of calibration, none where the method needs none. */
export async function runQuantise(
  machine: Machine,
  files: ModelFiles,
  source: OpenedSource,
  sequences: readonly (readonly number[])[],
  imatrix: Imatrix | undefined,
  settings: RunSettings,
  destination: Destination,
  hooks: RunHooks,
): Promise<QuantizeReport> {
  const run = new Run(machine, files, source, sequences, imatrix, settings, destination, hooks);
  return await run.all();
}

class Run {
  readonly #machine: Machine;
  readonly #files: ModelFiles;
  readonly #source: OpenedSource;
  readonly #sequences: readonly (readonly number[])[];
  readonly #imatrix: Imatrix | undefined;
  readonly #settings: RunSettings;
  readonly #destination: Destination;
  readonly #hooks: RunHooks;
  readonly #warnings: string[] = [];
  readonly #reports: TensorReport[] = [];
  readonly #done: string[] = [];
  readonly #plans: readonly TensorPlan[];
  readonly #calibrated: boolean;
  readonly #chosen: ChosenRows | undefined;
  #target!: TargetFile;
  #progress!: Progress;
  #layers = -1;
  #anew = false;

  constructor(
    machine: Machine,
    files: ModelFiles,
    source: OpenedSource,
    sequences: readonly (readonly number[])[],
    imatrix: Imatrix | undefined,
    settings: RunSettings,
    destination: Destination,
    hooks: RunHooks,
  ) {
    this.#machine = machine;
    this.#files = files;
    this.#source = source;
    this.#sequences = sequences;
    this.#imatrix = imatrix;
    this.#settings = settings;
    this.#destination = destination;
    this.#hooks = hooks;
    this.#calibrated = sequences.length > 0;
    const { method, skip, hessianRows, seed } = settings;
    const lengths = sequences.map(({ length }) => length);
    this.#chosen = hessianRows === undefined ? undefined : chooseRows(lengths, skipsFirst(method) ? skip : 0, hessianRows, seed);
    const early: string[] = [];
    this.#plans = planTensors(source, settings, this.#calibrated || imatrix !== undefined, (message) => early.push(message));
    for (const message of early) this.#warn(message);
  }

  #warn(message: string): void {
    if (this.#warnings.includes(message)) return;
    this.#warnings.push(message);
    this.#hooks.onWarning?.(message);
  }

  async all(): Promise<QuantizeReport> {
    const key = await this.#key();
    const found = await this.#resume(key);
    const resumedAt = Math.max(0, this.#layers);
    const { layers } = this.#source.model.config;
    const signal = this.#hooks.signal;
    const open = this.#settings.type === "int4" ? gptqTarget : undefined;
    this.#target = open
      ? await open(this.#files, this.#plans, this.#settings, this.#outputs(), found, signal)
      : await ggufTarget(
          this.#source,
          this.#plans,
          this.#settings.type as Exclude<Target, "int4">,
          this.#outputs(),
          found,
          signal,
        );
    const work = this.#work();
    this.#progress = new Progress(work.outside + layers * work.layer, layers, this.#machine.host.now, (p) =>
      this.#hooks.onProgress?.(p),
    );
    const inLayers = new Set(this.#source.model.layers.flatMap((layer) => PARTS.map((part) => plainTensor(layer[part]))));
    const smoothed = new Set(
      smooths(this.#settings.method)
        ? this.#source.model.layers.flatMap(({ vectors }) => SMOOTHED.map((name) => vectors[name]?.tensor))
        : [],
    );
    if (this.#layers < 0) {
      this.#progress.at("tensors", -1);
      for (const plan of this.#plans) {
        if (inLayers.has(plan.tensor) || smoothed.has(plan.tensor)) continue;
        await this.#one(plan);
        this.#progress.add(elements(plan.tensor) * 256, plan.name);
      }
      await this.#save(key, 0);
    } else this.#progress.skip(work.outside);
    this.#progress.skip(this.#layers * work.layer);
    if (this.#calibrated) await this.#calibrate(key, layers);
    else
      for (let i = this.#layers; i < layers; i++) {
        this.#progress.at("quantise", i);
        for (const part of PARTS) {
          const plan = this.#planOf(plainTensor(this.#source.model.layers[i]![part]));
          await this.#one(plan);
          this.#progress.add(elements(plan.tensor) * 256, plan.name);
        }
        await this.#save(key, i + 1);
      }
    this.#hooks.signal?.throwIfAborted();
    await this.#target.finish();
    await this.#destination.finish();
    this.#progress.at("done", layers);
    this.#progress.add(0);
    const bytes = this.#reports.reduce((sum, r) => sum + r.bytes, 0);
    const weights = this.#reports.reduce((sum, r) => sum + r.elements, 0);
    const order = new Map(this.#plans.map((plan, i) => [reportName(plan), i]));
    const tensors = [...this.#reports].sort((a, b) => order.get(a.name)! - order.get(b.name)!);
    return { tensors, warnings: this.#warnings, bytes, bitsPerWeight: (8 * bytes) / weights, resumedAt };
  }

  #planOf(tensor: FileTensor): TensorPlan {
    return this.#plans.find((plan) => plan.tensor === tensor)!;
  }

  #plansOf(files: LayerFiles): Readonly<Record<Part, TensorPlan>> {
    const plans = PARTS.map((part) => [part, this.#planOf(plainTensor(files[part]))] as const);
    return Object.fromEntries(plans) as Record<Part, TensorPlan>;
  }

  /** Multiplications, roughly, outside the layers and in each of them. */
  #work(): { outside: number; layer: number } {
    const layer = this.#source.model.layers[0]!;
    const { method } = this.#settings;
    let [outside, inside] = [0, 0];
    for (const plan of this.#plans) outside += elements(plan.tensor) * 256;
    for (const part of PARTS) {
      const tensor = plainTensor(layer[part]);
      outside -= this.#source.model.config.layers * elements(tensor) * 256;
      const cols = tensor.shape[1]!;
      inside += elements(tensor) * (this.#calibrated && feedsBack(method) ? cols : 256);
      if (this.#calibrated && smooths(method)) inside += 20 * elements(tensor) * cols;
    }
    return { outside: Math.max(1, outside), layer: inside + this.#rowWork() * this.#rows() * (smooths(method) ? 6 : 5) };
  }

  #rows(): number {
    return this.#sequences.reduce((sum, { length }) => sum + length, 0);
  }

  /** Multiplications of a row of calibration in one of the five passes of a layer, on average. */
  #rowWork(): number {
    if (!this.#calibrated) return 0;
    const { hidden, intermediate, heads, headDim } = this.#source.model.config;
    const { method, hessianRows } = this.#settings;
    const own = PARTS.reduce((sum, part) => sum + elements(plainTensor(this.#source.model.layers[0]![part])), 0);
    const matrices = feedsBack(method) ? (2 * hidden ** 2 + (heads * headDim) ** 2 + intermediate ** 2) / 2 : 0;
    const share = hessianRows === undefined ? 1 : Math.min(1, hessianRows / this.#rows());
    return (own + share * matrices) / 5;
  }

  async #one(plan: TensorPlan): Promise<void> {
    const signal = this.#hooks.signal;
    signal?.throwIfAborted();
    if (plan.form === "copy") return await this.#copy(plan);
    const shape = plan.tensor.shape;
    const cols = shape.at(-1)!;
    const rows = elements(plan.tensor) / cols;
    const w = await readValues(this.#machine, plan.tensor, signal);
    try {
      const importance = this.#imatrix && fuse(this.#imatrix, plan.ggufName, cols);
      if (this.#imatrix && !importance && plan.role.layer >= 0)
        this.#warn(`${plan.ggufName}: the importance matrix has nothing for it; it is quantised without weights`);
      const search = this.#settings.method !== "rtn";
      const result = await quantiseMatrix(this.#machine, { at: w.at, rows, cols }, plan.form, { importance, search }, false);
      await this.#target.put(plan, result);
      this.#note(plan, result);
    } finally {
      this.#machine.free(w);
    }
  }

  /** A tensor that is not quantised: its bytes, or its values in the output's type and order. */
  async #copy(plan: TensorPlan): Promise<void> {
    const { tensor, type, plus, turned } = plan;
    const { signal } = this.#hooks;
    if (type !== tensor.type || plus || turned) {
      const values = await readVector(this.#machine, tensor, signal);
      return await this.#putVector(plan, plus ? values.map((v) => v + plus) : values);
    }
    // Looked at as all others are: a norm that is no number spoils the whole model.
    if (!isInteger(tensor.type)) await readVector(this.#machine, tensor, signal);
    const bytes = await tensor.source.read(tensor.offset, tensor.bytes, signal);
    await this.#target.put(plan, bytes);
    this.#note(plan, { bytes: bytes as Uint8Array<ArrayBuffer>, relativeError: 0, how: "copied" });
  }

  #note(plan: TensorPlan, result: Quantised): void {
    const { form } = plan;
    const type = form === "copy" ? plan.type : "blocks" in form ? form.blocks : `int4 g${form.int4}`;
    const groups = result.codes ? result.codes.scales.length : 0;
    const bytes = result.bytes?.length ?? elements(plan.tensor) / 2 + 2.5 * groups;
    const { how, relativeError, loss } = result;
    this.#done.push(...namesOf(plan));
    this.#reports.push({ name: reportName(plan), type, how, elements: elements(plan.tensor), bytes, relativeError, loss });
  }

  async #calibrate(key: string, layers: number): Promise<void> {
    const { model } = this.#source;
    const { signal } = this.#hooks;
    const lengths = this.#sequences.map(({ length }) => length);
    const rowWork = this.#rowWork();
    const plans = model.layers.map((files) => this.#plansOf(files));
    const hooks = { signal, onRows: (count: number) => this.#progress.add(count * rowWork) };
    const passes = new Passes(this.#machine, model, lengths, this.#destination, hooks);
    try {
      const run = new LayerRun(
        this.#machine,
        passes,
        model.config,
        { ...this.#settings, rows: this.#chosen, smoothGroup: this.#smoothGroup() },
        {
          signal,
          work: (amount, tensor) => this.#progress.add(amount, tensor),
          warn: (message) => this.#warn(message),
          put: async (plan, result) => {
            await this.#target.put(plan, result);
            this.#note(plan, result);
          },
          putVector: async (file, values) => {
            const plan = this.#planOf(file.tensor);
            const less = (file.plus ?? 0) - plan.plus;
            await this.#putVector(plan, less ? values.map((v) => v - less) : values);
          },
        },
      );
      if (this.#layers === 0)
        await embedSequences(this.#machine, this.#source, this.#sequences, await passes.store("hidden-0"), signal);
      for (let i = this.#layers; i < layers; i++) {
        this.#progress.at("calibrate", i);
        const to = `hidden-${(i + 1) % 2}`;
        await run.quantise(i, model.layers[i]!, plans[i]!, `hidden-${i % 2}`, to);
        await (await passes.store(to)).sync();
        await this.#save(key, i + 1);
      }
    } finally {
      passes.end();
    }
  }

  /** Values of a vector in the output's type. */
  async #putVector(plan: TensorPlan, values: Float32Array): Promise<void> {
    const w = this.#machine.take("f32", values.length);
    try {
      this.#machine.f32(w.at, values.length).set(values);
      const form = { blocks: (plan.form === "copy" || !("blocks" in plan.form) ? plan.type : plan.form.blocks) as BlockType };
      const matrix = { at: w.at, rows: 1, cols: values.length };
      const { bytes, relativeError } = await quantiseMatrix(this.#machine, matrix, form, { search: false }, false);
      await this.#target.put(plan, bytes!);
      this.#note(plan, { bytes: bytes!, relativeError, how: "copied" });
    } finally {
      this.#machine.free(w);
    }
  }

  /** Smoothing is searched on int4 groups like those of the type. */
  #smoothGroup(): number {
    return this.#settings.type === "int4" ? this.#settings.group : 32;
  }

  /** What must be the same for a run to go on where another ended. */
  async #key(): Promise<string> {
    const hash = sha256.create();
    const { model } = this.#source;
    const tensors = model.tensors.map(({ name, type, shape, bytes, source }) => [
      name,
      type,
      shape,
      bytes,
      source.name,
      source.size,
    ]);
    hash.update(new TextEncoder().encode(JSON.stringify([this.#settings, tensors, model.config.name, STATE_VERSION])));
    for (const tokens of this.#sequences) hash.update(bytesOf(Int32Array.from([tokens.length, ...tokens]))!);
    for (const [name, values] of this.#imatrix?.entries ?? []) {
      hash.update(new TextEncoder().encode(name));
      hash.update(bytesOf(Float64Array.from(values))!);
    }
    return bytesToHex(hash.digest());
  }

  /** Names of what is written already, when the run that was here before was the same. */
  async #resume(key: string): Promise<readonly string[]> {
    const kept = await this.#destination.load();
    const state = readState(kept, key);
    if (!state) {
      if (kept) this.#warn("what an earlier run had kept was of another model, other options or another version: it begins anew");
      this.#anew = true;
      return [];
    }
    this.#layers = state.layers;
    this.#done.push(...state.done);
    this.#reports.push(...state.reports);
    for (const warning of state.warnings) if (!this.#warnings.includes(warning)) this.#warnings.push(warning);
    return state.done;
  }

  /** Where files go. Nothing is left of an earlier run that is not taken up once the first is asked for: what is refused before loses nothing. */
  #outputs(): Pick<Destination, "file" | "name"> {
    const destination = this.#destination;
    return {
      name: destination.name,
      file: async (name, size) => {
        if (this.#anew) await destination.reset();
        this.#anew = false;
        return await destination.file(name, size);
      },
    };
  }

  async #save(key: string, layers: number): Promise<void> {
    this.#layers = layers;
    await this.#target.sync();
    const state: State = { settings: key, layers, done: this.#done, reports: this.#reports, warnings: this.#warnings };
    await this.#destination.save(JSON.stringify(state));
  }
}

const elements = (tensor: FileTensor): number => tensor.shape.reduce((a, b) => a * b, 1);

/** What a report calls a tensor, or the part of one. */
const reportName = ({ name, role, within }: TensorPlan): string => (within ? `${name} (${role.part})` : name);
