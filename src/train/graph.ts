// What a run computes: tensors, activations and programs of one objective, for batches of one size.
import { BatchSpace } from "./batch.ts";
import { eagleObjective } from "./eagle.ts";
import { EAGLE3_STEPS, eagle3Objective, STEP_WEIGHT } from "./eagle3.ts";
import {
  type Kept,
  type Layer,
  type Linear,
  layerBackward,
  layerForward,
  type Norm,
  normBackward,
  normForward,
  type Setting,
  takeKept,
  takeShared,
} from "./layer.ts";
import { crossEntropy } from "./loss.ts";
import type { Machine } from "./machine.ts";
import { mtpObjective } from "./mtp.ts";
import { Program, rows } from "./program.ts";
import { type PolicyOptions, policyDefaults } from "./rollout/objective.ts";
import { writeRotation } from "./rotation.ts";
import {
  blockMatrices,
  countOf,
  EMBEDDING,
  eagle3Tensors,
  eagleTensors,
  HEAD,
  layerPrefix,
  loraTensors,
  modelTensors,
  mtpTensors,
  NORM,
  type TensorShape,
  type TrainShape,
} from "./shape.ts";
import { Teacher, type TeacherOptions, teacherTensors } from "./teacher.ts";

/** What is trained, and for what. */
export type Objective =
  /** A whole model on next tokens; `ternaryGroup`: with ternary layer matrices (straight-through), groups of so many weights, 0: rows. */
  | {
      readonly kind: "lm";
      readonly zCoef?: number | undefined;
      readonly ternaryGroup?: number | undefined;
      /** A frozen model whose distributions are learnt, too. */
      readonly teacher?: TeacherOptions | undefined;
    }
  /** Low-rank adapters of a frozen model. `targets`: ends of the names of linear layers, default all seven. */
  | { readonly kind: "lora"; readonly rank: number; readonly alpha: number; readonly targets?: readonly string[] | undefined }
  /**
   * A draft head of a frozen target. `vocabulary`: FR-Spec's draft tokens; `features`: hidden states are given, not computed.
   * `layout` 3: EAGLE-3, in `steps` steps (default 3), without weights of the loss and noise. Default 2.
   */
  | {
      readonly kind: "eagle";
      readonly layout?: 2 | 3 | undefined;
      readonly steps?: number | undefined;
      readonly valueWeight?: number | undefined;
      readonly probabilityWeight?: number | undefined;
      readonly vocabulary?: Int32Array | undefined;
      readonly window?: number | undefined;
      readonly features?: boolean | undefined;
    }
  /** A whole model and one multi-token-prediction layer, whose loss counts `lambda`. */
  | { readonly kind: "mtp"; readonly lambda?: number | undefined }
  /** A policy on tokens that it, or one before it, chose: the clipped objective of rollout/objective.ts. `lora`: adapters alone. */
  | ({
      readonly kind: "policy";
      readonly lora?:
        | { readonly rank: number; readonly alpha: number; readonly targets?: readonly string[] | undefined }
        | undefined;
    } & PolicyOptions);

/** The adapters that an objective trains. */
export const loraOf = (objective: Objective) =>
  objective.kind === "lora" ? objective : objective.kind === "policy" ? objective.lora : undefined;

/** A tensor in the machine's memory. */
export interface PlacedTensor extends TensorShape {
  readonly at: number;
  /** Where its gradient is summed up; 0: frozen. */
  readonly grad: number;
  /** What the kernels read: the tensor, or its ternary copy. */
  readonly use: number;
}

export interface GraphOptions {
  readonly shape: TrainShape;
  readonly objective: Objective;
  /** Rows of a batch and tokens of a row. */
  readonly rows: number;
  readonly length: number;
  /** Compute a layer's activations again in backward instead of keeping them. */
  readonly recompute?: boolean | undefined;
  /** Rows whose logits exist at once. Default: those of half a million logits for vocabularies of up to 2048, else of about four million. */
  readonly chunk?: number | undefined;
  /** Programs that only evaluate: no gradients, no optimiser. */
  readonly evaluateOnly?: boolean | undefined;
}

/** The tensors that an objective trains, and those that it reads. */
export function tensorsOf(shape: TrainShape, objective: Objective): { trained: TensorShape[]; frozen: TensorShape[] } {
  const model = modelTensors(shape);
  const lora = loraOf(objective);
  if (lora) return { trained: loraTensors(shape, lora.rank, lora.targets), frozen: model };
  switch (objective.kind) {
    case "lm":
      return { trained: model, frozen: objective.teacher ? teacherTensors(objective.teacher.shape) : [] };
    case "policy":
    case "lora":
      return { trained: model, frozen: [] };
    case "mtp":
      return { trained: [...model, ...mtpTensors(shape)], frozen: [] };
    case "eagle":
      return {
        trained: objective.layout === 3 ? eagle3Tensors(shape, objective.vocabulary?.length) : eagleTensors(shape),
        frozen: objective.features ? model.filter(({ name }) => name === EMBEDDING || name === HEAD) : model,
      };
  }
}

