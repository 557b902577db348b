// Several answers to one question: which are right, whether they agree, and which are kept.
import { type Sample, type Verdict, verdict } from "../../data/verify/types.ts";
import { Dropped, type Item } from "../item.ts";
import type { ReasoningConfig, Stage } from "../types.ts";

export interface Task {
  readonly stage: string;
  readonly values: Readonly<Record<string, string>>;
  /** Verifiers that all have to be content. */
  readonly names: readonly string[];
  /** What they need beside the messages; it is written with them. */
  readonly fields: Pick<Sample, "answer" | "tests" | "language">;
  /** Whether the model made the question: then its own answer, or tests, need others that agree. */
  readonly made: boolean;
  readonly facts: Readonly<Record<string, unknown>>;
  /** What else is wrong with an answer. */
  readonly faults?: ((said: string) => readonly string[]) | undefined;
  /** Looks at the first right answer: why none is kept. */
  readonly refuse?: ((said: string) => Promise<string | undefined>) | undefined;
}

interface Tried {
  readonly sample: number;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly stage: Stage;
  readonly good: boolean;
}

async function attempt(item: Item, { stage: name, values, names, fields, faults }: Task, sample: number): Promise<Tried> {
  const { answer, stage, prompt } = await item.ask(name, values, { sample, choice: item.number + sample });
  const [said, thought] = [answer.text.trim(), answer.reasoning.trim()];
  const reply = { role: "assistant", content: said, ...(thought === "" ? {} : { reasoning_content: thought }) };
  const messages = [{ role: "user", content: prompt }, reply];
  const found = await item.judge(names, { messages, ...fields });
  const verdicts = faults ? { ...found, form: verdict(faults(said)) } : found;
  return { sample, messages, verdicts, stage, good: Object.values(verdicts).every(({ ok }) => ok) };
}

export async function attempts(item: Item, config: ReasoningConfig, task: Task): Promise<void> {
  const { samples = 4, keep = 1, agreement = 0.5, dropEasy = false } = config;
  const tried: Tried[] = [];
  const all = task.made || dropEasy;
  let right = 0;
  for (let sample = 0; sample < samples && (all || right < keep); sample++) {
    try {
      const one = await attempt(item, task, sample);
      tried.push(one);
      if (one.good) right++;
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(sample, error.message, error.text);
    }
  }
  const lastOf = ({ messages }: Tried) => messages.at(-1)!.content;
  const first = tried.find(({ good }) => good);
  const needed = Math.max(1, Math.ceil(agreement * samples));
  const refused =
    task.made && right < needed
      ? `agreement of ${right} of ${samples} answers with the question's own; ${needed} are needed`
      : dropEasy && right === samples && samples > 1
        ? "easy question: every sample is right"
        : first && (await task.refuse?.(lastOf(first)));
  let kept = 0;
  for (const one of tried) {
    const { sample, messages, verdicts, stage, good } = one;
    const provenance = { stages: [stage], facts: { ...task.facts, right, samples } };
    if (good && refused !== undefined) item.drop(sample, refused, lastOf(one));
    else if (good && kept >= keep) item.drop(sample, "enough samples of this item", lastOf(one));
    else if (item.settle(sample, { messages, ...task.fields }, verdicts, provenance)) kept++;
  }
}
