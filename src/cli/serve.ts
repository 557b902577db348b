// cpm serve: models behind OpenAI's routes.
import { readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { inspect, load } from "cpm-wasm";
import { createHandler, type LogEntry, type ServedModels } from "cpm-wasm/server";
import { loraInputs as givenAdapters } from "../door/lora.ts";
import { CpmError, type LoadOptions } from "../index.ts";
import { type Command, type Parsed, UsageError } from "./args.ts";
import { claimInterrupts, interrupt } from "./interrupt.ts";
import { draftOf, modelOf } from "./model.ts";
import { draftArgs, loadArgs, loadOptions, loraArgs, networkArgs } from "./options.ts";
import { dim, note, short } from "./output.ts";
import { pageFile } from "./site.ts";
import { visible } from "./visible.ts";

const DEFAULT_PORT = 8080;
const loopback = ["localhost", "127.0.0.1", "[::1]"];

/** "NAME=MODEL" or a model alone, whose name is its file's without ending. */
function named(arg: string): readonly [string, string] {
  const equals = /^([\w.:/-]+)=(.+)$/s.exec(arg);
  if (equals) return [equals[1]!, equals[2]!];
  const path = arg.replace(/[?#].*$/s, "").replace(/[/\\]+$/, "");
  return [basename(path.replaceAll("\\", "/")).replace(/\.gguf$/i, "") || arg, arg];
}

/** "4096", "512M", "3G" -> bytes. */
function bytesOf(args: Parsed, name: string): number | undefined {
  const text = args.text(name);
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?$/i.exec(text);
  if (!match) throw new UsageError(`--${name}: expected bytes like 512M or 3G, found "${text}"`);
  return Math.round(Number(match[1]) * 1024 ** " KMGT".indexOf(match[2]!.toUpperCase() || " "));
}

function keysOf(args: Parsed): readonly string[] {
  const file = args.text("api-key-file");
  let lines: string[] = [];
  if (file !== undefined) {
    try {
      lines = readFileSync(file, "utf8").split(/\r?\n/);
    } catch (cause) {
      throw new CpmError("io", `${file}: ${(cause as Error).message}; check the path of --api-key-file`, { file }, { cause });
    }
  }
  const keys = [...args.list("api-key"), ...lines, process.env["CPM_API_KEY"] ?? ""].map((key) => key.trim()).filter(Boolean);
  if ((args.list("api-key").length || file !== undefined) && keys.length === 0)
    throw new UsageError("--api-key: expected a key, found none");
  return keys;
}

function models(args: Parsed): ServedModels {
  const cacheBytes = bytesOf(args, "cache-ram");
  // As many sequences as requests are planned where a number was asked for.
  const parallel = args.number("parallel");
  const own = { ...(parallel === undefined ? {} : { parallel }), ...(cacheBytes === undefined ? {} : { cacheBytes }) };
  const options = { ...loadOptions(args), ...own };
  const list = args.list("model").length ? args.list("model") : [""];
  const entries = list.map((arg) => {
    const [name, path] = arg === "" ? (["stories", undefined] as const) : named(arg);
    // Found, or pulled, once; a failure is for the next request to try again.
    let found: Promise<string | URL> | undefined;
    const where = () => {
      found ??= modelOf(path);
      found.catch(() => (found = undefined));
      return found;
    };
    const { contextSize, kvType, sparse, headers } = options;
    return [
      name,
      {
        // Requests for the model's own name get the model alone; adapters have names of their own.
        ...(options.lora ? { lora: false as const } : {}),
        async load() {
          const model = await load(await where(), { ...options, draft: await draftOf(options.draft) });
          note(dim(`${name}: loaded in ${short(model.info.loadMs)} ms, ${short(model.info.memory.total / 2 ** 20)} MiB`));
          return model;
        },
        bytes: async () =>
          (await inspect(await where(), { contextSize, kvType, sparse, parallel, headers })).memory.total +
          (cacheBytes ?? 0) +
          adapterBytes(options.lora),
      },
    ] as const;
  });
  if (options.lora && entries.length > 1) throw new UsageError("--lora: give one model with its adapters");
  const base = entries[0]![0];
  const adapters = loraNames(options.lora).map((name) => [name, { base, lora: [name] }] as const);
  const names = [...entries, ...adapters].map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new UsageError(`two models are named "${twice}"; name them: NAME=MODEL`);
  return Object.fromEntries([...entries, ...adapters]);
}

const loraNames = (lora: LoadOptions["lora"]): string[] => givenAdapters(lora).map(({ name }) => name);

/** Bytes of adapters' files, which is about what they take; 0 for those that are no files here. */
function adapterBytes(lora: LoadOptions["lora"]): number {
  const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const own = (path: string) =>
    statSync(path, { throwIfNoEntry: false })?.isDirectory() ? sizeOf(join(path, "adapter_model.safetensors")) : sizeOf(path);
  return (lora ?? []).reduce((sum, { path }) => sum + (typeof path === "string" ? own(path) : 0), 0);
}

/** One line a request: for people on a terminal, as JSON elsewhere. */
function log(json: boolean): (entry: LogEntry) => void {
  if (json) return (entry) => note(JSON.stringify(entry));
  return ({ time, method, path, status, ms, model, promptTokens, cachedTokens, completionTokens, error }) => {
    const tokens =
      promptTokens === undefined ? "" : `, ${promptTokens} tokens in (${cachedTokens} cached), ${completionTokens} out`;
    const what = `${time.slice(11, 19)} ${method} ${JSON.stringify(path).slice(1, -1)} ${status} ${ms} ms`;
    note(`${what}${model === undefined ? "" : ` ${model}`}${tokens}${error === undefined ? "" : `: ${JSON.stringify(error)}`}`);
  };
}

export const serve: Command = {
  name: "serve",
  description: "Serve models to OpenAI-compatible clients",
  args: {
    model: {
      type: "string",
      valueHint: "[NAME=]MODEL",
      description: "A .gguf file, a folder, a URL or a name (org/repo:Q4_0); may be repeated, also without --model",
    },
    host: { type: "string", valueHint: "H", description: "Address to listen on (default 127.0.0.1)" },
    port: { type: "string", valueHint: "P", description: `Port, 0 for any that is free (default ${DEFAULT_PORT})` },
    "api-key": { type: "string", valueHint: "KEY", description: "Ask requests for this key; may be repeated (also CPM_API_KEY)" },
    "api-key-file": { type: "string", valueHint: "FILE", description: "Keys, one a line" },
    cors: { type: "string", valueHint: "ORIGIN", description: "Let pages of this origin call, * for all; may be repeated" },
    parallel: { type: "string", valueHint: "N", description: "Requests that generate at once (default 4)" },
    "cache-ram": {
      type: "string",
      valueHint: "B",
      description:
        "Finished texts kept for prompts that begin alike, beyond the planned caches; 0: none (default: two sessions' caches)",
    },
    queue: { type: "string", valueHint: "N", description: "Requests that wait; more are answered with 429 (default 64)" },
    timeout: { type: "string", valueHint: "S", description: "Longest time of a request in seconds (default 600)" },
    "max-body": { type: "string", valueHint: "B", description: "Largest request body (default 8M)" },
    "max-tokens": { type: "string", valueHint: "N", description: "Tokens of one answer, at most" },
    "max-memory": {
      type: "string",
      valueHint: "B",
      description: "Memory of all models together; idle ones make room (default: no limit)",
    },
    preload: { type: "boolean", description: "Load the models now, not when first asked for" },
    "log-json": { type: "boolean", description: "Log as JSON lines (default where stderr is no terminal)" },
    ...draftArgs,
    ...loraArgs,
    ...loadArgs,
    ...networkArgs,
  },
  repeated: ["model", "api-key", "cors", "header", "lora"],
  more: "model",
  async run(args) {
    const host = args.text("host") ?? "127.0.0.1";
    const port = args.number("port") ?? DEFAULT_PORT;
    if (!Number.isInteger(port) || port < 0 || port > 65535)
      throw new UsageError(`--port: expected a number from 0 to 65535, found ${args.text("port")}`);
    const apiKeys = keysOf(args);
    const cors = args.list("cors");
    const timeout = args.number("timeout");
    const served = models(args);
    const handler = createHandler(served, {
      apiKeys,
      ...(cors.length ? { cors: cors.includes("*") ? "*" : cors } : {}),
      // Whoever can make a name point here must not reach a server that asks for no key.
      ...(loopback.includes(host) && apiKeys.length === 0 ? { hosts: loopback } : {}),
      parallel: args.number("parallel"),
      queue: args.number("queue"),
      requestTimeoutMs: timeout === undefined ? undefined : Math.round(timeout * 1000),
      maxBodyBytes: bytesOf(args, "max-body"),
      maxTokens: args.number("max-tokens"),
      maxMemoryBytes: bytesOf(args, "max-memory"),
      page: pageFile,
      log: log(args.flag("log-json") || !process.stderr.isTTY),
    });
    await listen(handler, { host, port, names: Object.keys(served), key: apiKeys.length > 0, preload: args.flag("preload") });
  },
};

interface Place {
  readonly host: string;
  readonly port: number;
  readonly names: readonly string[];
  readonly key: boolean;
  readonly preload: boolean;
}

async function listen(handler: ReturnType<typeof createHandler>, { host, port, names, key, preload }: Place): Promise<void> {
  const { serve: start } = await import("srvx");
  const server = start({
    fetch: (request) => handler(request),
    hostname: host,
    port,
    silent: true,
    gracefulShutdown: false,
    manual: true,
  });
  try {
    await server.serve();
    await server.ready();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" ? "the port is taken; choose another with --port" : message;
    throw new CpmError("io", `${host}:${port}: ${why}`, {}, { cause });
  }
  const url = server.url!.replace(/\/$/, "");
  note(`serving ${names.join(", ")} at ${url}/v1`);
  const authorization = key ? ' -H "authorization: Bearer $CPM_API_KEY"' : "";
  const body = JSON.stringify({ model: names[0], messages: [{ role: "user", content: "Hello" }] });
  if (await pageFile("/")) note(dim(`chat: ${url}/`));
  if (!key && !loopback.includes(host))
    note("this address can be reached from elsewhere, and no key is asked for; --api-key asks for one");
  note(dim(`try: curl ${url}/v1/chat/completions${authorization} -d '${body}'`));
  if (preload)
    await Promise.all(
      names.map((name) => handler.load(name).catch((error: Error) => note(visible(`${name}: ${error.message}`)))),
    );
  await new Promise<void>((resolve) => {
    const end = (): boolean => {
      resolve();
      return true;
    };
    claimInterrupts(end);
    process.once("SIGTERM", end);
    interrupt.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  note(dim("finishing what is in progress; Ctrl-C again ends at once"));
  claimInterrupts(undefined);
  const forced = new Promise<void>((resolve) => interrupt.signal.addEventListener("abort", () => resolve(), { once: true }));
  await Promise.race([handler.close(), forced]);
  await server.close(true);
}
