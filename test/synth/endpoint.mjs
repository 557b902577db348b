// The scripted model behind HTTP, on the loopback alone. It may be slow, busy, and end connections in the middle.
//   node test/synth/endpoint.mjs [--latency MS] [--port N]      prints its address
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { completionOf } from "./answers.mjs";

/**
 * @param {{ latencyMs?: number, port?: number, trouble?: (n: number, body: any) => undefined | { status?: number, headers?: Record<string, string>, body?: string, cut?: boolean }, complete?: (body: any) => object }} [options]
 */
export async function startEndpoint({ latencyMs = 0, port = 0, trouble = () => undefined, complete = completionOf } = {}) {
  const facts = {
    requests: 0,
    now: 0,
    most: 0,
    /** Requests answered, by the text of their bodies. */ bodies: new Map(),
    keys: new Set(),
  };
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += piece;
    const body = JSON.parse(text);
    facts.keys.add(request.headers.authorization);
    const found = trouble(facts.requests++, body);
    facts.most = Math.max(facts.most, ++facts.now);
    if (latencyMs > 0) await sleep(latencyMs);
    facts.now--;
    if (found?.cut) return request.socket.destroy();
    if (found) return response.writeHead(found.status ?? 500, found.headers).end(found.body ?? '{"error":{"message":"trouble"}}');
    facts.bodies.set(text, (facts.bodies.get(text) ?? 0) + 1);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(complete(body)));
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    facts,
    url: `http://127.0.0.1:${server.address().port}/v1`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const value = (name, other) => (process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : other);
  const { url } = await startEndpoint({ latencyMs: value("--latency", 0), port: value("--port", 0) });
  console.log(url);
}
