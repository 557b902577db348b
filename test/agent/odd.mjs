// MCP servers of the older generation in a few lines each, without a library: one that behaves, and many that do not.
//   node test/agent/odd.mjs KIND [FILE]     FILE: where the ids of this process and of its child are written
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [kind, file] = process.argv.slice(2);
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const object = { type: "object", properties: {}, additionalProperties: false };
const readOnly = { annotations: { readOnlyHint: true } };
const tools = [
  { name: "work", description: "Does it", inputSchema: object, ...readOnly },
  { name: "change", description: "Changes it", inputSchema: object },
];
const text = (value) => ({ content: [{ type: "text", text: value }] });
let listed = kind === "only-change" ? tools.slice(1) : tools;

const stubborn = ["deaf", "family"].includes(kind);
if (stubborn) for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => {});
let child;
if (kind === "family")
  child = spawn(process.execPath, ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"], { stdio: "ignore" });
if (file) writeFileSync(file, JSON.stringify([process.pid, ...(child ? [child.pid] : [])]));
if (stubborn) setInterval(() => {}, 1000);

function called({ id, params }) {
  switch (kind) {
    case "hang":
      return;
    case "die":
      process.stderr.write("out of cheese\n");
      process.exit(3);
      break;
    case "flood": {
      const noise =
        `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data: "x".repeat(200) } })}\n`.repeat(
          500,
        );
      const pour = () => {
        while (process.stdout.write(noise));
        process.stdout.once("drain", pour);
      };
      return pour();
    }
    case "long-line": {
      const piece = "y".repeat(1 << 20);
      const pour = () => {
        while (process.stdout.write(piece));
        process.stdout.once("drain", pour);
      };
      return pour();
    }
    case "huge":
      return send({ id, result: text(`begin ${"word ".repeat(400_000)}end`) });
    case "garbage":
      for (let i = 0; i < 20; i++) process.stdout.write(`\u001b[31mnot json ${i}\n{"jsonrpc":"1.0"}\n[]\n`);
      send({ id: 12345, result: {} });
      return send({ id, result: text("after the garbage") });
    case "only-garbage":
      for (let i = 0; i < 1000; i++) process.stdout.write(`not json ${i}\n`);
      return;
    case "wrong-shape":
      return send({ id, result: { content: "a text, where a list belongs" } });
    case "refuse":
      return send({ id, error: { code: -32602, message: "no such thing" } });
    case "list":
      listed = params.name === "work" ? [tools[1], { name: "later", inputSchema: object, ...readOnly }] : listed;
      send({ method: "notifications/tools/list_changed" });
      return send({ id, result: text("the list is another now") });
    case "inject":
      return send({ id, result: text(process.env.INJECT) });
    default:
      return send({ id, result: text(`${params.name} done`) });
  }
}

function heard(message) {
  const { id, method } = message;
  if (method === "initialize") {
    if (kind === "mute" || kind === "deaf") return;
    if (kind === "babble") return void process.stdout.write("Welcome!\n".repeat(500));
    return send({
      id,
      result: {
        protocolVersion: message.params.protocolVersion,
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: kind, version: "1" },
      },
    });
  }
  if (method === "server/discover" && kind === "exit-at-new") process.exit(1);
  if (method === "server/discover" && (kind === "mute" || kind === "deaf" || kind === "silent-at-new")) return;
  if (method === "tools/list")
    return send({ id, result: { tools: listed, ...(kind === "endless-list" ? { nextCursor: `${Math.random()}` } : {}) } });
  if (method === "tools/call") return called(message);
  if (id !== undefined) send({ id, error: { code: -32601, message: `no method ${method}` } });
}

let held = "";
process.stdin.setEncoding("utf8").on("data", (chunk) => {
  held += chunk;
  const lines = held.split("\n");
  held = lines.pop();
  for (const line of lines) if (line !== "") heard(JSON.parse(line));
});
