// cpm agent: a model that calls tools of MCP servers, with approvals on the terminal.
import { readFile } from "node:fs/promises";
import process from "node:process";
import type { AgentOptions, ChatModel, ServerSpec, ToolServers } from "../agent/api.ts";
import { CpmError, type GenerateOptions, type LoadOptions, type Model } from "../index.ts";
import { AgentTalk } from "./agenttalk.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { claimInterrupts, interrupt } from "./interrupt.ts";
import { type Lines, nextMessage, pipedLines, typedLines } from "./lines.ts";
import { openModel } from "./model.ts";
import { generateOptions, jsonArg, loadArgs, loadOptions, modelArg, networkArgs, samplingArgs, textOf } from "./options.ts";
import { dim, note, plural, printJson, table } from "./output.ts";
import { visible } from "./visible.ts";

/** Of commands whose model may be elsewhere. */
export const apiArgs = {
  api: { type: "string", valueHint: "URL", description: "Instead of MODEL: an endpoint like OpenAI's, up to /v1" },
  "api-model": { type: "string", valueHint: "NAME", description: "The model's name at that endpoint" },
} as const;

export const agent: Command = {
  name: "agent",
  description: "Let a model use the tools of MCP servers",
  args: {
    ...modelArg,
    mcp: {
      type: "string",
      valueHint: "FILE",
      description: 'Servers: JSON with "mcpServers", as desktop clients have it; may be repeated',
    },
    prompt: {
      type: "string",
      alias: "p",
      valueHint: "TEXT",
      description: "One task; - is standard input (default: a conversation)",
    },
    "prompt-file": { type: "string", valueHint: "FILE", description: "Read the task from a file" },
    system: { type: "string", valueHint: "TEXT", description: "A system message" },
    ...apiArgs,
    "max-steps": { type: "string", valueHint: "N", description: "Answers of the model for a task, at most (default 8)" },
    allow: { type: "string", valueHint: "TOOL", description: "Run this tool without asking; may be repeated" },
    yes: { type: "boolean", description: "Run every tool without asking" },
    "ask-all": { type: "boolean", description: "Ask before tools that only read, too" },
    "result-tokens": {
      type: "string",
      valueHint: "N",
      description: "Tokens of a result that the model reads (default 2048, at most an eighth of its context)",
    },
    "tool-timeout": { type: "string", valueHint: "SECONDS", description: "For one call (default 60)" },
    ...samplingArgs,
    ...loadArgs,
    ...networkArgs,
    ...jsonArg,
  },
  repeated: ["mcp", "allow", "stop", "header"],
  input: "prompt",
  async run(args) {
    const json = args.flag("json");
    const options = agentOptions(args);
    const servers = await configured(args.list("mcp"));
    const prompt = await textOf(args, "prompt");
    if (json && prompt === undefined) throw new UsageError("--json: only with --prompt or --prompt-file");
    const model = await chatModel(args, args.positionals[0], json);
    try {
      await using tools = await connected(servers, json);
      await converse(model.chat, tools, { args, options, prompt, json });
    } finally {
      await model.close();
    }
  },
};

/** A model that was loaded, or an endpoint. */
export async function chatModel(
  args: Parsed,
  local: string | undefined,
  quiet: boolean,
  more: LoadOptions = {},
): Promise<{ readonly chat: ChatModel; close(): Promise<void> }> {
  const [url, name] = [args.text("api"), args.text("api-model")];
  if ((url === undefined) !== (name === undefined)) throw new UsageError("give --api and --api-model together");
  if (url === undefined) {
    const model: Model = await openModel(local, { ...loadOptions(args), ...more }, quiet);
    return { chat: model, close: () => model.dispose() };
  }
  if (local !== undefined) throw new UsageError("give a MODEL or --api, not both");
  const { endpointModel } = await import("cpm-wasm/agent");
  const apiKey = process.env["CPM_API_KEY"] ?? process.env["OPENAI_API_KEY"];
  return { chat: endpointModel({ url, model: name!, apiKey }), close: async () => {} };
}

function agentOptions(args: Parsed): AgentOptions {
  const { stop, ...sampling } = generateOptions(args);
  const given = Object.fromEntries(
    Object.entries({ ...sampling, stop: stop?.length ? stop : undefined }).filter(([, value]) => value !== undefined),
  );
  const seconds = args.number("tool-timeout");
  return {
    generate: given as GenerateOptions,
    maxSteps: args.number("max-steps"),
    maxResultTokens: args.number("result-tokens"),
    approveAll: args.flag("ask-all"),
    ...(seconds === undefined ? {} : { toolTimeoutMs: Math.round(1000 * seconds) }),
  };
}

