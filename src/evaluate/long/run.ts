// Long texts put to a model: needle grids and the kinds of ruler.ts, scored exactly; misses explained by what attention chose.
import { bad, given } from "../../door/given.ts";
import type { Model } from "../../door/model.ts";
import { checkSignal } from "../../door/options.ts";
import type { Session } from "../../door/session.ts";
import { Breath } from "../breath.ts";
import { type ItemOptions, itemOptionNames, meanScore, overItems } from "../progress.ts";
import { Random } from "../random.ts";
import { Prompts } from "../tokens.ts";
import { type Fitted, fitted } from "./fit.ts";
import { type LongTextMaker, type NeedleValue, needleTexts, sentencesOf } from "./needles.ts";
import { type LongKind, longKinds, longTexts } from "./ruler.ts";
import { type Miss, whyMissed } from "./why.ts";
import { hay } from "./words.ts";

/** One text that a model was asked about. */
export interface LongResult {
  readonly id: string;
  readonly kind: string;
  /** Tokens asked for, and of the prompt. */
  readonly length: number;
  readonly tokens: number;
  /** Of a needle: 0 is the beginning, 1 the end. */
  readonly depth?: number | undefined;
  readonly sample: number;
  /** What is right, what the model wrote, and the share of what is right in it. */
  readonly answers: readonly string[];
  readonly output: string;
  readonly score: number;
  /** Why it may be wrong, where the place of the answer is known. */
  readonly miss?: Miss | undefined;
}

interface LongOptions extends ItemOptions<LongResult> {
  /** Tokens of the prompts (default 1024, 2048, 4096 as far as the model's context goes). */
  readonly lengths?: readonly number[] | undefined;
  /** Texts of each length and depth, or kind (default 1). */
  readonly samples?: number | undefined;
  /** Default 0. The same seed gives the same texts with every model of the same tokenizer, on every runtime. */
  readonly seed?: number | undefined;
  /** Hay of one's own: a text, whose sentences are repeated. */
  readonly haystack?: string | undefined;
  /** Ask through the model's chat template (default: where it has one), or give the model plain text to go on with. */
  readonly chat?: boolean | undefined;
  /** Tokens of an answer, at most (default: those of what is right, half as many again, and 16). */
  readonly maxTokens?: number | undefined;
}

export interface NeedleGridOptions extends LongOptions {
  /** Where the needle is: 0 the beginning, 1 the end (default 0, 0.25, 0.5, 0.75, 1). */
  readonly depths?: readonly number[] | undefined;
  /** What is hidden (default "number"). */
  readonly value?: NeedleValue | undefined;
  /** Needles about other keys in the hay (default 0). */
  readonly others?: number | undefined;
}

/** Mean score of the texts of one length and depth. */
export interface GridCell {
  readonly length: number;
  readonly depth: number;
  readonly score: number;
  readonly count: number;
}

export interface NeedleGrid {
  readonly lengths: readonly number[];
  readonly depths: readonly number[];
  readonly score: number;
  readonly cells: readonly GridCell[];
  readonly results: readonly LongResult[];
}

export interface LongTasksOptions extends LongOptions {
  /** Default: all of `longKinds`. */
  readonly kinds?: readonly LongKind[] | undefined;
  /** "variables": chains of assignments (default 1) and how often a value is handed on (default 4). */
  readonly chains?: number | undefined;
  readonly hops?: number | undefined;
}

export interface LongTasks {
  readonly score: number;
  readonly scores: readonly {
    readonly kind: LongKind;
    readonly length: number;
    readonly score: number;
    readonly count: number;
  }[];
  readonly results: readonly LongResult[];
}

const COMMON = ["lengths", "samples", "seed", "haystack", "chat", "maxTokens", ...itemOptionNames] as const;

function whole(field: string, value: number | undefined, least: number, most: number, fallback: number): number {
  if (value === undefined) return fallback;
  if (!Number.isSafeInteger(value) || value < least || value > most) bad(field, `a whole number from ${least} to ${most}`, value);
  return value;
}

/**
 * Needles in haystacks: a sentence that gives a key a value, hidden at each depth of texts of each length, then asked for. Answers are
 * drawn greedily. Throws CpmError "bad-option" for lengths beyond the model's context and other values out of range; rejects with the
 * signal's reason.
 */
export async function needleGrid(model: Model, options: NeedleGridOptions = {}): Promise<NeedleGrid> {
  const wanted = given(options, [...COMMON, "depths", "value", "others"]);
  const depths = [...(wanted.depths ?? [0, 0.25, 0.5, 0.75, 1])];
  if (depths.length === 0) bad("depths", "one or more numbers", "none");
  for (const depth of depths)
    if (typeof depth !== "number" || !(depth >= 0 && depth <= 1)) bad("depths", "numbers from 0 to 1", depth);
  const { value = "number" } = wanted;
  if (!["number", "word", "uuid"].includes(value)) bad("value", '"number", "word" or "uuid"', value);
  const others = whole("others", wanted.others, 0, 1000, 0);
  const sentences = hayOf(wanted.haystack);
  const run = runOf(model, wanted);
  const cells = run.lengths.flatMap((length) =>
    depths.flatMap((depth) => Array.from({ length: run.samples }, (_, sample) => ({ kind: "needle", length, depth, sample }))),
  );
  const results = await run.over(cells, ({ depth, sample }) =>
    needleTexts(
      { key: "word", value, others, queries: 1, values: 1, hay: sentences, depth },
      new Random(run.seed, `needle/${sample}`),
    ),
  );
  const scores = run.lengths.flatMap((length) =>
    depths.map((depth) => {
      const own = results.filter((result) => result.length === length && result.depth === depth);
      return { length, depth, score: meanScore(own), count: own.length };
    }),
  );
  return { lengths: run.lengths, depths, score: meanScore(results), cells: scores, results };
}

