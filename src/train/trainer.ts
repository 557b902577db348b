// The training step: gradients of batches, one update, losses.
import { CpmError } from "../errors.ts";
import { type Batch, checkBatch, secondOf, weightOf } from "./batch.ts";
import { checkEagle3 } from "./eagle3.ts";
import { Graph, type GraphOptions } from "./graph.ts";
import type { Machine } from "./machine.ts";
import { Optimiser, type OptimiserOptions } from "./optimiser.ts";
import { policyDefaults } from "./rollout/objective.ts";
import { checkSchedule } from "./schedule.ts";
import { checkShape, countOf, mupScales, type TensorShape } from "./shape.ts";
import { checkTeacher } from "./teacher.ts";

export interface TrainerOptions extends GraphOptions {
  /** Absent: only losses and gradients. */
  readonly optimiser?: OptimiserOptions | undefined;
}

/** Losses in nats per counted prediction, before the update. */
export interface Losses {
  readonly loss: number;
  /** The objective's parts: next token and second next (MTP), value and probability (EAGLE), the first step and the later ones (EAGLE-3), clipped gain and KL (policies). */
  readonly parts: readonly [number, number];
}

export interface StepResult extends Losses {
  /** Norm of all gradients before clipping. */
  readonly norm: number;
  readonly rate: number;
  readonly step: number;
}

export class Trainer {
  readonly graph: Graph;
  readonly optimiser: Optimiser | undefined;
  readonly machine: Machine;
  readonly #loadOptions: TrainerOptions;
  #chosen: Float64Array[] = [];

  private constructor(machine: Machine, options: TrainerOptions) {
    this.machine = machine;
    this.#loadOptions = options;
    this.graph = new Graph(machine, options);
    this.optimiser = options.optimiser ? new Optimiser(this.graph, options.optimiser) : undefined;
  }

  /**
   * Plans memory, takes it, and starts the machine's threads.
   * @throws CpmError "unsupported", "bad-option", "out-of-memory"
   */
  static async create(machine: Machine, options: TrainerOptions): Promise<Trainer> {
    checkShape(options.shape);
    if (options.optimiser) checkSchedule(options.optimiser.schedule);
    if (options.objective.kind === "eagle" && options.objective.layout === 3) checkEagle3(options.shape, options.objective);
    if (options.objective.kind === "policy") policyDefaults(options.objective);
    if (options.objective.kind === "lm" && options.objective.teacher) checkTeacher(options.objective.teacher, options.shape);
    const trainer = new Trainer(machine, options);
    machine.commit();
    trainer.graph.write();
    trainer.optimiser?.write();
    await machine.start();
    return trainer;
  }

  /** Names and shapes of what is trained. */
  get trained(): readonly TensorShape[] {
    return this.graph.trained;
  }

  /** Sets a tensor's numbers. @throws CpmError "bad-input" for a name or length that the run has not. */
  set(name: string, values: ArrayLike<number>): void {
    const tensor = this.graph.tensors.get(name);
    if (!tensor || countOf(tensor) !== values.length)
      throw new CpmError(
        "bad-input",
        tensor
          ? `${name}: expected ${countOf(tensor)} numbers (${tensor.shape.join(" x ")}), found ${values.length}`
          : `${name}: this run has no such tensor`,
        { field: name },
      );
    this.graph.values(tensor).set(values);
    if (tensor === this.graph.tensors.get(this.graph.head.name)) this.graph.gatherHead();
  }

  /** Everything that an update changes, as the bytes themselves: what a checkpoint holds, beside the number of updates. */
  sections(): { readonly name: string; readonly bytes: Uint8Array }[] {
    const { machine } = this;
    const bytes = (at: number, t: TensorShape) => new Uint8Array(machine.memory.buffer, at, countOf(t) * machine.real);
    return [
      ...this.graph.trained.map((t) => ({ name: t.name, bytes: bytes(t.at, t) })),
      ...(this.optimiser?.states ?? []).flatMap(({ tensor, moments }) =>
        moments.map((at, i) => ({ name: `${tensor.name}#${i + 1}`, bytes: bytes(at, tensor) })),
      ),
    ];
  }

  /** A copy of a tensor's numbers. */
  get(name: string, what: "at" | "grad" | "use" = "at"): Float32Array | Float64Array {
    return this.graph.values(this.graph.tensor(name), what).slice();
  }

  /** Rounds what was trained as the forward pass does: get(name, "use") and exports have ternary layers as they are now. */
  async refresh(): Promise<void> {
    await this.graph.refresh.run();
  }

  /** Fills tensors with normal numbers of MiniCPM's widths, norms with ones. `next`: standard normal numbers. */
  initialise(next: () => number, names: readonly string[] = this.trained.map(({ name }) => name), std = 0.1): void {
    for (const name of names) {
      const tensor = this.graph.tensor(name);
      const values = this.graph.values(tensor);
      const [, deviation] = mupScales(tensor, this.graph.shape.width, std);
      if (name.endsWith(".lora_B.weight") || name.endsWith(".bias")) values.fill(0);
      else if (deviation === undefined) values.fill(1);
      else for (let i = 0; i < values.length; i++) values[i] = next() * deviation;
    }
  }

