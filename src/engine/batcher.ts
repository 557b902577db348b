// Steps over all runs that are ready: their rows go through the layers together, and each draws from its own logits.
import type { Budget } from "../decode/draft/budget.ts";
import { type DraftTree, maxNodes } from "../decode/draft/tree.ts";
import type { Sampler } from "../decode/sampler.ts";
import { CpmError, typed } from "../errors.ts";
import type { Stop } from "../signals.ts";
import { causalRows, type Stepper, type StepRow } from "./forward.ts";
import type { CostMeter } from "./measure.ts";
import { type Run, TextRun } from "./run.ts";
import { schedule } from "./schedule.ts";
import { acceptNode, treeRows } from "./verify.ts";

export interface BatcherParts {
  readonly stepper: Stepper;
  /** Of each row of logits. */
  readonly samplers: readonly Sampler[];
  readonly costs: CostMeter;
  /** What drafts are worth; undefined where nothing drafts. */
  readonly budget: Budget | undefined;
  now(): number;
}

/** Rows of prompts beside texts that are decoded: they wait for them. */
const CHUNK = 64;
/** Steps between tries of another number of texts side by side than the best: what a size costs is only learnt by running it. */
const STRAY_EVERY = 32;

/** A run's rows in a step. */
interface Part {
  readonly run: Run;
  /** Of a text that is decoded. */
  readonly tree: DraftTree | undefined;
  /** Rows [first, first + count) of the step, and logits from row `logits` on. */
  readonly first: number;
  readonly count: number;
  readonly logits: number;
}

export class Batcher {
  readonly #p: BatcherParts;
  readonly #runs = new Set<Run>();
  readonly #marks: Uint8Array[] = [];
  #steps = 0;

  constructor(parts: BatcherParts) {
    this.#p = parts;
  }

  add(run: Run): void {
    this.#runs.add(run);
  }

