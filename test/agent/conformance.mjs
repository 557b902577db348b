// The client that the conformance runner starts: connects to the address it is given and calls each tool once.
import process from "node:process";
import { connectServers, runTools } from "../../dist/host/agent.node.js";

const inputs = { add_numbers: { a: 5, b: 3 } };
const servers = await connectServers({ server: { url: process.argv.at(-1) } });
const usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
const calls = servers.list[0].tools.map(({ name }) => ({
  id: name,
  name,
  arguments: JSON.stringify(inputs[name] ?? {}),
  input: inputs[name] ?? {},
}));
const lines = [{ toolCalls: calls }, { text: "done" }];
const model = {
  chat() {
    const answer = Promise.resolve({
      text: "",
      reasoning: "",
      tokens: [],
      usage,
      finishReason: "stop",
      ...(calls.length ? lines.shift() : lines[1]),
    });
    return Object.assign(answer, { async *[Symbol.asyncIterator]() {} });
  },
};
const { steps } = await runTools(model, [{ role: "user", content: "Call every tool" }], { servers, approve: () => true });
await servers.close();
process.exit(steps.every(({ results }) => results.every(({ isError }) => !isError)) ? 0 : 1);
