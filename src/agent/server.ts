// A connection to one MCP server: its tools, calls of them, and its end. The protocol itself is @modelcontextprotocol/client's.
import type { Client, Transport } from "@modelcontextprotocol/client";
import { limitedFetch } from "../chat/limited.ts";
import { CpmError } from "../errors.ts";
import { reasonOf } from "../shown.ts";
import { withSignals } from "../signals.ts";
import { serverError, ToolError } from "./errors.ts";
import type { ToolOutput } from "./result.ts";
import type { HttpServer, ServerSpec, StdioServer } from "./spec.ts";

/** A tool as its server lists it. */
export interface ServerTool {
  readonly name: string;
  readonly description: string | undefined;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  /** The server says that it changes nothing. Absent is no. */
  readonly readOnly: boolean;
}

/** A program that is spoken to in lines of JSON. In the shape of the client's transports, whose types stay out of this package's own. */
export interface ProcessTransport {
  start(): Promise<void>;
  send(message: object): Promise<void>;
  close(): Promise<void>;
  /** What the process wrote to its error output last, and why it ended. */
  lastWords(): string;
  readonly ended: boolean;
}

/** How a server on this machine is started; only some runtimes can. `read` turns a line into a message, or throws. */
export type StartProcess = (spec: StdioServer, read: (line: string) => object) => Promise<ProcessTransport>;

/** Revisions of the protocol: the newest that both know ("auto"), or only those before 2026-07-28, or exactly one. */
export type ProtocolChoice = "auto" | "legacy" | { readonly pin: string };

export interface ConnectOptions {
  /** Milliseconds until a server must have answered the handshake and listed its tools. Default 30,000. */
  readonly connectTimeoutMs?: number | undefined;
  readonly protocol?: ProtocolChoice | undefined;
  /** For servers at addresses. Default: the runtime's own. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** More tools of one server are refused: they would not fit any prompt. */
const MOST_TOOLS = 1000;

export const isStdio = (spec: ServerSpec): spec is StdioServer => "command" in spec;

async function library(): Promise<typeof import("@modelcontextprotocol/client")> {
  try {
    return await import("@modelcontextprotocol/client");
  } catch (cause) {
    throw new CpmError(
      "unsupported",
      `MCP servers need the package @modelcontextprotocol/client (npm install @modelcontextprotocol/client): ${reasonOf(cause)}`,
      {},
      { cause },
    );
  }
}

/** A connected server. `close()` it, or hold its set with `await using`. */
export class ToolServer {
  readonly name: string;
  readonly #client: Client;
  readonly #words: () => string;
  #tools: readonly ServerTool[] = [];
  #changes = 0;
  #ended: ToolError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(name: string, client: Client, words: () => string) {
    this.name = name;
    this.#client = client;
    this.#words = words;
  }

  /** Connects and lists the tools. Rejects with ToolError, CpmError "unsupported" (no such runtime, package missing), or the signal's reason; nothing is left running. */
  static async connect(
    name: string,
    spec: ServerSpec,
    options: ConnectOptions,
    start: StartProcess | undefined,
  ): Promise<ToolServer> {
    if (isStdio(spec) && !start)
      throw new CpmError("unsupported", `server ${name}: this runtime starts no programs; give servers by url`, { field: name });
    const mcp = await library();
    const open = (protocol: ProtocolChoice) => ToolServer.#open(name, spec, { ...options, protocol }, mcp, start);
    const protocol = options.protocol ?? "auto";
    try {
      return await open(protocol);
    } catch (error) {
      // Old servers may end at a question that they do not know.
      const ended = error instanceof ToolError && error.failure === "closed";
      if (!ended || protocol !== "auto" || !isStdio(spec) || options.signal?.aborted) throw error;
      return open("legacy");
    }
  }

