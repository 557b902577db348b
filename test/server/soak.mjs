// A server under more than it can take, for as long as wanted: whole and streamed answers, slow readers, clients that leave in the
// middle, malformed bodies. Every complete text must be the one that a lone request got; then the queue must drain, the next request
// be fine, memory be where it was, and nothing unhandled be in the log.
//   node test/server/soak.mjs [--requests 300 | --minutes 10] [--clients 12] [--seed 1] [--model FILE] [--json]
// Prints what it saw and, at the end, "N passed, N failed". Needs the built package.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../../", import.meta.url));
const { values } = parseArgs({
  options: {
    requests: { type: "string" },
    minutes: { type: "string" },
    clients: { type: "string", default: "12" },
    seed: { type: "string", default: "1" },
    model: { type: "string" },
    json: { type: "boolean" },
  },
});
const requests = values.minutes === undefined ? Number(values.requests ?? 300) : Infinity;
const until = values.minutes === undefined ? Infinity : performance.now() + 60_000 * Number(values.minutes);

/** Deterministic numbers in [0, 1). Source: mulberry32, public domain. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const subjects = ["a dog", "a cat", "the sea", "a red ball", "two friends", "a big tree", "the moon", "a lost key"];
const wishes = subjects.flatMap((subject, i) => [
  { prompt: `Tell me of ${subject}.`, temperature: 0, max_tokens: 30 + 5 * i },
  { prompt: `Once upon a time there was ${subject}`, temperature: 0.9, seed: 100 + i, max_tokens: 60 },
  { prompt: `${`${subject} and `.repeat(20)}nobody else.`, temperature: 0.7, top_k: 20, seed: i, max_tokens: 20 },
]);
const malformed = ["", "{", "[]", '{"messages":1}', '{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}', "\u0000"];

const serve = ["serve", "--port", "0", "--parallel", "4", "--queue", "1000", ...(values.model ? [values.model] : [])];
const server = spawn(process.execPath, [`${root}dist/cli/main.js`, ...serve], { stdio: ["ignore", "ignore", "pipe"] });
let log = "";
let unhandled = 0;
const ended = new Promise((resolve) => server.on("close", (code) => resolve(code)));
const url = await new Promise((resolve, reject) => {
  server.stderr.setEncoding("utf8").on("data", (text) => {
    if (/unhandled|uncaught|Error:.*\n\s+at /i.test(text)) unhandled++;
    log = (log + text).slice(-20_000);
    const match = /^serving .* at (http:\S+)v1$/m.exec(log);
    if (match) resolve(match[1]);
  });
  ended.then(() => reject(new Error(`it ended before it listened: ${log}`)));
});

const body = ({ prompt, ...rest }, stream) => JSON.stringify({ messages: [{ role: "user", content: prompt }], stream, ...rest });
const post = (text, signal) =>
  fetch(`${url}v1/chat/completions`, { method: "POST", body: text, headers: { "content-type": "application/json" }, signal });

async function whole(wish) {
  const response = await post(body(wish, false));
  const answer = await response.json();
  if (!response.ok) throw new Error(`status ${response.status}: ${JSON.stringify(answer)}`);
  return answer.choices[0].message.content;
}

/** A streamed answer; `pause` milliseconds between reads; after `leave` reads the client goes away (gives undefined). */
async function streamed(wish, { pause = 0, leave = Infinity } = {}) {
  const stop = new AbortController();
  const response = await post(body(wish, true), stop.signal);
  if (!response.ok) throw new Error(`status ${response.status}: ${await response.text()}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let reads = 0; ; reads++) {
    if (reads >= leave) {
      stop.abort();
      await reader.cancel().catch(() => {});
      return undefined;
    }
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
    if (pause) await sleep(pause);
  }
  const events = text.split("\n\n").filter((event) => event.startsWith("data: {"));
  const failed = events.find((event) => event.startsWith('data: {"error"'));
  if (failed) throw new Error(failed);
  return events.map((event) => JSON.parse(event.slice(6)).choices[0]?.delta.content ?? "").join("");
}

/** A client whose connection breaks without a word. */
const torn = (wish) =>
  new Promise((resolve) => {
    const request = get(
      `${url}v1/chat/completions`,
      { method: "POST", headers: { "content-type": "application/json" } },
      (response) => {
        response.once("data", () => response.destroy());
        response.once("close", resolve);
      },
    );
    request.on("error", resolve);
    request.end(body(wish, true));
  });

const expected = [];
for (const wish of wishes) expected.push(await whole(wish));

const memory = () => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
const counts = { whole: 0, streamed: 0, slow: 0, left: 0, torn: 0, malformed: 0, wrong: 0, failed: 0 };
const rss = [];
let begun = 0;

async function client(number) {
  const draw = random(Number(values.seed) * 1000 + number);
  while (begun < requests && performance.now() < until) {
    const index = begun++;
    if (index % 100 === 0 && process.platform === "linux") rss.push(memory());
    const at = Math.floor(draw() * wishes.length);
    const kind = draw();
    let [name, text] = ["", expected[at]];
    try {
      if (kind < 0.1) {
        name = "malformed";
        const response = await post(malformed[Math.floor(draw() * malformed.length)]);
        await response.arrayBuffer();
        if (response.status !== 400) throw new Error(`a malformed body got status ${response.status}`);
      } else if (kind < 0.25) {
        name = "left";
        text = (await streamed(wishes[at], { leave: 1 + Math.floor(draw() * 10) })) ?? expected[at];
      } else if (kind < 0.4) {
        name = "torn";
        await torn(wishes[at]);
      } else if (kind < 0.5) {
        name = "slow";
        text = await streamed(wishes[at], { pause: 5 });
      } else if (kind < 0.75) {
        name = "streamed";
        text = await streamed(wishes[at]);
      } else {
        name = "whole";
        text = await whole(wishes[at]);
      }
      counts[name]++;
      if (text !== expected[at]) {
        counts.wrong++;
        console.log(`wrong text (${name}): ${JSON.stringify(text)} for ${JSON.stringify(expected[at])}`);
      }
    } catch (error) {
      counts.failed++;
      console.log(`${name} failed: ${error.message}`);
    }
  }
}

await Promise.all(Array.from({ length: Number(values.clients) }, (_, i) => client(i)));

let health = { running: -1 };
for (let tries = 0; tries < 200; tries++) {
  health = await (await fetch(`${url}health`)).json();
  if (health.running === 0 && health.waiting === 0) break;
  await sleep(50);
}
const next = await whole(wishes[0]);
const last = process.platform === "linux" ? memory() : 0;
server.kill("SIGTERM");
const code = await ended;
// The first third warms up.
const warm = rss.slice(Math.ceil(rss.length / 3));
const growth = warm.length > 3 ? last / Math.max(...warm.slice(0, Math.ceil(warm.length / 2))) - 1 : undefined;
const checks = {
  "every complete text is the lone request's": counts.wrong === 0,
  "no request failed": counts.failed === 0,
  "the queue drained": health.running === 0 && health.waiting === 0,
  "the next request is fine": next === expected[0],
  "nothing unhandled in the log": unhandled === 0,
  "the server ended when told to": code === 0,
  ...(growth === undefined ? {} : { "memory is within 10 % of what it was when warm": growth <= 0.1 }),
};
if (growth === undefined) console.log("memory: not judged, the run is too short or this is no Linux");
const seen = { ...counts, requests: begun, rssMiB: { first: rss[0], last }, growth };
console.log(values.json ? JSON.stringify(seen) : seen);
for (const [title, ok] of Object.entries(checks)) console.log(`${ok ? "ok    " : "FAILED"} soak: ${title}`);
const failed = Object.values(checks).filter((ok) => !ok).length;
console.log(`\n${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
