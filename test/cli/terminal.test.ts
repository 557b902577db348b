// The command on a terminal, driven by keys: script(1) makes the terminal.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { main, start, temporary } from "./command.ts";
import { scriptedModel } from "./scripted.ts";

const linux = process.platform === "linux";
if (!linux) console.log("not tested: a terminal takes script(1) of Linux");
const folder = temporary();
const echo = join(folder, "counter.gguf");
const endless = join(folder, "endless.gguf");
const hostile = join(folder, "hostile.gguf");

beforeAll(() => {
  // The answer tells how many messages there were and whether the last has a line break.
  const template = "{{ ['a','b','c','d','e','f'][messages | length] if '\\n' not in messages[-1].content else 'g' }}";
  writeFileSync(echo, scriptedModel([..."abcdefghi"], { template }));
  writeFileSync(endless, scriptedModel(["a", "b", "c"], { again: true }));
  writeFileSync(hostile, scriptedModel(["a", "<0x1B>", "b"], { template: "\u001b]0;owned\u0007{{ 1 }}" }));
});

/** `command` on a terminal of so many columns. */
function terminal(args: readonly string[], columns = 80) {
  const quoted = [process.execPath, main, ...args].map((arg) => `'${arg}'`).join(" ");
  const running = start(["-qec", `stty cols ${columns} rows 24; exec ${quoted}`, "/dev/null"], ["script"]);
  const screen = (out: string) => stripVTControlCharacters(out).replaceAll("\r", "");
  /** Types once the screen shows `wanted` so many times. */
  const when = async (wanted: string, times: number, keys: string) => {
    await running.until((out) => screen(out).split(wanted).length > times);
    running.child.stdin.write(keys);
  };
  return { ...running, when, screen };
}

test.runIf(linux)("pasted lines are one message, and the terminal is asked to mark pastes and told to stop", async () => {
  const { when, ended, screen } = terminal(["chat", echo, "--temperature", "0"]);
  await when("> ", 1, "\u001b[200~one\r\ntwo\r\n\u001b[201~\r");
  await when("> ", 2, "one\\\r");
  await when("… ", 1, "two\r");
  await when("> ", 3, '"""\r');
  await when("… ", 2, "a\r");
  await when("… ", 3, 'b"""\r');
  await when("> ", 4, "one\u001b\rtwo\r");
  await when("> ", 5, "/exit\r");
  const { status, out } = await ended;
  expect(status).toBe(0);
  expect(out).toContain("\u001b[?2004h");
  expect(out).toContain("\u001b[?2004l");
  // Four messages with line breaks: each is answered by what follows "g".
  expect(screen(out).match(/^hi$/gm)?.length).toBe(4);
});

test.runIf(linux)("what is typed during an answer waits for the prompt, and Ctrl-C stops the answer only", async () => {
  const { when, until, ended, screen, child } = terminal(["chat", endless, "--temperature", "0", "--ctx", "100000"]);
  await when("> ", 1, "Hi\r");
  await when("abcabc", 1, "dropped");
  child.stdin.write("\u0003");
  await until((out) => screen(out).includes("stopped"));
  await when("> ", 2, "/set temperature 0.5\r/exit\r");
  const { status, out } = await ended;
  expect(status).toBe(0);
  const text = screen(out);
  expect(text).not.toContain("dropped");
  expect(text).toMatch(/\nstopped\n/);
  // Typed at once, shown one after the other.
  expect(text).toMatch(/> \/set temperature 0\.5\ntemperature: 0\.5\n> .*\/exit/s);
});

test.runIf(linux)(
  "Ctrl-C at the prompt drops the line, on an empty one it leaves; Ctrl-D leaves; arrows bring lines back",
  async () => {
    const first = terminal(["chat", echo, "--temperature", "0"]);
    await first.when("> ", 1, "never sent\u0003");
    await first.when("> ", 2, "\u0003");
    const left = await first.ended;
    expect({ status: left.status, answers: first.screen(left.out).match(/^[a-i]+$/gm) }).toEqual({ status: 0, answers: null });
    const second = terminal(["chat", echo, "--temperature", "0"]);
    await second.when("> ", 1, "Hi\r");
    await second.when("cdefghi", 1, "");
    await second.when("> ", 2, "/clear\r");
    await second.when("> ", 3, "\u001b[A\u001b[A\r");
    await second.when("cdefghi", 2, "");
    await second.until((out) => second.screen(out).split("tokens/s").length > 2);
    second.child.stdin.write("\u0004");
    expect((await second.ended).status).toBe(0);
  },
);

test.runIf(linux)("progress fits 40 columns, and a long prompt shows how far it is", async () => {
  const prompt = join(folder, "long.txt");
  writeFileSync(prompt, "Once there was a dog. ".repeat(300));
  const { ended } = terminal(
    ["run", endless, "--ctx", "10000", "--prompt-file", prompt, "--max-tokens", "2", "--temperature", "0"],
    40,
  );
  const { status, out } = await ended;
  expect(status).toBe(0);
  const drawn = out.split("\r\u001b[K").slice(1, -1);
  expect(drawn.length).toBeGreaterThan(1);
  for (const line of drawn.filter((l) => /^(loading|reading)/.test(l))) expect(line.length).toBeLessThanOrEqual(39);
  expect(drawn.some((line) => /^reading the prompt .*%/.test(line))).toBe(true);
});

test.runIf(linux)("no value of a file steers the terminal", async () => {
  const inspected = await terminal(["inspect", hostile]).ended;
  expect(inspected.status).toBe(0);
  expect(inspected.out).toContain("\\u001b]0;owned\\u0007");
  expect(inspected.out).not.toContain("\u001b]0");
  const json = await terminal(["inspect", hostile, "--json"]).ended;
  expect(json.out).not.toContain("\u001b]0");
  const said = await terminal(["run", hostile, "-p", "\n", "--temperature", "0"]).ended;
  expect(said.out).toContain("a\\u001bb");
});

test("a conversation is saved, loaded, answered again and set, also over a pipe", async () => {
  const file = join(folder, "conversation.json");
  const { child, ended } = start(["chat", echo, "--temperature", "0", "--system", "Be brief."]);
  child.stdin.end(
    `Hi\n/save ${file}\n/clear\n/load ${file}\nHi\n/regenerate\n/set top-k 5\n/set top-k -1\n/set warmth 1\n/load ${folder}/none\n"""\na\nb\n"""\n`,
  );
  const { status, out, err } = await ended;
  expect(out.trimEnd().split("\n")).toEqual(["defghi", "fghi", "fghi", "hi"]);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "defghi" },
    ],
  });
  expect(err).toContain("top-k: 5");
  expect(err).toMatch(/top-k: expected an integer from 0/);
  expect(err).toContain('no setting "warmth"');
  expect(err).toMatch(/none: no such file/);
  // Something was asked that could not be done.
  expect(status).toBe(1);
});
