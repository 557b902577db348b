// cpm chat: a conversation in the terminal, or over a pipe with one message a line.
import process from "node:process";
import { createInterface, type Interface } from "node:readline/promises";
import type { Model } from "../index.ts";
import type { Command } from "./args.ts";
import { Conversation } from "./conversation.ts";
import { claimInterrupts, interrupt } from "./interrupt.ts";
import { openModel } from "./model.ts";
import { draftArgs, generateOptions, loadArgs, loadOptions, modelArg, samplingArgs } from "./options.ts";
import { dim, note } from "./output.ts";

const HELP = `/clear           forget the conversation
/system TEXT     begin anew with a system message
/think           reasoning on from here on, where the model knows it
/no_think        reasoning off
/exit            leave (also Ctrl-D)
Ctrl-C stops an answer; at an empty prompt it leaves.`;

export const chat: Command = {
  name: "chat",
  description: "Talk to a model",
  args: {
    ...modelArg,
    system: { type: "string", valueHint: "TEXT", description: "A system message" },
    ...samplingArgs,
    ...draftArgs,
    ...loadArgs,
  },
  repeated: ["stop", "header"],
  async run(args) {
    const options = generateOptions(args);
    await using model = await openModel(args.positionals[0], loadOptions(args), false);
    const terminal = process.stdin.isTTY === true;
    const conversation = new Conversation(model, options, args.text("system"), terminal);
    const lines = createInterface({
      input: process.stdin,
      terminal,
      ...(terminal ? { output: process.stderr, prompt: "> " } : {}),
    });
    claimInterrupts(() => conversation.stop());
    interrupt.signal.addEventListener("abort", () => lines.close());
    lines.on("SIGINT", () => conversation.stop() || leave(lines));
    if (terminal) greet(model);
    await talk(lines, conversation);
    if (terminal) note("");
    claimInterrupts(undefined);
  },
};

async function talk(lines: Interface, conversation: Conversation): Promise<void> {
  let open = true;
  lines.on("close", () => (open = false));
  lines.prompt();
  for await (const line of lines) {
    const text = line.trim();
    if (text === "/exit") break;
    if (text.startsWith("/")) command(text, conversation);
    else if (text !== "") await conversation.reply(text);
    if (interrupt.signal.aborted) break;
    if (open) lines.prompt();
  }
  lines.close();
}

function command(text: string, conversation: Conversation): void {
  const name = text.split(/\s/, 1)[0]!;
  const rest = text.slice(name.length).trim();
  if (name === "/help") note(HELP);
  else if (name === "/clear") conversation.clear();
  else if (name === "/system") conversation.begin(rest);
  else if (name === "/think" && rest === "") conversation.thinking = true;
  else if (name === "/no_think" && rest === "") conversation.thinking = false;
  else note(`${name}: no such command, or not with this text after it; /help tells what there is`);
}

function greet({ info }: Model): void {
  note(dim(`${info.config.name}, ${info.contextSize} tokens of context; /help tells what else there is`));
  if (info.tokenizer.chatTemplate === undefined)
    note(dim("This model has no chat template: it gets ChatML, and was perhaps never trained to answer."));
}

/** Ctrl-C at the prompt: drops what is typed; with nothing typed, ends the conversation. */
function leave(lines: Interface): void {
  if (lines.line === "") lines.close();
  else lines.write(null, { ctrl: true, name: "u" });
}
