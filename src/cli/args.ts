// Arguments of a command: declared once, parsed strictly, shown as usage.
import { parseArgs } from "node:util";
import { type ArgsDef, defineCommand, renderUsage } from "citty";

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
  run(args: Parsed): Promise<void>;
}

/** Parses what follows the command's name. @throws UsageError for unknown options, missing values, surplus arguments. */
export function parse(command: Command, raw: readonly string[]): Parsed {
  const options: Record<string, { type: "string" | "boolean"; short?: string; multiple?: boolean }> = { help: { type: "boolean", short: "h" } };
  let most = 0;
  let least = 0;
  for (const [name, arg] of Object.entries(command.args)) {
    if (arg.type === "positional") {
      most++;
      if (arg.required !== false) least++;
      continue;
    }
    const alias = "alias" in arg && typeof arg.alias === "string" ? { short: arg.alias } : {};
    options[name] = { type: arg.type === "boolean" ? "boolean" : "string", ...alias, ...(command.repeated?.includes(name) ? { multiple: true } : {}) };
  }
  const { values, positionals } = strictly(command, raw, options);
  if (positionals.length > most) throw new UsageError(`cpm ${command.name}: "${positionals[most]}" is one argument too many`);
  if (positionals.length < least && !values["help"]) throw new UsageError(`cpm ${command.name}: ${Object.keys(command.args)[positionals.length]!.toUpperCase()} is missing`);
  const text = (name: string) => values[name] as string | undefined;
  return {
    positionals,
    text,
    list: (name) => (values[name] as string[] | undefined) ?? [],
    flag: (name) => values[name] === true,
    number(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      const number = Number(value);
      if (value.trim() === "" || Number.isNaN(number)) throw new UsageError(`--${name}: expected a number, found "${value}"`);
      return number;
    },
  };
}

function strictly(command: Command, raw: readonly string[], options: NonNullable<Parameters<typeof parseArgs>[0]>["options"] & {}) {
  try {
    return parseArgs({ args: joinNegatives(raw), options, allowPositionals: true, strict: true });
  } catch (error) {
    const known = Object.keys(options).map((name) => `--${name}`);
    const message = (error as Error).message.split(/[.\n]/)[0]!.trim();
    throw new UsageError(`cpm ${command.name}: ${message}; options are ${known.join(", ")}`);
  }
}

/** "--temperature -1" is a bad value, not an option -1. */
function joinNegatives(raw: readonly string[]): string[] {
  const out: string[] = [];
  for (const arg of raw) {
    const before = out.at(-1);
    if (/^-\d/.test(arg) && before !== undefined && /^--?[a-z][a-z-]*$/.test(before)) out[out.length - 1] = `${before.startsWith("--") ? `${before}=` : before}${arg}`;
    else out.push(arg);
  }
  return out;
}

/** How a command is called, for people. */
export function usage(command: Command): Promise<string> {
  return renderUsage(defineCommand({ meta: { name: `cpm ${command.name}`, description: command.description }, args: command.args }));
}
