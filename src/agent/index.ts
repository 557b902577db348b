// cpm-wasm/agent where no programs are started: pages, workers, edge runtimes. A wing: nothing of the core imports it.
import { openAgent } from "./agent.ts";

export * from "./api.ts";

const door = openAgent();

/** Connects MCP servers; see {@link AgentDoor.connectServers}. */
export const connectServers = door.connectServers;
/** Answers with the help of tools; see {@link AgentDoor.runTools}. */
export const runTools = door.runTools;
