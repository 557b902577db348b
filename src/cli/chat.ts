// cpm chat: a conversation in the terminal, or over a pipe with one message a line.
import process from "node:process";
import type { Model } from "../index.ts";
import type { Command } from "./args.ts";
import { command } from "./chatcommands.ts";
import { Conversation } from "./conversation.ts";
import { claimInterrupts, interrupt } from "./interrupt.ts";
import { type Lines, nextMessage, pipedLines, typedLines } from "./lines.ts";
import { openModel } from "./model.ts";
import { draftArgs, generateOptions, loadArgs, loadOptions, loraArgs, modelArg, networkArgs, samplingArgs } from "./options.ts";
import { dim, note } from "./output.ts";
import { visibleLine } from "./visible.ts";

export const chat: Command = {
  name: "chat",
  description: "Talk to a model",
  args: {
    ...modelArg,
    system: { type: "string", valueHint: "TEXT", description: "A system message" },
    ...samplingArgs,
    ...draftArgs,
    ...loraArgs,
    ...loadArgs,
    ...networkArgs,
  },
  repeated: ["stop", "header", "lora"],
  async run(args) {
    const options = generateOptions(args);
    await using model = await openModel(args.positionals[0], loadOptions(args), false);
    const screen = [process.stderr, process.stdout].find((stream) => stream.isTTY);
    const terminal = process.stdin.isTTY === true && screen !== undefined;
    const conversation = new Conversation(model, options, args.text("system"), terminal);
    const stop = () => conversation.stop();
    const lines = terminal ? typedLines(screen, stop) : pipedLines();
    claimInterrupts(stop);
    interrupt.signal.addEventListener("abort", () => lines.close());
    if (terminal) greet(model);
    try {
      await talk(lines, conversation);
    } finally {
      lines.close();
      claimInterrupts(undefined);
    }
    if (terminal) note("");
  },
};

async function talk(lines: Lines, conversation: Conversation): Promise<void> {
  while (!interrupt.signal.aborted) {
    const message = await nextMessage(lines, "> ");
    const text = message?.trim();
    if (text === undefined || text === "/exit" || text === "/quit" || text === "/bye") return;
    // What begins with a path or a pasted comment is no command: those are one word of letters in one line.
    if (/^\/[\w?]+(?: .*)?$/.test(text)) await command(text, conversation);
    else if (text !== "") await conversation.reply(text);
  }
}

function greet({ info }: Model): void {
  const name = visibleLine(info.config.name, 80);
  note(dim(`${name}, ${info.contextSize} tokens of context; /help tells what else there is`));
  if (info.tokenizer.chatTemplate === undefined)
    note(dim("This model has no chat template: it gets ChatML, and was perhaps never trained to answer."));
}
