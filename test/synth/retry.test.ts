// Endpoints in trouble: asked again when they say, as long as that is sensible; keys stay out of what is told.
import { afterAll, expect, test } from "vitest";
import { endpointModel } from "../../src/chat/endpoint.ts";
import { answerOf, isPassing, isRefusal } from "../../src/chat/retry.ts";
import { startEndpoint } from "./endpoint.mjs";

const open: { close(): Promise<void> }[] = [];
afterAll(() => Promise.all(open.map((endpoint) => endpoint.close())));

type Trouble = NonNullable<Parameters<typeof startEndpoint>[0]>["trouble"];
async function endpoint(trouble: NonNullable<Trouble>, apiKey?: string) {
  const started = await startEndpoint({ trouble });
  open.push(started);
  return { ...started, model: endpointModel({ url: started.url, model: "script", ...(apiKey ? { apiKey } : {}) }) };
}
const ask = [{ role: "user", content: "Hello." }] as const;
const waits = () => {
  const all: number[] = [];
  return { all, wait: async (ms: number) => void all.push(ms) };
};

test("busy, broken and cut off: asked again, with growing waits, until it answers", async () => {
  const { model, facts } = await endpoint(
    (n) => [{ status: 503 }, { cut: true }, { status: 200, body: "no json" }, { status: 500 }][n],
  );
  const { all, wait } = waits();
  const told: string[] = [];
  const answer = await answerOf(model, ask, { seed: 1 }, { wait, onRetry: (error) => told.push(error.message) });
  expect(answer.text).not.toBe("");
  expect(all).toEqual([500, 1000, 2000, 4000]);
  expect(told[0]).toContain("status 503");
  expect(facts.requests).toBe(5);
});

test("Retry-After in seconds and as a date decides the wait, up to the longest", async () => {
  const date = new Date(Date.now() + 30_000).toUTCString();
  const headers = [
    { "retry-after": "7" },
    { "retry-after": date },
    { "retry-after": "999999" },
    { "retry-after": "soon" },
    { "retry-after": "-5" },
  ];
  const { model } = await endpoint((n) => (headers[n] ? { status: 429, headers: headers[n] } : undefined));
  const { all, wait } = waits();
  await answerOf(model, ask, {}, { wait, mostWaitMs: 60_000 });
  expect(all[0]).toBe(7000);
  expect(all[1]).toBeGreaterThan(0);
  expect(all[1]).toBeLessThanOrEqual(30_000);
  expect(all.slice(2)).toEqual([60_000, 4000, 0]);
});

test("what does not pass is told at once; what does not stop is told in the end", async () => {
  for (const [status, kind] of [
    [400, "refusal"],
    [422, "refusal"],
    [401, "other"],
    [404, "other"],
  ] as const) {
    const { model, facts } = await endpoint(() => ({ status }));
    const error = await answerOf(model, ask, {}, waits()).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "io", status });
    expect([isRefusal(error), isPassing(error)]).toEqual([kind === "refusal", false]);
    expect(facts.requests).toBe(1);
  }
  const { model, facts } = await endpoint(() => ({ status: 503 }));
  const { all, wait } = waits();
  await expect(answerOf(model, ask, {}, { wait, retries: 3 })).rejects.toMatchObject({ status: 503 });
  expect([all.length, facts.requests]).toEqual([3, 4]);
});

test("an abort ends the wait", async () => {
  const { model } = await endpoint(() => ({ status: 429, headers: { "retry-after": "100" } }));
  const control = new AbortController();
  const asked = answerOf(model, ask, { signal: control.signal }, { onRetry: () => control.abort(new Error("enough")) });
  await expect(asked).rejects.toThrow("enough");
});

test("a key that an endpoint gives back is not in the message", async () => {
  const { model, facts } = await endpoint(
    () => ({ status: 401, body: '{"error":{"message":"wrong key: sk-secret-1234"}}' }),
    "sk-secret-1234",
  );
  const error = (await answerOf(model, ask, {}).catch((thrown: unknown) => thrown)) as Error;
  expect(error.message).toContain("wrong key: …");
  expect(`${error.message} ${JSON.stringify(error)} ${error.stack}`).not.toContain("sk-secret");
  expect([...facts.keys]).toEqual(["Bearer sk-secret-1234"]);
});
