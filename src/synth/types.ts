// What the generator is told, what it makes, and what it writes down.
import type { MessagesRecord } from "../data/formats.ts";
import type { Verdict } from "../data/verify/types.ts";

export const familyNames = ["knowledge", "reasoning", "instructions", "long", "tools"] as const;
export type FamilyName = (typeof familyNames)[number];

/** How answers are drawn, at every stage. */
export interface SynthSampling {
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly minP?: number | undefined;
  /** Tokens of one answer, at most. Default 1,024. */
  readonly maxTokens?: number | undefined;
}

export type SeedRecord = Readonly<Record<string, unknown>>;

/** Of every family. */
export interface FamilyConfig {
  /** Items to work on. An item is one seed with one set of draws; it may give several samples, or none. */
  readonly count: number;
  /** What items begin with; taken in an order of the seed's, again and again. */
  readonly seeds?: readonly SeedRecord[] | undefined;
  /** Answers that are drawn for one question, at most. Default 4. */
  readonly samples?: number | undefined;
  /** Answers of one question that are kept, at most. Default 1. */
  readonly keep?: number | undefined;
  readonly sampling?: SynthSampling | undefined;
  /** Prompts of its stages, by name, in place of the built-in ones: a text, or several to choose from. */
  readonly templates?: Readonly<Record<string, string | readonly string[]>> | undefined;
}

/** Questions and answers about points of knowledge. Seeds: { text } or { point, path?, text? }. */
export interface KnowledgeConfig extends FamilyConfig {
  /** Share of questions that are made harder or turned before they are answered. Default 0.5. */
  readonly evolve?: number | undefined;
  /** Ask the model whether the text supports the answer. Default true; without a text there is nothing to ask. */
  readonly check?: boolean | undefined;
}

/**
 * What is made of a problem for programs (MiniCPM4 report 3.1). "solve": it is solved as it is. "renamed", "changed", "extended": another
 * problem is made of it, told in other surroundings with other names, asking for something else, or for more. "output": what does a call
 * of a right program give? "diagnosis": what is wrong with a program that has a mistake? "rewrite": the program in another form.
 * "translate": the program in the other language.
 */
export const codeVariants = ["solve", "renamed", "changed", "extended", "output", "diagnosis", "rewrite", "translate"] as const;
export type CodeVariant = (typeof codeVariants)[number];

/**
 * Problems with an answer that can be checked. Seeds: { question, answer }; for programs { question, tests, language, solution? } or lines of
 * HumanEval and MBPP; or none (then `topics`).
 */
export interface ReasoningConfig extends FamilyConfig {
  readonly kind?: "mathematics" | "code" | undefined;
  readonly topics?: readonly string[] | undefined;
  readonly levels?: readonly string[] | undefined;
  readonly forms?: readonly ("open" | "choice" | "blank")[] | undefined;
  readonly language?: "javascript" | "python" | undefined;
  /** Share of the answers that must agree with an answer that a model gave to its own question. Default 0.5. */
  readonly agreement?: number | undefined;
  /** Leave out what every sample gets right. Default false. */
  readonly dropEasy?: boolean | undefined;
  /** Programs: what is made of problems; one is drawn for each item. Default ["solve"]. */
  readonly variants?: readonly CodeVariant[] | undefined;
  /** Programs: share of the mutants of a right program that tests of the model's own must find. Default 0.5. */
  readonly strength?: number | undefined;
}

/** Requests with constraints that a program checks. Seeds: { prompt }, { text } (reverse) or none (then `domains` and `personas`). */
export interface InstructionsConfig extends FamilyConfig {
  /** Constraints of one request, at most; they are added one by one for as long as an answer follows them all. Default 3. */
  readonly levels?: number | undefined;
  /** Classes of constraints to draw from. Default: all 25. */
  readonly constraints?: readonly string[] | undefined;
  readonly domains?: readonly string[] | undefined;
  readonly personas?: readonly string[] | undefined;
  /** Keep the answers of all levels, not of the last alone. Default false. */
  readonly all?: boolean | undefined;
}

/** Questions about one document among many. Seeds: { text, title?, question?, answer? }; all of them are the documents beside. */
export interface LongConfig extends FamilyConfig {
  /** Shortest and longest, in tokens; drawn evenly. Default [8192, 65536]. */
  readonly tokens?: readonly [number, number] | undefined;
  readonly kinds?: readonly ("extract" | "summarise" | "reason" | "question")[] | undefined;
  readonly check?: boolean | undefined;
}

/** Calls of tools. Seeds: { tools, query?, expected_calls? } with tools as OpenAI's interface has them. */
export interface ToolsConfig extends FamilyConfig {
  /** Tools of other seeds that are put beside, at most. Default 3. */
  readonly distractors?: number | undefined;
  /** Share of items whose tools do not fit the request: right is an answer without a call. Default 0. */
  readonly irrelevant?: number | undefined;
  /** Go on behind the calls: results, made up by the model, and an answer. Default false. */
  readonly answers?: boolean | undefined;
  /** Calls of one request, at most. Default 2. */
  readonly calls?: number | undefined;
  /** Share of requests whose calls are all of one tool, with different values. Default 0.3. */
  readonly parallel?: number | undefined;
  /** Requests of one conversation, at most; each but the last is answered before the next. Default 1. */
  readonly turns?: number | undefined;
}

export interface SynthConfig {
  /** Decides all draws. Default 0. */
  readonly seed?: number | undefined;
  readonly sampling?: SynthSampling | undefined;
  readonly families: {
    readonly knowledge?: KnowledgeConfig | undefined;
    readonly reasoning?: ReasoningConfig | undefined;
    readonly instructions?: InstructionsConfig | undefined;
    readonly long?: LongConfig | undefined;
    readonly tools?: ToolsConfig | undefined;
  };
  /** Tokens of prompts and answers: no item is begun once those before it took as many. Default: any. */
  readonly budget?: { readonly tokens?: number | undefined; readonly minutes?: number | undefined } | undefined;
  /** Items at once. Default 8. */
  readonly concurrency?: number | undefined;
  /** Repetitions that are left out. Default both. */
  readonly dedup?: readonly ("exact" | "near")[] | undefined;
}

/** One request. */
export interface Stage {
  readonly stage: string;
  /** Hash of the template. */
  readonly template: string;
  readonly seed: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** Where a sample comes from. */
export interface Provenance {
  readonly model: string;
  readonly family: FamilyName;
  readonly item: number;
  readonly sample: number;
  /** Of the whole run. */
  readonly seed: number;
  /** The seed record: its id, key or name, or its place in the list. */
  readonly source: string | number | null;
  readonly sampling: SynthSampling;
  readonly stages: readonly Stage[];
  readonly verdicts: Readonly<Record<string, Verdict>>;
  /** What else the family knows of it. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** A sample that was kept: messages, and what its verifiers need to be run again. */
export interface SynthRecord extends MessagesRecord {
  readonly id: string;
  readonly family: FamilyName;
  readonly provenance: Provenance;
}

/** What became of one sample. */
export type Outcome =
  | { readonly kept: true; readonly sample: number; readonly record: SynthRecord }
  | { readonly kept: false; readonly sample: number; readonly reason: string; readonly text: string };

/** An item that is done: a line of the journal. */
export interface Entry {
  readonly item: number;
  readonly outcomes: readonly Outcome[];
  readonly requests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}
