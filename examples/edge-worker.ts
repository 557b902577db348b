// An edge worker (workerd): loads the embedded model once and streams a completion as server-sent events.
//   GET  /?prompt=Once+upon+a+time&maxTokens=60
//   POST { "prompt": "Once upon a time", "maxTokens": 60, "temperature": 0.7, "seed": 1 }
import { CpmError, type Generation, load, type Model } from "cpm-wasm";
import bytes from "cpm-wasm/models/stories-q4_0.gguf";

interface Context {
  waitUntil(work: Promise<unknown>): void;
}

/** Edge platforms end an isolate at 128 MB: refuse a model whose plan leaves no room for the rest. */
const MAX_BYTES = 96 * 1024 * 1024;

let model: Promise<Model> | undefined;

/** The model of this isolate. The first request loads it: before one, edge runtimes allow no timers. */
function loaded(context: Context): Promise<Model> {
  if (!model) {
    model = load(bytes, { maxMemoryBytes: MAX_BYTES });
    model.catch(() => {
      model = undefined;
    });
    // The load outlives a client that goes away: others may wait for it.
    context.waitUntil(model);
  }
  return model;
}

interface Wish {
  readonly prompt: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly seed?: number;
}

async function wishOf(request: Request): Promise<Wish> {
  if (request.method === "POST") return (await request.json()) as Wish;
  const { prompt = "Once upon a time", ...numbers } = Object.fromEntries(new URL(request.url).searchParams);
  return { prompt, ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Number(value)])) };
}

const event = (data: unknown, name?: string): Uint8Array =>
  new TextEncoder().encode(`${name ? `event: ${name}\n` : ""}data: ${JSON.stringify(data)}\n\n`);

async function* events(generation: Generation): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const { text } of generation) yield event({ text });
    const { finishReason, usage, timings } = await generation;
    yield event({ finishReason, usage, timings }, "done");
  } catch (error) {
    yield event({ code: error instanceof CpmError ? error.code : "failed", message: (error as Error).message }, "error");
  }
}

const problem = (status: number, message: string): Response => Response.json({ error: message }, { status });

export default {
  async fetch(request: Request, _env: unknown, context: Context): Promise<Response> {
    if (request.method !== "GET" && request.method !== "POST") return problem(405, "GET or POST");
    try {
      const { prompt, ...options } = await wishOf(request);
      const left = new AbortController();
      const generation = (await loaded(context)).generate(prompt, { maxTokens: 100, ...options, signal: left.signal });
      const stream = events(generation);
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const { done, value } = await stream.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        // A client that goes away ends its generation, also while its prompt is computed.
        cancel(reason) {
          left.abort(reason ?? new DOMException("the client went away", "AbortError"));
        },
      });
      // A request must not end before its generation has: the next one could not take its turn at the model.
      context.waitUntil(generation.catch(() => {}));
      return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
    } catch (error) {
      if (error instanceof CpmError && error.code.startsWith("bad-")) return problem(400, error.message);
      if (error instanceof SyntaxError) return problem(400, `the body is not JSON: ${error.message}`);
      return problem(500, (error as Error).message);
    }
  },
};
