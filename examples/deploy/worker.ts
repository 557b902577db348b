// The server as a worker of workerd or Cloudflare Workers. The model comes from R2, or from any URL that answers range requests;
// an isolate's memory allows small models only.
import { load } from "cpm-wasm";
import { createHandler, type Handler, type HandlerContext } from "cpm-wasm/server";

interface Env {
  /** Where the model lies. */
  readonly MODEL_URL: string;
  /** Asked of every request when it is set. */
  readonly API_KEY?: string;
}

/** Edge platforms end an isolate at 128 MB. */
const MAX_BYTES = 96 * 1024 * 1024;

let handler: Handler | undefined;

export default {
  fetch(request: Request, env: Env, context: HandlerContext): Promise<Response> {
    handler ??= createHandler(
      { model: { load: () => load(env.MODEL_URL, { maxMemoryBytes: MAX_BYTES }) } },
      { parallel: 1, queue: 8, ...(env.API_KEY ? { apiKeys: [env.API_KEY] } : {}) },
    );
    return handler(request, context);
  },
};
