// cpm survey as a person uses it: a folder of documents, a report in either form, an index that is kept, a run that is gone on with.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cpm, start, story, temporary } from "../cli/command.ts";

const folder = temporary();
const corpus = join(folder, "documents");
mkdirSync(join(corpus, "more"), { recursive: true });
writeFileSync(join(corpus, "rice.md"), "# Rice & time\nRice takes 20_minutes.\n");
writeFileSync(join(corpus, "more/salt.txt"), "Salt 100%\nSalt goes last.\n");
writeFileSync(
  join(corpus, "more/list.jsonl"),
  '{"id": 7, "title": "Beans", "text": "Beans take longer than rice.", "year": 1999}\n',
);
const ask = (out: string, ...more: string[]) => [
  "survey",
  "How to cook rice",
  "--corpus",
  corpus,
  "-o",
  out,
  "--model",
  story,
  "--ctx",
  "4096",
  "--threads",
  "1",
  "--seed",
  "3",
  ...more,
];

test("a run that is killed is gone on with, and gives the document that a whole run gives", async () => {
  const [whole, killed] = [join(folder, "whole.md"), join(folder, "killed.md")];
  const index = join(folder, "index");
  const one = await cpm(ask(whole, "--max-turns", "5", "--index", index));
  expect(one.err).toMatch(/3 documents[\s\S]*turn 5[\s\S]*whole\.md: 5 turns/);
  const running = start(ask(killed, "--max-turns", "5", "--index", index));
  await running.until((_, err) => err.includes("turn 1"));
  running.child.kill("SIGKILL");
  await running.ended;
  const again = await cpm(ask(killed, "--max-turns", "5", "--index", index));
  expect(again.err).toMatch(/going on behind turn [1-5]/);
  expect(readFileSync(killed, "utf8")).toBe(readFileSync(whole, "utf8"));
  expect(readFileSync(killed, "utf8")).toMatch(/^# \S/);
});

test("LaTeX comes with its bibliography; --json tells the files; what is missing or wrong is told", async () => {
  const out = join(folder, "report.tex");
  const { out: printed, err } = await cpm(ask(out, "--max-turns", "2", "--json"));
  expect(err).toBe("");
  expect(JSON.parse(printed)).toMatchObject({ turns: 2, files: [out, join(folder, "report.bib")] });
  expect(readFileSync(out, "utf8")).toMatch(/^\\documentclass\{article\}[\s\S]*\\end\{document\}\n$/);
  expect((await cpm(["survey", "x", "--corpus", corpus])).status).toBe(2);
  expect((await cpm(["survey", "x", "-o", out])).err).toMatch(/give --corpus or --retriever/);
  expect((await cpm(["survey", "x", "-o", out, "--corpus", join(folder, "absent")])).err).toMatch(/absent: .*check --corpus/);
});
