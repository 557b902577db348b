// As an edge worker: an engine whose phases are requests of their own, since the clock stands still while one computes.
import { load } from "../../dist/host/edge.js";
import { argmax } from "../lib/measure.mjs";

let model;
let session;

const phases = {
  async load({ url, variant, contextSize }) {
    model = await load(url, { variant, contextSize });
    session = await model.session();
    const { config, memory, threads, variant: build } = model.info;
    return { about: { threads, variant: build, plannedBytes: memory.total }, vocab: config.vocab };
  },
  async prefill({ ids }) {
    await session.truncate(0);
    return { first: argmax(await session.forward(ids, { logits: "last" })) };
  },
  async decode({ ids, n }) {
    const logitBias = model.info.tokenizer.stop.map((id) => [id, -1e9]);
    const { tokens } = await session.generate(ids, { maxTokens: n, temperature: 0, logitBias });
    return { tokens };
  },
};

export default {
  async fetch(request) {
    if (request.method === "PUT") return new Response("ready");
    const { phase, ...given } = await request.json();
    return Response.json(await phases[phase](given));
  },
};
