// What the agent wing gives on every host.

export { type EndpointOptions, endpointModel } from "../chat/endpoint.ts";
export type { ChatAnswer, ChatModel, ChatPart, ChatReply } from "../chat/model.ts";
export { CpmError, type ErrorCode, type ErrorDetail } from "../errors.ts";
export { type AgentDoor, type RunOptions, type ServersOptions, ToolServers } from "./agent.ts";
export { ToolError, type ToolFailure } from "./errors.ts";
export type { AgentEvent, AgentOptions, AgentResult, AgentStep, CallResult, PendingCall } from "./loop.ts";
export type { ToolOutput } from "./result.ts";
export type { ConnectOptions, ProtocolChoice, ServerTool, ToolServer } from "./server.ts";
export { type HttpServer, readServers, type ServerSpec, type StdioServer } from "./spec.ts";
export type { AgentTool } from "./toolbox.ts";
