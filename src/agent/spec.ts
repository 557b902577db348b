// Servers as people write them down: the `mcpServers` object that desktop clients and editors share.
import { isRecord, kindOf } from "../brands.ts";
import { CpmError, didYouMean } from "../errors.ts";
import { shown } from "../shown.ts";

/** A server that is started here and spoken to over its standard input and output. */
export interface StdioServer {
  readonly command: string;
  readonly args?: readonly string[] | undefined;
  /** Beside HOME, PATH and the like, which it always has. Nothing else of this process's environment is passed on. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
}

/** A server at an address: Streamable HTTP. */
export interface HttpServer {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export type ServerSpec = StdioServer | HttpServer;

const bad = (field: string, expected: string, found: string): CpmError =>
  new CpmError("bad-input", `${field}: expected ${expected}, found ${found}`, { field, expected, found });

const STDIO = ["command", "args", "env", "cwd"];
const HTTP = ["url", "headers"];
/** Of other programs, without a meaning here. */
const OTHERS = ["type", "transport", "disabled", "enabled", "description", "alwaysAllow", "autoApprove", "timeout", "gallery"];

/** Fills in `${NAME}`, `${env:NAME}` and `${NAME:-default}`. */
function filled(field: string, text: string, env: (name: string) => string | undefined): string {
  return text.replace(/\$\{(?:env:)?([A-Za-z_]\w*)(?::-([^}]*))?\}/g, (all, name: string, otherwise: string | undefined) => {
    const value = env(name) ?? otherwise;
    if (value === undefined) throw bad(field, `the variable ${name} in the environment`, `none (for ${shown(all)})`);
    return value;
  });
}

/**
 * Reads a configuration: JSON with `mcpServers` (or `servers`), by name `{ command, args, env, cwd }` or `{ url, headers }`. Entries with
 * `disabled: true` are left out. `env` looks a variable up.
 * @throws CpmError "bad-input" with the field that is wrong
 */
export function readServers(
  text: string,
  env: (name: string) => string | undefined = () => undefined,
): Record<string, ServerSpec> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CpmError(
      "bad-input",
      `no JSON (${(cause as Error).message}); expected { "mcpServers": { name: { "command": … } } }`,
      {},
      { cause },
    );
  }
  const list = isRecord(value) ? (value["mcpServers"] ?? value["servers"]) : undefined;
  if (!isRecord(list)) throw bad("mcpServers", "an object of servers by name", kindOf(list));
  const servers: Record<string, ServerSpec> = Object.create(null);
  for (const [name, spec] of Object.entries(list)) {
    const field = `mcpServers.${name}`;
    if (!isRecord(spec)) throw bad(field, "an object", kindOf(spec));
    if (spec["disabled"] === true || spec["enabled"] === false) continue;
    for (const key of Object.keys(spec))
      if (![...STDIO, ...HTTP, ...OTHERS].includes(key))
        throw bad(
          `${field}.${key}`,
          `one of ${[...STDIO, ...HTTP].join(", ")}`,
          `an unknown name${didYouMean(key, [...STDIO, ...HTTP])}`,
        );
    servers[name] = checkSpec(field, spec, env);
  }
  return { ...servers };
}

function texts(field: string, value: unknown, env: (name: string) => string | undefined): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) throw bad(field, "names and texts", kindOf(value));
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => {
      if (typeof one !== "string" && typeof one !== "number") throw bad(`${field}.${key}`, "a text", kindOf(one));
      return [key, filled(`${field}.${key}`, String(one), env)];
    }),
  );
}

/** One server of a configuration, checked. @throws CpmError "bad-input" */
export function checkSpec(
  field: string,
  spec: Readonly<Record<string, unknown>>,
  env: (name: string) => string | undefined = () => undefined,
): ServerSpec {
  const { command, args, cwd, url } = spec;
  const type = spec["type"] ?? spec["transport"];
  if (type === "sse")
    throw new CpmError(
      "unsupported",
      `${field}: the transport "sse" is no longer part of MCP; give the server's Streamable HTTP address`,
      { field },
    );
  if ((command === undefined) === (url === undefined))
    throw bad(field, "command or url", command === undefined ? "neither" : "both");
  if (url !== undefined) {
    const address = typeof url === "string" ? filled(`${field}.url`, url, env) : "";
    if (!/^https?:\/\//i.test(address) || !URL.canParse(address))
      throw bad(`${field}.url`, "an http or https address", shown(url));
    return { url: address, headers: texts(`${field}.headers`, spec["headers"], env) };
  }
  if (typeof command !== "string" || command === "") throw bad(`${field}.command`, "a program's name", kindOf(command));
  if (args !== undefined && (!Array.isArray(args) || args.some((arg) => typeof arg !== "string")))
    throw bad(`${field}.args`, "a list of texts", kindOf(args));
  if (cwd !== undefined && typeof cwd !== "string") throw bad(`${field}.cwd`, "a folder", kindOf(cwd));
  return {
    command: filled(`${field}.command`, command, env),
    args: ((args ?? []) as string[]).map((arg, i) => filled(`${field}.args[${i}]`, arg, env)),
    env: texts(`${field}.env`, spec["env"], env),
    ...(cwd === undefined ? {} : { cwd: filled(`${field}.cwd`, cwd, env) }),
  };
}
