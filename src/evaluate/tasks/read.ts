// Tasks of one's own, a JSON object a line: what is asked, and how an answer is judged. Lines are untrusted.
import { linesOf, parseRecord } from "../../data/jsonlines.ts";
import { CpmError } from "../../errors.ts";

/** How an answer counts as the right one: see docs/evaluate.md. */
export const matchNames = ["plain", "strict", "contains", "math"] as const;
export type MatchName = (typeof matchNames)[number];

interface Common {
  /** The record's `id`, or the number of its line. */
  readonly id: string;
  /** Line, from 1. */
  readonly line: number;
  readonly prompt: string;
}

/** An answer is written and compared. */
export interface ExactTask extends Common {
  readonly kind: "exact";
  readonly answers: readonly string[];
  readonly match: MatchName | undefined;
  readonly stop: readonly string[] | undefined;
}

/** The most likely of some continuations is chosen. */
export interface ChoiceTask extends Common {
  readonly kind: "choice";
  readonly choices: readonly string[];
  /** Index of the right one. */
  readonly right: number;
}

/** A program is written and runs with its tests. */
export interface CodeTask extends Common {
  readonly kind: "code";
  readonly language: "python" | "javascript";
  readonly tests: string;
  /** HumanEval: the prompt is the beginning of a program, and this function of it is tested. */
  readonly entry: string | undefined;
  readonly stop: readonly string[] | undefined;
}

export type EvalTask = ExactTask | ChoiceTask | CodeTask;
export type TaskKind = EvalTask["kind"];

type Fields = Readonly<Record<string, unknown>>;

/** Bytes of a line, at most. */
const LONGEST = 1 << 26;

/**
 * The task of a record. The kind is `kind`'s, or told by the fields: `choices` make a choice; `tests`, `test` or `test_list` code; else `answer`
 * is compared. `where` is told in errors.
 * @throws CpmError "bad-input": which field is wrong, and how
 */
export function taskOf(fields: Fields, where: string, line: number): EvalTask {
  const fail = (field: string, expected: string): never => {
    throw new CpmError("bad-input", `${where}: ${field}: expected ${expected}, found ${foundOf(fields[field])}`, {
      file: where,
      field,
      expected,
    });
  };
  const { id } = fields;
  if (id !== undefined && id !== null && typeof id !== "string" && typeof id !== "number") fail("id", "a text or a number");
  const kind = kindOf(fields) ?? fail("kind", '"exact", "choice" or "code"');
  const name = typeof fields["prompt"] === "string" ? "prompt" : kind === "code" ? "text" : "question";
  const prompt = fields[name];
  if (typeof prompt !== "string" || prompt.trim() === "") return fail(prompt === undefined ? "prompt" : name, "a text");
  const common = { id: typeof id === "string" || typeof id === "number" ? String(id) : String(line), line, prompt };
  if (kind === "choice") return { ...common, kind, ...choiceOf(fields, fail) };
  const stop = stopOf(fields, fail);
  if (kind === "code") return { ...common, kind, stop, ...codeOf(fields, fail), prompt: codePrompt(fields, prompt) };
  const match = fields["match"] as MatchName | undefined;
  if (match !== undefined && !matchNames.includes(match)) fail("match", matchNames.map((one) => `"${one}"`).join(", "));
  return { ...common, kind, answers: answersOf(fields, fail), match, stop };
}

type Fail = (field: string, expected: string) => never;

function kindOf(fields: Fields): TaskKind | undefined {
  const { kind, choices, tests, test, test_list } = fields as Record<string, unknown>;
  if (kind !== undefined) return kind === "exact" || kind === "choice" || kind === "code" ? kind : undefined;
  if (choices !== undefined) return "choice";
  return tests !== undefined || test !== undefined || test_list !== undefined ? "code" : "exact";
}

