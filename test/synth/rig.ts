// What the generator's tests share: the scripted model in this process, and a configuration of all families.
import type { ChatAnswer, ChatModel } from "../../src/chat/model.ts";
import type { Synthesised } from "../../src/synth/run.ts";
import type { Entry, FamilyName, SynthConfig } from "../../src/synth/types.ts";
import { reply } from "../agent/rig.ts";
import { chances, completionOf, prose } from "./answers.mjs";

/** The body that the endpoint's adapter sends for these options, as far as the script looks at it. */
function bodyOf(messages: unknown, options: Readonly<Record<string, unknown>>) {
  const { seed, tools, toolChoice, schema } = options;
  return {
    model: "script",
    messages,
    seed,
    ...(tools === undefined ? {} : { tools, tool_choice: toolChoice }),
    ...(schema === undefined ? {} : { response_format: { json_schema: { schema } } }),
  };
}

/** The scripted model; `gate` is waited for before each answer. */
export function scripted(
  gate: () => Promise<void> = async () => {},
): ChatModel & { readonly facts: { requests: number; now: number; most: number } } {
  const facts = { requests: 0, now: 0, most: 0 };
  const answer = async (messages: unknown, options: Readonly<Record<string, unknown>>): Promise<ChatAnswer> => {
    facts.requests++;
    facts.most = Math.max(facts.most, ++facts.now);
    await gate();
    facts.now--;
    (options["signal"] as AbortSignal | undefined)?.throwIfAborted();
    const { choices, usage } = completionOf(bodyOf(messages, options));
    const { message, finish_reason: reason } = choices[0]!;
    return {
      text: message.content ?? "",
      reasoning: message.reasoning_content ?? "",
      tokens: [],
      usage: { promptTokens: usage.prompt_tokens, cachedTokens: 0, completionTokens: usage.completion_tokens },
      finishReason: reason,
      ...(message.tool_calls
        ? {
            toolCalls: message.tool_calls.map(({ id, function: { name, arguments: text } }) => ({
              id,
              name,
              arguments: text,
              input: JSON.parse(text) as Record<string, unknown>,
            })),
          }
        : {}),
    };
  };
  return { facts, chat: (messages, options = {}) => reply(answer(messages, options as Readonly<Record<string, unknown>>)) };
}

const field = (type: string, more: object = {}) => ({ type, ...more });
const tool = (name: string, properties: object, required: readonly string[]) => ({
  type: "function",
  function: { name, description: `It does ${name}.`, parameters: { type: "object", properties, required } },
});

export const toolSeeds = [
  {
    id: "travel",
    tools: [
      tool("book_train", { from: field("string"), to: field("string"), seats: field("integer", { minimum: 1, maximum: 9 }) }, [
        "from",
        "to",
      ]),
      tool("find_hotel", { city: field("string"), stars: field("integer", { enum: [3, 4, 5] }), breakfast: field("boolean") }, [
        "city",
        "stars",
      ]),
    ],
  },
  {
    id: "weather",
    tools: [tool("forecast", { place: field("string"), days: field("integer", { minimum: 1, maximum: 7 }) }, ["place"])],
  },
  {
    id: "shop",
    tools: [
      tool("find_item", { words: field("array", { items: field("string") }), price: field("number") }, ["words"]),
      tool("order", { item: field("string"), number: field("integer") }, ["item", "number"]),
    ],
  },
];

export const documents = (n: number, sentences = 12) =>
  Array.from({ length: n }, (_, i) => ({ id: `doc${i}`, title: `Notes ${i}`, text: prose(chances(`document ${i}`), sentences) }));

export const sums = Array.from({ length: 8 }, (_, i) => ({
  id: `sum${i}`,
  question: `What is ${7 * i} + ${5 * i + 3}?`,
  answer: String(12 * i + 3),
}));

export const config: SynthConfig = {
  seed: 7,
  sampling: { temperature: 0.7, maxTokens: 256 },
  families: {
    knowledge: { count: 8, seeds: documents(5), samples: 3 },
    reasoning: { count: 8, seeds: sums, samples: 3 },
    instructions: { count: 12, samples: 3, levels: 3 },
    long: { count: 6, seeds: documents(20), samples: 2, tokens: [400, 900] },
    tools: { count: 12, seeds: toolSeeds, samples: 4, irrelevant: 0.2, answers: true },
  },
};

/** All entries of a family, as JSON. */
export async function entriesOf(made: Synthesised, family: FamilyName): Promise<Entry[]> {
  const out: Entry[] = [];
  for await (const entry of made.entries(family)) out.push(entry);
  return out;
}