/** Logits that the cache keeps, in whole slices of a product's sums (kDepth of cpp/grad/matmul.h), or so many that weights are packed seldom. */
const chunkOf = (vocab: number): number => {
  const near = 256 * Math.floor((1 << 19) / (256 * vocab));
  return near || Math.max(16, Math.floor((4 << 20) / vocab));
};

export class Graph {
  readonly machine: Machine;
  readonly options: GraphOptions;
  readonly shape: TrainShape;
  readonly setting: Setting;
  readonly tensors = new Map<string, PlacedTensor>();
  readonly trained: readonly PlacedTensor[];
  readonly batch: BatchSpace;
  /** Residual streams after the embedding and each layer; with `recompute` inputs of layers too. */
  readonly streams: number[] = [];
  /** Hidden states after the final norm; rows more than the batch has, one for every step of a head. */
  readonly hidden: number;
  /** Row losses, float64, of the objective's parts: [next token or value, second or probability]. */
  readonly losses: readonly [number, number];
  /** EAGLE-3: row losses of the steps after the first, and what they count. */
  readonly later: readonly { readonly losses: number; readonly weight: number }[];
  /** float64 a row: -log p of the label; of a policy log p itself. */
  readonly nll: number;
  /** Of a policy, float64 a row: see PolicyRows. */
  readonly policy: { readonly behaviour: number; readonly reference: number; readonly advantage: number } | undefined;
  /** EAGLE: noise added to the target's hidden states; the head's output. */
  readonly noise: number;
  readonly headOut: number;
  readonly draftHead: number;
  /** EAGLE-3: what a head reads of three layers, (count, 3, hidden), as features put it there. */
  readonly taps: number;
  readonly teacher: Teacher | undefined;
  readonly zero: Program;
  /** Ternary copies of what was trained. */
  readonly refresh: Program;
  readonly gradients: Program;
  readonly evaluate: Program;
  readonly chunk: number;
  readonly logits: number;
  readonly targetLogits: number;
  readonly #scratch: { matmul: number };
  /** What backward needs, by layer: one for all where it is computed again. */
  readonly kept: readonly Kept[];
  readonly #finalScale: number;
  readonly #rope: number;

