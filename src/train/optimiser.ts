// AdamW and Muon over the tensors that a graph trains, with one clipping norm over all of them.
import type { Graph, PlacedTensor } from "./graph.ts";
import { type Program, rows, turned } from "./program.ts";
import { rateAt, type Schedule } from "./schedule.ts";
import { countOf, isHidden, mupScales } from "./shape.ts";

export interface OptimiserOptions {
  /** "muon": matrices of layers by Newton-Schulz, all else by AdamW with the same learning rate. Default "adamw". */
  readonly kind?: "adamw" | "muon" | undefined;
  readonly schedule: Schedule;
  /** Largest norm of all gradients together; larger ones are scaled down. Default 1. */
  readonly clip?: number | undefined;
  /** Decoupled weight decay of matrices. Default 0.1. */
  readonly weightDecay?: number | undefined;
  /** Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number] | undefined;
  /** Default 1e-8. */
  readonly eps?: number | undefined;
  /** Muon's momentum. Default 0.95. */
  readonly momentum?: number | undefined;
  /** Muon's size of an update: "rms" like AdamW's (0.2 sqrt(max side)), "spectral" sqrt(max(1, out / in)). Default "rms". */
  readonly scale?: "rms" | "spectral" | undefined;
  /** Divide the learning rate of layer matrices by the width (MiniCPM's muP). Default false. */
  readonly mup?: boolean | undefined;
}

/** Coefficients of Muon's quintic iteration (Jordan et al. 2024), and its rounds. */
const NEWTON_SCHULZ = [3.4445, -4.775, 2.0315] as const;
const ROUNDS = 5;
/** Numbers whose squares one partial sum holds: kSquaresOf of cpp/train/optimise.h. */
const SQUARES = 4096;
const pieces = (count: number): number => Math.ceil(count / SQUARES);

interface State {
  readonly tensor: PlacedTensor;
  /** First and second moments; Muon has but the first. */
  readonly moments: readonly number[];
}

export class Optimiser {
  readonly options: OptimiserOptions;
  readonly states: readonly State[];
  readonly #graph: Graph;
  readonly #sums: number;
  readonly #step: number;
  readonly #squares: Program;
  readonly #update: Program;
  /** Updates made. */
  steps = 0;

  constructor(graph: Graph, options: OptimiserOptions) {
    this.#graph = graph;
    this.options = options;
    const { machine } = graph;
    this.states = graph.trained.map((tensor) => ({
      tensor,
      moments: Array.from({ length: this.#isMuon(tensor) ? 1 : 2 }, () => machine.takeReals(countOf(tensor))),
    }));
    this.#step = machine.take(32);
    const sums = graph.trained.reduce((n, t) => n + pieces(countOf(t)), 0);
    this.#sums = machine.take(8 * sums);
    this.#squares = graph.program();
    let at = this.#sums;
    for (const t of graph.trained) {
      this.#squares.add("squares", [countOf(t)], [t.grad, at]);
      at += 8 * pieces(countOf(t));
    }
    this.#update = graph.program();
    const muon = this.states.filter(({ tensor }) => this.#isMuon(tensor));
    const largest = Math.max(0, ...muon.map(({ tensor }) => countOf(tensor)));
    const smaller = Math.max(0, ...muon.map(({ tensor }) => Math.min(...tensor.shape)));
    const work = {
      a: machine.takeReals(largest),
      b: machine.takeReals(largest),
      s: machine.takeReals(smaller * smaller),
      t: machine.takeReals(smaller * smaller),
      sums: machine.take(8 * pieces(largest)),
    };
    for (const state of this.states)
      if (this.#isMuon(state.tensor)) this.#muon(state, work);
      else this.#adamw(state);
    for (const p of [this.#squares, this.#update]) p.place();
  }

  /** Writes the programs; after the machine's commit(). */
  write(): void {
    for (const p of [this.#squares, this.#update]) p.write();
  }

  #isMuon(t: PlacedTensor): boolean {
    return this.options.kind === "muon" && isHidden(t);
  }

  #factors(t: PlacedTensor): { decay: number; rate: number } {
    const { weightDecay = 0.1, mup } = this.options;
    return { decay: t.shape.length === 2 ? weightDecay : 0, rate: mup ? mupScales(t, this.#graph.shape.width)[0] : 1 };
  }

  #adamw({ tensor, moments }: State): void {
    const { betas = [0.9, 0.95], eps = 1e-8 } = this.options;
    const { decay, rate } = this.#factors(tensor);
    this.#update.add(
      "adamw",
      [countOf(tensor)],
      [tensor.at, tensor.grad, moments[0]!, moments[1]!, this.#step],
      [betas[0], betas[1], eps, decay, rate],
    );
    this.#update.cut();
  }

  #muon({ tensor, moments }: State, work: { a: number; b: number; s: number; t: number; sums: number }): void {
    const { momentum = 0.95, scale = "rms" } = this.options;
    const { decay, rate } = this.#factors(tensor);
    const [out, of] = tensor.shape as [number, number];
    const count = countOf(tensor);
    const p = this.#update;
    p.add("muonMoment", [count], [tensor.grad, moments[0]!, work.a, work.sums, this.#step], [momentum]);
    p.add("muonUnit", [count], [work.a, work.sums]);
    let [from, to] = [work.a, work.b];
    for (let round = 0; round < ROUNDS; round++) {
      this.#newtonSchulz(from, to, out, of, work);
      [from, to] = [to, from];
    }
    const c = scale === "rms" ? 0.2 * Math.sqrt(Math.max(out, of)) : Math.sqrt(Math.max(1, out / of));
    p.add("muonApply", [count], [tensor.at, from, this.#step], [decay, rate, c]);
    p.cut();
  }

  /** to = a X + (b S + c S S) X with S = X X^T, the smaller side first. */
  #newtonSchulz(from: number, to: number, out: number, of: number, work: { s: number; t: number }): void {
    const p = this.#update;
    const [a, b, c] = NEWTON_SCHULZ;
    const x = rows(from, of);
    const small = Math.min(out, of);
    const [s, t] = [rows(work.s, small), rows(work.t, small)];
    const tall = out > of;
    if (tall) p.matmul([of, of, out], turned(x), x, s);
    else p.matmul([out, out, of], x, turned(x), s);
    p.matmul([small, small, small], s, s, t, { alpha: c });
    p.add("combine", [small, small, small, small], [work.s, work.t], [b, 1]);
    p.add("combine", [1, out * of, out * of, out * of], [from, to], [a, 0]);
    const y = rows(to, of);
    if (tall) p.matmul([out, of, of], x, t, y, { plus: y });
    else p.matmul([out, of, out], t, x, y, { plus: y });
  }

  /** The norm of all gradients together. */
  async norm(signal?: AbortSignal): Promise<number> {
    await this.#squares.run(signal);
    const count = this.#graph.trained.reduce((n, t) => n + pieces(countOf(t)), 0);
    return Math.sqrt(this.#graph.machine.doubles(this.#sums, count).reduce((a, b) => a + b, 0));
  }

  /** One update from the gradients, whose norm is `norm`; gives the learning rate. Not to be aborted half-way. */
  async update(norm: number): Promise<number> {
    const { clip = 1, betas = [0.9, 0.95], schedule } = this.options;
    const step = ++this.steps;
    const rate = rateAt(step, schedule);
    const factor = Math.min(1, clip / (norm + 1e-6));
    this.#graph.machine.doubles(this.#step, 4).set([rate, factor, 1 - betas[0] ** step, 1 - betas[1] ** step]);
    await this.#update.run();
    return rate;
  }
}
