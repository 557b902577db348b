// Streams a completion in Deno. The kernels need no permission; a model file, and threads, need --allow-read.
//   deno run --allow-read examples/deno.ts ["Once upon a time"] [model.gguf]
import { defaultModel, load } from "cpm-wasm";

const [prompt = "Once upon a time", path] = Deno.args;
await using model = await load(path ?? defaultModel);

const encoder = new TextEncoder();
const write = (text: string) => Deno.stdout.write(encoder.encode(text));

await write(prompt);
const generation = model.generate(prompt, { temperature: 0, maxTokens: 60 });
for await (const part of generation) await write(part.text);
const { timings, finishReason } = await generation;
console.log(`\n[${finishReason}, ${timings.decodeTokensPerSecond.toFixed(0)} tokens/s, ${model.info.threads} threads]`);
