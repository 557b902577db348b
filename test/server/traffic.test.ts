// What happens around answers: who may ask, queues, clients that leave, slow readers, time limits, shutting down. Models are
// scripted, so that nothing depends on how fast this machine is.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { eventsOf, type Script, scripted, served, settled } from "./served.ts";

const chat = { messages: [{ role: "user", content: "x" }] };
const stream = { ...chat, stream: true };
const completions = "/v1/chat/completions";

test("a key is asked for everywhere but at /health, and never named in the refusal", async () => {
  const { get, post } = served({ m: scripted((s) => s.end()) }, { apiKeys: ["secret", "other"] });
  expect((await get("/health")).status).toBe(200);
  for (const headers of [
    {},
    { authorization: "Bearer secre" },
    { authorization: "Bearer secret2" },
    { authorization: "secret" },
  ]) {
    const refused = await post(completions, chat, { headers });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toBe("Bearer");
    expect(await refused.text()).not.toContain("secre");
  }
  for (const headers of [{ authorization: "Bearer secret" }, { authorization: "bearer other" }, { "x-api-key": "other" }])
    expect((await post(completions, chat, { headers })).status).toBe(200);
});

test("pages of other origins are refused unless they are allowed, with what they need to read answers", async () => {
  const model = scripted((s) => s.end());
  const page = { headers: { origin: "https://app.example" } };
  const closed = served({ m: model });
  expect((await closed.post(completions, chat, page)).status).toBe(403);
  expect((await closed.post(completions, chat, { headers: { origin: "http://127.0.0.1" } })).status).toBe(200);
  const open = served({ m: model }, { cors: ["https://app.example"] });
  const answer = await open.post(completions, chat, page);
  expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
  const preflight = await open.post(completions, "", { ...page, method: "OPTIONS", body: null });
  expect(preflight.status).toBe(204);
  expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
  const refused = await open.post(completions, "{", page);
  expect(refused.status).toBe(400);
  expect(refused.headers.get("access-control-allow-origin")).toBe("https://app.example");
  expect((await served({ m: model }, { hosts: ["localhost"] }).get("/v1/models")).status).toBe(403);
});

test("bodies: too large by their header or while they come, not JSON, not UTF-8, not an object", async () => {
  const { post } = served({ m: scripted((s) => s.end()) }, { maxBodyBytes: 100 });
  expect((await post(completions, JSON.stringify({ ...chat, user: "x".repeat(200) }))).status).toBe(413);
  let pulled = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(new Uint8Array(64));
    },
  });
  const streamed = { body: endless, duplex: "half" } as RequestInit;
  expect((await post(completions, "", streamed)).status).toBe(413);
  expect(pulled).toBeLessThan(6);
  for (const body of ["", "{", "[]", "7", '"x"', "null"]) expect((await post(completions, body)).status).toBe(400);
  expect((await post(completions, "", { body: new Uint8Array([0x7b, 0xff, 0x7d]) })).status).toBe(400);
});

test("unknown paths and wrong methods", async () => {
  const { get, post } = served({ m: scripted((s) => s.end()) });
  expect((await get("/v1/nothing")).status).toBe(404);
  expect((await get("/constructor")).status).toBe(404);
  const wrong = await get(completions);
  expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST"]);
  expect((await post("/v1/models", {})).status).toBe(405);
});

test("beyond the places and the queue: 429 at once with Retry-After; the queue moves on in order", async () => {
  const scripts: Script[] = [];
  const { post } = served({ m: scripted((s) => scripts.push(s)) }, { parallel: 1, queue: 2 });
  const answers = [1, 2, 3].map(() => post(completions, chat));
  await settled();
  const refused = await post(completions, chat);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(scripts).toHaveLength(1);
  for (let i = 0; i < 3; i++) {
    scripts[i]!.part(`answer ${i}`);
    scripts[i]!.end();
    const body = (await (await answers[i]!).json()) as { choices: { message: { content: string } }[] };
    expect(body.choices[0]!.message.content).toBe(`answer ${i}`);
    await settled();
  }
});

test("a client that leaves the queue gives its place up; one that leaves its stream ends its generation alone", async () => {
  const scripts: Script[] = [];
  const { post, log, handler } = served({ m: scripted((s) => scripts.push(s)) }, { parallel: 2, queue: 5 });
  const streams = [post(completions, stream), post(completions, stream)];
  await settled();
  for (const script of scripts) script.part("a");
  const [first, second] = await Promise.all(streams);
  const leaver = new AbortController();
  const waiting = post(completions, chat, { signal: leaver.signal });
  await settled();
  leaver.abort();
  expect((await waiting).status).toBe(499);
  await first!.body!.cancel();
  await settled();
  expect(scripts[0]!.signal.aborted).toBe(true);
  expect(scripts[1]!.signal.aborted).toBe(false);
  scripts[1]!.part("b");
  scripts[1]!.end();
  const texts = (await eventsOf(second!)) as { choices?: { delta: { content?: string } }[] }[];
  expect(texts.map((e) => e.choices?.[0]?.delta.content ?? "").join("")).toBe("ab");
  expect(log.map((entry) => entry.status).sort()).toEqual([200, 499, 499]);
  const health = (await (await handler(new Request("http://127.0.0.1/health"))).json()) as { running: number; waiting: number };
  expect(health).toMatchObject({ running: 0, waiting: 0 });
});

