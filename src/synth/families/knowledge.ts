// Knowledge: a text (or a syllabus) -> a point of knowledge -> a question -> a harder or another question -> answers of several kinds.
import { CpmError } from "../../errors.ts";
import { Dropped, type Item } from "../item.ts";
import type { KnowledgeConfig } from "../types.ts";
import { objectSchema, supported, textField } from "./shared.ts";

const points = objectSchema({
  points: {
    type: "array",
    minItems: 1,
    maxItems: 8,
    items: objectSchema({ path: { type: "array", minItems: 1, maxItems: 4, items: textField(80) }, point: textField(400) }),
  },
});

interface Point {
  readonly path: readonly string[];
  readonly point: string;
}

/** The seed's own point, or one that the model finds in its text. */
async function pointOf(item: Item): Promise<Point> {
  const { source, random } = item;
  const given = item.text("point");
  const path = source?.["path"];
  if (given !== undefined)
    return {
      point: given,
      path: Array.isArray(path)
        ? path.filter((part): part is string => typeof part === "string")
        : typeof path === "string"
          ? path.split(/\s*>\s*/)
          : [],
    };
  const text = item.text("text");
  if (text === undefined)
    throw new CpmError("bad-input", "a seed of the family knowledge has neither text nor point; give it one", { field: "seeds" });
  const { value, stage } = await item.object<{ readonly points: readonly Point[] }>("points", { text }, points);
  item.stages.push(stage);
  return random.pick(value.points);
}

export async function knowledge(item: Item, config: KnowledgeConfig): Promise<void> {
  const { random } = item;
  const { samples = 4, keep = 1, evolve = 0.5, check = true } = config;
  const evolves = random.next() < evolve;
  const { point, path } = await pointOf(item);
  const text = item.text("text");
  const context = text === undefined ? "" : `It is in this text:\n\n<text>\n${text}\n</text>\n`;
  let question = await item.shared("question", { path: path.join(" > ") || "-", point, context });
  if (evolves) question = await item.shared("evolve", { question });
  const { alone } = await item.judge(["alone"], { messages: [{ role: "assistant", content: question }] });
  if (!alone!.ok) throw new Dropped(`question: ${alone!.reasons.join("; ")}`, question);
  for (let sample = 0, kept = 0; sample < samples && kept < keep; sample++) {
    try {
      // Samples take the kinds of answers in turn, so that those which are kept differ.
      const { answer, stage, prompt } = await item.ask("answer", { question }, { sample, choice: item.number + sample });
      const messages = [
        { role: "user", content: prompt },
        { role: "assistant", content: answer.text.trim() },
      ];
      const verdicts = { ...(await item.judge(["plain", "alone", "text"], { messages })) };
      const stages = [stage];
      if (check && text !== undefined && Object.values(verdicts).every(({ ok }) => ok)) {
        const judged = await supported(item, { text, question, answer: answer.text }, sample);
        verdicts["check"] = judged.verdict;
        stages.push(judged.stage);
      }
      if (item.settle(sample, { messages }, verdicts, { stages, facts: { path, point, evolved: evolves } })) kept++;
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(sample, error.message, error.text);
    }
  }
}
