// Servers that hang, die, flood, change their list, answer garbage: a typed error or a clipped result, and no process left.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type AgentResult, type AgentTool, ToolError } from "../../src/agent/api.ts";
import { connectServers, runTools } from "../../src/host/agent.node.ts";
import { call, collect, odd, script, user } from "./rig.ts";

const folder = mkdtempSync(join(tmpdir(), "cpm-agent-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

/** Whether a process is there and is no zombie that waits for its parent. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return process.platform !== "linux";
  }
}

async function gone(pids: readonly number[]): Promise<boolean> {
  // A killed process needs a moment until the system has put it away.
  for (let i = 0; i < 200 && pids.some(isAlive); i++) await new Promise((resolve) => setTimeout(resolve, 50));
  return !pids.some(isAlive);
}

/** One call of `work` on such a server, then an answer. The server and its child must be gone afterwards. */
async function run(how: string, options: Parameters<typeof runTools>[2] = {}): Promise<AgentResult> {
  const file = join(folder, `${++files}.json`);
  const result = await runTools(script([call("1", "work")], "answered"), [user("Go")], {
    servers: { s: odd(how, file) },
    ...options,
  });
  expect(await gone(JSON.parse(readFileSync(file, "utf8")) as number[])).toBe(true);
  expect({ text: result.text, finishReason: result.finishReason }).toEqual({ text: "answered", finishReason: "stop" });
  return result;
}

const only = ({ steps }: AgentResult) => steps[0]!.results[0]!;

test("a server that behaves", async () => {
  expect(only(await run("good"))).toEqual({ id: "1", name: "work", text: "work done", isError: false, clipped: false });
});

test("one that hangs in a call is a timeout, and one that does not answer the handshake is no server", async () => {
  const { error, text } = only(await run("hang", { toolTimeoutMs: 300 }));
  expect(error).toMatchObject({ code: "io", failure: "timeout", server: "s" });
  expect(text).toMatch(/^The call failed: server s: work: no answer in time/);
  for (const how of ["mute", "deaf"]) {
    const file = join(folder, `${++files}.json`);
    const failed = connectServers({ s: odd(how, file) }, { connectTimeoutMs: 3000 });
    await expect(failed).rejects.toMatchObject({ name: "ToolError", failure: "timeout" });
    expect(await gone(JSON.parse(readFileSync(file, "utf8")) as number[])).toBe(true);
  }
});

test("one that dies is told with its last words, and its other tools fail without waiting", async () => {
  const model = script([call("1", "work")], [call("2", "change")], "answered");
  const { steps, text } = await runTools(model, [user("Go")], { servers: { s: odd("die") }, approve: () => true });
  expect(text).toBe("answered");
  const [first, second] = [steps[0]!.results[0]!, steps[1]!.results[0]!];
  expect(first.error).toMatchObject({ failure: "closed", server: "s" });
  expect(first.text).toMatch(/exit status 3; out of cheese/);
  expect(second.error).toMatchObject({ failure: "closed" });
});

test("one that floods is ended; a line without an end, too", async () => {
  expect(only(await run("flood")).error).toMatchObject({
    failure: "closed",
    message: expect.stringMatching(/10000 messages that nobody asked for/),
  });
  expect(only(await run("long-line")).error).toMatchObject({
    failure: "closed",
    message: expect.stringMatching(/longer than 16777216/),
  });
});

test("a result of two million characters is clipped, with a mark that says so", async () => {
  const result = only(await run("huge", { maxResultTokens: 200 }));
  expect(result).toMatchObject({ isError: false, clipped: true });
  expect(result.text).toMatch(/^begin word .*\n\[… \d+ of 2000009 characters left out …\]\n.* end$/s);
  expect(Math.ceil(Buffer.byteLength(result.text) / 3)).toBeLessThanOrEqual(200);
});

test("garbage between messages is passed over; nothing but garbage ends the server; a result that is none is a typed error", async () => {
  expect(only(await run("garbage"))).toMatchObject({ text: "after the garbage", isError: false });
  expect(only(await run("only-garbage")).error).toMatchObject({
    failure: "closed",
    message: expect.stringMatching(/its output is no MCP/),
  });
  expect(only(await run("wrong-shape")).error).toBeInstanceOf(ToolError);
  expect(only(await run("refuse")).error).toMatchObject({
    failure: "tool",
    message: expect.stringMatching(/-32602.*no such thing/),
  });
  const babble = connectServers({ s: odd("babble") });
  await expect(babble).rejects.toMatchObject({ failure: "closed", message: expect.stringMatching(/no MCP, as in "Welcome!"/) });
});

test("a list that never ends, a program that is not there, and one that is no server are refused", async () => {
  await expect(connectServers({ s: odd("endless-list") })).rejects.toBeInstanceOf(ToolError);
  await expect(connectServers({ s: { command: "cpm-no-such-program" } })).rejects.toMatchObject({ failure: "connect" });
  await expect(
    connectServers({ s: { command: process.execPath, args: ["-e", "console.error('usage: …'); process.exit(2)"] } }),
  ).rejects.toMatchObject({
    failure: "closed",
    message: expect.stringMatching(/exit status 2; usage/),
  });
  // The others are closed, or, where the caller wants it, go on without it.
  const failed: string[] = [];
  const servers = await connectServers(
    { bad: { command: "cpm-no-such-program" }, good: odd("good") },
    { onFailed: (name) => failed.push(name) },
  );
  expect({ failed, names: servers.list.map(({ name }) => name) }).toEqual({ failed: ["bad"], names: ["good"] });
  await servers.close();
});

test("a server that ignores signals is killed, and so is what it has started", async () => {
  await run("family");
});

test("servers that know only the older protocol are spoken to so, whatever they do with the newer one's question", async () => {
  for (const how of ["good", "exit-at-new", "silent-at-new"]) {
    const servers = await connectServers({ s: odd(how) }, { connectTimeoutMs: how === "silent-at-new" ? 9000 : 30_000 });
    expect(servers.list[0]!.protocol).toMatch(/^2025-/);
    await servers.close();
  }
});

test("a list that changes is taken over before the next answer; names stay", async () => {
  const { events, onEvent } = collect();
  const offered: string[][] = [];
  const names = (tools: unknown) => offered.push((tools as { function: { name: string } }[]).map((t) => t.function.name));
  const model = script(
    (_, { tools }) => {
      names(tools);
      return [call("1", "work")];
    },
    [call("2", "pause")],
    (_, { tools }) => {
      names(tools);
      return "answered";
    },
  );
  const servers = await connectServers({ s: odd("list") });
  // The client asks for the new list a moment after it was told.
  const pause: AgentTool = {
    name: "pause",
    readOnly: true,
    async run() {
      while (servers.list[0]!.changes === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      return "waited";
    },
  };
  await runTools(model, [user("Go")], { servers, tools: [pause], onEvent });
  await servers.close();
  expect(offered).toEqual([
    ["pause", "work", "change"],
    ["pause", "change", "later"],
  ]);
  expect(events.filter(({ type }) => type === "tools")).toEqual([{ type: "tools", added: ["later"], removed: ["work"] }]);
});

test("an aborted run ends at once, with the reason, and leaves no process", async () => {
  const file = join(folder, `${++files}.json`);
  const control = new AbortController();
  const reason = new Error("enough");
  const running = runTools(script([call("1", "work")], "never"), [user("Go")], {
    servers: { s: odd("hang", file) },
    signal: control.signal,
    onEvent: ({ type }) => type === "call" && setImmediate(() => control.abort(reason)),
  });
  await expect(running).rejects.toBe(reason);
  expect(await gone(JSON.parse(readFileSync(file, "utf8")) as number[])).toBe(true);
});
