// cpm review without a browser: who may ask, what is written, what a kill leaves, what is exported.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { toShareGpt } from "../../src/data/formats.ts";
import { cpm, type Running, start, temporary } from "./command.ts";

const folder = temporary();
const lines = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({
    id: `s${i}`,
    messages: [
      { role: "user", content: `<b>${i}</b>` },
      { role: "assistant", content: "\ud800 ok" },
    ],
  }),
);

interface Page {
  readonly running: Running;
  readonly base: string;
  readonly token: string;
  ask(
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; value: Record<string, unknown> }>;
}

async function review(file: string, ...more: string[]): Promise<Page> {
  const running = start(["review", file, ...more]);
  let seen = "";
  await running.until((_, err) => {
    seen = err;
    return /review: \S+\n/.test(err);
  });
  const [, base, token] = /review: (http:\/\/127\.0\.0\.1:\d+)\/#(\S+)/.exec(seen)!;
  const ask: Page["ask"] = async (path, body, headers = {}) => {
    const response = await fetch(`${base!}${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        authorization: `Bearer ${token!}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, value: (await response.json()) as Record<string, unknown> };
  };
  return { running, base: base!, token: token!, ask };
}

test("verdicts are there after a kill, a torn line is none, and the review goes on where it was; what was kept is exported to the byte", async () => {
  const file = join(folder, "samples.jsonl");
  // The last line has no end; an empty line is none.
  writeFileSync(file, `${lines.slice(0, 3).join("\n")}\n\n${lines.slice(3).join("\n")}`);
  const first = await review(file);
  expect((await first.ask("/api/state")).value).toEqual({ total: 6, counts: { keep: 0, drop: 0, unsure: 0 }, open: 0 });
  expect((await first.ask("/api/sample/3")).value).toMatchObject({
    index: 3,
    line: 5,
    record: JSON.parse(lines[3]!) as object,
    verdict: null,
  });
  await first.ask("/api/verdict", { index: 0, verdict: "keep", note: "good" });
  await first.ask("/api/verdict", { index: 1, verdict: "drop", note: "" });
  await first.ask("/api/verdict", { index: 5, verdict: "keep", note: "" });
  first.running.child.kill("SIGKILL");
  await first.running.ended;
  const verdicts = `${file}.verdicts.jsonl`;
  appendFileSync(verdicts, '{"hash":"00');
  const second = await review(file);
  expect((await second.ask("/api/state")).value).toEqual({ total: 6, counts: { keep: 2, drop: 1, unsure: 0 }, open: 2 });
  expect((await second.ask("/api/sample/0")).value).toMatchObject({ verdict: "keep", note: "good" });
  await second.ask("/api/verdict", { index: 2, verdict: "unsure", note: "?" });
  await second.ask("/api/verdict", { index: 5, verdict: null, note: "" });
  second.running.child.kill("SIGINT");
  expect((await second.running.ended).err).toContain("1 kept, 1 dropped, 1 unsure");
  const written = readFileSync(verdicts, "utf8");
  expect(written.split("\n").filter((line) => line.includes('"verdict"'))).toHaveLength(5);
  const out = join(folder, "kept.jsonl");
  expect((await cpm(["review", file, "--export", out])).status).toBe(0);
  expect(readFileSync(out, "utf8")).toBe(`${lines[0]}\n`);
  // A file made anew with other samples takes over none of their verdicts, and those of samples that moved.
  writeFileSync(file, `${JSON.stringify({ id: "s0", text: "new" })}\n${lines[0]}\n`);
  expect((await cpm(["review", file, "--export", "-", "--json"])).out).toContain(`${lines[0]}\n`);
});

test("only who has the token, from this page, by this name, may ask", async () => {
  const file = join(folder, "guarded.jsonl");
  writeFileSync(file, `${lines.join("\n")}\n`);
  const { running, base, ask } = await review(file);
  const page = await fetch(base);
  expect(page.headers.get("content-security-policy")).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
  expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  expect(await page.text()).not.toContain("<b>0");
  for (const headers of [{ authorization: "Bearer wrong" }, { authorization: "" }])
    expect((await ask("/api/sample/0", undefined, headers)).status).toBe(401);
  expect((await ask("/api/state", undefined, { origin: "http://evil.example" })).status).toBe(403);
  expect((await ask("/api/verdict", { index: 0, verdict: "keep", note: "" }, { "content-type": "text/plain" })).status).toBe(415);
  const named = await new Promise<number>((resolve, reject) => {
    const asked = request(base, { headers: { host: "evil.example" } }, (response) => resolve(response.resume().statusCode!));
    asked.on("error", reject).end();
  });
  expect(named).toBe(403);
  for (const [path, body, status] of [
    ["/api/sample/6", undefined, 404],
    ["/api/sample/x", undefined, 404],
    ["/api/other", undefined, 404],
    ["/api/verdict", { index: 99, verdict: "keep", note: "" }, 404],
    ["/api/verdict", { index: 0, verdict: "best", note: "" }, 400],
    ["/api/verdict", { index: 0, verdict: "keep", note: 7 }, 400],
    ["/api/verdict", { index: 0, verdict: "keep", note: "x".repeat(70_000) }, 413],
    ["/api/verdict", [1], 400],
  ] as const)
    expect((await ask(path, body)).status, path).toBe(status);
  expect((await ask("/api/state")).value["counts"]).toEqual({ keep: 0, drop: 0, unsure: 0 });
  // The file under the review changes: its samples are not judged unseen.
  writeFileSync(file, `${lines.join("\n").toUpperCase()}\n`);
  expect((await ask("/api/sample/0")).status).toBe(500);
  running.child.kill("SIGINT");
  await running.ended;
});

test("ShareGPT is shown as messages, other lines as they are; a sample by chance is the same for the same seed", async () => {
  const file = join(folder, "forms.jsonl");
  writeFileSync(file, `${JSON.stringify(toShareGpt(JSON.parse(lines[1]!) as never))}\nno json\n[1]\n`);
  const { running, ask } = await review(file);
  expect((await ask("/api/sample/0")).value["record"]).toEqual(JSON.parse(lines[1]!));
  expect((await ask("/api/sample/1")).value["record"]).toEqual({ unreadable: "no json" });
  expect((await ask("/api/sample/2")).value["record"]).toEqual({ value: [1] });
  running.child.kill("SIGINT");
  await running.ended;
  const many = join(folder, "many.jsonl");
  writeFileSync(many, Array.from({ length: 500 }, (_, i) => `{"id":${i}}\n`).join(""));
  const shown: unknown[][] = [];
  for (const seed of ["1", "1", "2"]) {
    const page = await review(many, "--sample", "5", "--seed", seed);
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push(((await page.ask(`/api/sample/${i}`)).value["record"] as { id: unknown }).id);
    shown.push(ids);
    page.running.child.kill("SIGINT");
    await page.running.ended;
  }
  expect(shown[1]).toEqual(shown[0]);
  expect(shown[2]).not.toEqual(shown[0]);
});

test("what is wrong is told", async () => {
  writeFileSync(join(folder, "empty.jsonl"), "\n\n");
  expect((await cpm(["review"])).status).toBe(2);
  expect((await cpm(["review", join(folder, "none.jsonl")])).err).toContain("none.jsonl");
  expect((await cpm(["review", join(folder, "empty.jsonl")])).err).toContain("no samples");
  expect((await cpm(["review", join(folder, "many.jsonl"), "--port", "70000"])).status).toBe(2);
});
