// One layer after another: what enters each linear is observed with everything before it quantised, then the linear is quantised.
import { bytesSource } from "../file/bytes.ts";
import type { LayerFiles, VectorFile, VectorName } from "../model/config.ts";
import { searchSmoothing, shareHeads } from "./awq.ts";
import { Hessian, type HessianForm, solved } from "./hessian.ts";
import type { Inputs, Matrix } from "./linear.ts";
import { feedsBack, type Method, type Quantised, quantiseMatrix, skipsFirst, smooths } from "./method.ts";
import type { Machine, Piece } from "./module.ts";
import { type Part, type Passes, STAGE_NAMES, STAGES, type Stage } from "./passes.ts";
import { hasGrid } from "./recipe.ts";
import { type ChosenRows, chosenWithin } from "./rows.ts";
import { plainTensor, readValues, readVector } from "./source.ts";
import type { TensorPlan } from "./targets.ts";

export interface LayerSettings {
  readonly method: Method;
  readonly damp: number;
  readonly actOrder: boolean;
  readonly hessian: HessianForm;
  /** Rows that products of inputs are summed over; undefined: all but those left out. */
  readonly rows?: ChosenRows | undefined;
  /** Positions of each sequence that "p-gptq" leaves out. */
  readonly skip: number;
  /** Group of the grid that smoothing is searched on. */
  readonly smoothGroup: number;
}

/** For runs that only compute and observe. */
export const PLAIN_SETTINGS: LayerSettings = {
  method: "search",
  damp: 0.01,
  actOrder: false,
  hessian: "float",
  skip: 0,
  smoothGroup: 32,
};

export interface LayerHooks {
  readonly signal?: AbortSignal | undefined;
  /** Work done, in multiplications. */
  work(amount: number, tensor?: string): void;
  warn(message: string): void;
  /** Takes what a tensor has become. */
  put(plan: TensorPlan, result: Quantised): Promise<void>;
  /** A norm or bias that smoothing has changed, as the model reads it. */
  putVector(file: VectorFile, values: Float32Array): Promise<void>;
}

/** Columns that a linear is multiplied by, and rows that it is divided by. */
interface Fold {
  readonly columns?: Float64Array | undefined;
  readonly rows?: Float64Array | undefined;
}

interface Folded {
  readonly parts: Readonly<Partial<Record<Part, Fold>>>;
  readonly vectors: LayerFiles["vectors"];
}

/** Vectors that smoothing changes, where a layer has them. */
export const SMOOTHED = ["attnNorm", "ffnNorm", "vBias", "upBias"] as const satisfies readonly VectorName[];

export class LayerRun {
  readonly #machine: Machine;
  readonly #passes: Passes;
  readonly #settings: LayerSettings;
  readonly #heads: { readonly kvHeads: number; readonly headDim: number };
  readonly #hooks: LayerHooks;

  constructor(
    machine: Machine,
    passes: Passes,
    heads: { readonly kvHeads: number; readonly headDim: number },
    settings: LayerSettings,
    hooks: LayerHooks,
  ) {
    this.#machine = machine;
    this.#passes = passes;
    this.#heads = heads;
    this.#settings = settings;
    this.#hooks = hooks;
  }

