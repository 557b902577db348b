// Tools: a list with JSON Schemas -> a request that takes some of them, one of them several times perhaps -> calls, held to the schemas ->
// reasoning before them; and, if wanted, results and an answer behind them, and further requests of the same conversation.
import { callsOf, sameValue } from "../../data/verify/calls.ts";
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

/** What one request of a conversation is written for: names of tools, one for each call. */
type Targets = readonly string[];

interface Task {
  readonly query: string;
  readonly tools: readonly ToolDefinition[];
  /** Names that the requests were written for, a list for each turn; undefined where the seed brought the (one) request. */
  readonly targets: readonly Targets[] | undefined;
  /** Calls that are right in the first turn. */
  readonly expected: readonly PlainCall[] | undefined;
  /** No tool fits. */
  readonly none: boolean;
  readonly turns: number;
}

/** As many tools as a request takes calls: different ones, or one for all. */
function drawTargets({ random }: Item, own: readonly ToolDefinition[], { calls = 2, parallel = 0.3 }: ToolsConfig): Targets {
  const count = random.between(1, calls);
  const alike = random.next() < parallel;
  const names = random.shuffled(own.map(nameOf));
  return alike ? Array.from({ length: count }, () => names[0]!) : names.slice(0, count);
}

/** How a prompt says what a request takes. */
function wanted(targets: Targets): { readonly calls: string; readonly targets: string } {
  const names = [...new Set(targets)];
  if (targets.length === 1) return { calls: "one call", targets: names[0]! };
  if (names.length === 1) return { calls: `${targets.length} calls, with different values,`, targets: names[0]! };
  return { calls: "one call each", targets: names.join(" and ") };
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
  const turns = random.between(1, config.turns ?? 1);
  const targets = Array.from({ length: turns }, () => drawTargets(item, own, config));
  const given = item.text("query") ?? item.text("prompt");
  const expected = source!["expected_calls"] as readonly PlainCall[] | undefined;
  const alone = { targets: undefined, expected: [], none, turns: 1 };
  if (none && foreign.length === 0) {
    const query = await item.shared("other", { tools: told(own) });
    return { query, tools: random.shuffled(own), ...alone };
  }
  const query = given ?? (await item.shared("query", { tools: told(own), ...wanted(targets[0]!) }));
  if (none) return { query, tools: beside.length ? beside : foreign.slice(0, 3), ...alone };
  return {
    query,
    tools: random.shuffled([...own, ...beside]),
    targets: given === undefined ? targets : undefined,
    expected,
    none,
    // What follows a request of the seed's own is not known.
    turns: given === undefined ? turns : 1,
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

/** One sample on its way. */
interface Attempt {
  readonly item: Item;
  readonly task: Task;
  readonly sample: number;
  readonly messages: ChatMessage[];
  readonly stages: Stage[];
  readonly verdicts: Record<string, Verdict>;
}

/** Draws of later turns have numbers of their own. */
const TURN = 10_000;

async function attempt(item: Item, { answers = false }: ToolsConfig, task: Task, sample: number): Promise<boolean> {
  const { tools: list, none, turns, targets } = task;
  const made: Attempt = { item, task, sample, messages: [{ role: "user", content: task.query }], stages: [], verdicts: {} };
  for (let turn = 0; turn < turns; turn++) {
    if (turn > 0) made.messages.push({ role: "user", content: await followUp(made, targets![turn]!, turn) });
    await call(made, turn);
    if (none || !Object.values(made.verdicts).every(({ ok }) => ok)) break;
    // A later request needs an answer to the one before.
    if (answers || turn < turns - 1) await answered(made, turn);
  }
  const facts = {
    ...(none ? { irrelevant: true } : {}),
    ...(targets ? { targets: targets.length === 1 ? targets[0]! : targets } : {}),
  };
  const { messages, stages, verdicts } = made;
  const expected = task.expected ? { expected_calls: task.expected } : {};
  return item.settle(sample, { messages, tools: list, ...expected }, verdicts, { stages, facts });
}

/** The verdicts of a turn; those of later ones have its number. */
function note(made: Attempt, turn: number, verdicts: Readonly<Record<string, Verdict>>): void {
  for (const [name, found] of Object.entries(verdicts)) made.verdicts[turn === 0 ? name : `${name} ${turn + 1}`] = found;
}

/** The next request of the conversation, for these tools. */
async function followUp({ item, task, sample, messages, stages }: Attempt, targets: Targets, turn: number): Promise<string> {
  const spoken = messages.filter(({ role, content }) => (role === "user" || role === "assistant") && content);
  const conversation = spoken.map(({ role, content }) => `${role}: ${content}`).join("\n");
  const values = { tools: told(task.tools), conversation, ...wanted(targets) };
  const { answer, stage } = await item.ask("follow", values, { sample: TURN * turn + sample });
  stages.push(stage);
  const text = answer.text.trim();
  if (text === "") throw new Dropped("nothing said in stage follow");
  return text;
}

/** The answer to the last request, with its calls, and what verifiers say of it. */
async function call(made: Attempt, turn: number): Promise<void> {
  const { item, task, sample, messages, stages } = made;
  const { tools: list, none } = task;
  const draw = TURN * turn + sample;
  const chat = { tools: list, toolChoice: none ? "auto" : "required" } as ChatOptions;
  const { answer, stage } = await item.ask("call", {}, { sample: draw, messages: messages as readonly Sent[], chat });
  stages.push(stage);
  const said = answer.text.trim();
  let thought = answer.reasoning.trim();
  // Names of calls are the endpoint's own, often by chance: they are counted anew.
  const before = messages.reduce((n, { tool_calls: earlier }) => n + (earlier?.length ?? 0), 0);
  const calls = (answer.toolCalls ?? []).map(({ name, arguments: given, input }, i) => ({
    id: `call_${before + i}`,
    type: "function",
    function: { name, arguments: input === undefined ? given : JSON.stringify(input) },
  }));
  if (!none && calls.length > 0 && thought === "" && said === "") {
    const shown = calls.map(({ function: one }) => `${one.name}(${one.arguments})`).join("\n");
    const asked = await item.ask("reasoning", { query: messages.at(-1)!.content!, calls: shown }, { sample: draw });
    stages.push(asked.stage);
    thought = asked.answer.text.trim();
  }
  messages.push({
    role: "assistant",
    content: said === "" ? (calls.length ? null : "") : said,
    ...(thought === "" ? {} : { reasoning_content: thought }),
    ...(calls.length ? { tool_calls: calls } : {}),
  });
  const expected = task.expected && turn === 0 ? { expected_calls: task.expected } : {};
  const names = none ? ["tools", "plain", "text"] : ["tools", "reasoning"];
  note(made, turn, await item.judge(names, { messages, tools: list, ...expected }));
  if (!("expected_calls" in expected)) {
    const { calls: read } = callsOf({ messages, tools: list });
    const twice = read.some((one, i) =>
      read.slice(0, i).some((other) => other.name === one.name && sameValue(other.arguments, one.arguments)),
    );
    if (twice) note(made, turn, { repeated: verdict(["repeated call: two calls of an answer are the same"]) });
  }
  const targets = task.targets?.[turn];
  if (!targets) return;
  const called = calls.map((one) => one.function.name);
  const same = [...called].sort().join() === [...targets].sort().join();
  const reason = `other tools than the request was written for: ${called.join(", ") || "none"} for ${targets.join(", ")}`;
  note(made, turn, { targets: verdict(same ? [] : [reason]) });
}

/** The conversation gone on with: a result of each call, made up, and an answer. */
async function answered(made: Attempt, turn: number): Promise<void> {
  const { item, task, sample, messages, stages } = made;
  const draw = TURN * turn + sample;
  for (const [i, one] of messages.at(-1)!.tool_calls!.entries()) {
    const { name, arguments: given } = one.function;
    const { description = "" } = task.tools.find((tool) => nameOf(tool) === name)!.function;
    const values = { call: `${name}(${typeof given === "string" ? given : JSON.stringify(given)})`, description };
    const schema = { type: "object", minProperties: 1 };
    const { value, stage } = await item.object("result", values, schema, { sample: 100 * draw + i });
    stages.push(stage);
    messages.push({ role: "tool", tool_call_id: one.id!, name, content: JSON.stringify(value) });
  }
  const chat = { tools: task.tools, toolChoice: "none" } as ChatOptions;
  const { answer, stage } = await item.ask("answer", {}, { sample: draw, messages: messages as readonly Sent[], chat });
  stages.push(stage);
  messages.push({ role: "assistant", content: answer.text.trim() });
  note(made, turn, await item.judge(["plain", "text"], { messages }));
}
