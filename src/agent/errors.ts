// Failures of servers, told from each other.
import { CpmError, type ErrorCode } from "../errors.ts";
import { printable, reasonOf } from "../shown.ts";

/** What a server or tool did: could not be reached, took too long, ended, broke the protocol, refused, or was not allowed. */
export type ToolFailure = "connect" | "timeout" | "closed" | "protocol" | "tool" | "denied" | "unknown";

/** A failure of a tool or of the server it belongs to. A CpmError of code "io". */
export class ToolError extends CpmError {
  readonly failure: ToolFailure;
  readonly server: string | undefined;

  constructor(failure: ToolFailure, server: string | undefined, message: string, options?: ErrorOptions) {
    const code: ErrorCode = "io";
    super(code, `${server === undefined ? "" : `server ${printable(server, 80)}: `}${message}`, {}, options);
    this.name = "ToolError";
    this.failure = failure;
    this.server = server;
  }
}

/** The failure that a rejection of the MCP client means. */
export function serverError(server: string, during: string, error: unknown, words = ""): ToolError {
  if (error instanceof ToolError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const said = words === "" ? "" : `; it last wrote: ${printable(words, 400, "\n")}`;
  const reason = reasonOf(error);
  if (code === "REQUEST_TIMEOUT")
    return new ToolError("timeout", server, `${during}: no answer in time${said}`, { cause: error });
  if (code === "CONNECTION_CLOSED" || code === "NOT_CONNECTED" || code === "SEND_FAILED")
    return new ToolError("closed", server, `${during}: it ended${said}`, { cause: error });
  // Numbers are JSON-RPC's: the server answered, and refused.
  if (typeof code === "number")
    return new ToolError("tool", server, `${during}: it refused (${code}): ${reason}`, { cause: error });
  return new ToolError(during === "connecting" ? "connect" : "protocol", server, `${during}: ${reason}${said}`, { cause: error });
}
