// Streams a completion in Node.
//   node examples/node.mjs ["Once upon a time"] [model.gguf]
import { defaultModel, load } from "cpm-wasm";

const [prompt = "Once upon a time", path] = process.argv.slice(2);
const model = await load(path ?? defaultModel);
try {
  process.stdout.write(prompt);
  const generation = model.generate(prompt, { temperature: 0, maxTokens: 60 });
  for await (const part of generation) process.stdout.write(part.text);
  const { timings, finishReason } = await generation;
  console.log(`\n[${finishReason}, ${timings.decodeTokensPerSecond.toFixed(0)} tokens/s, ${model.info.threads} threads]`);
} finally {
  await model.dispose();
}
