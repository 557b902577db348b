// cpm-wasm/agent in Node, Deno and Bun: servers may be programs on this machine.
import { openAgent } from "../agent/agent.ts";
import { startProcess } from "./node.process.ts";

export * from "../agent/api.ts";

const door = openAgent(startProcess);

/** Connects MCP servers; see {@link AgentDoor.connectServers}. */
export const connectServers = door.connectServers;
/** Answers with the help of tools; see {@link AgentDoor.runTools}. */
export const runTools = door.runTools;
