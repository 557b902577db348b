// Messages and ShareGPT: 1,000 made-up conversations with tools, reasoning and odd Unicode come back as they were; foreign files are read.
import { expect, test } from "vitest";
import { fromShareGpt, type MessagesRecord, toAlpaca, toShareGpt } from "../../src/data/formats.ts";
import type { ChatMessage } from "../../src/data/verify/types.ts";
import { random } from "./rig.ts";

const pieces = [
  "plain",
  "",
  " ",
  "\n",
  "<think>\nx\n</think>\n\n",
  "</think>",
  '{"name":"f"}',
  "\ud800",
  "\u0000",
  "👩‍👩‍👧",
  "e\u0301",
  "\u2028",
  "\\",
  '"',
  "\ufeff",
  "[]",
  "漢字",
  "\r\n",
];

function conversation(next: () => number): MessagesRecord {
  const upTo = (n: number) => Math.floor(next() * n);
  const text = () => Array.from({ length: upTo(5) }, () => pieces[upTo(pieces.length)]!).join("");
  const maybe = <T>(value: () => T, key: string) => (next() < 0.5 ? { [key]: value() } : {});
  const given = () =>
    [JSON.stringify({ q: text(), n: upTo(9), 1: [null, true, 1.5] }), '{"a": 1}', "", "not json", "[1]", "7"][upTo(6)]!;
  const call = (i: number) => ({
    ...maybe(() => `call_${i}`, "id"),
    ...maybe(() => "function", "type"),
    function: { name: text() || "f", arguments: given() },
  });
  const message = (): ChatMessage => {
    const role = ["user", "assistant", "assistant", "tool", "system", "developer"][upTo(6)]!;
    if (role !== "assistant")
      return {
        role,
        content: text(),
        ...(role === "tool" ? maybe(() => `call_${upTo(3)}`, "tool_call_id") : {}),
        ...maybe(text, "name"),
      };
    return {
      role,
      ...maybe(() => (next() < 0.3 ? null : text()), "content"),
      ...maybe(text, "reasoning_content"),
      ...maybe(() => Array.from({ length: upTo(3) }, (_, i) => call(i)), "tool_calls"),
    };
  };
  return {
    ...maybe(text, "id"),
    messages: Array.from({ length: upTo(7) }, message),
    ...maybe(
      () =>
        Array.from({ length: upTo(3) }, (_, i) => ({
          type: "function",
          function: { name: `f${i}`, description: text(), parameters: { type: "object" } },
        })),
      "tools",
    ),
    ...maybe(() => ({ model: "m", seed: 1 }), "provenance"),
  };
}

test("1,000 conversations: messages -> ShareGPT -> messages and back, through JSON", () => {
  const next = random(19);
  let extended = 0;
  for (let i = 0; i < 1000; i++) {
    const record = conversation(next);
    const line = JSON.stringify(toShareGpt(record));
    if (line.includes('"cpm"')) extended++;
    const back = fromShareGpt(JSON.parse(line));
    expect(back, line).toEqual(record);
    expect(JSON.parse(JSON.stringify(toShareGpt(back)))).toEqual(JSON.parse(line));
  }
  expect(extended).toBeGreaterThan(100);
});

test("what plain ShareGPT holds needs nothing beside it", () => {
  const record: MessagesRecord = {
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Weather?" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ type: "function", function: { name: "look", arguments: '{"city":"Rome"}' } }],
      },
      { role: "tool", content: "sun" },
      { role: "assistant", content: "Sunny.", reasoning_content: "It says sun." },
    ],
    tools: [{ type: "function", function: { name: "look" } }],
  };
  const shared = toShareGpt(record);
  expect(shared).toEqual({
    conversations: [
      { from: "human", value: "Weather?" },
      { from: "function_call", value: '{"name":"look","arguments":{"city":"Rome"}}' },
      { from: "observation", value: "sun" },
      { from: "gpt", value: "<think>\nIt says sun.\n</think>\n\nSunny." },
    ],
    system: "Be brief.",
    tools: '[{"type":"function","function":{"name":"look"}}]',
  });
  expect(fromShareGpt(shared)).toEqual(record);
});

test("foreign records, and what is none", () => {
  expect(
    fromShareGpt({
      conversations: [
        { from: "user", value: "a" },
        { from: "chatgpt", value: "b" },
      ],
      tools: "",
    }).messages,
  ).toEqual([
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
  ]);
  expect(() => fromShareGpt({ conversations: [{ from: "human" }] } as never)).toThrow(/from and value/);
  expect(() => fromShareGpt({} as never)).toThrow(/conversations/);
  expect(() => fromShareGpt({ conversations: [], tools: "{" })).toThrow(/tools: no JSON/);
  expect(() => toShareGpt({} as never)).toThrow(/messages/);
});

test("LLaMA-Factory's columns", () => {
  const turn = (role: string, content: string) => ({ role, content });
  expect(
    toAlpaca({
      messages: [turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")],
    }),
  ).toEqual({
    instruction: "c",
    input: "",
    output: "d",
    system: "s",
    history: [["a", "b"]],
  });
  expect(() => toAlpaca({ messages: [turn("user", "a"), turn("tool", "b")] })).toThrow(/toShareGpt/);
});
