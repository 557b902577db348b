// What goes wrong with a request, as OpenAI's clients read it: a status and { error: { message, type, param, code } }.
import { CpmError, type ErrorCode } from "../errors.ts";

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export interface ProblemOptions {
  readonly type?: string;
  readonly code?: string;
  readonly param?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal with its HTTP status. Faults that will not go away by themselves never get a 5xx: clients would try again. */
export class Problem extends Error {
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, options: ProblemOptions = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
    const type = options.type ?? (status >= 500 ? "server_error" : "invalid_request_error");
    this.body = { error: { message, type, param: options.param ?? null, code: options.code ?? null } };
    this.headers = options.headers ?? {};
  }

  response(): Response {
    return Response.json(this.body, { status: this.status, headers: this.headers });
  }
}

/** Clients of OpenAI's own library heed this on statuses that they would try again. */
const final = { "x-should-retry": "false" };

const statuses: Readonly<Partial<Record<ErrorCode, number>>> = {
  "bad-input": 400,
  "bad-option": 400,
  unsupported: 400,
  "context-overflow": 400,
};

/** The option of the package -> the parameter of the wire, for messages about it. */
const wireName = (option: string | undefined): string | undefined =>
  option?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Any failure as a Problem. An abort becomes 499: nobody is there to read it. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof CpmError) {
    const { code, message, detail } = error;
    if (code === "busy")
      return new Problem(429, message, { type: "rate_limit_error", code: "busy", headers: { "retry-after": "1" } });
    if (code === "context-overflow") return new Problem(400, message, { code: "context_length_exceeded", param: "messages" });
    if (code === "closed") return new Problem(503, message, { code: "model_unavailable", headers: { "retry-after": "1" } });
    if (code === "out-of-memory") return new Problem(503, message, { code: "out_of_memory", headers: { "retry-after": "5" } });
    const status = statuses[code];
    // What a schema asks for and cannot be enforced: its place and keyword are in the message.
    if (status !== undefined)
      return new Problem(status, message, { code: code.replace("-", "_"), param: wireName(detail.field) });
    return new Problem(500, message, { code: code.replace("-", "_"), headers: final });
  }
  if (error instanceof Error && error.name === "TimeoutError")
    return new Problem(408, "the request took longer than this server allows", { code: "timeout", headers: final });
  if (error instanceof Error && error.name === "AbortError") return new Problem(499, "the client went away", { code: "aborted" });
  return new Problem(500, "the server failed at this request; its log says more", { code: "internal", headers: final });
}
