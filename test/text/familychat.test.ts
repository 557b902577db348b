// Chat without options in each family's form: prompt, stop tokens, reasoning, tools. The templates here are written for the test, in
// the forms of the published ones; published ones are read where vocabularies.mjs has put them. Jinja renders them all beside ours.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { toolPlan } from "../../src/door/tools.ts";
import { memoryFiles } from "../../src/file/bytes.ts";
import { readTokenizer } from "../../src/model/read.ts";
import { dialectOfTemplate } from "../../src/text/calls/parse.ts";
import { marksOf } from "../../src/text/marks.ts";
import { byteLetters } from "../../src/text/pieces.ts";
import { type ChatMessage, renderChat, type TemplateOptions } from "../../src/text/template.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { flag, i32, list, text, u32, writeGguf } from "../support/gguf.ts";
import { json } from "./vocabularies.ts";

interface Family {
  readonly template: string;
  readonly specials: readonly string[];
  /** The token that the file names as its end; others are known by name. */
  readonly eos: string;
  readonly stops: readonly string[];
  readonly bos?: string;
  /** Of the conversation below. */
  readonly prompt: string;
  readonly tools: string;
}

const chatMl = (system: string) =>
  `{%- if messages[0].role != 'system' %}{{ '${system}' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;

const families: Readonly<Record<string, Family>> = {
  "llama 3": {
    template:
      "{{- bos_token }}{% for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}{# ipython, \"parameters\" #}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    specials: ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"],
    bos: "<|begin_of_text|>",
    eos: "<|end_of_text|>",
    stops: ["<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"],
    prompt:
      "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n2+2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    tools: "llama3-json",
  },
  smollm2: {
    template: chatMl("<|im_start|>system\\nBe good<|im_end|>\\n"),
    specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    eos: "<|im_end|>",
    stops: ["<|im_end|>", "<|endoftext|>"],
    prompt:
      "<|im_start|>system\nBe good<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n",
    tools: "json",
  },
  qwen3: {
    template: `${chatMl("")}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% if tools %}<tool_call>{% endif %}`,
    specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"],
    eos: "<|im_end|>",
    stops: ["<|im_end|>", "<|endoftext|>"],
    prompt:
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n",
    tools: "hermes-json",
  },
  mistral: {
    template:
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}{% elif m.tool_calls %}[TOOL_CALLS]{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    specials: ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"],
    bos: "<s>",
    eos: "</s>",
    stops: ["</s>"],
    prompt: "<s>[INST]Hi[/INST]Yes?</s>[INST]2+2[/INST]",
    tools: "mistral",
  },
  "phi 3": {
    template:
      "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    specials: ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"],
    eos: "<|endoftext|>",
    stops: ["<|endoftext|>", "<|end|>"],
    prompt: "<|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n<|user|>\n2+2<|end|>\n<|assistant|>\n",
    tools: "json",
  },
  "phi 4 mini": {
    template:
      "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|system|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|><|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    specials: [
      "<|endoftext|>",
      "<|user|>",
      "<|assistant|>",
      "<|system|>",
      "<|end|>",
      "<|tool|>",
      "<|/tool|>",
      "<|tool_call|>",
      "<|/tool_call|>",
    ],
    eos: "<|endoftext|>",
    stops: ["<|endoftext|>", "<|end|>"],
    prompt: "<|user|>Hi<|end|><|assistant|>Yes?<|end|><|user|>2+2<|end|><|assistant|>",
    tools: "granite-json",
  },
  "gemma 2": {
    template:
      "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    specials: ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
    bos: "<bos>",
    eos: "<eos>",
    stops: ["<eos>", "<end_of_turn>"],
    prompt:
      "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n<start_of_turn>user\n2+2<end_of_turn>\n<start_of_turn>model\n",
    tools: "json",
  },
  "olmo 2": {
    template:
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\\n' + m.content + eos_token + '\\n' }}{% else %}{{ '<|' + m.role + '|>\\n' + m.content + '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    specials: ["<|endoftext|>"],
    bos: "<|endoftext|>",
    eos: "<|endoftext|>",
    stops: ["<|endoftext|>"],
    prompt: "<|endoftext|><|user|>\nHi\n<|assistant|>\nYes?<|endoftext|>\n<|user|>\n2+2\n<|assistant|>\n",
    tools: "json",
  },
  "olmo 3": {
    template:
      "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe good. ' + ('Call within <function_calls></function_calls>. <functions>' + tools | tojson + '</functions>' if tools else '<functions></functions>') + '<|im_end|>\\n' }}{% endif %}{% for m in messages %}{% if m.role == 'tool' %}{{ '<|im_start|>environment\\n' + m.content + '<|im_end|>\\n' }}{% else %}{{ '<|im_start|>' + m.role + '\\n' + (m.content or '') }}{% if m.tool_calls %}{{ '<function_calls>' }}{% for c in m.tool_calls %}{{ c.function.name + '(' }}{% for k, v in c.function.arguments | items %}{{ k + '=' + v | tojson }}{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ')' }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}{{ '</function_calls>' }}{% endif %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    eos: "<|endoftext|>",
    stops: ["<|endoftext|>", "<|im_end|>"],
    prompt:
      "<|im_start|>system\nBe good. <functions></functions><|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n",
    tools: "olmo3-python",
  },
  "granite 3.3": {
    template:
      "{%- if tools and not available_tools %}{% set available_tools = tools %}{% endif %}{% if thinking %}{{ '<|start_of_role|>system<|end_of_role|>Write your thoughts between <think></think> and your response between <response></response>.<|end_of_text|>\\n' }}{% endif %}{% if available_tools %}{{ '<|start_of_role|>available_tools<|end_of_role|>' + available_tools | tojson(indent=4) + '<|end_of_text|>\\n' }}{% endif %}{% for m in messages %}{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}{# <|tool_call|> #}".replace(
        "{# <|tool_call|> #}",
        "{% if false %}<|tool_call|>{% endif %}",
      ),
    specials: ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"],
    eos: "<|end_of_text|>",
    stops: ["<|end_of_text|>"],
    prompt:
      "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Yes?<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>2+2<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    tools: "granite-json",
  },
  "exaone 4": {
    template:
      "{% for m in messages %}{{ '[|' + m.role + '|]\\n' + m.content + '[|endofturn|]\\n' }}{% endfor %}{% if tools %}<tool_call>{% endif %}{% if add_generation_prompt %}{{ '[|assistant|]\\n' + ('<think>\\n' if enable_thinking is defined and enable_thinking else '<think>\\n\\n</think>\\n\\n') }}{% endif %}",
    specials: ["[BOS]", "[EOS]", "[|endofturn|]", "[|user|]", "[|assistant|]", "<think>", "</think>"],
    eos: "[|endofturn|]",
    stops: ["[|endofturn|]", "[EOS]"],
    prompt:
      "[|user|]\nHi[|endofturn|]\n[|assistant|]\nYes?[|endofturn|]\n[|user|]\n2+2[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n",
    tools: "hermes-json",
  },
};
const names = Object.keys(families);

const conversation: readonly ChatMessage[] = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Yes?" },
  { role: "user", content: "2+2" },
];

/** A folder and a GGUF with the family's special tokens, letters and template. */
async function tokenizersOf({ template, specials, bos, eos }: Family) {
  const pieces = [...byteLetters, ...specials];
  const at = (name: string) => pieces.indexOf(name);
  const gguf = writeGguf({
    metadata: [
      ["general.architecture", text("llama")],
      ["tokenizer.ggml.model", text("gpt2")],
      ["tokenizer.ggml.pre", text("gpt-2")],
      ["tokenizer.ggml.tokens", list(8, pieces.map(text))],
      [
        "tokenizer.ggml.token_type",
        list(
          5,
          pieces.map((piece) => i32(specials.includes(piece) ? 3 : 1)),
        ),
      ],
      ["tokenizer.ggml.merges", list(8, [])],
      ["tokenizer.ggml.eos_token_id", u32(at(eos))],
      ...(bos === undefined ? [] : ([["tokenizer.ggml.bos_token_id", u32(at(bos))]] as const)),
      ["tokenizer.ggml.add_bos_token", flag(bos !== undefined)],
      ["tokenizer.chat_template", text(template)],
    ],
    tensors: [],
  });
  const file = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const added = specials.map((content) => ({ id: at(content), content, special: true, normalized: false }));
  const folder = {
    "tokenizer.json": file({
      added_tokens: added,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
      model: { type: "BPE", vocab: Object.fromEntries([...byteLetters].map((piece, id) => [piece, id])), merges: [] },
    }),
    "tokenizer_config.json": file({
      eos_token: eos,
      chat_template: template,
      ...(bos ? { bos_token: bos, add_bos_token: true } : {}),
    }),
  };
  return [
    (await readTokenizer(memoryFiles("m.gguf", { "m.gguf": gguf }))).tokenizer,
    (await readTokenizer(memoryFiles("tokenizer.json", folder))).tokenizer,
  ];
}

test.each(names)("%s: the prompt, its special tokens and what ends an answer, from a GGUF and a folder", async (name) => {
  const family = families[name]!;
  for (const data of await tokenizersOf(family)) {
    const { text, ends } = renderChat(data, conversation);
    expect(text).toBe(family.prompt);
    expect(ends).toBe("template");
    const tokenizer = new Tokenizer(data);
    // As a chat encodes it: the template has said where a text begins.
    const ids = tokenizer.encode(text, { bos: false, eos: false });
    const marks = ids.map((id) => tokenizer.piece(id)).filter((piece) => family.specials.includes(piece));
    const written = family.specials.flatMap((special) => family.prompt.split(special).slice(1)).length;
    expect(marks.length).toBe(written);
    expect(new Set(tokenizer.stop.map((id) => tokenizer.piece(id)))).toEqual(new Set(family.stops));
    expect(dialectOfTemplate(data.chatTemplate)).toBe(family.tools);
  }
});

const data = (chatTemplate: string) => json({ type: "BPE", vocab: { a: 0 }, merges: [] }, {}, { chatTemplate, bos: 0 });

test("reasoning is switched by the name that each template has for it, and begun where the prompt says", () => {
  const render = (name: string, options: TemplateOptions, content = "Why?") =>
    renderChat(data(families[name]!.template), [{ role: "user", content }], options);
  expect(render("granite 3.3", { enableThinking: true }).text).toContain("<think></think>");
  expect(render("granite 3.3", {}).text).not.toContain("<think>");
  expect(render("granite 3.3", { enableThinking: true }).marks?.answer).toEqual(["<response>", "</response>"]);
  expect(render("granite 3.3", { templateArguments: { thinking: true } }).text).toContain("<think></think>");
  expect(render("exaone 4", { enableThinking: true })).toMatchObject({ thinking: "open" });
  expect(render("exaone 4", {})).toMatchObject({ thinking: "split" });
  expect(render("exaone 4", {}, "Why? /think")).toMatchObject({ thinking: "open" });
  expect(render("qwen3", {}, "Why? /no_think").text.endsWith("<think>\n\n</think>\n\n")).toBe(true);
});

test("marks of reasoning are told from templates", () => {
  expect(marksOf(undefined).open).toBe("<think>");
  expect(marksOf("… [THINK] … [/THINK]")).toEqual({ open: "[THINK]", close: "[/THINK]" });
  expect(marksOf("<thought>")).toEqual({ open: "<thought>", close: "</thought>" });
  expect(marksOf("Write after 'Here is my thought process:' and 'Here is my response:'").close).toBe("Here is my response:");
  expect(renderChat(data("[|assistant|]<thought>\n"), conversation)).toMatchObject({ thinking: "open" });
});

const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
} as const;

test("tools go where each template has room for them", () => {
  const planned = (name: string, messages: readonly ChatMessage[] = conversation) => {
    const tokenizer = data(families[name]!.template);
    const plan = toolPlan({ tools: [weather] }, messages, tokenizer)!;
    return renderChat(tokenizer, plan.messages, plan.template ? { tools: [weather] } : {}).text;
  };
  const list = JSON.stringify([weather.function]);
  expect(planned("phi 4 mini")).toContain(
    `<|system|>You are a helpful assistant with some tools.<|tool|>${list}<|/tool|><|end|><|user|>Hi`,
  );
  expect(planned("phi 4 mini", [{ role: "system", content: "S" }, ...conversation])).toContain(`<|system|>S<|tool|>${list}`);
  expect(planned("granite 3.3")).toContain('<|start_of_role|>available_tools<|end_of_role|>[\n    {\n        "type": "function"');
  const asked: ChatMessage[] = [
    { role: "user", content: "Warm?" },
    {
      role: "assistant",
      content: "",
      tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Rome","days":null}' } }],
    },
    { role: "tool", tool_call_id: "call_1", content: "20" },
  ];
  expect(planned("olmo 3", asked)).toContain(`<functions>[{"type": "function"`);
  expect(planned("olmo 3", asked)).toContain(
    '<|im_start|>assistant\n<function_calls>weather(city="Rome", days=null)</function_calls><|im_end|>\n<|im_start|>environment\n20<|im_end|>',
  );
  // Gemma 2 has neither tools nor a system message.
  expect(planned("gemma 2")).toMatch(
    /<start_of_turn>user\nYou may call these functions:\n\{"name":"weather".*\n\nHi<end_of_turn>/s,
  );
  const smollm3 = data("{% if xml_tools %}{% for tool in xml_tools %}{{ tool | string }}{% endfor %}<tool_call>{% endif %}");
  const plan = toolPlan({ tools: [weather] }, conversation, smollm3)!;
  expect(plan.template).toBe(true);
  expect(renderChat(smollm3, conversation, { tools: [weather] }).text).toContain("'name': 'weather'");
  expect(renderChat(smollm3, conversation, { tools: [weather], templateArguments: { python_tools: ["f"] } }).text).toBe("");
});

describe("as Jinja renders them", () => {
  const python = spawnSync("python3", ["-c", "import jinja2"]);
  const there = python.status === 0;
  if (!there) console.log("skipped: templates beside Jinja's results: python3 with jinja2 is not here");
  const cached = (name: string) =>
    fileURLToPath(new URL(`../../build/vocabularies/${name}/tokenizer_config.json`, import.meta.url));
  const published = ["gemma3", "qwen3", "llama3_2", "mistral_nemo"].flatMap((name): [string, string][] => {
    if (existsSync(cached(name)))
      return [[name, (JSON.parse(readFileSync(cached(name), "utf8")) as { chat_template: string }).chat_template]];
    console.log(`skipped: the published template of ${name}: test/text/vocabularies.mjs has not fetched it`);
    return [];
  });
  const all = [...names.map((name): [string, string] => [name, families[name]!.template]), ...published];
  const call = {
    type: "function",
    id: "abcdefghi",
    function: { name: "weather", arguments: { city: "Zürich", n: [1, 2.5, null, true] } },
  };
  const chats: Readonly<Record<string, readonly ChatMessage[]>> = {
    plain: conversation,
    "with a system message": [{ role: "system", content: " Be brief.\n" }, ...conversation],
    "with reasoning": [
      { role: "user", content: "a" },
      { role: "assistant", content: "<think>\nhm\n</think>\n\nb", reasoning_content: "hm" },
      { role: "user", content: "c" },
    ],
    "with a call": [
      { role: "user", content: "Weather?" },
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", content: '{"t": 3}', tool_call_id: "abcdefghi" },
    ],
  };

  test.skipIf(!there)("every template and conversation that the template takes", () => {
    const cases: { readonly label: string; readonly template: string; readonly variables: object; readonly ours: string }[] = [];
    for (const [name, template] of all)
      for (const [label, messages] of Object.entries(chats))
        for (const enableThinking of [undefined, true, false])
          for (const tools of [undefined, [weather]]) {
            const templateArguments = { date_string: "26 Nov 2026" };
            let ours: string;
            try {
              ours = renderChat(data(template), messages, { enableThinking, tools, templateArguments }).text;
            } catch (error) {
              // Roles that the template itself refuses.
              expect(error, `${name} ${label}`).toMatchObject({ code: "bad-input" });
              continue;
            }
            const switched = enableThinking === undefined ? {} : { enable_thinking: enableThinking, thinking: enableThinking };
            const variables = {
              ...templateArguments,
              messages,
              tools: tools ?? null,
              documents: null,
              add_generation_prompt: true,
              bos_token: "a",
              eos_token: "",
              ...switched,
            };
            cases.push({ label: `${name} ${label}`, template, variables, ours });
          }
    expect(cases.length).toBeGreaterThan(150);
    const input = JSON.stringify(cases.map(({ template, variables }) => ({ template, variables })));
    const script = fileURLToPath(new URL("render.py", import.meta.url));
    const { stdout, stderr } = spawnSync("python3", [script], { input, encoding: "utf8", maxBuffer: 1 << 28 });
    expect(stderr).toBe("");
    for (const [i, rendered] of (JSON.parse(stdout) as string[]).entries())
      expect(cases[i]!.ours, cases[i]!.label).toBe(rendered);
  });
});
