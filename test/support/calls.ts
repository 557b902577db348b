// Calls as each format's templates write them.
import type { DialectName } from "../../src/text/calls/dialect.ts";

interface Call {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

function python(value: unknown): string {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value as object)
    .map(([name, inner]) => `${JSON.stringify(name)}: ${python(inner)}`)
    .join(", ")}}`;
}

/** JSON with a space behind commas and colons, as Python writes it. */
export function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, inner]) => `${JSON.stringify(name)}: ${spaced(inner)}`)
    .join(", ")}}`;
}

const pythonCall = ({ name, arguments: given }: Call): string =>
  `${name}(${Object.entries(given)
    .map(([key, value]) => `${key}=${python(value)}`)
    .join(", ")})`;
/** As Python calls, with JSON's words. */
const jsonWordedCall = ({ name, arguments: given }: Call): string =>
  `${name}(${Object.entries(given)
    .map(([key, value]) => `${key}=${spaced(value)}`)
    .join(", ")})`;
const object =
  (key: string) =>
  ({ name, arguments: given }: Call) =>
    `{"name": ${JSON.stringify(name)}, "${key}": ${spaced(given)}}`;
const bare = (value: unknown): string => (typeof value === "string" ? value : spaced(value));

export function written(dialect: DialectName, calls: readonly Call[]): string {
  switch (dialect) {
    case "minicpm4-python":
      return `<|tool_call_start|>\n\`\`\`python\n${calls.map(pythonCall).join("\n")}\n\`\`\`\n<|tool_call_end|>`;
    case "pythonic-list":
      return `[${calls.map(pythonCall).join(", ")}]`;
    case "olmo3-python":
      return `<function_calls>${calls.map(jsonWordedCall).join("\n")}</function_calls>`;
    case "hermes-json":
      return calls.map((call) => `<tool_call>\n${object("arguments")(call)}\n</tool_call>`).join("\n");
    case "granite-json":
      return `<|tool_call|>[${calls.map(object("arguments")).join(", ")}]`;
    case "llama3-json":
      return calls.map(object("parameters")).join("; ");
    case "json":
      return calls.length === 1 ? object("arguments")(calls[0]!) : `[${calls.map(object("arguments")).join(", ")}]`;
    case "mistral":
      return `[TOOL_CALLS][${calls.map(object("arguments")).join(", ")}]`;
    case "qwen3-coder-xml":
      return calls
        .map(({ name, arguments: given }) => {
          const parts = Object.entries(given).map(([key, value]) => `<parameter=${key}>\n${bare(value)}\n</parameter>\n`);
          return `<tool_call>\n<function=${name}>\n${parts.join("")}</function>\n</tool_call>`;
        })
        .join("\n");
    case "minicpm5-xml":
      return calls
        .map(({ name, arguments: given }) => {
          const parts = Object.entries(given).map(([key, value]) => `<param name="${key}">${bare(value)}</param>`);
          return `<function name="${name}">${parts.join("")}</function>`;
        })
        .join("");
  }
}
