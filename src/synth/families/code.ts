// Programs: problems that are solved, that others are made of, and what can be asked about a program that is right. All of it is checked by
// running programs in the sandbox.
import type { SandboxLanguage } from "../../data/verify/code.ts";
import { programOf } from "../../data/verify/code.ts";
import { sampleOf } from "../../data/verify/samples.ts";
import { CpmError } from "../../errors.ts";
import { Dropped, type Item } from "../item.ts";
import { bare, mutantsOf } from "../mutants.ts";
import { type Case, callsOf, casesOf, functionsOf, type Json, literal, renamed, resultTest, testsOf } from "../programs.ts";
import type { CodeVariant, ReasoningConfig } from "../types.ts";
import { attempts, type Task } from "./attempts.ts";
import { LEVELS } from "./levels.ts";
import { objectSchema, textField } from "./shared.ts";

const TOPICS = [
  "strings",
  "lists",
  "dictionaries",
  "recursion",
  "sorting and searching",
  "dates and times",
  "parsing",
  "graphs",
  "numbers",
];

interface Problem {
  readonly question: string;
  readonly tests: string;
  readonly language: SandboxLanguage;
  /** A program that is right, where the seed has one. */
  readonly solution?: string | undefined;
  readonly made: boolean;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** A right program, and the name of its function that tests call. */
interface Right {
  readonly program: string;
  readonly name: string;
}

const languageOf = (item: Item, config: ReasoningConfig): SandboxLanguage =>
  item.text("language") === "javascript" || (item.text("language") === undefined && config.language === "javascript")
    ? "javascript"
    : "python";

/** A problem of a seed: with fields of its own, or a line of HumanEval or MBPP. */
function seedOf(item: Item, config: ReasoningConfig): Problem | undefined {
  const question = item.text("question") ?? item.text("prompt") ?? item.text("problem") ?? item.text("text");
  if (question === undefined) return undefined;
  const { code, tests, language } = sampleOf(item.source);
  if (tests === undefined)
    throw new CpmError("bad-input", "a seed of the family reasoning has no tests; give it some", { field: "seeds" });
  const list = (item.source as { test_list?: readonly string[] }).test_list;
  const shown = list?.length ? `${question}\n\nIt has to pass this test:\n\n${list[0]}` : question;
  return {
    question: shown,
    tests: typeof tests === "string" ? tests : tests.join("\n"),
    language: language ?? languageOf(item, config),
    solution: item.text("solution") ?? (code?.trim() ? code : undefined),
    made: false,
    facts: {},
  };
}

async function problemOf(item: Item, config: ReasoningConfig): Promise<Problem> {
  const given = seedOf(item, config);
  if (given) return given;
  const topic = item.text("topic") ?? item.random.pick(config.topics ?? TOPICS);
  const level = item.text("level") ?? item.random.pick(config.levels ?? LEVELS);
  const language = languageOf(item, config);
  return {
    ...(await written(item, "program", { topic, level, language })),
    language,
    made: true,
    facts: { topic, level, language },
  };
}

/** A problem of the model's own, with its tests. */
async function written(item: Item, stage: string, values: Readonly<Record<string, string>>) {
  const schema = objectSchema({ question: textField(4000), tests: textField(4000) });
  const { value, stage: made } = await item.object<{ question: string; tests: string }>(stage, values, schema);
  item.stages.push(made);
  return value;
}

const solving = ({ question, tests, language, made, facts }: Problem): Task => ({
  stage: "code",
  values: { question, language },
  names: ["plain", "code"],
  fields: { tests, language },
  made,
  facts,
});

/** Mutants that are run, at most. */
const MUTANTS = 6;

/** Tests of the model's own must find most mistakes: why they are too weak, if they are. */
const weakness =
  (item: Item, { tests, language, made }: Problem, { strength = 0.5 }: ReasoningConfig): Task["refuse"] =>
  async (said) => {
    if (!made || strength === 0) return undefined;
    const { code } = programOf({ response: said, language });
    const mutants = item.random.shuffled(mutantsOf(code, language)).slice(0, MUTANTS);
    let found = 0;
    for (const mutant of mutants) if ((await item.execute({ language, code: mutant.code, tests })).outcome !== "passed") found++;
    return found < strength * mutants.length
      ? `weak tests: they find ${found} of ${mutants.length} mutants of a right program`
      : undefined;
  };

/** A right program: the seed's, or the first of the model's that passes. @throws Dropped where there is none */
async function rightProgram(item: Item, { samples = 4 }: ReasoningConfig, problem: Problem): Promise<Right> {
  const { question, tests, language, solution } = problem;
  const named = (program: string): Right => {
    const names = functionsOf(program, language);
    const name =
      names.find((one) => one === item.text("entry_point")) ?? names.findLast((one) => renamed(tests, one, "") !== tests);
    if (name === undefined) throw new Dropped("no function that the tests call", program);
    return { program: program.trim(), name };
  };
  if (solution !== undefined) {
    const { outcome, error } = await item.execute({ language, code: solution, tests });
    if (outcome !== "passed") throw new Dropped(`seed's solution fails its tests: ${error ?? outcome}`, solution);
    return named(solution);
  }
  for (let sample = 0; sample < samples; sample++) {
    const { answer, stage } = await item.ask("code", { question, language }, { sample, choice: item.number + sample });
    const { code } = programOf({ response: answer.text, language });
    if (code.trim() === "" || (await item.execute({ language, code, tests })).outcome !== "passed") continue;
    item.stages.push(stage);
    return named(code);
  }
  throw new Dropped(`no right program in ${samples} samples to ask about`);
}

type Make = (item: Item, config: ReasoningConfig, problem: Problem, right: Right) => Promise<Task>;

/** The same problem in other surroundings; the program and the tests with the function's new name show that it is the same. */
const toRenamed: Make = async (item, _, problem, { program, name }) => {
  const { question, tests, language } = problem;
  const schema = objectSchema({ question: textField(4000), name: { type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]{0,40}$" } });
  const values = { question, program, language, name };
  const { value, stage } = await item.object<{ question: string; name: string }>("renamed", values, schema);
  item.stages.push(stage);
  const says = (text: string, one: string) => renamed(text, one, "") !== text;
  if (says(program, value.name) || says(tests, value.name)) throw new Dropped(`renamed to a name that is taken: ${value.name}`);
  if (!says(value.question, value.name) || says(value.question, name))
    throw new Dropped("renamed, but not in the exercise", value.question);
  const [code, after] = [renamed(program, name, value.name), renamed(tests, name, value.name)];
  const { outcome, error } = await item.execute({ language, code, tests: after });
  if (outcome !== "passed") throw new Dropped(`renamed, and the program fails: ${error ?? outcome}`, code);
  return solving({
    ...problem,
    question: value.question,
    tests: after,
    made: false,
    facts: { ...problem.facts, name: value.name },
  });
};

/** Another problem: its tests must refuse the program for the first. */
const toOther =
  (stage: "changed" | "extended"): Make =>
  async (item, config, problem, { program }) => {
    const { question, language, facts } = problem;
    const value = await written(item, stage, { question, program, language });
    const { outcome } = await item.execute({ language, code: program, tests: value.tests });
    if (outcome === "passed")
      throw new Dropped(`not ${stage}: the program for the old exercise passes the new tests`, value.question);
    const made: Problem = { ...value, language, made: true, facts };
    return { ...solving(made), refuse: weakness(item, made, config) };
  };

/** What the program's function gives for arguments that the model thinks of. @throws Dropped where too few calls give something */
async function cases(item: Item, language: SandboxLanguage, { program, name }: Right, least: number): Promise<readonly Case[]> {
  const inputs = { type: "array", minItems: least, maxItems: 8, items: { type: "array", maxItems: 8 } };
  const schema = objectSchema({ name: { const: name }, inputs });
  const { value, stage } = await item.object<{ inputs: Json[][] }>("inputs", { program, name, language }, schema);
  item.stages.push(stage);
  const different = value.inputs.filter((one, i, list) => list.findIndex((other) => same(one, other)) === i);
  const { output } = await item.execute({ language, code: program, tests: callsOf(name, different, language) });
  const found = casesOf(output, different);
  if (found.length < least)
    throw new Dropped(`calls of ${name}: ${found.length} of ${different.length} give a value of JSON`, program);
  return found;
}
const same = (a: Json, b: Json) => JSON.stringify(a) === JSON.stringify(b);

/** The longest value that is asked for, in characters. */
const LONGEST = 300;

const toOutput: Make = async (item, _, { language, facts }, right) => {
  const { program, name } = right;
  // The answer is a variable of this name, and the program runs behind it.
  if (/^(?:(?:const|let|var|def|class|function\*?)\s+)?result\b/m.test(program))
    throw new Dropped("name that is taken: result", program);
  const short = (await cases(item, language, right, 1)).filter(({ output }) => JSON.stringify(output).length <= LONGEST);
  if (short.length === 0) throw new Dropped("too long: what calls of the program give", program);
  const { input } = item.random.pick(short);
  const call = `${name}(${input.map((one) => literal(one, language)).join(", ")})`;
  return {
    stage: "output",
    values: { program, call, language },
    names: ["plain", "code"],
    fields: { tests: resultTest(program, name, input, language), language },
    made: false,
    facts: { ...facts, call },
    // A program that computes the value is no answer.
    faults: (said) => {
      const { code } = bare(programOf({ response: said, language }).code, language);
      return /[\w)\]]\s*\(|=>|\b(?:function|lambda|for|def)\b/.test(code)
        ? ["computed, not predicted: the block holds more than a value"]
        : [];
    },
  };
};

const toDiagnosis: Make = async (item, _, { question, tests, language, facts }, { program }) => {
  for (const { code, line, from, to } of item.random.shuffled(mutantsOf(program, language)).slice(0, 2 * MUTANTS)) {
    const { outcome, error = "" } = await item.execute({ language, code, tests });
    // What runs for ever tells little.
    if (outcome !== "failed") continue;
    return {
      stage: "diagnosis",
      values: { question, program: code, language, error: error.trim().split("\n").at(-1)!.slice(0, 300) },
      names: ["plain", "code"],
      fields: { tests, language },
      made: false,
      facts: { ...facts, mutant: { line, from, to } },
      faults: (said) =>
        said.replace(/```[\s\S]*?```/g, "").trim().length < 20 ? ["no diagnosis: the mistake is not explained"] : [],
    };
  }
  throw new Dropped("no mutant of the program that fails its tests", program);
};

const lines = (code: string) => code.split("\n").filter((line) => line.trim() !== "").length;
const words = (code: string) => new Set(code.match(/[A-Za-z_$][\w$]*/g));

/** Forms of a program, and how one sees whether it has them. */
const FORMS: readonly { how: string; is: (before: string, after: string, language: SandboxLanguage) => boolean; not: string }[] =
  [
    {
      how: "in fewer lines, as long as it stays readable",
      is: (before, after) => lines(after) < lines(before),
      not: "not shorter",
    },
    {
      how: "with a comment above every step that says why it is done",
      is: (before, after, language) => bare(after, language).comments > bare(before, language).comments,
      not: "not more comments",
    },
    {
      how: "with names of variables that say what they hold",
      is: (before, after, language) => {
        const [old, now] = [words(bare(before, language).code), words(bare(after, language).code)];
        return [...now].some((word) => !old.has(word)) && [...old].some((word) => !now.has(word));
      },
      not: "the same names",
    },
  ];

const toRewrite: Make = async (item, _, { tests, language, facts }, { program }) => {
  const { how, is, not } = item.random.pick(FORMS);
  return {
    stage: "rewrite",
    values: { program, language, how },
    names: ["plain", "code"],
    fields: { tests, language },
    made: false,
    facts: { ...facts, how },
    faults: (said) => (is(program, programOf({ response: said, language }).code, language) ? [] : [`not rewritten: ${not}`]),
  };
};

const toTranslate: Make = async (item, _, { language: from, facts }, right) => {
  const { program, name } = right;
  const found = await cases(item, from, right, 3);
  if (new Set(found.map(({ output }) => JSON.stringify(output))).size < 2)
    throw new Dropped("weak tests: all calls of the program give the same", program);
  const language = from === "python" ? "javascript" : "python";
  return {
    stage: "translate",
    values: { program, name, from, language },
    names: ["plain", "code"],
    fields: { tests: testsOf(name, found, language), language },
    made: false,
    facts: { ...facts, from },
  };
};

const MAKES: Readonly<Record<Exclude<CodeVariant, "solve">, Make>> = {
  renamed: toRenamed,
  changed: toOther("changed"),
  extended: toOther("extended"),
  output: toOutput,
  diagnosis: toDiagnosis,
  rewrite: toRewrite,
  translate: toTranslate,
};

export async function programs(item: Item, config: ReasoningConfig): Promise<void> {
  const problem = await problemOf(item, config);
  const variant = config.variants ? item.random.pick(config.variants) : "solve";
  if (variant === "solve") return attempts(item, config, { ...solving(problem), refuse: weakness(item, problem, config) });
  const right = await rightProgram(item, config, problem);
  const task = await MAKES[variant](item, config, problem, right);
  await attempts(item, config, { ...task, facts: { variant, ...task.facts } });
}
