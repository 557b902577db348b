// Chat templates: the models' own against expected prompts, ChatML without one, and templates that are up to no good.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ChatMessage, renderChat, type TemplateOptions } from "../../src/text/template.ts";
import { shared } from "../support/golden.ts";
import { whereFile } from "../support/where.ts";
import { json, spm } from "./vocabularies.ts";

const user: ChatMessage = { role: "user", content: "What is 2+2?" };
const render = (template: string | undefined, options: TemplateOptions = {}, messages: readonly ChatMessage[] = [user]) =>
  renderChat(spm([], { chatTemplate: template }), messages, options);
const refusal = (code: string, message: RegExp | string) =>
  expect.objectContaining({ name: "CpmError", code, message: expect.stringMatching(message) as string });

interface Case {
  readonly model: "minicpm4" | "minicpm5";
  readonly case: string;
  readonly inputs: {
    readonly messages: ChatMessage[];
    readonly enable_thinking?: boolean;
    readonly tools?: object[];
    readonly add_generation_prompt?: boolean;
  };
  readonly rendered: string;
}

/** The models' own templates. */
{
  const paths = ["golden/chat-templates.json", "data/minicpm4/tokenizer_config.json", "data/minicpm5/chat_template.jinja"].map(
    shared,
  );
  const there = paths.every((path) => path !== undefined);
  const [golden, config, minicpm5] = there ? paths.map((path) => readFileSync(path!, "utf8")) : ["[]", "{}", ""];
  const templates = { minicpm4: (JSON.parse(config!) as { chat_template: string }).chat_template, minicpm5: minicpm5! };
  const cases = JSON.parse(golden!) as Case[];

  whereFile(there, "data/minicpm4 and data/minicpm5")("the models' own templates give all expected prompts exactly", () => {
    expect(cases.length).toBe(17);
    for (const { model, case: name, inputs, rendered } of cases) {
      const options = {
        enableThinking: inputs.enable_thinking,
        tools: inputs.tools,
        addGenerationPrompt: inputs.add_generation_prompt,
      };
      const { text, thinking } = render(templates[model], options, inputs.messages);
      expect(text, `${model} ${name}`).toBe(rendered);
      expect(thinking).toBe(model === "minicpm5" && inputs.enable_thinking === true ? "open" : "split");
    }
  });

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "the models' own templates follow /think and /no_think at the end of the last user message, which an option overrules",
    () => {
      const ask = (content: string, options: TemplateOptions = {}) =>
        render(templates.minicpm5, options, [{ role: "user", content }]);
      expect(ask("Why? /think").text.endsWith("<|im_start|>assistant\n<think>\n")).toBe(true);
      expect(ask("Why? /think").thinking).toBe("open");
      expect(ask("Why?\n/no_think\n").text.endsWith("<|im_start|>assistant\n<think>\n\n</think>\n\n")).toBe(true);
      expect(ask("/no_think is what I mean").text.endsWith("assistant\n")).toBe(true);
      expect(ask("path/think").text.endsWith("assistant\n")).toBe(true);
      expect(ask("Why? /no_think", { enableThinking: true }).thinking).toBe("open");
      expect(ask("Why? /think").text).toContain("Why? /think<|im_end|>");
    },
  );

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "the models' own templates write the arguments of tool calls as Python does, from objects and from JSON text",
    () => {
      const values = { flag: true, off: false, nothing: null, list: ["a", 1, { b: "it's" }], text: "x < y", n: 1.5 };
      const call = (args: unknown): ChatMessage[] => [
        user,
        { role: "assistant", content: null, tool_calls: [{ type: "function", function: { name: "f", arguments: args } }] },
      ];
      const { text } = render(templates.minicpm5, {}, call(values));
      const expected = [
        '"flag">True<',
        '"off">False<',
        '"nothing">None<',
        `"list">['a', 1, {'b': "it's"}]<`,
        '"text"><![CDATA[x < y]]><',
        '"n">1.5<',
      ];
      for (const part of expected) expect(text).toContain(part);
      expect(render(templates.minicpm5, {}, call(JSON.stringify(values))).text).toBe(text);
    },
  );

  whereFile(there, "data/minicpm4 and data/minicpm5")(
    "the models' own templates render a conversation of a thousand messages in a reasonable time (printed)",
    () => {
      const turns = Array.from(
        { length: 1000 },
        (_, i): ChatMessage => ({ role: i % 2 ? "assistant" : "user", content: "word ".repeat(100) }),
      );
      const started = performance.now();
      const { text } = render(templates.minicpm5, {}, [...turns, user]);
      console.log(`template: 1,001 messages, ${text.length} characters in ${Math.round(performance.now() - started)} ms`);
      expect(text.match(/<\|im_start\|>/g)!.length).toBe(1002);
    },
  );
}

