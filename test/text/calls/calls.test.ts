// Calls as models write them: each format's own forms, what is text, what is wrong, and that a stream tells what the whole text does.
import { expect, test } from "vitest";
import { CpmError } from "../../../src/errors.ts";
import { type DialectName, dialectNames } from "../../../src/text/calls/dialect.ts";
import { type CallPart, CallStream, dialectOfTemplate, parseCalls } from "../../../src/text/calls/parse.ts";

/** Numbers in [0, 1) from a seed. Source: Marsaglia's xorshift. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const tools = [
  {
    type: "function",
    function: {
      name: "get-weather",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "integer" }, exact: {}, from: { type: ["string", "null"] } },
        required: ["city"],
      },
    },
  },
  { type: "function", function: { name: "noop", parameters: { type: "object", properties: {} } } },
];

const marker = "<|tool_call_end|></function></tool_call>[TOOL_CALLS]]]>```";
const weather = { city: `a "b" ${marker}\n\\ 上海 😀`, days: -3, exact: { a: [1.5, null, true, { b: [] }] }, from: null };
const python = `get-weather(city=${JSON.stringify(weather.city)}, days=-3, exact={'a': [1.5, None, True, {"b": []}]}, from=None)`;
const json = (key: string) => `{"name": "get-weather", "${key}": ${JSON.stringify(weather)}}`;
const noop = (key: string) => `{"name": "noop", "${key}": {}}`;

/** The same two calls in every format, with text around them. */
const written: Readonly<Record<DialectName, string>> = {
  "minicpm4-python": `Let me see.\n<|tool_call_start|>\n\`\`\`python\n${python}\nnoop()\n\`\`\`\n<|tool_call_end|>\n`,
  "pythonic-list": `[${python}, noop()]`,
  "olmo3-python": `Let me see.<function_calls>${python}\nnoop()</function_calls>`,
  "hermes-json": `Let me see.\n<tool_call>\n${json("arguments")}\n</tool_call>\n<tool_call>${noop("arguments")}</tool_call>`,
  "granite-json": `Let me see.<|tool_call|>[${json("arguments")}, ${noop("arguments")}]`,
  "llama3-json": `<|python_tag|>${json("parameters")}; ${noop("parameters")}`,
  json: `[${json("arguments")}, ${noop("arguments")}]`,
  mistral: `Let me see.[TOOL_CALLS][${json("arguments")}, ${noop("arguments")}]`,
  "qwen3-coder-xml": `Let me see.\n<tool_call>\n<function=get-weather>\n<parameter=city>\n${weather.city}\n</parameter>\n<parameter=days>\n-3\n</parameter>\n<parameter=exact>\n${JSON.stringify(weather.exact)}\n</parameter>\n<parameter=from>\nnull\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=noop>\n</function>\n</tool_call>`,
  "minicpm5-xml": `Let me see.\n<function name="get-weather"><param name="city"><![CDATA[${weather.city}]]></param><param name="days">-3</param><param name="exact">{'a': [1.5, None, True, {"b": []}]}</param><param name="from">null</param></function>\n<function name="noop"></function>`,
};
const expected = [
  { name: "get-weather", arguments: weather },
  { name: "noop", arguments: {} },
];

const parsed = (text: string, dialect: DialectName, given: readonly unknown[] = tools) => {
  const { calls, ...rest } = parseCalls(text, { dialect, tools: given });
  return { ...rest, calls: calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) as unknown })) };
};

test.each(dialectNames)("%s: two calls with every kind of value, end markers inside a string among them", (dialect) => {
  const { calls, content, problems } = parsed(written[dialect], dialect);
  expect(calls).toEqual(expected);
  expect(problems).toEqual([]);
  expect(content).toBe(written[dialect].startsWith("Let me see.") ? "Let me see." : "");
});

/** What the parts of a stream come to. */
function joined(parts: readonly CallPart[]) {
  let text = "";
  const begun = new Map<string, { name: string; arguments: string }>();
  const ended: object[] = [];
  for (const part of parts) {
    if (part.type === "text") text += part.text;
    if (part.type === "call-begin") begun.set(part.id, { name: part.name, arguments: "" });
    if (part.type === "call-delta") begun.get(part.id)!.arguments += part.delta;
    if (part.type === "call-end") {
      expect(begun.get(part.call.id)).toEqual({ name: part.call.name, arguments: part.call.arguments });
      ended.push({ name: part.call.name, arguments: JSON.parse(part.call.arguments) });
    }
  }
  expect(ended.length).toBe(begun.size);
  return { text, calls: ended };
}