function foundOf(value: unknown): string {
  if (value === undefined) return "none";
  if (value === null || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value === "string") return value.trim() === "" ? "an empty text" : JSON.stringify(value.slice(0, 60));
  return Array.isArray(value) ? (value.length === 0 ? "an empty list" : "a list") : "an object";
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

function answersOf(fields: Fields, fail: Fail): readonly string[] {
  const { answer, answers = answer } = fields as { answer?: unknown; answers?: unknown };
  const field = fields["answers"] === undefined ? "answer" : "answers";
  const list: readonly unknown[] = Array.isArray(answers) ? answers : [answers];
  const wrong = list.length === 0 || !list.every((one) => isText(one) || (typeof one === "number" && Number.isFinite(one)));
  return wrong ? fail(field, "a text, a number, or a list of them") : list.map(String);
}

function choiceOf(fields: Fields, fail: Fail): Pick<ChoiceTask, "choices" | "right"> {
  const { choices, answer } = fields as { choices?: unknown; answer?: unknown };
  if (!Array.isArray(choices) || choices.length < 2 || !choices.every(isText))
    return fail("choices", "two or more texts, none empty");
  const right = typeof answer === "number" ? answer : (choices as string[]).indexOf(answer as string);
  if (!Number.isSafeInteger(right) || right < 0 || right >= choices.length)
    return fail("answer", `one of the choices, or its index from 0 to ${choices.length - 1}`);
  return { choices: choices as string[], right };
}

function stopOf(fields: Fields, fail: Fail): readonly string[] | undefined {
  const { stop } = fields as { stop?: unknown };
  if (stop === undefined || stop === null) return undefined;
  const list: readonly unknown[] = Array.isArray(stop) ? stop : [stop];
  return list.every(isText) ? list : fail("stop", "a text or a list of texts, none empty");
}

function codeOf(fields: Fields, fail: Fail): Pick<CodeTask, "language" | "tests" | "entry"> {
  const { language = "python", tests, test, entry_point, test_setup_code } = fields as Record<string, unknown>;
  if (language !== "python" && language !== "javascript") return fail("language", '"python" or "javascript"');
  if (test !== undefined) {
    if (!isText(test)) return fail("test", "a text");
    if (!isText(entry_point) || !/^[A-Za-z_]\w*$/.test(entry_point)) return fail("entry_point", "the name of a function");
    return { language, tests: `${test}\ncheck(${entry_point})\n`, entry: entry_point };
  }
  const field = tests === undefined ? "test_list" : "tests";
  const given = fields[field];
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (list.length === 0 || !list.every(isText)) return fail(field, "a text or a list of texts, none empty");
  const setup = typeof test_setup_code === "string" ? [test_setup_code] : [];
  return { language, tests: [...setup, ...list].join("\n"), entry: undefined };
}

/** MBPP: the tests tell what the function is called. */
function codePrompt(fields: Fields, prompt: string): string {
  const { test_list } = fields as { test_list?: unknown };
  return Array.isArray(test_list) ? `${prompt}\nThe program must pass these tests:\n${test_list.map(String).join("\n")}` : prompt;
}

/**
 * The tasks of JSON lines: a text, bytes, or pieces of them. `name` is told in errors.
 * @throws CpmError "bad-input" with the line of the first that is wrong; two tasks of one id are
 */
export async function readTasks(input: string | Uint8Array | AsyncIterable<Uint8Array>, name = "tasks"): Promise<EvalTask[]> {
  const tasks: EvalTask[] = [];
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  for await (const { number, bytes: line, length } of linesOf(bytes instanceof Uint8Array ? once(bytes) : bytes, LONGEST)) {
    const where = `${name}:${number}`;
    if (!line) throw lineError(where, `a line of ${length} bytes; at most ${LONGEST} are read`);
    let fields: Fields;
    try {
      ({ fields } = parseRecord(line, ""));
    } catch (cause) {
      throw lineError(where, (cause as Error).message, cause);
    }
    tasks.push(taskOf(fields, where, number));
  }
  return checkedTasks(tasks, name);
}

const lineError = (where: string, what: string, cause?: unknown): CpmError =>
  new CpmError(
    "bad-input",
    `${where}: ${what}; give a JSON object a line`,
    { file: where },
    cause === undefined ? {} : { cause },
  );

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Tasks whose ids differ. @throws CpmError "bad-input" for none, and where two have one id */
export function checkedTasks(tasks: EvalTask[], name: string): EvalTask[] {
  if (tasks.length === 0) throw new CpmError("bad-input", `${name}: there are no tasks in it`, { file: name });
  const lines = new Map<string, number>();
  for (const { id, line } of tasks) {
    const before = lines.get(id);
    if (before !== undefined)
      throw new CpmError(
        "bad-input",
        `${name}:${line}: id: ${JSON.stringify(id.slice(0, 60))} is the task of line ${before} as well`,
        {
          file: `${name}:${line}`,
          field: "id",
        },
      );
    lines.set(id, line);
  }
  return tasks;
}