test("a model without a template gets ChatML", () => {
  const messages: ChatMessage[] = [{ role: "system", content: "Be brief." }, user];
  expect(render(undefined, {}, messages).text).toBe(
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
  );
  expect(render(undefined, { addGenerationPrompt: false }).text).toBe("<|im_start|>user\nWhat is 2+2?<|im_end|>\n");
  expect(render(undefined, { enableThinking: false }).text.endsWith("assistant\n<think>\n\n</think>\n\n")).toBe(true);
  expect(render(undefined, { enableThinking: true }).text.endsWith("assistant\n")).toBe(true);
});

test("a template sees messages, options, tools, further arguments and the names of BOS and EOS", () => {
  const template =
    "{{ bos_token }}|{{ eos_token }}|{{ messages[0].role }}|{{ messages[0].name }}|{{ tools|length }}|{{ enable_thinking }}|{{ add_generation_prompt }}|{{ language }}";
  const options = {
    tools: [{}, {}],
    enableThinking: false,
    addGenerationPrompt: false,
    templateArguments: { language: "en", messages: "mine" },
  };
  expect(render(template, options, [{ ...user, name: "Ann" }]).text).toBe("<s>|</s>|user|Ann|2|False|False|en");
  expect(render("{{ enable_thinking is defined }} {{ tools }} {{ documents }}").text).toBe("False None None");
  const data = json(
    { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] },
    { added_tokens: [{ id: 2, content: "<e>" }] },
    { bos: 1, stop: [2], chatTemplate: "{{ bos_token + eos_token }}" },
  );
  expect(renderChat(data, [user]).text).toBe("b<e>");
});

test("the reply begins inside reasoning exactly where the prompt ends inside <think>", () => {
  for (const [template, thinking] of [
    ["<think>", "open"],
    ["<think>\n\n", "open"],
    ["<think>\n</think>\n", "split"],
    ["<think> a", "split"],
    ["", "split"],
  ])
    expect(render(template).thinking).toBe(thinking);
});

test("values are printed as Python prints them", () => {
  // Expected values from jinja2 3.1.6.
  const cases: readonly (readonly [string, string])[] = [
    ["{{ true }} {{ none }} {{ nothing }}|{{ 'x' ~ true ~ none ~ nothing }}", "True None |xTrueNone"],
    [
      `{{ [1, 'a', true, none, 1.5, ["it's"]] }} {{ {'a': 'b\\n'} }} {{ (1, 'b') }}`,
      `[1, 'a', True, None, 1.5, ["it's"]] {'a': 'b\\n'} (1, 'b')`,
    ],
    ["{{ [true]|string }}{{ 1.0 }}{{ -3 // 2 }}", "[True]1.0-2"],
    [
      "{{ '\\n\\n  a \\n'.strip('\\n') }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'xyaxy'.rstrip('yx') }}|{{ ' a '.strip() }}",
      "  a |axx|xya|a",
    ],
    ["{{ [3, 1, 2]|min }}{{ [3, 1, 2]|max }}{{ ['b', 'a']|min }}", "13a"],
    ["{% if []|first %}a{% else %}b{% endif %}{{ []|last }}", "b"],
    ["{% for i in range(2, 11, 4) if i > 2 %}{{ i }},{% endfor %}{{ range(3)|list }}", "6,10,[0, 1, 2]"],
    ["{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"],
    ["{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(none) }}{% set block %}{{ false }}{% endset %}{{ block }}", "<None>False"],
  ];
  for (const [template, text] of cases) expect(render(template).text, template).toBe(text);
});

test("the date that a template asks for is today's", () => {
  const now = new Date();
  expect(render("{{ strftime_now('%Y %% %q') }}").text).toBe(`${now.getFullYear()} % %q`);
  expect(render("{{ strftime_now('%d %b %B %A %H:%M:%S %m %y %a') }}").text).toMatch(
    /^\d\d [A-Z][a-z]{2} [A-Z][a-z]+ [A-Z][a-z]+day \d\d:\d\d:\d\d \d\d \d\d [A-Z][a-z]{2}$/,
  );
});

