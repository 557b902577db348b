// A worker that answers with the tools of an MCP server over Streamable HTTP, by a model at an OpenAI-compatible endpoint. Bound values:
// MODEL_URL, MODEL, MCP_URL. A bundle for workerd: esbuild --bundle --format=esm --conditions=workerd,worker,browser --external:node:*
import { type AgentResult, endpointModel, runTools } from "cpm-wasm/agent";

interface Env {
  readonly MODEL_URL: string;
  readonly MODEL: string;
  readonly MCP_URL: string;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const model = endpointModel({ url: env.MODEL_URL, model: env.MODEL });
    const result: AgentResult = await runTools(model, [{ role: "user", content: await request.text() }], {
      servers: { tools: { url: env.MCP_URL } },
      signal: request.signal,
    });
    return Response.json({ text: result.text, messages: result.messages, finishReason: result.finishReason });
  },
};
