// Tasks put to a model: exact match, multiple choice by log-likelihood, programs that pass their tests.
import { programOf, type Sandbox, verifyCode } from "../../data/verify/code.ts";
import { verifyAnswer } from "../../data/verify/mathematics.ts";
import { bad, given } from "../../door/given.ts";
import type { Model } from "../../door/model.ts";
import { checkSignal } from "../../door/options.ts";
import type { Session } from "../../door/session.ts";
import { CpmError } from "../../errors.ts";
import { Breath } from "../breath.ts";
import { type ItemOptions, itemOptionNames, meanScore, overItems } from "../progress.ts";
import type { Estimate } from "../statistics.ts";
import { Prompts } from "../tokens.ts";
import { bestOf, likelihoods } from "./choice.ts";
import {
  type ChoiceTask,
  type CodeTask,
  checkedTasks,
  type EvalTask,
  type ExactTask,
  type MatchName,
  matchNames,
  type TaskKind,
} from "./read.ts";

/** What became of a task. */
export interface TaskResult {
  readonly id: string;
  readonly line: number;
  readonly kind: TaskKind;
  /** 1 for right, 0 for wrong; of a program that was drawn several times, the share that passed. */
  readonly score: number;
  /** What the model wrote; of several samples all. */
  readonly outputs?: readonly string[];
  /** Why programs failed. */
  readonly reasons?: readonly string[];
  /** Choices: log-likelihoods in nats, whole and by character, the choice by each, and 1 or 0 by the second. */
  readonly sums?: readonly number[];
  readonly normalised?: readonly number[];
  readonly chosen?: number;
  readonly chosenNormalised?: number;
  readonly scoreNormalised?: number;
}

export interface EvaluateOptions extends ItemOptions<TaskResult> {
  /** Ask through the model's chat template (default: where it has one), or give the model plain text to go on with. */
  readonly chat?: boolean | undefined;
  /** Tokens of an answer, at most (default 64; of a program 512). */
  readonly maxTokens?: number | undefined;
  /** How answers are compared, where a task does not say it (default "plain"). */
  readonly match?: MatchName | undefined;
  /** Programs drawn for each task of code (default 1, drawn greedily); more are drawn at `temperature` (default 0.8). */
  readonly samples?: number | undefined;
  readonly temperature?: number | undefined;
  readonly seed?: number | undefined;
  /** Runs programs: createSandbox() of cpm-wasm/data/verify. Needed where a task is one of code. */
  readonly sandbox?: Sandbox | undefined;
}

/** A share of right answers with its standard error, and how many tasks there were. */
export interface TaskScore extends Estimate {
  readonly count: number;
}

export interface Evaluation {
  readonly exact?: TaskScore;
  /** Choices by the summed log-likelihood, and by the one divided by characters. */
  readonly choice?: TaskScore;
  readonly choiceNormalised?: TaskScore;
  /** pass@1: how likely one program passes. */
  readonly passAt1?: TaskScore;
  readonly results: readonly TaskResult[];
}

const NAMES = ["chat", "maxTokens", "match", "samples", "temperature", "seed", "sandbox", ...itemOptionNames] as const;
/** Where a program that goes on behind a function ends. */
const CODE_STOPS = ["\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n```"];

/**
 * Puts tasks (of `readTasks`) to a model. Answers are drawn greedily; programs run in `sandbox`.
 * Throws CpmError "bad-option"; rejects with "bad-input" for a prompt that does not fit the context, naming its line; with what the
 * sandbox throws; or with the signal's reason.
 */
