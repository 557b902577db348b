// Tools: a list with JSON Schemas -> a request that takes some of them -> calls, held to the schemas -> reasoning before them; and, if
// wanted, results and an answer behind them.
import type { ChatMessage, PlainCall, Verdict } from "../../data/verify/types.ts";
import { verdict } from "../../data/verify/types.ts";
import { CpmError } from "../../errors.ts";
import type { ChatOptions } from "../../index.ts";
import type { ToolDefinition } from "../../text/calls/tools.ts";
import type { ChatMessage as Sent } from "../../text/template.ts";
import { Dropped, type Item } from "../item.ts";
import type { SeedRecord, Stage, ToolsConfig } from "../types.ts";

/** Tools of the seeds, each name once. @throws CpmError "bad-input" for seeds without tools */
export function toolsOf(seed: SeedRecord, place: number): readonly ToolDefinition[] {
  const list = seed["tools"];
  const good =
    Array.isArray(list) &&
    list.length > 0 &&
    list.every((tool: Partial<ToolDefinition> | null) => typeof tool?.function?.name === "string");
  if (!good)
    throw new CpmError(
      "bad-input",
      `seed ${place} of the family tools: expected tools, a list of { type: "function", function: { name, … } }`,
      { field: "seeds" },
    );
  return list as readonly ToolDefinition[];
}

const nameOf = (tool: ToolDefinition): string => tool.function.name;
const told = (tools: readonly ToolDefinition[]): string => tools.map((tool) => JSON.stringify(tool.function)).join("\n");

interface Task {
  readonly query: string;
  readonly tools: readonly ToolDefinition[];
  /** Names that the request was written for; undefined where the seed brought it. */
  readonly targets: readonly string[] | undefined;
  /** Calls that are right. */
  readonly expected: readonly PlainCall[] | undefined;
  /** No tool fits. */
  readonly none: boolean;
}

async function taskOf(item: Item, config: ToolsConfig, seeds: readonly SeedRecord[], place: number): Promise<Task> {
  const { random, source } = item;
  const own = toolsOf(source!, place);
  const names = new Set(own.map(nameOf));
  const foreign = random
    .shuffled(seeds.map((_, i) => i))
    .slice(0, 20)
    .flatMap((i) => toolsOf(seeds[i]!, i))
    .filter((tool, i, all) => !names.has(nameOf(tool)) && all.findIndex((other) => nameOf(other) === nameOf(tool)) === i);
  const beside = random.shuffled(foreign).slice(0, random.between(0, config.distractors ?? 3));
  const none = random.next() < (config.irrelevant ?? 0);
  const wanted = random.shuffled(own).slice(0, random.between(1, Math.max(1, Math.min(config.calls ?? 2, own.length))));
  const given = item.text("query") ?? item.text("prompt");
  const expected = source!["expected_calls"] as readonly PlainCall[] | undefined;
  if (none && foreign.length === 0) {
    const query = await item.shared("other", { tools: told(own) });
    return { query, tools: random.shuffled(own), targets: undefined, expected: [], none };
  }
  const targets = wanted.map(nameOf);
  const query =
    given ??
    (await item.shared("query", {
      tools: told(own),
      calls: targets.length === 1 ? "one call" : "one call each",
      targets: targets.join(" and "),
    }));
  if (none) return { query, tools: beside.length ? beside : foreign.slice(0, 3), targets: undefined, expected: [], none };
  return {
    query,
    tools: random.shuffled([...own, ...beside]),
    targets: given === undefined ? targets : undefined,
    expected,
    none,
  };
}

export async function tools(item: Item, config: ToolsConfig, seeds: readonly SeedRecord[], place: number): Promise<void> {
  const { samples = 4, keep = 1 } = config;
  const task = await taskOf(item, config, seeds, place);
  let kept = 0;
  for (let sample = 0; sample < samples && kept < keep; sample++) {
    try {
      if (await attempt(item, config, task, sample)) kept++;
    } catch (error) {
      if (!(error instanceof Dropped)) throw error;
      item.drop(sample, error.message, error.text);
    }
  }
}

