// The lines that a person types, or that a pipe brings, one at a time.
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { Keys, MARK_PASTES, NO_MARKS, textOfLine } from "./keys.ts";

export interface Lines {
  /** The next line; undefined when there is none any more. `fresh`: what was typed before the question is no answer to it. */
  next(prompt: string, fresh?: boolean): Promise<string | undefined>;
  close(): void;
}

/** Lines of a pipe. */
export function pipedLines(): Lines {
  const lines = createInterface({ input: process.stdin });
  const all = lines[Symbol.asyncIterator]();
  return {
    async next() {
      const { done, value } = await all.next();
      return done ? undefined : value;
    },
    close: () => lines.close(),
  };
}

/** Lines of a terminal, edited, with a history. `interrupted`: Ctrl-C during an answer; true when there was one to stop. */
export function typedLines(output: NodeJS.WriteStream, interrupted: () => boolean): Lines {
  const keys = new Keys(process.stdin, () => interrupted());
  let give: ((line: string | undefined) => void) | undefined;
  const lines: Interface = createInterface({
    input: keys,
    output,
    terminal: true,
    historySize: 1000,
    removeHistoryDuplicates: true,
  });
  let closed = false;
  const taken = (line: string | undefined) => {
    const to = give;
    give = undefined;
    to?.(line);
  };
  lines.on("line", (line) => taken(textOfLine(line)));
  lines.on("close", () => {
    closed = true;
    output.write(NO_MARKS);
    process.stdin.unpipe(keys);
    process.stdin.pause();
    taken(undefined);
  });
  // Ctrl-C at the prompt: drops what is typed; with nothing typed, ends the conversation.
  lines.on("SIGINT", () => {
    if (interrupted()) return;
    if (lines.line === "") lines.close();
    else {
      output.write("^C\n");
      lines.write(null, { ctrl: true, name: "e" });
      lines.write(null, { ctrl: true, name: "u" });
    }
  });
  lines.on("SIGCONT", () => output.write(MARK_PASTES));
  process.stdin.pipe(keys);
  output.write(MARK_PASTES);
  process.once("exit", () => {
    if (!closed) output.write(NO_MARKS);
  });
  return {
    async next(prompt, fresh = false) {
      if (closed) return undefined;
      if (fresh) keys.forget();
      return new Promise((resolve) => {
        give = resolve;
        lines.setPrompt(prompt);
        lines.prompt();
        keys.open();
      });
    },
    close: () => lines.close(),
  };
}

const FENCE = '"""';

/**
 * The next message: a line; several where a line ends in "\" or from `"""` to `"""`. undefined at the end.
 */
export async function nextMessage(lines: Lines, prompt: string): Promise<string | undefined> {
  let line = await lines.next(prompt);
  if (line === undefined) return undefined;
  const begun = line.trimStart();
  if (begun.startsWith(FENCE)) {
    const parts: string[] = [];
    for (let rest: string | undefined = begun.slice(FENCE.length); rest !== undefined; rest = await lines.next("… ")) {
      const end = rest.indexOf(FENCE);
      parts.push(end < 0 ? rest : rest.slice(0, end));
      if (end >= 0) break;
    }
    return parts.join("\n").replace(/^\n|\n$/g, "");
  }
  const parts: string[] = [];
  while (line?.endsWith("\\") && !line.endsWith("\\\\")) {
    parts.push(line.slice(0, -1));
    line = await lines.next("… ");
  }
  return [...parts, ...(line === undefined ? [] : [line])].join("\n");
}
