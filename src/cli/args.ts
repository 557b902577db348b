// Arguments of a command: declared once, parsed strictly, shown as usage.
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { type ArgsDef, defineCommand, renderUsage } from "citty";
import { didYouMean } from "../errors.ts";

/** What a user typed wrong: exit status 2. */
export class UsageError extends Error {}

export interface Parsed {
  readonly positionals: readonly string[];
  text(name: string): string | undefined;
  list(name: string): readonly string[];
  flag(name: string): boolean;
  /** A number; UsageError when it is none. Ranges are the library's to check. */
  number(name: string): number | undefined;
}

export interface Command {
  readonly name: string;
  readonly description: string;
  readonly args: ArgsDef;
  /** Options that may be given several times. */
  readonly repeated?: readonly string[];
  /**
   * A repeated option that also takes arguments beyond the positional ones: all of them in a command that has none, else where it is
   * given. A name that is no option's takes them all, as `list` of that name.
   */
  readonly more?: string;
  /** The option that an argument "-" gives: its value is standard input. */
  readonly input?: string;
  run(args: Parsed): Promise<void>;
}

type Options = Record<string, { type: "string" | "boolean"; short?: string; multiple: true }>;

/** Parses what follows the command's name. @throws UsageError for unknown options, missing values, surplus arguments. */
export function parse(command: Command, raw: readonly string[]): Parsed {
  const options: Options = { help: { type: "boolean", short: "h", multiple: true } };
  const places: string[] = [];
  for (const [name, arg] of Object.entries(command.args)) {
    if (arg.type === "positional") places.push(name);
    else {
      const short = "alias" in arg && typeof arg.alias === "string" ? { short: arg.alias } : {};
      options[name] = { type: arg.type === "boolean" ? "boolean" : "string", multiple: true, ...short };
    }
  }
  const { values, positionals } = strictly(command, raw, options);
  const takes = (more: string) => values.has(more) || places.length === 0 || !Object.hasOwn(options, more);
  if (command.more !== undefined && positionals.length > places.length && takes(command.more))
    values.set(command.more, [...(values.get(command.more) ?? []), ...positionals.splice(places.length)]);
  const dash = command.input === undefined ? -1 : positionals.indexOf("-");
  if (dash >= 0) {
    if (values.has(command.input!)) throw new UsageError(`cpm ${command.name}: give - or --${command.input}, not both`);
    values.set(command.input!, positionals.splice(dash, 1));
  }
  if (positionals.length > places.length)
    throw new UsageError(`cpm ${command.name}: "${positionals[places.length]}" is one argument too many`);
  const text = (name: string) => values.get(name)?.at(-1);
  return {
    positionals,
    text,
    list: (name) => values.get(name) ?? [],
    flag: (name) => values.has(name),
    number(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      const number = Number(value);
      if (value.trim() === "" || Number.isNaN(number)) throw new UsageError(`--${name}: expected a number, found "${value}"`);
      return number;
    },
  };
}

/** An option's value is whatever follows it, also "-1" or "- a list", unless that is an option of this command. */
function strictly(command: Command, raw: readonly string[], options: Options) {
  const { tokens } = parseArgs({ args: [...raw], options, allowPositionals: true, strict: false, tokens: true });
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  const fail = (what: string) => {
    throw new UsageError(`cpm ${command.name}: ${what}`);
  };
  let last: string | undefined;
  for (const token of tokens) {
    if (token.kind === "option-terminator") last = undefined;
    if (token.kind === "positional") {
      if (last !== undefined && last === command.more) values.get(last)!.push(token.value);
      else positionals.push(token.value);
    }
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    last = name;
    const option = Object.hasOwn(options, name) ? options[name]! : undefined;
    const known = Object.keys(options).map((o) => `--${o}`);
    if (!option)
      return fail(`no option ${rawName}; options are ${known.join(", ")}${didYouMean(name, Object.keys(options), "--")}`);
    if (option.type === "boolean" && value !== undefined) fail(`${rawName} takes no value, found "${value}"`);
    const isOption = value === "-h" || known.includes(value?.replace(/=.*/s, "") ?? "");
    if (option.type === "string" && (value === undefined || (isOption && !inlineValue)))
      fail(`${rawName}: its value is missing${isOption ? `; write --${name}=${value} if that is the value` : ""}`);
    const list = values.get(name) ?? [];
    if (option.type === "string" && list.length && !command.repeated?.includes(name)) fail(`${rawName} is given twice`);
    values.set(name, [...list, value ?? ""]);
  }
  return { values, positionals };
}

/** How a command is called, for people. */
export async function usage({ name, description, args }: Command): Promise<string> {
  const text = await renderUsage(defineCommand({ meta: { name: `cpm ${name}`, description }, args }));
  const plain = !process.stdout.isTTY || process.env["NO_COLOR"];
  return `${(plain ? stripVTControlCharacters(text) : text).replace(/ +$/gm, "").trimEnd()}\n`;
}