async function attempt(item: Item, { answers = false }: ToolsConfig, task: Task, sample: number): Promise<boolean> {
  const { query, tools: list, none } = task;
  const user: ChatMessage = { role: "user", content: query };
  const chat = { tools: list, toolChoice: none ? "auto" : "required" } as ChatOptions;
  const { answer, stage } = await item.ask("call", {}, { sample, messages: [user as Sent], chat });
  const stages: Stage[] = [stage];
  const said = answer.text.trim();
  let thought = answer.reasoning.trim();
  // Names of calls are the endpoint's own, often by chance: they are counted anew.
  const calls = (answer.toolCalls ?? []).map(({ name, arguments: given, input }, i) => ({
    id: `call_${i}`,
    type: "function",
    function: { name, arguments: input === undefined ? given : JSON.stringify(input) },
  }));
  if (!none && calls.length > 0 && thought === "" && said === "") {
    const shown = calls.map(({ function: made }) => `${made.name}(${made.arguments})`).join("\n");
    const asked = await item.ask("reasoning", { query, calls: shown }, { sample });
    stages.push(asked.stage);
    thought = asked.answer.text.trim();
  }
  const message: ChatMessage = {
    role: "assistant",
    content: said === "" ? (calls.length ? null : "") : said,
    ...(thought === "" ? {} : { reasoning_content: thought }),
    ...(calls.length ? { tool_calls: calls } : {}),
  };
  let messages: ChatMessage[] = [user, message];
  const judged = { messages, tools: list, ...(task.expected ? { expected_calls: task.expected } : {}) };
  const names = none ? ["tools", "plain", "text"] : ["tools", "reasoning"];
  const verdicts: Record<string, Verdict> = { ...(await item.judge(names, judged)) };
  if (task.targets) {
    const made = new Set(calls.map((call) => call.function.name));
    const same = made.size === task.targets.length && task.targets.every((name) => made.has(name));
    verdicts["targets"] = verdict(
      same
        ? []
        : [`other tools than the request was written for: ${[...made].join(", ") || "none"} for ${task.targets.join(", ")}`],
    );
  }
  if (answers && !none && Object.values(verdicts).every(({ ok }) => ok)) {
    messages = await answered(item, messages, list, sample, stages);
    Object.assign(verdicts, await item.judge(["plain", "text"], { messages }));
  }
  const facts = { ...(none ? { irrelevant: true } : {}), ...(task.targets ? { targets: task.targets } : {}) };
  const { messages: _, ...more } = judged;
  return item.settle(sample, { messages, ...more }, verdicts, { stages, facts });
}

/** The conversation gone on with: a result of each call, made up, and an answer. */
async function answered(
  item: Item,
  messages: readonly ChatMessage[],
  list: readonly ToolDefinition[],
  sample: number,
  stages: Stage[],
): Promise<ChatMessage[]> {
  const out = [...messages];
  for (const [i, call] of messages.at(-1)!.tool_calls!.entries()) {
    const { name, arguments: given } = call.function;
    const { description = "" } = list.find((tool) => nameOf(tool) === name)!.function;
    const values = { call: `${name}(${typeof given === "string" ? given : JSON.stringify(given)})`, description };
    const { value, stage } = await item.object(
      "result",
      values,
      { type: "object", minProperties: 1 },
      { sample: 100 * sample + i },
    );
    stages.push(stage);
    out.push({ role: "tool", tool_call_id: call.id!, name, content: JSON.stringify(value) });
  }
  const chat = { tools: list, toolChoice: "none" } as ChatOptions;
  const { answer, stage } = await item.ask("answer", {}, { sample, messages: out as Sent[], chat });
  stages.push(stage);
  out.push({ role: "assistant", content: answer.text.trim() });
  return out;
}
