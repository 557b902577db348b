// cpm chat over a pipe: one message a line.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { cpm, start, story, temporary } from "./command.ts";
import { scriptedModel, thinkingTemplate, thought } from "./scripted.ts";

const folder = temporary();
const thinker = join(folder, "thinker.gguf");
const counter = join(folder, "counter.gguf");
const endless = join(folder, "endless.gguf");

beforeAll(() => {
  writeFileSync(counter, scriptedModel([..."abcdefgh"], { template: "{{ ['a','b','c','d','e'][messages | length] }}" }));
  writeFileSync(thinker, scriptedModel(thought, { template: thinkingTemplate }));
  writeFileSync(endless, scriptedModel(["a", "b", "c"], { again: true }));
});

test("chat answers each line of a pipe, also the last without a line break, and remembers the conversation", async () => {
  // The prompt is the letter of the number of messages: the answer tells how many there were.
  const input = "Hi\nHi\n\n/clear\nHi\n/system Be kind.\nHi\nHi\n/clear\nHi\n/system\nHi";
  const { status, out, err } = await cpm(["chat", counter, "--temperature", "0", "--system", "Be brief."], input);
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(out.trimEnd().split("\n")).toEqual(["defgh", "fgh", "defgh", "defgh", "fgh", "defgh", "cdefgh"]);
});

test("chat answers with a model that has no template, and says what it does not know", async () => {
  const { status, out, err } = await cpm(["chat", story, "--max-tokens", "4"], "Hello\n/nonsense\n/help\nHello\n");
  expect({ status, answers: out.trimEnd().split("\n").length }).toEqual({ status: 0, answers: 2 });
  expect(err).toContain("/nonsense: no such command");
  expect(err).toContain("/system TEXT");
});

test("/exit ends the chat before what follows it", async () => {
  const { status, out } = await cpm(["chat", story, "--temperature", "0", "--max-tokens", "4"], "/exit\nnever\n");
  expect({ status, out }).toEqual({ status: 0, out: "" });
});

test("reasoning goes to stderr where stdout is a pipe, and /no_think and /think turn it off and on", async () => {
  const { status, out, err } = await cpm(["chat", thinker, "--temperature", "0"], "Hi\n/no_think\nHi\n/think\nHi\n");
  expect({ status, out }).toEqual({ status: 0, out: "ok\nhm</think>ok\nok\n" });
  expect(err).toBe("hm\nhm\n");
});

test("a message that does not fit is told and the chat goes on, but its status says that something failed", async () => {
  const input = `${"word ".repeat(400)}\nHello\n`;
  const { status, out, err } = await cpm(["chat", story, "--temperature", "0", "--max-tokens", "4"], input);
  expect(status).toBe(1);
  expect(err).toMatch(/tokens do not fit the context of 256.*--ctx.*\/clear/);
  expect(out.trimEnd().split("\n").length).toBe(1);
});

test("Ctrl-C stops the answer, not the chat; with no answer to stop it ends the chat", async () => {
  const { child, until, ended } = start(["chat", endless, "--temperature", "0", "--ctx", "100000"]);
  for (const answer of [1, 2]) {
    child.stdin.write("/clear\nHi\n");
    await until((out) => out.split("\n")[answer - 1]?.includes("abcabc") === true);
    child.kill("SIGINT");
    await until((_, err) => err === "stopped\n".repeat(answer));
  }
  child.kill("SIGINT");
  const { status, out, err } = await ended;
  expect({ status, err }).toEqual({ status: 130, err: "stopped\nstopped\n" });
  expect(out).toMatch(/^(abc)+a?b?\n(abc)+a?b?\n$/);
});