async function configured(files: readonly string[]): Promise<Record<string, ServerSpec>> {
  const { readServers } = await import("cpm-wasm/agent");
  const servers: Record<string, ServerSpec> = {};
  for (const file of files) {
    const text = await readFile(file, "utf8").catch((cause: unknown) => {
      const missing = (cause as { code?: string }).code === "ENOENT";
      throw new CpmError(
        "io",
        `${file}: ${missing ? "no such file" : (cause as Error).message}; check the path of --mcp`,
        { file },
        { cause },
      );
    });
    try {
      Object.assign(
        servers,
        readServers(text, (name) => process.env[name]),
      );
    } catch (error) {
      if (!(error instanceof CpmError)) throw error;
      throw new CpmError(error.code, `${file}: ${error.message}`, { ...error.detail, file }, { cause: error });
    }
  }
  return servers;
}

/** The servers that could be connected; the others are told. */
async function connected(servers: Record<string, ServerSpec>, quiet: boolean): Promise<ToolServers> {
  const { connectServers } = await import("cpm-wasm/agent");
  const total = Object.keys(servers).length;
  const tools = await connectServers(servers, {
    signal: interrupt.signal,
    onFailed: (_, error) => note(visible(error instanceof Error ? error.message : "a server failed")),
  });
  if (total > 0 && tools.list.length === 0) throw new CpmError("io", `none of ${plural(total, "server")} could be connected`);
  const count = tools.list.reduce((sum, server) => sum + server.tools.length, 0);
  if (!quiet && total > 0) note(dim(`${plural(count, "tool")} of ${plural(tools.list.length, "server")}; /tools lists them`));
  return tools;
}

interface Setting {
  readonly args: Parsed;
  readonly options: AgentOptions;
  readonly prompt: string | undefined;
  readonly json: boolean;
}

async function converse(model: ChatModel, tools: ToolServers, { args, options, prompt, json }: Setting): Promise<void> {
  const screen = [process.stderr, process.stdout].find((stream) => stream.isTTY);
  const terminal = process.stdin.isTTY === true && screen !== undefined;
  let talk: AgentTalk | undefined;
  const stop = () => talk?.stop() ?? false;
  // Only what is typed on a terminal answers a question: no pipe, and nothing that a tool gives.
  const lines: Lines | undefined = terminal ? typedLines(screen, stop) : prompt === undefined ? pipedLines() : undefined;
  talk = new AgentTalk(model, tools, options, {
    system: args.text("system"),
    allowed: args.flag("yes") ? "all" : args.list("allow"),
    ask: terminal ? (question) => lines!.next(question, true) : undefined,
    quiet: json,
  });
  claimInterrupts(prompt === undefined ? stop : undefined);
  interrupt.signal.addEventListener("abort", () => lines?.close());
  try {
    if (prompt !== undefined) {
      const result = await talk.task(prompt);
      if (json) await printJson(result);
      return;
    }
    while (!interrupt.signal.aborted) {
      const text = (await nextMessage(lines!, "> "))?.trim();
      if (text === undefined || text === "/exit" || text === "/quit" || text === "/bye") break;
      if (text === "/tools") note(toolTable(tools));
      else if (text === "/clear") talk.clear();
      else if (text === "/help" || text === "/?") note(HELP);
      else if (/^\/[\w?]+$/.test(text)) note(`${visible(text)}: no such command; /help lists them`);
      else if (text !== "") await talk.say(text);
    }
    if (terminal) note("");
  } finally {
    lines?.close();
    claimInterrupts(undefined);
  }
}

const HELP = `/tools   list the tools, and whether they only read
/clear   forget the conversation
/exit    leave (also Ctrl-D)
Tools that may change something are asked for: y runs the call, a this tool from now on, anything else does not.
Ctrl-C stops a task; at an empty prompt it leaves.`;

function toolTable({ list }: ToolServers): string {
  const rows = list.flatMap((server) =>
    server.tools.map(({ name, readOnly, description = "" }) => [
      server.name,
      name,
      readOnly ? "reads" : "asks",
      (description.split("\n")[0] ?? "").slice(0, 60),
    ]),
  );
  return rows.length ? table([["server", "tool", "", "description"], ...rows]) : "no tools; --mcp names a file with servers";
}
