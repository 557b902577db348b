// Instruction following: a request with constraints that a program checks. Forward: constraints are added one by one for as long as an
// answer follows them all. Reverse: constraints are read off a good text, and the model writes the request that it answers.
import { followsInstruction } from "../../data/verify/ifeval.ts";
import { CpmError } from "../../errors.ts";
import { type Constraint, constraintNames, drawConstraints, readConstraints } from "../constraints.ts";
import { Dropped, type Item } from "../item.ts";
import type { InstructionsConfig } from "../types.ts";

const DOMAINS = [
  "cooking",
  "travel",
  "history",
  "health",
  "money",
  "software",
  "gardening",
  "law",
  "music",
  "school",
  "sport",
  "weather",
  "family",
  "work",
  "films",
  "physics",
];
const PERSONAS = [
  "a teacher of young children",
  "a nurse on a night shift",
  "a student before an examination",
  "a retired engineer",
  "the owner of a small shop",
  "a parent with little time",
  "a reporter on a deadline",
  "somebody who learns English",
  "a farmer",
  "a team leader in an office",
];

/** What follows a request: its constraints, said one after another. */
const withConstraints = (request: string, constraints: readonly Constraint[]): string =>
  [request, ...(constraints.length ? [constraints.map(({ text }) => text).join(" ")] : [])].join("\n\n");

const asSample = (constraints: readonly Constraint[]) => ({
  instruction_id_list: constraints.map(({ id }) => id),
  kwargs: constraints.map(({ kwargs }) => kwargs),
});

export async function instructions(item: Item, config: InstructionsConfig): Promise<void> {
  const among = config.constraints ?? constraintNames;
  if (item.text("prompt") === undefined && item.text("text") !== undefined) return reverse(item, config, among);
  if (item.source && item.text("prompt") === undefined)
    throw new CpmError("bad-input", "a seed of the family instructions has neither prompt nor text; give it one", {
      field: "seeds",
    });
  return forward(item, config, among);
}

async function forward(item: Item, config: InstructionsConfig, among: readonly string[]): Promise<void> {
  const { random } = item;
  const { samples = 4, levels = 3, all = false } = config;
  const [domain, persona] = [random.pick(config.domains ?? DOMAINS), random.pick(config.personas ?? PERSONAS)];
  const given = item.text("prompt");
  const request = given ?? (await item.shared("task", { domain, persona }));
  const constraints = drawConstraints(random, request, levels, among);
  const facts = given === undefined ? { domain, persona } : {};
  for (let level = 1; level <= constraints.length; level++) {
    const now = constraints.slice(0, level);
    const content = withConstraints(request, now);
    let passed = false;
    for (let sample = (level - 1) * samples; sample < level * samples && !passed; sample++) {
      try {
        const { answer, stage } = await item.ask(`level ${level}`, {}, { sample, messages: [{ role: "user", content }] });
        const messages = [
          { role: "user", content },
          { role: "assistant", content: answer.text.trim() },
        ];
        const task = asSample(now);
        const verdicts = await item.judge(["plain", "instructions", ...garbled(now)], { messages, ...task });
        const good = Object.values(verdicts).every(({ ok }) => ok);
        if (good && !all && level > 1) item.replaceLast("a harder level was passed");
        const more = { stages: [stage], facts: { ...facts, level, levels: constraints.length } };
        passed = item.settle(sample, { messages, ...task }, verdicts, more);
      } catch (error) {
        if (!(error instanceof Dropped)) throw error;
        item.drop(sample, error.message, error.text);
      }
    }
    if (!passed) return;
  }
}

/** Some constraints ask for what looks garbled. */
const garbled = (constraints: readonly Constraint[]): readonly string[] =>
  constraints.some(({ id }) => /keywords:(?:frequency|letter_frequency)|two_responses|repeat_prompt/.test(id)) ? [] : ["text"];

async function reverse(item: Item, { levels = 3 }: InstructionsConfig, among: readonly string[]): Promise<void> {
  const text = item.text("text")!;
  const follows = (id: string, kwargs: Readonly<Record<string, unknown>>) => {
    try {
      return followsInstruction(id, kwargs, text);
    } catch {
      // A word of the text that is no pattern.
      return false;
    }
  };
  const constraints = readConstraints(item.random, text, item.random.between(1, levels), among, follows);
  if (constraints.length === 0) throw new Dropped("no constraint fits the text", text);
  const request = await item.shared("reverse", { text });
  if (request.length > text.length && text.length > 200) throw new Dropped("request longer than its text", request);
  const messages = [
    { role: "user", content: withConstraints(request, constraints) },
    { role: "assistant", content: text },
  ];
  const task = asSample(constraints);
  const verdicts = await item.judge(["plain", "instructions", "text"], { messages, ...task });
  item.settle(0, { messages, ...task }, verdicts, { facts: { reverse: true, levels: constraints.length } });
}