  #whole(batches: readonly Batch[]): { first: number; second: number } {
    let [first, second] = [0, 0];
    for (const batch of batches) {
      checkBatch(batch, this.graph.shape.vocab);
      first += weightOf(batch);
      second += secondOf(batch).weights.reduce((a, b) => a + b, 0);
    }
    if (!(first > 0))
      throw new CpmError("bad-input", "a batch without a prediction that counts: every weight is 0", { field: "batch.weights" });
    return { first, second };
  }

  #write(batch: Batch, whole: { first: number; second: number }): void {
    const { rows, length } = this.#loadOptions;
    if (batch.rows !== rows || batch.length !== length)
      throw new CpmError(
        "bad-input",
        `a batch of ${batch.rows} x ${batch.length} tokens; this trainer takes ${rows} x ${length}`,
        {
          field: "batch",
        },
      );
    this.graph.batch.write(batch, whole);
    const { policy } = this.graph;
    if (!policy) return;
    for (const field of ["behaviour", "reference", "advantage"] as const) {
      const values = batch.policy?.[field];
      if (values?.length !== rows * length || !values.every(Number.isFinite))
        throw new CpmError("bad-input", `batch.policy.${field}: expected ${rows * length} finite numbers, one a token`, {
          field: `batch.policy.${field}`,
        });
      this.machine.doubles(policy[field], rows * length).set(values);
    }
  }

  /**
   * Log-probabilities of the labels under the policy, of each batch that gradients(), step() or evaluate() had last: before the update,
   * 0 where a token does not count. Of the objective "policy".
   */
  get chosen(): readonly Float64Array[] {
    return this.#chosen;
  }

  #read(): [number, number] {
    const { graph, machine } = this;
    const count = graph.setting.count;
    if (graph.policy) this.#chosen.push(machine.doubles(graph.nll, count).slice());
    const sum = (at: number) => machine.doubles(at, count).reduce((a, b) => a + b, 0);
    const later = graph.later.reduce((total, { losses, weight }) => total + weight * sum(losses), 0);
    return [sum(graph.losses[0]), graph.later.length > 0 ? later : sum(graph.losses[1])];
  }

  #losses(parts: readonly [number, number]): Losses {
    const { objective } = this.#loadOptions;
    const [a, b] = parts;
    const loss =
      objective.kind === "eagle" && objective.layout === 3
        ? a + b
        : objective.kind === "eagle"
          ? (objective.valueWeight ?? 1) * a + (objective.probabilityWeight ?? 0.1) * b
          : objective.kind === "mtp"
            ? a + (objective.lambda ?? 0.3) * b
            : objective.kind === "policy"
              ? a + policyDefaults(objective).beta * b
              : objective.kind === "lm" && objective.teacher
                ? (1 - objective.teacher.share) * a + objective.teacher.share * b
                : a;
    return { loss, parts };
  }

  /** Losses of a batch, and its gradients: the sum over batches, divided once by the weight of them all. */
  async gradients(batches: Batch | readonly Batch[], signal?: AbortSignal, before?: (batch: number) => void): Promise<Losses> {
    const all = Array.isArray(batches) ? (batches as readonly Batch[]) : [batches as Batch];
    const whole = this.#whole(all);
    await this.graph.zero.run(signal);
    this.#chosen = [];
    const parts: [number, number] = [0, 0];
    for (const [i, batch] of all.entries()) {
      this.#write(batch, whole);
      before?.(i);
      await this.graph.gradients.run(signal);
      const [a, b] = this.#read();
      parts[0] += a;
      parts[1] += b;
    }
    return this.#losses(parts);
  }

  /**
   * One update. An abort before it rejects and changes nothing. `before`: called before each batch is computed.
   * @throws CpmError "bad-input" when the loss or the gradients are no numbers any more.
   */
  async step(batches: Batch | readonly Batch[], signal?: AbortSignal, before?: (batch: number) => void): Promise<StepResult> {
    if (!this.optimiser) throw new CpmError("bad-option", "this trainer was made without an optimiser", { field: "optimiser" });
    const losses = await this.gradients(batches, signal, before);
    const norm = await this.optimiser.norm(signal);
    if (!Number.isFinite(losses.loss) || !Number.isFinite(norm)) throw notFinite(this.optimiser.steps + 1, losses.loss, norm);
    signal?.throwIfAborted();
    const rate = await this.optimiser.update(norm);
    return { ...losses, norm, rate, step: this.optimiser.steps };
  }

  /** The loss of batches, without gradients. `before`: called before each batch is computed. */
  async evaluate(batches: Batch | readonly Batch[], signal?: AbortSignal, before?: (batch: number) => void): Promise<Losses> {
    const all = Array.isArray(batches) ? (batches as readonly Batch[]) : [batches as Batch];
    const whole = this.#whole(all);
    this.#chosen = [];
    const parts: [number, number] = [0, 0];
    for (const [i, batch] of all.entries()) {
      this.#write(batch, whole);
      before?.(i);
      await this.graph.evaluate.run(signal);
      const [a, b] = this.#read();
      parts[0] += a;
      parts[1] += b;
    }
    return this.#losses(parts);
  }

  async close(): Promise<void> {
    await this.machine.close();
  }
}

const notFinite = (step: number, loss: number, norm: number): CpmError =>
  new CpmError(
    "bad-input",
    `update ${step}: the loss is ${loss} and the gradients' norm ${norm}; go back to the last checkpoint with a lower peak learning rate, a longer warm-up or a smaller clip, and look at the batch of this update`,
    { field: "loss", found: String(loss) },
  );
