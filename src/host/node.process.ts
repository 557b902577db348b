// An MCP server as a process of this machine: lines of JSON on its standard input and output. It gets a group of its own, so that
// whatever it starts ends with it, and a Ctrl-C in a terminal reaches it through us and in order.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import type { ProcessTransport, StartProcess } from "../agent/server.ts";
import { after, cancelTimer } from "../clock.ts";
import { printable } from "../shown.ts";

/** Characters of one message. */
const LONGEST_LINE = 16 * 2 ** 20;
/** Lines that are no message, before the program is no server; some print a greeting. */
const MOST_GARBAGE = 100;
/** Messages that nobody asked for, between two of ours. */
const MOST_UNASKED = 10_000;
/** Milliseconds that a process gets to end by itself, and again when it is told to. */
const PATIENCE_MS = 1000;
/** Characters of its error output that are kept. */
const WORDS = 400;

type Child = ChildProcessByStdio<Writable, Readable, Readable>;
const windows = process.platform === "win32";
const alive = new Set<Child>();
process.on("exit", () => {
  for (const child of alive) signalGroup(child, "SIGKILL");
});

function signalGroup(child: Child, signal: NodeJS.Signals): void {
  try {
    if (windows || child.pid === undefined) child.kill(signal);
    else process.kill(-child.pid, signal);
  } catch {
    // It is gone.
  }
}

class ChildTransport implements ProcessTransport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: object) => void;
  readonly #spawn: () => Child;
  readonly #read: (line: string) => object;
  #child: Child | undefined;
  /** The beginning of a line, as its pieces came. */
  #held: string[] = [];
  #length = 0;
  #stderr = "";
  #why = "";
  #garbage = 0;
  #unasked = 0;
  #closing: Promise<void> | undefined;

  constructor(start: () => Child, read: (line: string) => object) {
    this.#spawn = start;
    this.#read = read;
  }

  /** By these two the client knows that a program is behind this transport, and that silence is no outage. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }
  get stderr(): Readable | undefined {
    return this.#child?.stderr;
  }

  get ended(): boolean {
    return (
      this.#child !== undefined &&
      (this.#child.exitCode !== null || this.#child.signalCode !== null || this.#closing !== undefined)
    );
  }

  lastWords(): string {
    return [this.#why, printable(this.#stderr.trim(), WORDS, "\n")].filter((text) => text !== "").join("; ");
  }

  async start(): Promise<void> {
    const child = this.#spawn();
    this.#child = child;
    child.stdin.on("error", (error) => this.onerror?.(error));
    const decoder = new StringDecoder("utf8");
    child.stdout.on("data", (chunk: Buffer) => this.#take(decoder.write(chunk)));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-2 * WORDS);
    });
    child.once("close", (code, signal) => {
      if (this.#why === "" && !this.#closing) this.#why = signal ? `killed by ${signal}` : `exit status ${code}`;
      // What it has started goes with it.
      signalGroup(child, "SIGKILL");
      alive.delete(child);
      this.onclose?.();
    });
    await once(child, "spawn");
    alive.add(child);
  }

  #take(text: string): void {
    const lines = text.split("\n");
    for (const [i, piece] of lines.entries()) {
      if (this.#closing) return;
      this.#held.push(piece);
      this.#length += piece.length;
      if (this.#length > LONGEST_LINE) return void this.#end(`a message longer than ${LONGEST_LINE} characters`);
      if (i === lines.length - 1) return;
      const line = this.#held.join("");
      this.#held = [];
      this.#length = 0;
      if (line.trim() !== "") this.#line(line);
    }
  }

  #line(line: string): void {
    let message: object;
    try {
      message = this.#read(line);
    } catch {
      if (++this.#garbage > MOST_GARBAGE) this.#end(`its output is no MCP, as in ${JSON.stringify(printable(line, 80))}`);
      return;
    }
    if ("method" in message && ++this.#unasked > MOST_UNASKED)
      return void this.#end(`more than ${MOST_UNASKED} messages that nobody asked for`);
    try {
      this.onmessage?.(message);
    } catch (error) {
      this.onerror?.(error as Error);
    }
  }

  /** The program does what no server does. */
  #end(why: string): void {
    this.#why = why;
    this.onerror?.(new Error(why));
    void this.close();
  }

  async send(message: object): Promise<void> {
    const child = this.#child;
    if (!child || this.#closing || child.exitCode !== null || child.signalCode !== null || !child.stdin.writable)
      throw Object.assign(new Error("the process has ended"), { code: "CONNECTION_CLOSED" });
    if ("id" in message && "method" in message) this.#unasked = 0;
    if (!child.stdin.write(`${JSON.stringify(message)}\n`))
      await Promise.race([once(child.stdin, "drain"), once(child, "close")]);
  }

  /** Resolves when the process is gone: asked by the end of its input, told after a second, killed after another. */
  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    const child = this.#child;
    this.#held = [];
    if (!child || child.pid === undefined) return;
    const gone = child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, "exit").then(() => {});
    child.stdin.end();
    // Nobody reads it any more: what it still writes must not hold it up.
    child.stdout.resume();
    if (!(await within(gone, PATIENCE_MS))) signalGroup(child, "SIGTERM");
    if (!(await within(gone, PATIENCE_MS))) signalGroup(child, "SIGKILL");
    await gone;
    signalGroup(child, "SIGKILL");
    alive.delete(child);
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  }
}

async function within(work: Promise<void>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof after> | undefined;
  const late = new Promise<false>((resolve) => {
    timer = after(ms, () => resolve(false));
  });
  const done = await Promise.race([work.then(() => true), late]);
  cancelTimer(timer);
  return done;
}

/** Starts a server. Of this process's environment it gets HOME, PATH and the like, and what its description names. */
export const startProcess: StartProcess = async ({ command, args = [], env, cwd }, read) => {
  const { getDefaultEnvironment } = await import("@modelcontextprotocol/client/stdio");
  const start = () =>
    spawn(command, [...args], {
      cwd,
      env: { ...getDefaultEnvironment(), ...env },
      stdio: ["pipe", "pipe", "pipe"],
      // Names like "npx" are scripts there, which only a shell finds.
      shell: windows,
      detached: !windows,
      windowsHide: true,
    });
  return new ChildTransport(start, read);
};