export async function evaluateTasks(
  model: Model,
  tasks: readonly EvalTask[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const wanted = given(options, NAMES);
  checkSignal(wanted.signal);
  const { samples = 1, maxTokens, match, sandbox, chat, seed = 0, temperature = 0.8 } = wanted;
  for (const [name, value, least, most] of [
    ["samples", samples, 1, 1000],
    ["maxTokens", maxTokens ?? 1, 1, 1 << 20],
    ["seed", seed, 0, 2 ** 32 - 1],
  ] as const)
    if (!Number.isSafeInteger(value) || value < least || value > most)
      bad(name, `a whole number from ${least} to ${most}`, value);
  if (typeof temperature !== "number" || !(temperature >= 0)) bad("temperature", "a number from 0 on", temperature);
  if (match !== undefined && !matchNames.includes(match)) bad("match", matchNames.join(", "), match);
  if (chat !== undefined && typeof chat !== "boolean") bad("chat", "true or false", chat);
  if (!sandbox && tasks.some(({ kind }) => kind === "code"))
    bad("sandbox", "createSandbox() of cpm-wasm/data/verify, since there are programs to run", undefined);
  wanted.signal?.throwIfAborted();
  const list = checkedTasks([...tasks], "tasks");
  const prompts = new Prompts(model, chat, new Breath(wanted.signal));
  const session = await model.session();
  const asker = new Asker(model, session, prompts, { ...wanted, samples, seed, temperature });
  try {
    const ids = list.map(({ id }) => id);
    const results = await overItems<TaskResult>(
      ids,
      list.map((_, i) => i),
      wanted,
      async (i) => {
        const task = list[i]!;
        const about = { id: task.id, line: task.line, kind: task.kind };
        if (task.kind === "choice") return { ...about, ...(await asker.choice(task)) };
        return { ...about, ...(task.kind === "exact" ? await asker.exact(task) : await asker.code(task, i)) };
      },
    );
    return { ...summary(results), results };
  } finally {
    await session.dispose();
  }
}

interface Settings extends EvaluateOptions {
  readonly samples: number;
  readonly seed: number;
  readonly temperature: number;
}

type Outcome = Omit<TaskResult, "id" | "line" | "kind">;

/** Asks in one session, one task after another. */
class Asker {
  readonly #model: Model;
  readonly #session: Session;
  readonly #prompts: Prompts;
  readonly #settings: Settings;

  constructor(model: Model, session: Session, prompts: Prompts, settings: Settings) {
    this.#model = model;
    this.#session = session;
    this.#prompts = prompts;
    this.#settings = settings;
  }

  async #answer(task: EvalTask, prompt: string, maxTokens: number, stop: readonly string[], draw = {}): Promise<string> {
    const tokens = await this.#tokens(task, prompt, 1);
    const { signal } = this.#settings;
    const room = this.#model.info.contextSize - tokens.length;
    // A cache of sparse attention depends on the length of the call that filled it.
    if (this.#model.info.sparse) await this.#session.truncate(0);
    const options = { temperature: 0, ...draw, maxTokens: Math.min(maxTokens, room), stop, draft: false, signal };
    return (await this.#session.generate(tokens, options)).text;
  }

  /** A prompt's tokens, with so many to spare. */
  async #tokens(task: EvalTask, prompt: string, spare: number): Promise<number[]> {
    const tokens = await this.#prompts.tokensOf(prompt);
    const most = this.#model.info.contextSize;
    if (tokens.length + spare > most)
      throw new CpmError(
        "bad-input",
        `line ${task.line}: the prompt has ${tokens.length} tokens, and the context holds ${most}; load with a larger contextSize, or leave the task out`,
        { field: `line ${task.line}`, expected: `${most - spare} tokens`, found: `${tokens.length} tokens` },
      );
    return tokens;
  }

  async exact(task: ExactTask): Promise<Outcome> {
    const stop = task.stop ?? (this.#prompts.chat ? [] : ["\n"]);
    const text = await this.#answer(task, this.#prompts.textOf(task.prompt), this.#settings.maxTokens ?? 64, stop);
    const right = matches(task.match ?? this.#settings.match ?? "plain", text, task.answers);
    return { score: right ? 1 : 0, outputs: [text] };
  }

  async choice(task: ChoiceTask): Promise<Outcome> {
    const context = this.#prompts.textOf(task.prompt);
    const joined = task.choices.map((choice) => context + delimiter(context, choice, this.#prompts.chat) + choice);
    const tokens = await this.#tokens(task, context, 0);
    const wholes: number[][] = [];
    for (const text of joined) wholes.push(await this.#tokens(task, text, 0));
    const empty = wholes.findIndex((whole) => whole.length < 2 || whole.join() === tokens.join());
    if (empty >= 0)
      throw new CpmError("bad-input", `line ${task.line}: choices: choice ${empty} adds no token that follows another`, {
        field: `line ${task.line}`,
      });
    const characters = task.choices.map((choice) => Array.from(choice).length);
    const { sums, normalised } = await likelihoods(this.#session, tokens, wholes, characters, this.#settings.signal);
    const [chosen, chosenNormalised] = [bestOf(sums), bestOf(normalised)];
    return {
      score: chosen === task.right ? 1 : 0,
      scoreNormalised: chosenNormalised === task.right ? 1 : 0,
      chosen,
      chosenNormalised,
      sums,
      normalised,
    };
  }

  async code(task: CodeTask, index: number): Promise<Outcome> {
    const { samples, seed, temperature, sandbox, signal } = this.#settings;
    const { chat } = this.#prompts;
    const prompt = this.#prompts.textOf(task.entry !== undefined && chat ? asked(task) : task.prompt);
    const stop = task.stop ?? (chat || task.entry === undefined ? [] : CODE_STOPS);
    const [outputs, reasons]: [string[], string[]] = [[], []];
    let passed = 0;
    for (let k = 0; k < samples; k++) {
      const draw = samples > 1 ? { temperature, seed: (seed + index * samples + k) >>> 0 } : {};
      const text = await this.#answer(task, prompt, this.#settings.maxTokens ?? 512, stop, draw);
      const sample = { language: task.language, code: programIn(task, text, chat), tests: task.tests };
      const { ok, reasons: why } = await verifyCode(sample, sandbox!, signal);
      outputs.push(text);
      if (ok) passed++;
      else reasons.push(...why);
    }
    return { score: passed / samples, outputs, reasons };
  }
}

const asked = ({ prompt, language }: CodeTask): string =>
  `Complete the following program. Answer with the whole of it in one block of code.\n\n\`\`\`${language}\n${prompt.trimEnd()}\n\`\`\``;

/** The program that an answer gives. A HumanEval prompt is its beginning, unless the answer says the function anew. */
function programIn(task: CodeTask, text: string, chat: boolean): string {
  if (task.entry === undefined) return programOf({ response: text, language: task.language }).code;
  if (!chat) return task.prompt + text;
  const { code } = programOf({ response: text, language: task.language });
  if (!new RegExp(`\\bdef\\s+${task.entry}\\b`).test(code)) return task.prompt + code;
  // What the prompt imports and defines before the function may be left out of the answer.
  const at = task.prompt.search(new RegExp(`^def\\s+${task.entry}\\b`, "m"));
  return `${at > 0 ? task.prompt.slice(0, at) : ""}${code}`;
}

/** A space between a prompt and a choice, where neither has one and no template stands between them. */
const delimiter = (context: string, choice: string, chat: boolean): string =>
  chat || /\s$/.test(context) || /^\s/.test(choice) ? "" : " ";

const plainForm = (text: string): string =>
  text
    .normalize("NFKC")
    .toLowerCase()
    .replace(/\s+/g, " ")
    .replace(/^[\s\p{P}]+|[\s\p{P}]+$/gu, "");

/** Whether a text is one of the answers. */
export function matches(match: MatchName, text: string, answers: readonly string[]): boolean {
  switch (match) {
    case "strict":
      return answers.includes(text.trim());
    case "contains":
      return answers.some((answer) => plainForm(text).includes(plainForm(answer)));
    case "math":
      return verifyAnswer({ response: text, answer: answers }).ok;
    case "plain": {
      const form = plainForm(text);
      // An answer of nothing but marks has no plain form: it counts as it stands.
      return answers.some((answer) => (plainForm(answer) === "" ? text.trim() === answer.trim() : plainForm(answer) === form));
    }
  }
}

function summary(results: readonly TaskResult[]): Omit<Evaluation, "results"> {
  const of = (kind: TaskKind, score: (result: TaskResult) => number = (result) => result.score): TaskScore | undefined => {
    const scores = results.filter((result) => result.kind === kind).map((result) => ({ score: score(result) }));
    if (scores.length === 0) return undefined;
    const value = meanScore(scores);
    const squares = scores.reduce((sum, one) => sum + (one.score - value) ** 2, 0);
    return {
      value,
      error: scores.length > 1 ? Math.sqrt(squares / (scores.length - 1) / scores.length) : 0,
      count: scores.length,
    };
  };
  const [exact, choice, passAt1] = [of("exact"), of("choice"), of("code")];
  return {
    ...(exact ? { exact } : {}),
    ...(choice ? { choice, choiceNormalised: of("choice", (result) => result.scoreNormalised!)! } : {}),
    ...(passAt1 ? { passAt1 } : {}),
  };
}
