// What the command refuses: in one paragraph on stderr, with nothing on stdout and the documented exit status.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { cpm, story, temporary } from "./command.ts";

const folder = temporary();
const cut = join(folder, "cut.gguf");
writeFileSync(cut, readFileSync(story).subarray(0, 50_000));

const cases: readonly [string[], number, RegExp][] = [
  [["run", join(folder, "none.gguf")], 1, /none\.gguf: no such file/],
  [["run", cut], 1, /cut\.gguf at byte \d+/],
  [["run", "--prompt-file", join(folder, "none.txt")], 1, /none\.txt: no such file; check the path of --prompt-file/],
  [["run", "-p", "word ".repeat(400)], 1, /tokens do not fit the context of 256.*--ctx/],
  [["run", "--temperature", "-1"], 2, /^--temperature: expected a finite number, at least 0, found -1/],
  [["run", "--temperature", "warm"], 2, /^--temperature: expected a number, found "warm"/],
  [["run", "--max-tokens", "-5"], 2, /^--max-tokens: expected a whole number from 1/],
  [["run", "--ctx", "0"], 2, /^--ctx: expected a whole number from 1/],
  [["run", "--threads", "65"], 2, /^--threads: expected a whole number from 1 to 64/],
  [["run", "--variant", "fast"], 2, /^--variant: expected "auto", "base", "relaxed", found "fast"/],
  [["run", "--kv-type", "f64"], 2, /^--kv-type: expected "f16", "f32", "q8", found "f64"/],
  [["run", "--stop", ""], 2, /^--stop: expected a text/],
  [
    ["run", "--draft-eagle", cut, "--draft-weights", "int4"],
    2,
    /^--draft-weights: expected "auto", "float" or "int8", found "int4"/,
  ],
  [["run", "--draft", "lookup", "--draft-weights", "int8"], 2, /^--draft-weights: only with a draft head/],
  [["run", "--header", "no colon"], 2, /^--header: expected "Name: value"/],
  [["run", "--warm"], 2, /no option --warm; options are --help, --prompt/],
  [["run", "-x"], 2, /no option -x/],
  [["run", "-p"], 2, /-p: its value is missing/],
  [["run", "-p", "--special"], 2, /-p: its value is missing; write --prompt=--special/],
  [["run", "--special=yes"], 2, /--special takes no value/],
  [["run", "--seed", "1", "--seed", "2"], 2, /--seed is given twice/],
  [["run", "-p", "a", "--prompt-file", cut], 2, /--prompt or --prompt-file, not both/],
  [["run", story, "more"], 2, /"more" is one argument too many/],
  [["chat", "--json"], 2, /no option --json/],
  [["chat", "--top-p", "2"], 2, /^--top-p: expected a number above 0, at most 1/],
  [["logits", story], 2, /give --tokens or --tokens-file/],
  [["logits", "--tokens", ""], 2, /expected at least one token id/],
  [["logits", "--tokens", "1,two"], 2, /expected token ids like 1,5,9, found "two"/],
  [["logits", "--tokens", "1", "--at", "first"], 2, /^--at: expected "last" or "all"/],
  [["tokenize", story], 2, /give --text or --text-file/],
  [["bench", "--repeat", "2"], 2, /^--repeat: expected a whole number, at least 3/],
  [["bench", "--ctx", "10"], 2, /^--ctx: expected at least depth \+ prompt \+ decode = 640/],
  [["inspect", cut, "--tensor"], 2, /no option --tensor/],
  [["dance"], 2, /no command "dance"; commands are run, chat, inspect, tokenize, logits, attention, bench, freq/],
];

const titled = cases.map(([args, status, message]) => {
  const title = args.map((arg) => (arg.includes("/") ? basename(arg) : arg.slice(0, 20))).join(" ");
  return { title, args, status, message };
});

test.concurrent.for(titled)("cpm $title is refused with status $status and a reason", async ({ args, status, message }) => {
  const found = await cpm(args);
  const err = args.includes("--json") ? (JSON.parse(found.err) as { error: { message: string } }).error.message : found.err;
  expect({ status: found.status, out: found.out }).toEqual({ status, out: "" });
  expect(err).toMatch(message);
  expect(err).not.toMatch(/\n\s+at /);
});

test("with --json a failure is an object on stderr, and stdout stays empty", async () => {
  const errorOf = async (args: string[]) => {
    const { status, out, err } = await cpm([...args, "--json"]);
    expect({ status: status !== 0, out }).toEqual({ status: true, out: "" });
    return (JSON.parse(err) as { error: object }).error;
  };
  const damaged = await errorOf(["run", cut]);
  expect(Object.keys(damaged)).toEqual(["code", "message", "detail"]);
  expect(damaged).toMatchObject({ code: "bad-model", detail: { file: cut } });
  expect(await errorOf(["run", "--warm"])).toMatchObject({ code: "usage", detail: {} });
  const foreign = ["logits", story, "--at", "all", "--tokens", `${"1,".repeat(100)}99999`];
  expect(await errorOf(foreign)).toMatchObject({ code: "bad-input", message: /token 99999 at index 100/ });
  const long = ["logits", story, "--at", "all", "--tokens", "1,".repeat(257)];
  expect(await errorOf(long)).toMatchObject({ code: "context-overflow" });
});

test("help and version are for stdout", async () => {
  expect(await cpm(["--version"])).toMatchObject({ status: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: "" });
  const overview = await cpm([]);
  for (const name of ["run", "chat", "inspect", "tokenize", "logits", "bench"]) expect(overview.out).toContain(`cpm ${name}`);
  expect((await cpm(["--help"])).out).toBe(overview.out);
  const help = await cpm(["run", "--help"]);
  expect(help).toMatchObject({ status: 0, err: "" });
  expect(help.out).toContain("--max-tokens");
  expect(help.out).not.toContain("\u001b");
});