test("wrong messages are refused with what was expected", () => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [undefined, /messages: expected a list of messages, found undefined/],
    [{}, /messages: expected a list/],
    [[], /messages: expected at least one/],
    [[null], /messages\[0\]: expected an object/],
    [[user, "hi"], /messages\[1\]: expected an object/],
    [[{ content: "a" }], /messages\[0\]\.role: expected .*, found undefined/],
    [[{ role: 5, content: "a" }], /messages\[0\]\.role/],
    [[{ role: "user" }], /messages\[0\]\.content: expected a text, found undefined/],
    [[{ role: "user", content: [{ type: "text", text: "a" }] }], /content: expected a text, found a list/],
    [[{ role: "assistant", content: null }], /content: expected a text, found null/],
    [[{ role: "assistant", tool_calls: "f()" }], /tool_calls: expected a list/],
    [[{ ...user, extra: () => 1 }], /messages\[0\]: expected plain data, found function/],
    [[{ ...user, extra: 1n }], /found bigint/],
  ];
  for (const [messages, message] of wrong)
    expect(() => renderChat(spm([]), messages as ChatMessage[])).toThrow(refusal("bad-input", message));
  const circle: Record<string, unknown> = { ...user };
  circle["self"] = circle;
  expect(() => render(undefined, {}, [circle as unknown as ChatMessage])).toThrow(refusal("bad-input", /circle/));
});

test("wrong options are refused", () => {
  const wrong = [
    { enableThinking: "yes" },
    { addGenerationPrompt: 1 },
    { tools: {} },
    { templateArguments: [1] },
    { templateArguments: null },
    { templateArguments: { namespace: 1 } },
    { templateArguments: { f: () => 1 } },
    { tools: [Symbol("a")] },
  ];
  for (const options of wrong) expect(() => render(undefined, options as TemplateOptions)).toThrow(refusal("bad-option", /./));
});

test("what a template refuses is said in its own words", () => {
  const template = "{% if messages[0].role != 'system' %}{{ raise_exception('A system message must come first') }}{% endif %}";
  expect(() => render(template)).toThrow(refusal("bad-input", /refuses these messages: A system message must come first/));
});

test("a template that is none, or fails, is the model's fault", () => {
  for (const template of ["{% for x in %}", "{{ a", "{% if true %}", "{% frobnicate %}", `${"{% if true %}".repeat(50_000)}`])
    expect(() => render(template), template.slice(0, 20)).toThrow(refusal("bad-model", /does not parse/));
  for (const template of ["{{ 1 + none }}", "{{ 'a'|frobnicate }}", "{{ f() }}", "{{ undef.x.y }}"])
    expect(() => render(template), template).toThrow(refusal("bad-model", /failed: /));
});

describe("a template cannot run for ever or fill the memory:", () => {
  const long = "{% set ns = namespace(s='x') %}{% for i in range(21) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
  const rounds = "{% for i in range(100000) %}";
  const chain = Array.from(
    { length: 40 },
    (_, i) => `{% set n${i} = namespace(x='lol') %}${i ? `{% set n${i}.x = n${i - 1} %}{% set n${i}.y = n${i - 1} %}` : ""}`,
  ).join("");
  test.each([
    ["a range of a billion", "{% for i in range(10**9) %}x{% endfor %}"],
    ["a range without end", "{{ range(0, 5, 0) }}"],
    ["empty loops in a loop", `${rounds}${rounds}{% endfor %}{% endfor %}`],
    [
      "a text doubled sixty times",
      "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    ],
    [
      "a list doubled sixty times",
      "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    ],
    ["a long text made upper case over and over", `${long}${rounds}{% set y = ns.s|upper %}{% endfor %}`],
    ["a long text in pieces", `${long}{{ ns.s.split('x') }}`],
    ["a long text put in for every letter of itself", `${long}{{ ns.s.replace('x', ns.s) }}`],
    [
      "lists that hold lists that hold lists",
      "{% set ns = namespace(a=['lol']) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}",
    ],
    ["namespaces that hold namespaces", `${chain}{{ n39|tojson }}`],
    ["a namespace that holds itself", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"],
    ["a macro that calls itself without end", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"],
    [
      "a macro that calls itself twice",
      "{% macro f(x) %}{% if x > 0 %}{{ f(x - 1) }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
    ["an indentation of half a gigabyte", "{{ [[[[1]]]]|tojson(indent=400000000) }}{{ 'a\nb\nc'|indent(width=500000000) }}"],
  ])("%s", (_, template) => {
    expect(() => render(template)).toThrow(
      refusal("bad-model", /failed: .*(steps|characters|items|range|string length|stack|function|serializable|deep)/),
    );
  });
});
