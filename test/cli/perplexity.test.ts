// cpm perplexity: what is printed, the file of log-probabilities, and what is refused.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cpm, json, story, temporary } from "./command.ts";

const folder = temporary();
const text = join(folder, "text.txt");
const words = ["Once upon a time", "there was a little cat.", "The cat liked to play", "with a big red ball."];
writeFileSync(text, `${Array.from({ length: 150 }, (_, i) => words[(i * i) % 4]).join(" ")}\n`);

interface Found {
  contextSize: number;
  count: number;
  perplexity: { value: number; error: number };
  chunks: { running: number }[];
  divergence?: { mean: { value: number }; sameTop: { value: number } };
}

test("perplexity, its base file, and the divergence of a model from itself", async () => {
  const file = join(folder, "base.kld");
  const small = ["--ctx", "64", "--chunks", "3", "--threads", "1"];
  const first = await json<Found>(["perplexity", story, "-f", text, ...small, "--save-kl", file]);
  expect(first.contextSize).toBe(64);
  expect(first.count).toBe(3 * 31);
  expect(first.perplexity.value).toBeGreaterThan(1);
  expect(readFileSync(file).subarray(0, 8).toString()).toBe("_logits_");
  // Lines for a script, the table at last.
  const spec = join(folder, "picture.json");
  const { status, out, err } = await cpm(["perplexity", story, "--kl-base", file, "--threads", "1", "--spec", spec]);
  expect(status, err).toBe(0);
  const running = [...err.matchAll(/^\[(\d)\]([\d.]+)$/gm)].map(([, i, value]) => [Number(i), value]);
  expect(running).toEqual(first.chunks.map((chunk, i) => [i + 1, chunk.running.toFixed(4)]));
  expect(out).toMatch(/^perplexity {2}[\d.]+ ± [\d.]+$/m);
  expect(out).toMatch(/^ {2}same top token +100\.000 ± 0\.000$/m);
  const picture = JSON.parse(readFileSync(spec, "utf8")) as { vconcat: { title: string }[] };
  expect(picture.vconcat.map(({ title }) => title)).toEqual([
    "perplexity by position",
    expect.stringMatching(/^KL.*by percentile/),
  ]);
});

test("bad input is one line and a status, and leaves no half of a file", async () => {
  const file = join(folder, "other.kld");
  const binary = join(folder, "binary");
  writeFileSync(binary, Buffer.from([0x41, 0xff, 0xfe, 0x42]));
  const refusals: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["perplexity", story], 2, /give a text with --file/],
    [["perplexity", story, "-f", join(folder, "none.txt")], 1, /could not be read .*check --file/],
    [["perplexity", story, "-f", text, "--ctx", "4096", "--save-kl", file], 1, /tokens are too few/],
    [["perplexity", story, "--kl-base", story], 1, /does not begin with _logits_/],
    [["perplexity", story, "--kl-base", folder], 1, /check --kl-base/],
    [["perplexity", story, "-f", text, "--save-kl", text], 1, /there is a file already; .* --force/],
    [["perplexity", story, "-f", text, "--save-kl", join(folder, "no/where")], 1, /there is no folder .*check --save-kl/],
    [["perplexity", story, "-f", text, "--spec", join(folder, "no/where")], 1, /there is no folder .*check --spec/],
    [["perplexity", story, "-f", text, "--ctx", "3"], 2, /--ctx: expected a whole number from 4 on, found 3/],
    [["perplexity", story, "-f", text, "--force"], 2, /--force: only with --save-kl/],
    [["perplexity", story, "--kl-base", file, "--save-kl", file, "--force"], 2, /the file of --kl-base/],
    [["perplexity", story, "-f", binary], 1, /this is no UTF-8 text; check --file/],
  ];
  for (const [args, wanted, message] of refusals) {
    const { status, out, err } = await cpm(args);
    expect([status, out], err).toEqual([wanted, ""]);
    expect(err).toMatch(message);
  }
  expect(existsSync(file)).toBe(false);
  expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
});
