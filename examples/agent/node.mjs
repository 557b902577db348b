// A function of one's own and the servers of a configuration, with an approval for whatever may change something.
//   npm install @modelcontextprotocol/client && node examples/agent/node.mjs model.gguf "What is in this folder?"
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { load } from "cpm-wasm";
import { readServers, runTools } from "cpm-wasm/agent";

const [path, task = "What time is it?"] = process.argv.slice(2);
const servers = readServers(await readFile(new URL("servers.json", import.meta.url), "utf8"), (name) => process.env[name]);
const clock = { name: "clock", description: "The time now", readOnly: true, run: () => new Date().toISOString() };
const terminal = createInterface({ input: process.stdin, output: process.stderr });

const model = await load(path);
try {
  const { text, finishReason, usage } = await runTools(model, [{ role: "user", content: task }], {
    tools: [clock],
    servers,
    approve: async ({ server, tool, input }) =>
      /^y/i.test(await terminal.question(`${server ?? "here"}: ${tool} ${JSON.stringify(input)} [y/N] `)),
  });
  console.log(text);
  console.error(`${finishReason}; ${usage.cachedTokens} of ${usage.promptTokens} tokens were known`);
} finally {
  terminal.close();
  await model.dispose();
}