test("a request that is aborted before anybody reads its stream gives its place back", async () => {
  const { post, get } = served({ m: scripted((s) => s.part("a")) });
  const leaver = new AbortController();
  await post(completions, stream, { signal: leaver.signal });
  leaver.abort();
  await settled();
  expect(await (await get("/health")).json()).toMatchObject({ running: 0 });
});

test("silence is filled with comments, and a failure in a stream is an event", async () => {
  let script: Script | undefined;
  const { post } = served({ m: scripted((s) => (script = s)) }, { keepAliveMs: 1 });
  const response = await post(completions, stream);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  expect((await reader.read()).value).toBe(": waiting\n\n");
  script!.part("a");
  script!.fail(new CpmError("engine-failed", "a lane died"));
  let rest = "";
  for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value;
  const last = rest.trimEnd().split("\n\n").at(-1)!;
  expect(JSON.parse(last.slice(6))).toMatchObject({ error: { message: "a lane died", type: "server_error" } });
});

test("a stream that nobody reads is not drained ahead", async () => {
  let script: Script | undefined;
  const { post } = served({ m: scripted((s) => (script = s)) });
  const pending = post(completions, stream);
  await settled();
  for (let i = 0; i < 50; i++) script!.part(`${i} `);
  const response = await pending;
  await settled();
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  // One read, one event: the rest waits where it is.
  expect(new TextDecoder().decode(value).match(/data:/g)).toHaveLength(1);
  await reader.cancel();
  await settled();
  expect(script!.signal.aborted).toBe(true);
});

test("a request that takes too long ends with 408, which clients are told not to repeat; a stream with an error event", async () => {
  const { post } = served({ m: scripted((s) => s.part("a")) }, { requestTimeoutMs: 20 });
  const late = await post(completions, chat);
  expect([late.status, late.headers.get("x-should-retry")]).toEqual([408, "false"]);
  const streamed = await post(completions, stream);
  // On a machine so busy that the time was up before the first event, the answer is the plain refusal.
  const events = (streamed.status === 408 ? [await streamed.json()] : await eventsOf(streamed)) as { error?: { code: string } }[];
  expect(events.at(-1)!.error).toMatchObject({ code: "timeout" });
});

test("failures of the engine say nothing of the machine, busy models ask to come again", async () => {
  const failing = (error: unknown) => served({ m: scripted((s) => s.fail(error)) });
  const internal = await failing(new Error("/home/me/secret.txt")).post(completions, chat);
  expect(internal.status).toBe(500);
  expect(await internal.text()).not.toContain("secret");
  const busy = await failing(new CpmError("busy" as "io", "too many")).post(completions, chat);
  expect([busy.status, busy.headers.get("retry-after")]).toEqual([429, "1"]);
});

test("shutting down: what runs may end, what comes is refused, what stays too long is aborted", async () => {
  const scripts: Script[] = [];
  const { post, get, handler } = served({ m: scripted((s) => scripts.push(s)) });
  const [fine, stuck] = [post(completions, chat), post(completions, chat)];
  await settled();
  const closed = handler.close({ graceMs: 50 });
  expect((await post(completions, chat)).status).toBe(503);
  expect((await get("/health")).status).toBe(503);
  scripts[0]!.part("done");
  scripts[0]!.end();
  expect((await fine).status).toBe(200);
  await closed;
  expect((await stuck).status).toBe(499);
});

test("models are loaded once on first use, the least recently used idle one makes room, and a failed load can be tried again", async () => {
  const happened: string[] = [];
  const scripts: Script[] = [];
  let broken = true;
  const source = (name: string) => ({
    bytes: async () => 1000,
    async load() {
      happened.push(`load ${name}`);
      if (name === "c" && broken) throw new CpmError("io", "c: no such file");
      const model = scripted((s) => (name === "b" ? scripts.push(s) : s.end()));
      return Object.assign(model, { dispose: async () => void happened.push(`dispose ${name}`) });
    },
  });
  const { post } = served({ a: source("a"), b: source("b"), c: source("c") }, { maxMemoryBytes: 2000 });
  const ask = (model: string) => post(completions, { ...chat, model });
  await Promise.all([ask("a"), ask("a")]);
  const held = ask("b");
  await settled();
  expect(happened).toEqual(["load a", "load b"]);
  expect((await ask("c")).status).toBe(500);
  broken = false;
  expect((await ask("c")).status).toBe(200);
  expect(happened).toEqual(["load a", "load b", "dispose a", "load c", "load c"]);
  // b is in use and c idle: a takes c's place, then b and a fill the memory.
  const again = ask("b");
  await settled();
  expect((await ask("a")).status).toBe(200);
  for (const script of scripts) script.end();
  await Promise.all([held, again]);
  expect((await post(completions, chat)).status).toBe(400);
});

test("metrics are Prometheus text and count what happened", async () => {
  const { post, get } = served({
    m: scripted((s) => {
      s.part("a");
      s.end();
    }),
  });
  await post(completions, chat);
  await post(completions, { ...chat, nonsense: 1 });
  const text = await (await get("/metrics")).text();
  expect(text).toContain('cpm_requests_total{route="/chat/completions",status="200"} 1');
  expect(text).toContain('cpm_requests_total{route="/chat/completions",status="400"} 1');
  expect(text).toContain("cpm_completion_tokens_total 2");
  for (const line of text.trimEnd().split("\n"))
    expect(line).toMatch(/^(# (HELP|TYPE) cpm_\w+ .+|cpm_\w+(\{[^}]*\})? [\d.e+-]+)$/);
});
