// Loads, generates and comes to its end: disposed ("dispose"), or leaving an idle model behind ("leave").
import { defaultModel, load } from "cpm-wasm";

const mode = (globalThis.Deno?.args ?? process.argv.slice(2))[0];
const model = await load(defaultModel, { threads: 2 });
const { tokens } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 20 });
if (mode === "dispose") await model.dispose();
console.log(`${tokens.length} tokens, now at its end`);
