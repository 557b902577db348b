// Quantised files in native llama.cpp and here: do both load them, and write the same greedy text?
//   node bench/native.mjs MODEL(.gguf or folder) [--types Q4_0,Q8_0] [--method search|gptq] [--calibration FILE.jsonl] [--prompt TEXT] [--tokens 40]
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { load } from "../dist/host/node.js";
import { quantize } from "../dist/host/quantise.node.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    types: { type: "string", default: "F16,Q8_0,Q6_K,Q5_K,Q4_K,Q4_1,Q4_0,TQ2_0" },
    method: { type: "string", default: "search" },
    calibration: { type: "string" },
    prompt: { type: "string", default: "Once upon a time" },
    tokens: { type: "string", default: "40" },
  },
});
const [model] = positionals;
const calibration = values.calibration
  ? readFileSync(values.calibration, "utf8")
      .split("\n")
      .filter((line) => line.trim())
      .map((line) => {
        const { tokens, text } = JSON.parse(line);
        return tokens ?? text;
      })
  : undefined;
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const folder = mkdtempSync(join(tmpdir(), "cpm-native-"));
let [same, all] = [0, 0];
try {
  for (const type of values.types.split(",")) {
    const out = join(folder, `${type}.gguf`);
    await quantize(model, out, { type, method: values.method, ...(calibration ? { calibration } : {}) });
    const own = await load(out, { contextSize: 256, draft: false, kvType: "f32" });
    const prompt = own.tokenizer.encode(values.prompt);
    const ours = (await own.generate(prompt, { maxTokens: Number(values.tokens), temperature: 0 })).tokens;
    await own.close?.();
    const native = await llama.loadModel({ modelPath: out, gpuLayers: 0 });
    const context = await native.createContext({ contextSize: 256, threads: 1 });
    const theirs = [];
    for await (const token of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      theirs.push(Number(token));
      if (theirs.length >= ours.length) break;
    }
    await native.dispose();
    const parts = ours.findIndex((token, i) => token !== theirs[i]);
    all++;
    if (parts < 0) same++;
    console.log(
      `${type} ${values.method}: ${parts < 0 ? `the same ${ours.length} tokens` : `parts at token ${parts} of ${ours.length}`}`,
    );
    rmSync(out);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${same} of ${all} files: the same greedy text`);
process.exit(0);
