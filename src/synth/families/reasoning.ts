// Reasoning: problems of mathematics whose answers are compared, programs whose tests are run. Several ways to each solution.
import type { Sample, Verdict } from "../../data/verify/types.ts";
import { CpmError } from "../../errors.ts";
import { Dropped, type Item } from "../item.ts";
import type { ReasoningConfig, Stage } from "../types.ts";
import { objectSchema, textField } from "./shared.ts";

/** Fields of mathematics of the MiniCPM4 report (3.1), and school. */
const TOPICS = {
  mathematics: [
    "arithmetic",
    "linear algebra",
    "calculus",
    "probability",
    "statistics",
    "differential equations",
    "discrete mathematics",
    "differential geometry",
  ],
  code: [
    "strings",
    "lists",
    "dictionaries",
    "recursion",
    "sorting and searching",
    "dates and times",
    "parsing",
    "graphs",
    "numbers",
  ],
} as const;
const LEVELS = ["primary school", "middle school", "high school", "first years of university"];
const FORMS = ["open", "choice", "blank"] as const;

interface Problem {
  readonly question: string;
  readonly answer?: Sample["answer"];
  readonly tests?: string | readonly string[] | undefined;
  /** Whether the model made it: then its own answer needs others that agree. */
  readonly made: boolean;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** What the schema of a question says: an answer, or choices and which is right. */
interface Made {
  readonly question: string;
  readonly answer?: string;
  readonly choices?: readonly string[];
  readonly right?: number;
}

const answerField = { type: "string", minLength: 1, maxLength: 200 };

async function problemOf(item: Item, config: ReasoningConfig, code: boolean): Promise<Problem> {
  const { random, source } = item;
  const question = item.text("question") ?? item.text("prompt") ?? item.text("problem");
  if (question !== undefined) {
    const { answer, tests } = source as { answer?: Sample["answer"]; tests?: Problem["tests"] };
    if (code ? tests === undefined : answer === undefined)
      throw new CpmError("bad-input", `a seed of the family reasoning has no ${code ? "tests" : "answer"}; give it one`, {
        field: "seeds",
      });
    return { question, answer, tests, made: false, facts: {} };
  }
  const topic = item.text("topic") ?? random.pick(config.topics ?? TOPICS[code ? "code" : "mathematics"]);
  const level = item.text("level") ?? random.pick(config.levels ?? LEVELS);
  if (code) {
    const language = languageOf(item, config);
    const schema = objectSchema({ question: textField(4000), tests: textField(4000) });
    const { value, stage } = await item.object<{ readonly question: string; readonly tests: string }>(
      "program",
      { topic, level, language },
      schema,
    );
    item.stages.push(stage);
    return { question: value.question, tests: value.tests, made: true, facts: { topic, level, language } };
  }
  const form = random.pick(config.forms ?? FORMS);
  const choices = { type: "array", minItems: 3, maxItems: 6, items: textField(200) };
  const schema = objectSchema({
    question: textField(4000),
    ...(form === "choice" ? { choices, right: { type: "integer", minimum: 1, maximum: 6 } } : { answer: answerField }),
  });
  const named = { open: "open", choice: "multiple-choice", blank: "fill-in-the-blank" }[form];
  const hint = form === "choice" ? ", given among three to six choices, of which `right` tells the number" : "";
  const { value, stage } = await item.object<Made>("question", { topic, level, form: named, hint }, schema);
  item.stages.push(stage);
  const facts = { topic, level, form };
  if (form !== "choice") return { question: value.question, answer: value.answer!, made: true, facts };
  const [list, right] = [value.choices!, value.right!];
  if (right > list.length || new Set(list).size < list.length) throw new Dropped("malformed: choices that are none");
  // Models like to put what is right first: the order is drawn.
  const order = random.shuffled(list);
  const lettered = order.map((choice, i) => `${"ABCDEF"[i]}. ${choice}`).join("\n");
  return {
    question: `${value.question}\n\n${lettered}`,
    answer: "ABCDEF"[order.indexOf(list[right - 1]!)]!,
    made: true,
    facts,
  };
}

const languageOf = (item: Item, config: ReasoningConfig): "javascript" | "python" =>
  item.text("language") === "javascript" || (item.text("language") === undefined && config.language === "javascript")
    ? "javascript"
    : "python";

interface Tried {
  readonly sample: number;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly stage: Stage;
}

export async function reasoning(item: Item, config: ReasoningConfig): Promise<void> {
  const { samples = 4, keep = 1, agreement = 0.5, dropEasy = false } = config;
  const code = config.kind === "code";
  const { question, answer, tests, made, facts } = await problemOf(item, config, code);
  const language = languageOf(item, config);
  const tried: Tried[] = [];
  const all = made || dropEasy;
  let right = 0;
  for (let sample = 0; sample < samples && (all || right < keep); sample++) {
    try {
      const values = code ? { question, language } : { question };
      const asked = { sample, choice: item.number + sample };
      const { answer: solved, stage, prompt } = await item.ask(code ? "code" : "solution", values, asked);
      const messages = [
        { role: "user", content: prompt },
        {
          role: "assistant",
          content: solved.text.trim(),
          ...(solved.reasoning.trim() === "" ? {} : { reasoning_content: solved.reasoning.trim() }),
        },
      ];
      const names = ["plain", code ? "code" : "answer", ...(code ? [] : ["text"])];
      const verdicts = await item.judge(names, { messages, answer, tests, ...(code ? { language } : {}) });
      tried.push({ sample, messages, verdicts, stage });
      if (Object.values(verdicts).every(({ ok }) => ok)) right++;
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(sample, error.message, error.text);
    }
  }
  const needed = Math.max(1, Math.ceil(agreement * samples));
  const refused =
    made && right < needed
      ? `agreement of ${right} of ${samples} answers with the question's own; ${needed} are needed`
      : dropEasy && right === samples && samples > 1
        ? "easy question: every sample is right"
        : undefined;
  const task = code ? { tests, language } : { answer };
  let kept = 0;
  for (const { sample, messages, verdicts, stage } of tried) {
    const good = Object.values(verdicts).every(({ ok }) => ok);
    const last = messages.at(-1)!.content;
    if (good && refused !== undefined) item.drop(sample, refused, last);
    else if (good && kept >= keep) item.drop(sample, "enough samples of this item", last);
    else if (item.settle(sample, { messages, ...task }, verdicts, { stages: [stage], facts: { ...facts, right, samples } }))
      kept++;
  }
}