  /** Quantises the `layer`-th layer. Hidden states come from the store `from` and go to the store `to`. */
  async quantise(
    layer: number,
    files: LayerFiles,
    plans: Readonly<Record<Part, TensorPlan>>,
    from: string,
    to: string,
  ): Promise<void> {
    await this.#passes.place(layer);
    const folded = smooths(this.#settings.method) ? await this.#smooth(files, plans, from) : undefined;
    if (folded) await this.#passes.place(layer, folded.vectors);
    for (const stage of STAGE_NAMES) await this.#stage(stage, plans, folded, from, to);
    await this.#passes.run("end", from, to, async () => {});
  }

  async #stage(
    stage: Stage,
    plans: Readonly<Record<Part, TensorPlan>>,
    folded: Folded | undefined,
    from: string,
    to: string,
  ): Promise<void> {
    const machine = this.#machine;
    const { method, damp, actOrder, hessian } = this.#settings;
    const cols = plans[STAGES[stage][0]].tensor.shape[1]!;
    const wanted = feedsBack(method) && STAGES[stage].some((part) => isGrid(plans[part]));
    const sums = new Hessian(machine, cols, wanted && hessian);
    let inputs: Inputs | undefined;
    const pieces: Piece[] = [];
    try {
      await this.#passes.run(stage, from, to, async (...input) => await this.#feed(sums, ...input));
      await sums.settle();
      const importance = sums.importance();
      const first = plans[STAGES[stage][0]].name;
      const enough = sums.rows >= 2 * cols;
      if (feedsBack(method) && wanted) {
        const done = sums.finish();
        pieces.push(done.h, done.diag, done.dead);
        if (!enough)
          this.#hooks.warn(
            `${first}: ${sums.rows} calibration rows for ${cols} inputs are too few for error feedback, which would do harm below ${2 * cols}; these weights are rounded by importance`,
          );
        else {
          inputs = await solved(machine, cols, done, { damp, actOrder });
          pieces.push(inputs.order);
          if (done.unused > 0 || inputs.damp > damp)
            this.#hooks.warn(
              `${first}: ${done.unused} of ${cols} inputs were always 0, damping ${inputs.damp}, ${sums.rows} calibration rows`,
            );
        }
      }
      for (const part of STAGES[stage]) {
        this.#hooks.signal?.throwIfAborted();
        const plan = plans[part];
        const w = await this.#read(part, plan, folded);
        try {
          const known = { importance, inputs, search: method !== "rtn" };
          const result = await quantiseMatrix(machine, w, plan.form as Exclude<TensorPlan["form"], "copy">, known, true);
          await this.#hooks.put(plan, result);
          await this.#passes.pack(part, w.at, plan.heads);
        } finally {
          machine.free({ at: w.at, bytes: 4 * w.rows * w.cols });
        }
        this.#hooks.work(w.rows * w.cols * (inputs ? w.cols : 256), plan.name);
      }
    } finally {
      sums.end(pieces.length > 0);
      machine.free(...pieces.reverse());
    }
  }

  /** Adds the chosen of these rows, or all but those of the first positions of their sequence that the method leaves out. */
  async #feed(sums: Hessian, at: number, count: number, position: number, sequence: number): Promise<void> {
    const { method, skip, rows } = this.#settings;
    if (rows) return await sums.addSome(at, chosenWithin(rows[sequence]!, position, count));
    const out = Math.min(count, Math.max(0, (skipsFirst(method) ? skip : 0) - position));
    if (count > out) await sums.addAt(at + 4 * out * sums.cols, count - out);
  }

  async #read(part: Part, plan: TensorPlan, folded: Folded | undefined): Promise<Matrix & { rows: number; cols: number }> {
    const [rows, cols] = plan.tensor.shape as [number, number];
    const { at } = await readValues(this.#machine, plan.tensor, this.#hooks.signal);
    const fold = folded?.parts[part];
    if (fold) {
      const values = this.#machine.f32(at, rows * cols);
      for (let r = 0; r < rows; r++)
        for (let k = 0; k < cols; k++)
          values[r * cols + k] = (values[r * cols + k]! * (fold.columns?.[k] ?? 1)) / (fold.rows?.[r] ?? 1);
    }
    return { at, rows, cols };
  }

  /** Searches the factors of all four pairs on the float weights. */
  async #smooth(files: LayerFiles, plans: Readonly<Record<Part, TensorPlan>>, from: string): Promise<Folded> {
    const machine = this.#machine;
    const { hidden, attended, inner } = this.#passes.sizes;
    const cols = { qkv: hidden, o: attended, mlp: hidden, down: inner };
    for (const part of Object.keys(plans) as Part[]) {
      const w = await readValues(machine, plans[part].tensor, this.#hooks.signal);
      await this.#passes.pack(part, w.at, plans[part].heads);
      machine.free(w);
    }
    const sums = {} as Record<Stage, Hessian>;
    for (const stage of STAGE_NAMES) sums[stage] = new Hessian(machine, cols[stage], this.#settings.hessian);
    const factors = {} as Record<Stage, Float64Array>;
    const finished = new Set<Stage>();
    try {
      await this.#passes.observe(from, async (stage, ...input) => await this.#feed(sums[stage], ...input));
      for (const stage of STAGE_NAMES) {
        await sums[stage].settle();
        let meanAbs = sums[stage].meanAbs();
        if (stage === "o") meanAbs = shareHeads(meanAbs, this.#heads.kvHeads, this.#heads.headDim);
        const done = sums[stage].finish();
        finished.add(stage);
        const diag = machine.f64(done.diag.at, cols[stage]);
        const dead = machine.u8(done.dead.at, cols[stage]);
        for (let k = 0; k < dead.length; k++) if (dead[k]) diag[k] = 0;
        const readers: Matrix[] = [];
        try {
          // What a norm stands behind of cannot be folded into it: the pair stays as it is.
          if ((stage === "qkv" && !files.vectors.attnNorm) || (stage === "mlp" && !files.vectors.ffnNorm)) {
            factors[stage] = new Float64Array(cols[stage]).fill(1);
            continue;
          }
          for (const part of STAGES[stage]) {
            const { tensor } = plans[part];
            const [rows, width] = tensor.shape as [number, number];
            readers.push({ at: (await readValues(machine, tensor, this.#hooks.signal)).at, rows, cols: width });
          }
          const found = await searchSmoothing(machine, readers, meanAbs, done, this.#settings.smoothGroup, () =>
            this.#hooks.signal?.throwIfAborted(),
          );
          factors[stage] = found.factors;
        } finally {
          for (const { at, rows, cols: width } of readers.reverse()) machine.free({ at, bytes: 4 * rows * width });
          machine.free(done.dead, done.diag, done.h);
        }
        const rows = STAGES[stage].reduce((n, part) => n + plans[part].tensor.shape[0]!, 0);
        this.#hooks.work(20 * rows * cols[stage] * cols[stage]);
      }
    } finally {
      for (const stage of STAGE_NAMES) sums[stage].end(finished.has(stage));
    }
    return await this.#fold(files, factors);
  }

  /** Readers times their factors, feeders over them. */
  async #fold(files: LayerFiles, f: Readonly<Record<Stage, Float64Array>>): Promise<Folded> {
    const { kvHeads, headDim } = this.#heads;
    const per = f.o.length / kvHeads / headDim;
    // One factor for each value channel: those of the first query head of its group, which all share.
    const values = Float64Array.from(
      { length: kvHeads * headDim },
      (_, i) => f.o[Math.floor(i / headDim) * per * headDim + (i % headDim)]!,
    );
    const by = { attnNorm: f.qkv, ffnNorm: f.mlp, vBias: values, upBias: f.down };
    const vectors: Partial<Record<VectorName, VectorFile>> = {};
    for (const name of SMOOTHED) {
      const file = files.vectors[name];
      if (!file) continue;
      const own = await readVector(this.#machine, file.tensor, this.#hooks.signal);
      const folded = own.map((v, k) => (v + (file.plus ?? 0)) / by[name][k]!);
      await this.#hooks.putVector(file, folded);
      const source = bytesSource(file.tensor.name, folded);
      vectors[name] = { tensor: { ...file.tensor, type: "F32", source, offset: 0, bytes: source.size } };
    }
    return {
      vectors,
      parts: {
        q: { columns: f.qkv },
        k: { columns: f.qkv },
        v: { columns: f.qkv, rows: values },
        o: { columns: f.o },
        gate: { columns: f.mlp },
        up: { columns: f.mlp, rows: f.down },
        down: { columns: f.down },
      },
    };
  }

  /** Only computes: for layers that an earlier run has quantised, and to observe a model as it is. */
  async forward(layer: number, files: LayerFiles, from: string, to: string): Promise<void> {
    await this.#passes.place(layer);
    for (const part of Object.keys(PART_NAMES) as Part[]) {
      const file = files[part];
      const w = await readValues(this.#machine, plainTensor(file), this.#hooks.signal);
      await this.#passes.pack(part, w.at, file.kind === "plain" ? file.ropeHeads : 0);
      this.#machine.free(w);
    }
    await this.#passes.forward(from, to);
  }
}

const PART_NAMES = { q: 0, k: 0, v: 0, o: 0, gate: 0, up: 0, down: 0 } as const;

const isGrid = ({ form }: TensorPlan): boolean => form !== "copy" && ("int4" in form || hasGrid(form.blocks));
