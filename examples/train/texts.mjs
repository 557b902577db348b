// Texts that a model writes by itself, to train a draft head on: node texts.mjs MODEL OUT.jsonl TOKENS

import { once } from "node:events";
import { createWriteStream } from "node:fs";
import process from "node:process";
import { load } from "cpm-wasm";

const [model, out, tokens] = process.argv.slice(2);
if (!model || !out || !(Number(tokens) > 0)) {
  console.error("node texts.mjs MODEL OUT.jsonl TOKENS");
  process.exit(2);
}
const PARALLEL = 16;
const writer = await load(model, { parallel: PARALLEL, contextSize: 256, draft: false, cacheBytes: 0 });
const { bos } = writer.info.tokenizer;
const file = createWriteStream(out);
let [written, seed] = [0, 1];

async function write() {
  while (written < Number(tokens)) {
    // As it is: any other temperature would be another writer.
    const options = { temperature: 1, topK: 0, topP: 1, maxTokens: 250, seed: seed++ };
    const { text, tokens: own } = await writer.generate(bos === undefined ? " " : [bos], options);
    written += own.length;
    if (text.trim() !== "" && !file.write(`${JSON.stringify({ text: text.trim() })}\n`)) await once(file, "drain");
  }
}

await Promise.all(Array.from({ length: PARALLEL }, write));
file.end();
await once(file, "finish");
await writer.dispose();
console.log(`${written} tokens in ${out}`);