test.each(dialectNames)("%s: a stream tells the same, however it is cut, strict or not", (dialect) => {
  const draw = random(7);
  const text = `${written[dialect]}${dialect === "pythonic-list" || dialect === "json" ? "" : "\nDone."}`;
  const whole = joined([...new CallStream({ dialect, tools }).push(text), ...new CallStream({ dialect, tools }).end()]);
  for (let round = 0; round < 60; round++) {
    const stream = new CallStream({ dialect, tools, strict: round % 2 === 0 });
    const parts: CallPart[] = [];
    for (let at = 0; at < text.length; ) {
      const size = round < 2 ? 1 : 1 + Math.floor(draw() * 12);
      parts.push(...stream.push(text.slice(at, at + size)));
      at += size;
    }
    parts.push(...stream.end());
    const { calls, text: said } = joined(parts);
    expect(calls).toEqual(expected);
    expect(said.trim()).toBe(whole.text.trim());
  }
});

test.each(dialectNames)("%s: under a grammar a call's name and first arguments are told before its end", (dialect) => {
  const stream = new CallStream({ dialect, tools, strict: true });
  const text = written[dialect];
  const cut = text.indexOf("exact") + 20;
  const parts = stream.push(text.slice(0, cut));
  expect(parts.some((part) => part.type === "call-end")).toBe(false);
  // Tags are told whole: their value types depend on nothing else, but a tag may be taken back by what follows.
  if (dialect === "minicpm5-xml" || dialect === "qwen3-coder-xml") return;
  const begin = parts.find((part) => part.type === "call-begin");
  expect(begin).toMatchObject({ name: "get-weather" });
  const deltas = parts.map((part) => (part.type === "call-delta" ? part.delta : "")).join("");
  expect(deltas.startsWith(`{"city":`)).toBe(true);
});

test("text that only looks like the beginning of a call is given back, and held back no longer than it must", () => {
  const stream = new CallStream({ dialect: "hermes-json", tools });
  expect(stream.push("a <tool")).toEqual([{ type: "text", text: "a " }]);
  expect(stream.push("box> b")).toEqual([{ type: "text", text: "<toolbox> b" }]);
  expect(stream.push("<")).toEqual([]);
  expect(stream.end()).toEqual([{ type: "text", text: "<" }]);
});

test.each([
  ["minicpm4-python", '<|tool_call_start|>\n```python\nnoop("x")\n```\n<|tool_call_end|> rest'],
  ["minicpm4-python", "<|tool_call_start|>\n```python\nnoop(a=f())\n```\n<|tool_call_end|> rest"],
  ["minicpm4-python", "<|tool_call_start|>\n```python\nnoop(a=1+1)\n```\n<|tool_call_end|> rest"],
  ["minicpm4-python", "<|tool_call_start|>\n```python\nnoop(**{})\n```\n<|tool_call_end|> rest"],
  ["minicpm4-python", "<|tool_call_start|>\n```python\nnoop(a=1, a=2)\n```\n<|tool_call_end|> rest"],
  ["minicpm4-python", '<|tool_call_start|>\n```python\nnoop(a=f"x")\n```\n<|tool_call_end|> rest'],
  ["minicpm5-xml", '<function name="get-weather"></function> rest'],
  ["minicpm5-xml", '<function name="get-weather"><param>1</param></function> rest'],
  ["hermes-json", '<tool_call>{"name": 7, "arguments": {}}</tool_call> rest'],
  ["hermes-json", '<tool_call>{"arguments": {}}</tool_call> rest'],
  ["hermes-json", '<tool_call>{"name": "noop", "arguments": [1]}</tool_call> rest'],
  ["mistral", "[TOOL_CALLS]noop rest"],
  ["qwen3-coder-xml", "<tool_call><function=></function> rest"],
] as const)("%s: %s is text, and a problem", (dialect, text) => {
  const { calls, content, problems } = parsed(text, dialect);
  expect(calls).toEqual([]);
  expect(content.endsWith(" rest")).toBe(true);
  expect(problems.length).toBeGreaterThan(0);
});

test.each(dialectNames)("%s: a tool that nobody offered is never called", (dialect) => {
  const { calls, problems } = parsed(written[dialect], dialect, tools.slice(1));
  expect(calls.some((call) => call.name === "get-weather")).toBe(false);
  expect(problems.join()).toContain("get-weather");
});