  constructor(machine: Machine, options: GraphOptions) {
    this.machine = machine;
    this.options = options;
    const { shape, objective, recompute, evaluateOnly } = options;
    const count = options.rows * options.length;
    this.shape = shape;
    const { trained, frozen } = tensorsOf(shape, objective);
    const quantised = new Set(
      objective.kind === "lm" && objective.ternaryGroup !== undefined
        ? blockMatrices(shape).map(([name]) => `${name}.weight`)
        : [],
    );
    for (const t of frozen) {
      const at = machine.takeReals(countOf(t));
      this.tensors.set(t.name, { ...t, at, use: at, grad: 0 });
    }
    for (const t of trained) {
      const at = machine.takeReals(countOf(t));
      const grad = evaluateOnly ? 0 : machine.takeReals(countOf(t));
      const own = [...quantised].some((name) => t.name.endsWith(name));
      this.tensors.set(t.name, { ...t, at, grad, use: own ? machine.takeReals(countOf(t)) : at });
    }
    this.trained = trained.map(({ name }) => this.tensors.get(name)!);
    const third = objective.kind === "eagle" && objective.layout === 3;
    const laterSteps = third ? (objective.steps ?? EAGLE3_STEPS) - 1 : 0;
    this.batch = new BatchSpace(machine, count, shape.sparse, laterSteps);
    const lora = loraOf(objective);
    this.#scratch = { matmul: machine.takeReals(machine.exports.matmul_scratch(machine.threads)) };
    const doubles = 3 * (Math.ceil(options.length / Math.min(shape.sparse?.kernelStride ?? 1, shape.sparse?.blockSize ?? 1)) + 8);
    this.#rope = machine.takeReals(options.length * shape.headDim);
    this.setting = {
      machine,
      shape,
      count,
      batch: this.batch,
      rope: this.#rope,
      attention: machine.takeReals(machine.exports.attention_scratch(shape.headDim, machine.threads)),
      choice: { at: machine.take(shape.sparse ? 8 * doubles * machine.threads : 0), doubles },
      shared: takeShared(machine, shape, count, lora?.rank ?? 0),
      loraRank: lora?.rank ?? 0,
      loraScale: lora ? lora.alpha / lora.rank : 0,
      window: 0,
    };
    const keepsAll = !recompute && !evaluateOnly && !(objective.kind === "eagle");
    const first = takeKept(machine, shape, count);
    this.kept = Array.from({ length: shape.layers }, (_, l) => (l === 0 || !keepsAll ? first : takeKept(machine, shape, count)));
    const streams = objective.kind === "eagle" && objective.features ? 0 : shape.layers + 1;
    for (let l = 0; l < streams; l++) this.streams.push(machine.takeReals(count * shape.hidden));
    this.hidden = machine.takeReals((count + 1 + laterSteps) * shape.hidden);
    this.taps = third ? machine.takeReals(3 * count * shape.hidden) : 0;
    this.#finalScale = machine.takeReals(count);
    this.losses = [machine.take(8 * count), machine.take(8 * count)];
    this.later = Array.from({ length: laterSteps }, (_, j) => ({
      losses: machine.take(8 * count),
      weight: STEP_WEIGHT ** (j + 1),
    }));
    this.nll = machine.take(8 * count);
    if (objective.kind === "policy") {
      const [behaviour, reference, advantage] = [0, 1, 2].map(() => machine.take(8 * count)) as [number, number, number];
      this.policy = { behaviour, reference, advantage };
    }
    const draftVocab = objective.kind === "eagle" ? (objective.vocabulary?.length ?? shape.vocab) : shape.vocab;
    this.chunk = Math.min(count, options.chunk ?? chunkOf(draftVocab));
    this.logits = machine.takeReals(this.chunk * draftVocab);
    const isEagle = objective.kind === "eagle";
    this.targetLogits = isEagle ? machine.takeReals(this.chunk * draftVocab) : 0;
    this.noise = isEagle && !third ? machine.takeReals(count * shape.hidden) : 0;
    this.headOut = isEagle && !third ? machine.takeReals(count * shape.hidden) : 0;
    this.draftHead = isEagle && objective.vocabulary ? machine.takeReals(draftVocab * shape.hidden) : 0;
    const teacher = objective.kind === "lm" ? objective.teacher : undefined;
    this.teacher = teacher && new Teacher(this, teacher);
    this.zero = this.program();
    for (const t of this.trained) if (t.grad) this.zero.add("zero", [countOf(t)], [t.grad]);
    this.refresh = this.program();
    this.#ternary(this.refresh);
    this.gradients = this.program();
    this.evaluate = this.program();
    const eagle = third ? eagle3Objective : eagleObjective;
    const write = { lm: lmObjective, lora: lmObjective, policy: lmObjective, eagle, mtp: mtpObjective }[objective.kind];
    if (!evaluateOnly) write(this, this.gradients, true);
    write(this, this.evaluate, false);
    for (const p of [this.zero, this.refresh, this.gradients, this.evaluate]) p.place();
  }

