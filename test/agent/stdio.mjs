// What other runtimes are asked: a server that is started, called and ended.
import process from "node:process";
import { connectServers, runTools } from "../../dist/host/agent.node.js";

const [command, ...args] = process.argv.slice(2);
const servers = await connectServers({ server: { command, args } });
const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1 };
const lines = [{ toolCalls: [{ id: "1", name: "work", arguments: "{}", input: {} }] }, { text: "done" }];
const model = {
  chat: () =>
    Object.assign(Promise.resolve({ text: "", reasoning: "", tokens: [], usage, finishReason: "stop", ...lines.shift() }), {
      async *[Symbol.asyncIterator]() {},
    }),
};
const { steps, text } = await runTools(model, [{ role: "user", content: "Go" }], { servers });
await servers.close();
console.log(`${steps[0].results[0].text}, ${text}`);
process.exit(0);
