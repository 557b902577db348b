// The functions of the wing, for what a runtime can do.
import { asyncDispose, isRecord, kindOf } from "../brands.ts";
import type { ChatModel } from "../chat/model.ts";
import { CpmError } from "../errors.ts";
import type { ChatMessage } from "../text/template.ts";
import { type AgentOptions, type AgentResult, agentLoop } from "./loop.ts";
import { type ConnectOptions, type StartProcess, ToolServer } from "./server.ts";
import { checkSpec, type ServerSpec } from "./spec.ts";

/** Servers that are connected. `close()` them, or hold them with `await using`. */
export class ToolServers implements AsyncDisposable {
  readonly list: readonly ToolServer[];

  constructor(list: readonly ToolServer[]) {
    this.list = list;
  }

  /** Ends all connections, and the programs that were started for them. */
  async close(): Promise<void> {
    await Promise.all(this.list.map((server) => server.close()));
  }

  [asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface ServersOptions extends ConnectOptions {
  /** Called for a server that could not be connected, which is then left out. Absent: connecting rejects. */
  readonly onFailed?: ((name: string, error: unknown) => void) | undefined;
}

export interface RunOptions extends AgentOptions, Omit<ConnectOptions, "signal"> {
  /** By name, as `mcpServers` has them: connected for this run and ended with it. Or what connectServers() gave, which stays open. */
  readonly servers?: Readonly<Record<string, ServerSpec>> | ToolServers | undefined;
}

export interface AgentDoor {
  /**
   * Connects servers side by side. Rejects with ToolError (a CpmError "io"), CpmError "bad-input" (a description that is none) or
   * "unsupported", or the signal's reason; those that were connected are closed then.
   */
  connectServers(servers: Readonly<Record<string, ServerSpec>>, options?: ServersOptions): Promise<ToolServers>;
  /**
   * Answers the last message with the help of tools: calls are made, with approval where they may change something, and their results
   * go back to the model until it answers. A tool that fails, hangs or is not allowed is told to the model; the run goes on. Rejects
   * when a server cannot be connected, as chat() does, with what `approve` or `onEvent` throw, or with the signal's reason.
   */
  runTools(model: ChatModel, messages: readonly ChatMessage[], options?: RunOptions): Promise<AgentResult>;
}

export function openAgent(start?: StartProcess): AgentDoor {
  const connectServers: AgentDoor["connectServers"] = async (servers, { onFailed, ...options } = {}) => {
    if (!isRecord(servers))
      throw new CpmError("bad-option", `servers: expected servers by name, found ${kindOf(servers)}`, { field: "servers" });
    const specs = Object.entries(servers).map(([name, spec]) => {
      if (!isRecord(spec))
        throw new CpmError("bad-option", `servers.${name}: expected { command } or { url }, found ${kindOf(spec)}`, {
          field: name,
        });
      return [name, checkSpec(`servers.${name}`, spec as Record<string, unknown>)] as const;
    });
    const tried = await Promise.allSettled(specs.map(([name, spec]) => ToolServer.connect(name, spec, options, start)));
    const list = tried.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    for (const [i, one] of tried.entries()) {
      if (one.status === "fulfilled") continue;
      if (onFailed && !options.signal?.aborted) onFailed(specs[i]![0], one.reason);
      else {
        await new ToolServers(list).close();
        throw one.reason;
      }
    }
    return new ToolServers(list);
  };
  return {
    connectServers,
    async runTools(model, messages, options = {}) {
      const { servers = {}, connectTimeoutMs, protocol, fetch, ...rest } = options;
      if (typeof (model as ChatModel | undefined)?.chat !== "function")
        throw new CpmError("bad-option", `model: expected a model, or what endpointModel() gives, found ${kindOf(model)}`, {
          field: "model",
        });
      if (servers instanceof ToolServers) return agentLoop(model, messages, servers.list, rest);
      const own = await connectServers(servers, { connectTimeoutMs, protocol, fetch, signal: rest.signal });
      try {
        return await agentLoop(model, messages, own.list, rest);
      } finally {
        await own.close();
      }
    },
  };
}
