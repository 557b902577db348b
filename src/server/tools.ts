// Tools and response formats of the wire -> options of chat(), and calls -> the wire.
import type { ChatOptions, GeneratedPart, ToolCall, ToolDefinition } from "../index.ts";
import { invalid, isObject, Params, unsupported } from "./params.ts";

type Tooling = Pick<ChatOptions, "tools" | "toolChoice" | "parallelToolCalls">;
type Form = Pick<ChatOptions, "schema" | "lenient" | "grammar">;

function toolOf(raw: unknown, name: string, flat: boolean): ToolDefinition {
  const outer = new Params(raw, name);
  const type = outer.text("type");
  if (type !== "function")
    throw unsupported(outer.name("type"), `${JSON.stringify(type ?? null)}: only functions of the caller's own`);
  const inner = flat ? outer : outer.object("function");
  if (!inner) throw invalid(outer.name("function"), "an object", null);
  const called = inner.text("name");
  if (called === undefined || !/^[\w.-]{1,128}$/.test(called))
    throw invalid(inner.name("name"), "letters, digits, _, . and -", called ?? null);
  const description = inner.text("description");
  const parameters = inner.raw("parameters");
  if (parameters !== undefined && !isObject(parameters)) throw invalid(inner.name("parameters"), "a JSON Schema", parameters);
  // What is written always keeps to the schema: both values mean that here.
  inner.flag("strict");
  inner.end();
  outer.end();
  return {
    type: "function",
    function: {
      name: called,
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined ? {} : { parameters }),
    },
  };
}

/** tools, tool_choice, parallel_tool_calls. `flat`: as /v1/responses writes them. @throws Problem 400 */
export function readTools(params: Params, flat = false): Tooling {
  const list = params.list("tools");
  const parallel = params.flag("parallel_tool_calls");
  const raw = params.raw("tool_choice");
  const tools = list?.map((one, i) => toolOf(one, params.name(`tools[${i}]`), flat)) ?? [];
  let choice: Tooling["toolChoice"];
  if (raw === "auto" || raw === "none" || raw === "required") choice = raw;
  else if (raw !== undefined) {
    if (!isObject(raw) || raw["type"] !== "function")
      throw unsupported(
        params.name("tool_choice"),
        `${JSON.stringify(raw).slice(0, 60)}: "none", "auto", "required" or a function`,
      );
    const named = flat ? raw["name"] : isObject(raw["function"]) ? raw["function"]["name"] : undefined;
    if (typeof named !== "string" || !tools.some((tool) => tool.function.name === named))
      throw invalid(params.name("tool_choice"), "the name of one of the tools", raw);
    choice = { name: named };
  }
  if (tools.length === 0) {
    if (choice !== undefined && choice !== "auto" && choice !== "none")
      throw invalid(params.name("tool_choice"), '"auto" or "none" without tools', raw);
    return {};
  }
  return {
    tools,
    ...(choice === undefined ? {} : { toolChoice: choice }),
    ...(parallel === undefined ? {} : { parallelToolCalls: parallel }),
  };
}

function schemaOf(holder: Params): Form {
  const schema = holder.raw("schema");
  holder.ignore("name", "description");
  const strict = holder.flag("strict");
  holder.end();
  if (!isObject(schema)) throw invalid(holder.name("schema"), "a JSON Schema", schema ?? null);
  // Without strict, what cannot be enforced is left to the model, as with the service that this interface comes from.
  return { schema, ...(strict === false ? { lenient: true } : {}) };
}

/** response_format, and llama.cpp's grammar. @throws Problem 400 */
export function readForm(params: Params, field = "response_format", flat = false): Form {
  const format = params.object(field);
  const grammar = params.text("grammar");
  const type = format?.oneOf("type", ["text", "json_object", "json_schema"]);
  let form: Form = {};
  if (format && type === undefined) throw invalid(format.name("type"), '"text", "json_object" or "json_schema"', null);
  if (type === "json_object") form = { schema: { type: "object" } };
  if (type === "json_schema") {
    const holder = flat ? format! : format!.object("json_schema");
    if (!holder) throw invalid(format!.name("json_schema"), "an object with name and schema", null);
    form = schemaOf(holder);
  }
  format?.end();
  if (grammar !== undefined && form.schema !== undefined) throw unsupported("grammar", "not beside a response format");
  return grammar === undefined ? form : { grammar };
}

export interface WireCall {
  readonly id: string;
  readonly type: "function";
  readonly function: { readonly name: string; readonly arguments: string };
}

export const callOf = ({ id, name, arguments: text }: ToolCall): WireCall => ({
  id,
  type: "function",
  function: { name, arguments: text },
});

export interface WireCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: "function";
  readonly function: { readonly name?: string; readonly arguments: string };
}

/** The deltas of an answer's calls: the first of each has its id, type and name. */
export class CallDeltas {
  readonly #ids: string[] = [];

  of({ call }: GeneratedPart): WireCallDelta | undefined {
    if (!call) return undefined;
    let index = this.#ids.indexOf(call.id);
    if (index < 0) {
      index = this.#ids.push(call.id) - 1;
      return { index, id: call.id, type: "function", function: { name: call.name, arguments: call.delta } };
    }
    return call.delta === "" ? undefined : { index, function: { arguments: call.delta } };
  }
}