  /** Whether a step has something to do. */
  get busy(): boolean {
    for (const run of this.#runs) if (!run.held || run.settled || run.signal?.aborted) return true;
    return false;
  }

  /** Ends all runs. */
  fail(error: unknown): void {
    for (const run of this.#runs) if (!run.settled) run.fail(error);
    this.#runs.clear();
  }

  /**
   * One step for all runs, or for those given. `stop` ends it, and all runs with it. Throws for what no run can go on from; what
   * went wrong for one run alone fails that run.
   */
  async step(stop: Stop, only?: readonly Run[]): Promise<void> {
    this.#sweep();
    const ready: Run[] = [];
    for (const run of only ?? this.#runs) if (this.#runs.has(run) && !run.held) ready.push(run);
    if (ready.length === 0) return;
    const [first] = ready;
    // As below, with less ado: what most steps of one user are.
    if (ready.length === 1 && first instanceof TextRun && first.left === 0) return this.#decodeAlone(first, stop);
    const { stepper, samplers, costs } = this.#p;
    if (ready.length > 1) costs.ready();
    const most = Math.min(stepper.capacity, stepper.logitRows);
    // In a long context one layer of many rows would hold up an abort.
    const longest = ready.reduce((most, run) => (run.left > 0 ? Math.max(most, run.prompt.length) : most), 0);
    const chunk = stepper.batchRows(longest);
    const turn = schedule(
      ready.map((run) => ({ left: run.left, waited: run.waited, logits: run.wantsLogits })),
      {
        rows: stepper.capacity,
        logits: stepper.logitRows,
        decode: this.#sideBySide(ready.length, most),
        prompts: chunk,
        chunk: Math.min(CHUNK, chunk),
      },
    );
    for (const run of ready) run.waited++;
    const texts = turn.decode.map((index) => ready[index] as TextRun);
    const prompts = turn.prefill.map(({ index, rows }) => ({ run: ready[index]!, rows }));
    const beside = prompts.reduce((sum, { rows }) => sum + rows, 0);
    const trees = await this.#propose(texts, beside, turn.drafts);
    const { parts, rows, picked } = this.#lay(trees, prompts);
    for (const { run } of parts) run.waited = 0;
    if (parts.length === 0) return;
    const wanted: Stop = {
      throwIfAborted() {
        stop.throwIfAborted();
        if (parts.every(({ run }) => run.signal?.aborted)) throw ABANDONED;
      },
    };
    const started = this.#p.now();
    try {
      await stepper.layers(rows, wanted);
      if (picked.length > 0) await stepper.head(picked, wanted);
    } catch (error) {
      if (error !== ABANDONED) throw error;
      return this.#sweep();
    }
    if (texts.length > 1 && beside === 0) costs.costs.sawStep(rows.length, this.#p.now() - started);
    for (const part of parts) await this.#attempt(part.run, () => this.#take(part, samplers));
    this.#sweep();
  }

  /** A step for one text that is decoded. */
  async #decodeAlone(run: TextRun, stop: Stop): Promise<void> {
    const { stepper, samplers } = this.#p;
    try {
      const tree = await run.propose();
      const wanted: Stop = {
        throwIfAborted() {
          stop.throwIfAborted();
          run.signal?.throwIfAborted();
        },
      };
      await stepper.layers(treeRows(run.sequence, tree), wanted);
      await stepper.head(all.slice(0, tree.size), wanted);
      if (!run.settled) await run.verified(tree, 0, samplers, (node) => acceptNode(stepper, run.sequence, tree, node));
    } catch (error) {
      // An error of the step's is the engine's, unless it is this run's own: of its abort, its callbacks, its options.
      this.#failed(run, error);
    }
    run.waited = 0;
    this.#sweep();
  }

  /** Takes away what has ended, or was aborted. */
  #sweep(): void {
    for (const run of this.#runs) {
      if (!run.settled && run.signal?.aborted) run.fail(run.signal.reason);
      if (run.settled) this.#runs.delete(run);
    }
  }

  /** How many texts are decoded side by side. */
  #sideBySide(ready: number, most: number): number {
    if (ready === 1) return 1;
    const best = this.#p.costs.costs.bestRows(most);
    if (++this.#steps % STRAY_EVERY !== 0) return best;
    return this.#steps % (2 * STRAY_EVERY) === 0 ? Math.min(most, 2 * best) : Math.max(1, best - 1);
  }

  /** What is verified of each text's proposal; a text that fails to propose is left out. */
  async #propose(texts: readonly TextRun[], beside: number, drafts: number): Promise<[TextRun, DraftTree][]> {
    if (texts.length === 1 && beside === 0) {
      const tree = await this.#attempt(texts[0]!, () => texts[0]!.propose());
      return tree ? [[texts[0]!, tree]] : [];
    }
    const proposed: { text: TextRun; tree: DraftTree; limit: number }[] = [];
    for (const text of texts) {
      const proposal = await this.#attempt(text, () => text.proposeBeside());
      if (proposal) proposed.push({ text, ...proposal });
    }
    while (this.#marks.length < proposed.length) this.#marks.push(new Uint8Array(maxNodes));
    const trees = proposed.map(({ tree }) => tree);
    for (const [i, tree] of trees.entries()) this.#marks[i]!.fill(0, 0, tree.size)[0] = 1;
    const limits = proposed.map(({ limit }) => limit);
    this.#p.budget?.share(trees, limits, beside, trees.length + drafts, this.#marks);
    return proposed.map(({ text }, i) => [text, text.keep(this.#marks[i]!)]);
  }

  /** The rows of a step, and which of them give logits. */
  #lay(trees: readonly [TextRun, DraftTree][], prompts: readonly { run: Run; rows: number }[]) {
    const rows: StepRow[] = [];
    const picked: number[] = [];
    const parts: Part[] = [];
    for (const [run, tree] of trees) {
      parts.push({ run, tree, first: rows.length, count: tree.size, logits: picked.length });
      for (let node = 0; node < tree.size; node++) picked.push(rows.length + node);
      rows.push(...treeRows(run.sequence, tree));
    }
    for (const { run, rows: count } of prompts) {
      const begin = run.sequence.tokens.length;
      parts.push({ run, tree: undefined, first: rows.length, count, logits: picked.length });
      rows.push(...causalRows(run.sequence, run.prompt.slice(begin, begin + count), run.prompt.length));
      if (run.wantsLogits && count === run.left) picked.push(rows.length - 1);
    }
    return { parts, rows, picked };
  }

  /** Gives a run what its rows have come to. */
  async #take({ run, tree, first, count, logits }: Part, samplers: readonly Sampler[]): Promise<void> {
    if (run.settled || run.signal?.aborted) return;
    const { sequence } = run;
    if (tree) {
      const accept = (node: number) => acceptNode(this.#p.stepper, sequence, tree, node);
      await (run as TextRun).verified(tree, first, samplers.slice(logits, logits + count), accept);
      return;
    }
    const ends = count === run.left;
    const begin = sequence.tokens.length;
    for (let i = 0; i < count; i++) sequence.tokens.push(run.prompt[begin + i]!);
    const rows = Array.from({ length: count }, (_, i) => first + i);
    await run.prefilled(rows, ends && run.wantsLogits ? samplers[logits] : undefined);
  }

  /** What one run does by itself: its failure is its own, unless the kernels stopped. */
  async #attempt<T>(run: Run, task: () => Promise<T>): Promise<T | undefined> {
    try {
      return await task();
    } catch (error) {
      this.#failed(run, error);
      return undefined;
    }
  }

  #failed(run: Run, error: unknown): void {
    if (error instanceof WebAssembly.RuntimeError || (error instanceof CpmError && error.code === "engine-failed")) throw error;
    run.fail(run.signal?.aborted ? run.signal.reason : typed(error));
  }
}

const all = Array.from({ length: maxNodes }, (_, i) => i);
const ABANDONED = Symbol("every run of the step was aborted");