test.each(dialectNames)("%s: a call inside a string or a value that is no call stays data", (dialect) => {
  const inner = written[dialect].replace("Let me see.", "");
  const quoted = JSON.stringify({ text: inner });
  if (dialect === "json" || dialect === "llama3-json") expect(parsed(`{"result": ${quoted}}`, dialect).calls).toEqual([]);
  const call = `{"name": "noop", "arguments": ${quoted}}`;
  if (dialect === "hermes-json")
    expect(parsed(`<tool_call>${call}</tool_call>`, dialect, []).calls).toEqual([{ name: "noop", arguments: { text: inner } }]);
  if (dialect === "granite-json")
    expect(parsed(`<|tool_call|>[${call}]`, dialect, []).calls).toEqual([{ name: "noop", arguments: { text: inner } }]);
  if (dialect === "mistral")
    expect(parsed(`[TOOL_CALLS][${call}]`, dialect, []).calls).toEqual([{ name: "noop", arguments: { text: inner } }]);
  if (dialect === "minicpm4-python") {
    const spoilt = `<|tool_call_start|>\n\`\`\`python\nnoop(x, text=${JSON.stringify(inner)})\n\`\`\`\n<|tool_call_end|>`;
    expect(parsed(spoilt, dialect).calls).toEqual([]);
  }
});

test("numbers keep every digit; what JSON cannot hold spoils a call", () => {
  const text = (value: string) => `<|tool_call_start|>\nnoop(a=${value})\n<|tool_call_end|>`;
  const first = (value: string) => parseCalls(text(value), { dialect: "minicpm4-python", tools: [] }).calls[0]?.arguments;
  expect(first("12345678901234567890")).toBe('{"a":12345678901234567890}');
  expect(first("0x_f")).toBeUndefined();
  expect(first("0xff")).toBe('{"a":255}');
  expect(first("1_000")).toBe('{"a":1000}');
  expect(first("2.0")).toBe('{"a":2.0}');
  expect(first("(1, 2)")).toBe('{"a":[1,2]}');
  expect(first("('a' 'b')")).toBe('{"a":"ab"}');
  expect(first("'''a'b'''")).toBe(`{"a":"a'b"}`);
  expect(first("r'\\n'")).toBe('{"a":"\\\\n"}');
  expect(first("1e999")).toBeUndefined();
});

test("granite-json: either mark, one object or a list, a closing mark or none, text behind", () => {
  for (const mark of ["tool_call", "|tool_call|"])
    for (const [body, count] of [
      [json("arguments"), 1],
      [`[${json("arguments")}]`, 1],
      [` [ ${json("arguments")} , ${noop("arguments")} ] `, 2],
    ] as const)
      for (const end of ["", `</${mark}>`, mark === "tool_call" ? "" : "<|/tool_call|>"]) {
        if (end === "</|tool_call|>") continue;
        const { calls, content, problems } = parsed(`Well. <${mark}>${body}${end}`, "granite-json");
        expect([calls.length, content.trim(), problems]).toEqual([count, "Well.", []]);
      }
});

test("deep nesting and endless text are bounded", () => {
  const deep = `<tool_call>{"name": "noop", "arguments": {"a": ${"[".repeat(5000)}`;
  expect(parsed(deep, "hermes-json").calls).toEqual([]);
  for (const dialect of dialectNames) {
    const many = written[dialect].slice(0, 12).repeat(5000);
    expect(parsed(many, dialect).calls).toEqual([]);
  }
});

test("formats are told from templates, and wrong names and tools are refused", () => {
  expect(dialectOfTemplate("{{ '<|tool_call_start|>\n```python' }}")).toBe("minicpm4-python");
  expect(dialectOfTemplate('<function name="x">')).toBe("minicpm5-xml");
  expect(dialectOfTemplate("<tool_call>")).toBe("hermes-json");
  expect(dialectOfTemplate("<tool_call><function=a><parameter=b>")).toBe("qwen3-coder-xml");
  expect(dialectOfTemplate("<|tool_call|>")).toBe("granite-json");
  expect(dialectOfTemplate("<|tool|>{{ message['tools'] }}<|/tool|>")).toBe("granite-json");
  expect(dialectOfTemplate("respond with <tool_call> followed by a JSON list")).toBe("granite-json");
  expect(dialectOfTemplate("[TOOL_CALLS]")).toBe("mistral");
  expect(dialectOfTemplate("<|python_tag|>")).toBe("llama3-json");
  expect(dialectOfTemplate("<|tool_call_start|>[")).toBe("pythonic-list");
  expect(dialectOfTemplate("{{ '<function_calls>' + calls }}")).toBe("olmo3-python");
  expect(dialectOfTemplate(undefined)).toBe("json");
  expect(() => parseCalls("", { dialect: "xml" as DialectName, tools: [] })).toThrow(CpmError);
  for (const wrong of [[{}], [{ function: { name: "" } }], [tools[0], tools[0]]])
    expect(() => parseCalls("", { dialect: "json", tools: wrong })).toThrow(CpmError);
});
