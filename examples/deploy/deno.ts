// The server as an entry of Deno Deploy, or anywhere Deno runs: deno run --allow-read --allow-net --allow-env examples/deploy/deno.ts
import { load } from "cpm-wasm";
import { createHandler } from "cpm-wasm/server";

declare const Deno: {
  readonly env: { get(name: string): string | undefined };
  serve(
    options: { readonly port?: number; readonly hostname?: string },
    handler: (request: Request) => Promise<Response>,
  ): unknown;
};

const url = Deno.env.get("MODEL_URL");
if (!url) throw new Error("MODEL_URL: set it to the address of a model");
const key = Deno.env.get("API_KEY");
const handler = createHandler({ model: { load: () => load(url) } }, key ? { apiKeys: [key] } : {});
const port = Deno.env.get("PORT");
Deno.serve({ hostname: Deno.env.get("HOST") ?? "0.0.0.0", ...(port ? { port: Number(port) } : {}) }, (request) =>
  handler(request),
);
