// Distillation: a frozen model beside the one that is trained, of any shape with the same vocabulary, gives a distribution for every row.
// Loss = (1 - share) cross-entropy with the labels + share cross-entropy with the teacher's distribution (Hinton et al. 2015 at
// temperature 1; BitCPM's second stage).
import { CpmError } from "../errors.ts";
import type { Graph } from "./graph.ts";
import { type Kept, layerForward, normForward, type Setting, takeKept, takeShared } from "./layer.ts";
import { type Program, rows, turned } from "./program.ts";
import { writeRotation } from "./rotation.ts";
import { checkShape, EMBEDDING, HEAD, layerPrefix, modelTensors, type TensorShape, type TrainShape } from "./shape.ts";

export interface TeacherOptions {
  readonly shape: TrainShape;
  /** What the teacher's distribution counts beside the labels, 0 to 1. */
  readonly share: number;
}

/** What its tensors' names begin with. */
export const TEACHER = "teacher.";

export const teacherTensors = (shape: TrainShape): TensorShape[] =>
  modelTensors(shape).map((t) => ({ ...t, name: `${TEACHER}${t.name}` }));

/** @throws CpmError "unsupported" for another vocabulary, "bad-option" for a share that is none */
export function checkTeacher({ shape, share }: TeacherOptions, student: TrainShape): void {
  checkShape(shape);
  if (shape.vocab !== student.vocab)
    throw new CpmError("unsupported", `teacher: its vocabulary has ${shape.vocab} tokens, this model's ${student.vocab}`, {
      field: "teacher",
      expected: `${student.vocab} tokens`,
      found: String(shape.vocab),
    });
  if (!(share >= 0 && share <= 1))
    throw new CpmError("bad-option", `teacher.share: expected a number from 0 to 1, found ${share}`, { field: "teacher.share" });
}

export class Teacher {
  readonly share: number;
  /** The trained model's logits, once more: each loss turns them into its own gradient. */
  readonly copy: number;
  /** Its own logits, (chunk, vocab). */
  readonly logits: number;
  readonly #graph: Graph;
  readonly #shape: TrainShape;
  readonly #setting: Setting;
  readonly #kept: Kept;
  readonly #streams: readonly [number, number];
  readonly #hidden: number;
  readonly #scale: number;
  readonly #rope: number;

  /** Plans its memory. */
  constructor(graph: Graph, { shape, share }: TeacherOptions) {
    const { machine, setting } = graph;
    const { count } = setting;
    this.share = share;
    this.#graph = graph;
    this.#shape = shape;
    this.#rope = machine.takeReals(graph.options.length * shape.headDim);
    const doubles = setting.choice.doubles;
    this.#setting = {
      ...setting,
      shape,
      rope: this.#rope,
      attention: machine.takeReals(machine.exports.attention_scratch(shape.headDim, machine.threads)),
      choice: { at: machine.take(shape.sparse ? 8 * doubles * machine.threads : 0), doubles },
      shared: takeShared(machine, shape, count, 0),
      loraRank: 0,
      loraScale: 0,
      window: 0,
    };
    this.#kept = takeKept(machine, shape, count);
    this.#streams = [machine.takeReals(count * shape.hidden), machine.takeReals(count * shape.hidden)];
    this.#hidden = machine.takeReals(count * shape.hidden);
    this.#scale = machine.takeReals(count);
    this.copy = machine.takeReals(graph.chunk * shape.vocab);
    this.logits = machine.takeReals(graph.chunk * shape.vocab);
  }

  /** Fills in constants; after the machine's commit(). */
  write(): void {
    writeRotation(this.#graph.machine, this.#rope, this.#shape, this.#graph.options.length);
  }

  /** Tokens to hidden states. */
  forward(p: Program): void {
    const g = this.#graph;
    const { layers, hidden, embeddingScale, residualScale } = this.#shape;
    const { count } = this.#setting;
    let [from, to] = this.#streams;
    p.add(
      "embedForward",
      [count, hidden, hidden],
      [g.tensor(`${TEACHER}${EMBEDDING}`).at, g.batch.tokens, from],
      [embeddingScale],
    );
    for (let l = 0; l < layers; l++) {
      layerForward(p, this.#setting, g.layer(`${TEACHER}${layerPrefix(l)}`), this.#kept, from, to, residualScale);
      [from, to] = [to, from];
    }
    normForward(p, this.#setting, g.norm(`${TEACHER}model.norm`), rows(from, hidden), rows(this.#hidden, hidden), this.#scale);
  }

  /** Logits of rows [row, row + count). */
  headForward(p: Program, row: number, count: number): void {
    const { hidden, vocab, tied, logitScale } = this.#shape;
    const z = rows(this.#hidden + row * hidden * this.#graph.machine.real, hidden);
    const w = rows(this.#graph.tensor(`${TEACHER}${tied ? EMBEDDING : HEAD}`).at, hidden);
    p.matmul([count, vocab, hidden], z, turned(w), rows(this.logits, vocab), { alpha: logitScale });
  }
}
