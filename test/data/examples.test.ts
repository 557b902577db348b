// examples/data: the commands of the Kubernetes job are those of the shard contract, and run.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { door, root, temporary } from "./rig.ts";

test("the Indexed Job's command cleans the shard of its index", async () => {
  const yaml = readFileSync(join(root, "examples/data/indexed-job.yaml"), "utf8");
  const value = (name: string) => new RegExp(`^ +${name}: (\\S+)$`, "m").exec(yaml)?.[1];
  expect([value("completionMode"), value("restartPolicy")]).toEqual(["Indexed", "Never"]);
  const completions = Number(value("completions"));
  expect(completions).toBeGreaterThan(1);
  expect(Number(value("backoffLimitPerIndex"))).toBeGreaterThan(0);
  // The folded text under ">-": its lines joined by spaces, as YAML has it.
  const folded = /- >-\n((?: {14}\S.*\n)+)/
    .exec(yaml)![1]!
    .split("\n")
    .map((line) => line.trim())
    .join(" ")
    .trim();
  expect(folded).toContain(`--shard "$JOB_COMPLETION_INDEX/${completions}"`);
  const folder = temporary();
  mkdirSync(join(folder, "in"));
  const records = Array.from({ length: 200 }, (_, id) => ({
    id,
    text: `a text of words, number ${id}, long enough for the rules of length`,
  }));
  writeFileSync(join(folder, "in/a.jsonl"), records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  const { pieces } = await door.train(
    new TextEncoder().encode("__label__pos a text of words\n__label__neg buy cheap\n".repeat(20)),
    {
      dim: 4,
    },
  );
  writeFileSync(join(folder, "quality.fold"), await door.fold(Buffer.concat([...pieces()])));
  const command = folded
    .replaceAll("/corpus", folder)
    .replace("npx --yes cpm-wasm", `"${process.execPath}" "${join(root, "dist/cli/main.js")}"`);
  for (const index of [3, 3, completions - 1])
    execFileSync("sh", ["-c", command], { env: { ...process.env, JOB_COMPLETION_INDEX: String(index) }, stdio: "ignore" });
  const files = readdirSync(join(folder, "out")).filter((name) => name.startsWith("kept"));
  const ids = files.flatMap((name) =>
    readFileSync(join(folder, "out", name), "utf8")
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { id: number }).id),
  );
  const expected = [3, completions - 1].flatMap((index) =>
    records.filter(({ id }) => id % completions === index).map(({ id }) => id),
  );
  expect(ids.sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b));
});