  static async #open(
    name: string,
    spec: ServerSpec,
    { connectTimeoutMs = 30_000, protocol = "auto", fetch, signal }: ConnectOptions,
    mcp: typeof import("@modelcontextprotocol/client"),
    start: StartProcess | undefined,
  ): Promise<ToolServer> {
    let onChanged: ((error: Error | null, tools: unknown) => void) | undefined;
    const client = new mcp.Client(
      { name: "cpm-wasm", version: "1" },
      {
        versionNegotiation: { mode: protocol, probe: { timeoutMs: Math.min(5000, Math.ceil(connectTimeoutMs / 3)) } },
        listChanged: { tools: { onChanged: (error, tools) => onChanged?.(error, tools) } },
      },
    );
    // Garbage on the way is the transport's to judge.
    client.onerror = () => {};
    let words = () => "";
    let hasEnded = () => false;
    let transport: Transport | undefined;
    const limit = AbortSignal.timeout(connectTimeoutMs);
    try {
      return await withSignals([signal, limit], async (both) => {
        if (isStdio(spec)) {
          const started = await start!(spec, (line) => mcp.deserializeMessage(line));
          words = () => started.lastWords();
          hasEnded = () => started.ended;
          transport = started as unknown as Transport;
        } else transport = httpTransport(mcp, spec, fetch);
        const made = new ToolServer(name, client, words);
        client.onclose = () => made.#closed();
        await client.connect(transport, { signal: both, timeout: connectTimeoutMs });
        made.#tools = readTools(name, await client.listTools(undefined, { signal: both, timeout: connectTimeoutMs }));
        onChanged = (error, tools) => made.#changed(error, tools);
        return made;
      });
    } catch (error) {
      const ended = hasEnded();
      await client.close().catch(() => {});
      await transport?.close().catch(() => {});
      if (signal?.aborted) throw signal.reason;
      if (limit.aborted)
        throw new ToolError("timeout", name, `connecting: no answer within ${connectTimeoutMs} ms${said(words())}`, {
          cause: error,
        });
      // A program that could not be started, or an address that nobody answers at.
      if ((error as { code?: unknown }).code === "ENOENT" && isStdio(spec))
        throw new ToolError("connect", name, `there is no program ${JSON.stringify(spec.command)}; check the command`, {
          cause: error,
        });
      if (ended) throw new ToolError("closed", name, `connecting: it ended${said(words())}`, { cause: error });
      throw serverError(name, "connecting", error, words());
    }
  }

  /** The revision of the protocol that is spoken. */
  get protocol(): string | undefined {
    return this.#client.getNegotiatedProtocolVersion();
  }

  /** As last listed; changes when the server says so. */
  get tools(): readonly ServerTool[] {
    return this.#tools;
  }

  /** How often the list has changed. */
  get changes(): number {
    return this.#changes;
  }

  /** Why it is no longer there; undefined while it is. */
  get ended(): ToolError | undefined {
    return this.#ended;
  }

  #changed(error: Error | null, tools: unknown): void {
    if (error) return;
    try {
      this.#tools = readTools(this.name, { tools });
      this.#changes++;
    } catch {
      // A list that cannot be read changes nothing.
    }
  }

  #closed(): void {
    if (!this.#closing) this.#ended ??= new ToolError("closed", this.name, `it ended${said(this.#words())}`);
  }

  /**
   * Calls a tool. Rejects with ToolError ("timeout" after `timeoutMs`, "closed", "protocol", "tool" when the server refuses), or the
   * signal's reason. A tool that fails by its own account resolves, with isError.
   */
  async call(
    tool: string,
    input: Readonly<Record<string, unknown>>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ToolOutput> {
    if (this.#ended) throw this.#ended;
    try {
      return await this.#client.callTool(
        { name: tool, arguments: { ...input } },
        // A server that reports progress is at work, but not for ever.
        { signal, timeout: timeoutMs, resetTimeoutOnProgress: true, maxTotalTimeout: 10 * timeoutMs },
      );
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#ended ?? serverError(this.name, tool, error, this.#words());
    }
  }

  /** Ends the connection, and the process where it was started here: when this resolves, it is gone. */
  close(): Promise<void> {
    this.#closing ??= this.#client.close().catch(() => {});
    return this.#closing;
  }
}

const said = (words: string): string => (words === "" ? "" : `; it last wrote: ${words}`);

function httpTransport(
  mcp: typeof import("@modelcontextprotocol/client"),
  { url, headers }: HttpServer,
  fetch: typeof globalThis.fetch | undefined,
): Transport {
  return new mcp.StreamableHTTPClientTransport(new URL(url), {
    fetch: limitedFetch(fetch ?? ((input, init) => globalThis.fetch(input, init))),
    ...(headers ? { requestInit: { headers: { ...headers } } } : {}),
  });
}

function readTools(server: string, list: { readonly tools?: unknown }): readonly ServerTool[] {
  const tools = Array.isArray(list.tools) ? (list.tools as readonly Record<string, unknown>[]) : [];
  if (tools.length > MOST_TOOLS)
    throw new ToolError("protocol", server, `it lists ${tools.length} tools; at most ${MOST_TOOLS} are taken`);
  return tools.map(({ name, description, inputSchema, annotations }) => ({
    name: typeof name === "string" ? name : "",
    description: typeof description === "string" ? description : undefined,
    inputSchema: (inputSchema ?? {}) as Readonly<Record<string, unknown>>,
    readOnly: (annotations as { readOnlyHint?: unknown } | undefined)?.readOnlyHint === true,
  }));
}