  program(): Program {
    return new Program(this.machine, () => this.#scratch.matmul);
  }

  /** Fills in constants and programs; after the machine's commit(). */
  write(): void {
    writeRotation(this.machine, this.#rope, this.shape, this.options.length);
    this.teacher?.write();
    for (const p of [this.zero, this.refresh, this.gradients, this.evaluate]) p.write();
    this.gatherHead();
  }

  /** FR-Spec: copies the draft vocabulary's rows of the head. After its values were set. */
  gatherHead(): void {
    const { objective } = this.options;
    if (objective.kind !== "eagle" || !objective.vocabulary) return;
    const head = this.values(this.head);
    const { hidden } = this.shape;
    const to = this.machine.reals(this.draftHead, objective.vocabulary.length * hidden);
    for (const [i, id] of objective.vocabulary.entries()) to.set(head.subarray(id * hidden, (id + 1) * hidden), i * hidden);
  }

  tensor(name: string): PlacedTensor {
    const found = this.tensors.get(name);
    if (!found) throw new Error(`no tensor ${name}`);
    return found;
  }

  get head(): PlacedTensor {
    return this.tensor(this.shape.tied ? EMBEDDING : HEAD);
  }

  /** A view of a tensor's numbers, or its gradient's. */
  values(t: PlacedTensor, what: "at" | "grad" | "use" = "at"): Float32Array | Float64Array {
    return this.machine.reals(t[what], countOf(t));
  }

  linear(name: string): Linear {
    const t = this.tensor(`${name}.weight`);
    const [a, b] = [this.tensors.get(`${name}.lora_A.weight`), this.tensors.get(`${name}.lora_B.weight`)];
    return {
      at: t.use,
      grad: t.grad,
      out: t.shape[0]!,
      of: t.shape[1]!,
      lora: a && b ? { a: a.at, aGrad: a.grad, b: b.at, bGrad: b.grad } : undefined,
    };
  }

  norm(name: string): Norm {
    const { at, grad } = this.tensor(`${name}.weight`);
    return { at, grad };
  }

  layer(prefix: string): Layer {
    const linear = (name: string) => this.linear(`${prefix}${name}`);
    return {
      attnNorm: this.norm(`${prefix}input_layernorm`),
      q: linear("self_attn.q_proj"),
      k: linear("self_attn.k_proj"),
      v: linear("self_attn.v_proj"),
      o: linear("self_attn.o_proj"),
      ffnNorm: this.norm(`${prefix}post_attention_layernorm`),
      gate: linear("mlp.gate_proj"),
      up: linear("mlp.up_proj"),
      down: linear("mlp.down_proj"),
    };
  }

  #ternary(p: Program): void {
    const { objective } = this.options;
    if (objective.kind !== "lm" || objective.ternaryGroup === undefined) return;
    for (const t of this.trained)
      if (t.use !== t.at) p.add("ternary", [t.shape[0]!, t.shape[1]!, objective.ternaryGroup || t.shape[1]!], [t.at, t.use]);
  }

  /** Tokens to hidden states after the final norm. */
  trunkForward(p: Program): void {
    const { shape, setting } = this;
    this.#ternary(p);
    p.add(
      "embedForward",
      [setting.count, shape.hidden, shape.hidden],
      [this.tensor(EMBEDDING).at, this.batch.tokens, this.streams[0]!],
      [shape.embeddingScale],
    );
    for (let l = 0; l < shape.layers; l++)
      layerForward(
        p,
        setting,
        this.layer(layerPrefix(l)),
        this.kept[l]!,
        this.streams[l]!,
        this.streams[l + 1]!,
        shape.residualScale,
      );
    const [x, z] = [rows(this.streams[shape.layers]!, shape.hidden), rows(this.hidden, shape.hidden)];
    normForward(p, setting, this.norm(NORM.replace(".weight", "")), x, z, this.#finalScale);
  }

  /** The gradient of the hidden states, at `dz`, to those of everything before; `dx` (hidden) is overwritten. */
  trunkBackward(p: Program, dz: number, dx: number): void {
    const { shape, setting } = this;
    const last = rows(this.streams[shape.layers]!, shape.hidden);
    p.add("zero", [setting.count * shape.hidden], [dx]);
    normBackward(p, setting, this.norm(NORM.replace(".weight", "")), last, this.#finalScale, rows(dz, shape.hidden), dx);
    for (let l = shape.layers - 1; l >= 0; l--) {
      const layer = this.layer(layerPrefix(l));
      const again = this.options.recompute && l < shape.layers - 1;
      // What it gives goes where the stream after it lay: nothing reads that any more.
      if (again) layerForward(p, setting, layer, this.kept[l]!, this.streams[l]!, this.streams[l + 1]!, shape.residualScale);
      layerBackward(p, setting, layer, this.kept[l]!, this.streams[l]!, dx, shape.residualScale);
    }
    const embedding = this.tensor(EMBEDDING);
    if (embedding.grad)
      p.add(
        "embedBackward",
        [setting.count, shape.hidden, shape.hidden],
        [embedding.grad, this.batch.tokens, dx],
        [shape.embeddingScale],
      );
  }
}

/** Next tokens: whole models, ternary ones, adapters, and policies. */
function lmObjective(g: Graph, p: Program, gradient: boolean): void {
  const { objective } = g.options;
  g.trunkForward(p);
  g.teacher?.forward(p);
  const dz = gradient ? g.machine.takeReals(g.setting.count * g.shape.hidden) : 0;
  const policy =
    objective.kind === "policy" && g.policy ? { ...g.policy, ...policyDefaults(objective), kl: g.losses[1] } : undefined;
  crossEntropy(g, p, {
    z: g.hidden,
    dz,
    labels: g.batch.labels,
    weights: g.batch.weights,
    inverse: g.batch.inverse,
    losses: g.losses[0],
    zCoef: objective.kind === "lm" ? (objective.zCoef ?? 0) : 0,
    factor: 1 - (g.teacher?.share ?? 0),
    policy,
    teacher: g.teacher && { teacher: g.teacher, losses: g.losses[1] },
  });
  if (gradient) g.trunkBackward(p, dz, g.machine.takeReals(g.setting.count * g.shape.hidden));
}
