// Reasoning: problems of mathematics whose answers are compared, with several ways to each solution; programs: code.ts.
import type { Sample } from "../../data/verify/types.ts";
import { CpmError } from "../../errors.ts";
import { Dropped, type Item } from "../item.ts";
import type { ReasoningConfig } from "../types.ts";
import { attempts } from "./attempts.ts";
import { programs } from "./code.ts";
import { LEVELS } from "./levels.ts";
import { objectSchema, textField } from "./shared.ts";

/** Fields of mathematics of the MiniCPM4 report (3.1), and school. */
const TOPICS = [
  "arithmetic",
  "linear algebra",
  "calculus",
  "probability",
  "statistics",
  "differential equations",
  "discrete mathematics",
  "differential geometry",
];
const FORMS = ["open", "choice", "blank"] as const;

interface Problem {
  readonly question: string;
  readonly answer?: Sample["answer"];
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

async function problemOf(item: Item, config: ReasoningConfig): Promise<Problem> {
  const { random, source } = item;
  const question = item.text("question") ?? item.text("prompt") ?? item.text("problem");
  if (question !== undefined) {
    const { answer } = source as { answer?: Sample["answer"] };
    if (answer === undefined)
      throw new CpmError("bad-input", "a seed of the family reasoning has no answer; give it one", { field: "seeds" });
    return { question, answer, made: false, facts: {} };
  }
  const topic = item.text("topic") ?? random.pick(config.topics ?? TOPICS);
  const level = item.text("level") ?? random.pick(config.levels ?? LEVELS);
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

export async function reasoning(item: Item, config: ReasoningConfig): Promise<void> {
  if (config.kind === "code") return programs(item, config);
  const { question, answer, made, facts } = await problemOf(item, config);
  await attempts(item, config, {
    stage: "solution",
    values: { question },
    names: ["plain", "answer", "text"],
    fields: { answer },
    made,
    facts,
  });
}