/**
 * Long texts of RULER's kinds: needles with one, several and many keys, several values and queries, variables, common and frequent
 * words. A score is the share of the right strings that stand in the answer. Throws and rejects as needleGrid().
 */
export async function longTasks(model: Model, options: LongTasksOptions = {}): Promise<LongTasks> {
  const wanted = given(options, [...COMMON, "kinds", "chains", "hops"]);
  const kinds = [...(wanted.kinds ?? longKinds)];
  for (const kind of kinds) if (!longKinds.includes(kind)) bad("kinds", longKinds.join(", "), kind);
  const settings = {
    hay: hayOf(wanted.haystack),
    chains: whole("chains", wanted.chains, 1, 100, 1),
    hops: whole("hops", wanted.hops, 0, 100, 4),
  };
  const run = runOf(model, wanted);
  const cells = run.lengths.flatMap((length) =>
    kinds.flatMap((kind) => Array.from({ length: run.samples }, (_, sample) => ({ kind, length, depth: undefined, sample }))),
  );
  const results = await run.over(cells, ({ kind, sample }) =>
    longTexts(kind as LongKind, settings, new Random(run.seed, `${kind}/${sample}`)),
  );
  const scores = run.lengths.flatMap((length) =>
    kinds.map((kind) => {
      const own = results.filter((result) => result.length === length && result.kind === kind);
      return { kind, length, score: meanScore(own), count: own.length };
    }),
  );
  return { score: meanScore(results), scores, results };
}

function hayOf(text: string | undefined): readonly string[] {
  if (text === undefined) return hay;
  if (typeof text !== "string" || text.trim() === "") bad("haystack", "a text", typeof text === "string" ? "an empty one" : text);
  return sentencesOf(text);
}

interface Cell {
  readonly kind: string;
  readonly length: number;
  readonly depth: number | undefined;
  readonly sample: number;
}

function runOf(model: Model, wanted: LongOptions) {
  const { contextSize } = model.info;
  const lengths = [...(wanted.lengths ?? [1024, 2048, 4096].filter((length) => length <= contextSize))];
  if (lengths.length === 0) bad("lengths", `one or more, up to ${contextSize}`, "none");
  for (const length of lengths)
    if (!Number.isSafeInteger(length) || length < 64 || length > contextSize)
      bad("lengths", `whole numbers from 64 to ${contextSize}, the context that the model was loaded with`, length);
  const samples = whole("samples", wanted.samples, 1, 1000, 1);
  const seed = whole("seed", wanted.seed, 0, 2 ** 32 - 1, 0);
  const maxTokens = wanted.maxTokens === undefined ? undefined : whole("maxTokens", wanted.maxTokens, 1, 1 << 20, 0);
  if (wanted.chat !== undefined && typeof wanted.chat !== "boolean") bad("chat", "true or false", wanted.chat);
  checkSignal(wanted.signal);
  const { signal } = wanted;
  const over = async (cells: readonly Cell[], makerOf: (cell: Cell) => LongTextMaker): Promise<LongResult[]> => {
    signal?.throwIfAborted();
    const prompts = new Prompts(model, wanted.chat, new Breath(signal));
    const ids = cells.map(({ kind, length, depth, sample }) =>
      [kind, length, ...(depth === undefined ? [] : [depth]), sample].join("/"),
    );
    // Deeper needles first: what stands before a needle is then in the cache already, where attention is dense.
    const order = cells
      .map((_, i) => i)
      .sort((a, b) => cells[a]!.length - cells[b]!.length || deeper(cells[a]!, cells[b]!) || a - b);
    const session = await model.session({ contextSize: Math.max(...lengths) });
    try {
      return await overItems<LongResult>(ids, order, wanted, async (i) => {
        const cell = cells[i]!;
        const maker = makerOf(cell);
        const room = maxTokens ?? (await roomFor(maker, prompts));
        if (room >= cell.length && maxTokens === undefined)
          bad("lengths", `more than the ${room} tokens that an answer is given room for`, cell.length);
        if (room >= cell.length)
          bad("maxTokens", `fewer than the ${cell.length} tokens that prompt and answer have together`, room);
        const text = await fitted(maker, prompts, cell.length - room);
        return { id: ids[i]!, ...cell, ...(await asked(model, session, prompts, text, room, signal)) };
      });
    } finally {
      await session.dispose();
    }
  };
  return { lengths, samples, seed, over };
}

const deeper = (a: Cell, b: Cell): number => a.sample - b.sample || (b.depth ?? 0) - (a.depth ?? 0);

async function roomFor(maker: LongTextMaker, prompts: Prompts): Promise<number> {
  const { answers } = maker.make(0);
  return Math.ceil((await prompts.tokensOf(answers.join(", "))).length * 1.5) + 16;
}

async function asked(
  model: Model,
  session: Session,
  prompts: Prompts,
  text: Fitted,
  maxTokens: number,
  signal: AbortSignal | undefined,
): Promise<Pick<LongResult, "tokens" | "answers" | "output" | "score" | "miss">> {
  // A cache of sparse attention depends on the length of the call that filled it.
  if (model.info.sparse) await session.truncate(0);
  const { text: output } = await session.generate(text.tokens, { temperature: 0, maxTokens, draft: false, signal });
  const said = output.toLowerCase();
  const { answers, tokens } = text;
  const score = answers.filter((answer) => said.includes(answer.toLowerCase())).length / answers.length;
  const miss = score < 1 && text.spans.length > 0 ? await whyMissed(model, session, prompts, text, signal) : undefined;
  return { tokens: tokens.length, answers, output, score, ...(miss ? { miss } : {}) };
}
