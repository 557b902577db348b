// What a person tells cpm chat rather than the model: /save, /set and the like.
import { readFile } from "node:fs/promises";
import process from "node:process";
import { didYouMean } from "../errors.ts";
import { CpmError } from "../index.ts";
import type { Conversation } from "./conversation.ts";
import { dim, note, writeFileWhole } from "./output.ts";
import { SETTINGS, type Setting } from "./settings.ts";
import { visible, visibleLine } from "./visible.ts";

const HELP = `/clear            forget the conversation
/system TEXT      begin anew with a system message
/regenerate       answer the last message again
/set              tell the settings; /set temperature 0.2 changes one, /set temperature forgets it
/save FILE        write the conversation to a file, as JSON
/load FILE        go on with a conversation that was saved
/think            reasoning on from here on, where the model knows it
/no_think         reasoning off
/exit             leave (also Ctrl-D)
A message of several lines: paste it, end lines with \\ or Alt-Enter, or put it between """ and """.
Ctrl-C stops an answer; at an empty prompt it leaves. What you type during an answer waits for the next prompt.`;

type Action = (conversation: Conversation, rest: string) => void | Promise<void>;

/** Commands that take text after them, and those that do not. */
const withText: Readonly<Record<string, Action>> = {
  system: (conversation, text) => conversation.begin(text),
  set: (conversation, text) => set(conversation, text),
  save: async (conversation, file) => {
    if (file === "") return note("/save FILE: the name of a file is missing");
    await writeFileWhole(file, `${JSON.stringify(conversation.saved(), null, 2)}\n`, "the path");
    note(dim(`saved to ${visibleLine(file)}`));
  },
  load: async (conversation, file) => {
    if (file === "") return note("/load FILE: the name of a file is missing");
    conversation.restore(await conversationOf(file), file);
    note(dim(`${conversation.length} messages`));
  },
};
const alone: Readonly<Record<string, Action>> = {
  help: () => note(HELP),
  "?": () => note(HELP),
  clear: (conversation) => conversation.clear(),
  regenerate: (conversation) => conversation.regenerate(),
  think: (conversation) => void (conversation.thinking = true),
  no_think: (conversation) => void (conversation.thinking = false),
};

/** Does what `text`, "/name rest", says. Failures are told; over a pipe the exit status is 1 in the end. */
export async function command(text: string, conversation: Conversation): Promise<void> {
  const name = text.slice(1).split(/\s/, 1)[0]!;
  const rest = text.slice(1 + name.length).trim();
  const action = Object.hasOwn(withText, name)
    ? withText[name]
    : rest === "" && Object.hasOwn(alone, name)
      ? alone[name]
      : undefined;
  if (!action) {
    const names = [...Object.keys(withText), ...Object.keys(alone), "exit"];
    const why = Object.hasOwn(alone, name) ? "takes no text after it" : `no such command${didYouMean(name, names, "/")}`;
    return note(`/${visibleLine(name, 40)}: ${why}; /help tells what there is`);
  }
  try {
    await action(conversation, rest);
  } catch (error) {
    if (!(error instanceof CpmError && ["io", "bad-input", "bad-option"].includes(error.code))) throw error;
    note(visible(error.message));
    if (!process.stdin.isTTY) process.exitCode = 1;
  }
}

async function conversationOf(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw new CpmError("bad-input", `${file}: no JSON (${message})`, { file }, { cause });
    throw new CpmError("io", `${file}: ${code === "ENOENT" ? "no such file" : message}`, { file }, { cause });
  }
}

/** "/set", "/set NAME", "/set NAME VALUE". */
function set(conversation: Conversation, text: string): void {
  const [name = "", ...words] = text.split(/[\s=]+/);
  const now = (key: Setting) => conversation.setting(key) ?? "as by default";
  const key = SETTINGS.find((s) => s === name.replace(/^--/, ""));
  if (name === "") note(SETTINGS.map((s) => `${s.padEnd(20)} ${now(s)}`).join("\n"));
  else if (key) {
    conversation.set(key, words.join(" ") || undefined);
    note(dim(`${key}: ${now(key)}`));
  } else note(`/set: no setting "${visibleLine(name, 40)}"${didYouMean(name, SETTINGS)}; there are ${SETTINGS.join(", ")}`);
}
