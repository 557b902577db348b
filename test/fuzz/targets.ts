// Everything of the package that reads what it did not write. A target gets an input and either works or throws a CpmError; what it
// throws otherwise, or a rule of its own that does not hold, is a finding.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compileConstraint } from "../../src/constrain/compile.ts";
import { openData } from "../../src/data/data.ts";
import { linesOf, parseRecord } from "../../src/data/jsonlines.ts";
import { openDoor } from "../../src/door/door.ts";
import { forms } from "../../src/door/forms.ts";
import * as here from "../../src/door/here.ts";
import type { Model } from "../../src/door/model.ts";
import { CpmError } from "../../src/errors.ts";
import { readTasks } from "../../src/evaluate/tasks/read.ts";
import { bytesSource, memoryFiles } from "../../src/file/bytes.ts";
import { parseObject } from "../../src/file/json.ts";
import type { ModelInput } from "../../src/file/kind.ts";
import { memoryOutput } from "../../src/file/write/output.ts";
import { HubClient } from "../../src/hub/client.ts";
import { parseRef, type Ref } from "../../src/hub/ref.ts";
import { readModel, readTokenizer } from "../../src/model/read.ts";
import { createHandler, type Handler } from "../../src/server/index.ts";
import { type DialectName, dialectNames } from "../../src/text/calls/dialect.ts";
import { type CallPart, CallStream, parseCalls } from "../../src/text/calls/parse.ts";
import { LinearPattern } from "../../src/text/pattern/linear.ts";
import { type ChatMessage, renderChat } from "../../src/text/template.ts";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import type { TokenizerData } from "../../src/text/vocabulary.ts";
import { Checkpoint, type RunState, writeCheckpoint } from "../../src/train/checkpoint.ts";
import { checksumOf } from "../../src/train/checksum.ts";
import { readConfig } from "../../src/train/config.ts";
import { Shard, ShardWriter } from "../../src/train/shards.ts";
import type { EngineHost } from "../../src/wasm/host.ts";
import { jsonBytes, writeSentencePiece } from "../support/folder.ts";
import { headFile, tinyHead, tinyMtp } from "../support/head.ts";
import { pieces, tinyConfig, tinyFolder, tinyGguf, tinyModel } from "../support/tiny.ts";

export * as mutations from "./mutate.ts";
export { CpmError };

export interface Target {
  readonly name: string;
  readonly kind: "bytes" | "text" | "json";
  readonly seeds: readonly Uint8Array[];
  /** Only the first bytes are changed mostly: what follows is weights. */
  readonly where?: number;
  /** What the language is made of. */
  readonly words?: readonly string[];
  /** Runs cost many times those of others: this share of the runs. */
  readonly share?: number;
  run(input: Uint8Array): unknown;
}

const root = new URL("../../", import.meta.url);
const wasm = (name: string): Promise<WebAssembly.Module> =>
  WebAssembly.compile(readFileSync(fileURLToPath(new URL(`wasm/${name}.wasm`, root))));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const seeds = (...texts: readonly (string | object)[]): Uint8Array[] =>
  texts.map((text) => utf8(typeof text === "string" ? text : JSON.stringify(text)));

/** A rule that the input shows to be broken: a finding. */
export class Broken extends Error {}
function holds(fact: boolean, what: string): void {
  if (!fact) throw new Broken(what);
}

const host: EngineHost = {
  name: "node",
  cores: 1,
  module: wasm,
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
  now: () => performance.now(),
};
const door = openDoor({ host: () => host, here: () => here, forms });
const small = { threads: 1, contextSize: 64, draft: false } as const;
const tiny = tinyModel({ layers: 1, hidden: 32, intermediate: 32, heads: 2, kvHeads: 1, headDim: 16 });
const folder = tinyFolder(tiny);

/** Loads and uses a model: whatever loads computes, generates and is released. */
async function used(input: ModelInput): Promise<void> {
  const model = await door.load(input, small);
  try {
    const { tokenizer } = model;
    tokenizer.decode(tokenizer.encode("a bc \u4e2d\u{1f600}"));
    const session = await model.session();
    await session.forward([0, Math.min(5, model.info.config.vocab - 1)]);
    await model.generate("a", { maxTokens: 2, temperature: 0 });
  } finally {
    await model.dispose();
  }
}

/** A folder in which one file is the input. */
const within =
  (name: string, rest: Record<string, Uint8Array> = folder) =>
  async (input: Uint8Array): Promise<void> => {
    await readModel(memoryFiles("", { ...rest, [name]: input }));
  };

const byteLevel = {
  version: "1.0",
  added_tokens: [
    { id: 300, content: "<|end|>", special: true, lstrip: false, rstrip: true, normalized: false, single_word: false },
    { id: 301, content: "word", special: false, lstrip: true, rstrip: false, normalized: true, single_word: true },
  ],
  normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }] },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: "\\p{N}{1,3}|[^\\s\\p{L}]+|\\s+" }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<|end|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<|end|>": { id: "<|end|>", ids: [300], tokens: ["<|end|>"] } },
  },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: "BPE", byte_fallback: false, fuse_unk: false, unk_token: null, vocab: vocabularyOf(), merges: ["a b", "ab c"] },
};
/** As converters write a SentencePiece model of the "bpe" kind. */
const spaced = {
  added_tokens: [{ id: 0, content: "<unk>", special: true }],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "\u2581" },
      { type: "Replace", pattern: { String: " " }, content: "\u2581" },
    ],
  },
  pre_tokenizer: null,
  decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
  model: {
    type: "BPE",
    byte_fallback: true,
    fuse_unk: true,
    unk_token: "<unk>",
    vocab: Object.fromEntries(
      [
        "<unk>",
        ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
        "\u2581",
        "a",
        "b",
        "ab",
        "\u2581ab",
      ].map((name, id) => [name, id]),
    ),
    merges: [
      ["a", "b"],
      ["\u2581", "ab"],
    ],
  },
};
function vocabularyOf(): Record<string, number> {
  const names = Array.from({ length: 256 }, (_, byte) =>
    (byte > 32 && byte < 127) || (byte > 160 && byte !== 173) ? String.fromCharCode(byte) : undefined,
  );
  let next = 256;
  const all = names.map((name) => name ?? String.fromCharCode(next++));
  return Object.fromEntries([...all, "ab", "abc"].map((name, id) => [name, id]));
}

const templateData = (chatTemplate: string): TokenizerData =>
  ({
    vocabulary: {
      kind: "pieces",
      model: "spm",
      pieces: ["<unk>", "<s>", "</s>"],
      scores: new Float32Array(3),
      types: Int32Array.from([2, 3, 3]),
      addSpacePrefix: true,
    },
    bos: 1,
    stop: [2],
    unk: 0,
    addBos: true,
    addEos: false,
    chatTemplate,
  }) as unknown as TokenizerData;
const tool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer" }, exact: { type: "array", items: { type: "number" } } },
      required: ["city"],
    },
  },
};
const messages: ChatMessage[] = [
  { role: "system", content: "s" },
  { role: "user", content: "a\u00e9 <b>" },
  {
    role: "assistant",
    content: null,
    tool_calls: [{ type: "function", function: { name: "f", arguments: '{"a": [1, 2.50]}' } }],
  },
  { role: "tool", content: "r", tool_call_id: "1" },
];
const chatTemplate = `{%- macro show(m, deep=false) -%}{{ m.role }}:{{ m.content | default('', true) | trim }}{%- endmacro -%}
{% set ns = namespace(n=0, seen=[]) %}{% for m in messages if m.role != 'x' %}{{ show(m) }}{% set ns.n = ns.n + loop.index0 %}
{%- if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson(indent=2) }}{% endfor %}{% endif %}
{% if not loop.last %}, {% else %}{{ "%05.1f|%s" | format(ns.n / 3, loop.length) }}{% endif %}{% endfor %}{{ raise_exception('no') if messages | length > 9 }}
{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | join(',') }}{{ 'abc'[::-1] ~ (1, 2)[0] ~ {'a': 1}.items() | list }}`;

const schema = {
  $defs: { node: { type: "object", properties: { next: { $ref: "#/$defs/node" } }, additionalProperties: false } },
  type: "object",
  properties: {
    a: { type: "string", minLength: 1, maxLength: 5, pattern: "^[a-z]+$" },
    b: { type: "integer", minimum: -3, exclusiveMaximum: 100, multipleOf: 2 },
    c: { enum: [1, "x", null, { k: [1] }] },
    d: { type: "array", prefixItems: [{ const: 1 }], items: { type: "number" }, minItems: 1, maxItems: 4, uniqueItems: false },
    e: { anyOf: [{ type: "null" }, { $ref: "#/$defs/node" }] },
    f: { type: "string", format: "date-time" },
  },
  required: ["a", "z"],
  patternProperties: { "^x_": { type: "boolean" } },
  allOf: [{ properties: { z: { oneOf: [{ type: "boolean" }, { type: "string", const: "q" }] } } }],
};

/** A constraint's input compiles or is refused; what compiles writes at least one text. */
const compiled = (input: Parameters<typeof compileConstraint>[0], options = {}) => void compileConstraint(input, options);

const data = openData({ module: () => wasm("data") });
async function trained(loss: "softmax" | "hs" | "ns" | "ova"): Promise<Uint8Array> {
  const text = Array.from({ length: 40 }, (_, i) => `__label__${i % 3} word${i % 7} other${i % 5} and\n`).join("");
  const made = await data.train(utf8(text), { dim: 4, bucket: 30, wordNgrams: 2, minCount: 1, epoch: 1, seed: 1, loss });
  const parts: Uint8Array[] = [];
  for await (const piece of made.pieces()) parts.push(piece.slice());
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

let handler: Handler | undefined;
let served: Model | undefined;
async function serve(): Promise<Handler> {
  if (handler) return handler;
  served = await door.load(tinyGguf(tiny), { ...small, cacheBytes: 0 } as never);
  handler = createHandler({ tiny: served }, { maxTokens: 2, parallel: 1 });
  return handler;
}
const route =
  (path: string) =>
  async (input: Uint8Array): Promise<void> => {
    const answer = await (await serve())(new Request(`http://127.0.0.1${path}`, { method: "POST", body: input.slice() }));
    const text = await answer.text();
    holds(answer.status < 500, `${answer.status}: ${text.slice(0, 300)}`);
    if (answer.status >= 400) {
      const { error } = JSON.parse(text) as { error?: { message?: unknown } };
      holds(typeof error?.message === "string" && error.message.length > 0, `an error without words: ${text.slice(0, 300)}`);
    }
  };

let keeper: Promise<Model> | undefined;
async function restored(bytes: Uint8Array): Promise<void> {
  const model = await (keeper ??= door.load(tinyGguf(tiny), small));
  const session = await model.restore(bytes);
  try {
    await session.forward([3]);
  } finally {
    await session.dispose();
  }
}
async function saved(): Promise<Uint8Array> {
  const model = await door.load(tinyGguf(tiny), small);
  const one = await model.session();
  await one.forward([1, 5, 6, 7]);
  const state = await one.save();
  await model.dispose();
  return state;
}

const sha = "0123456789abcdef0123456789abcdef01234567";
const hubAnswers = {
  refs: { branches: [{ name: "main", ref: "refs/heads/main", targetCommit: sha }], tags: [], converts: [] },
  tree: [
    { type: "file", path: "config.json", size: 12, oid: sha },
    { type: "directory", path: "onnx", size: 0, oid: sha },
    {
      type: "file",
      path: "m-Q4_0.gguf",
      size: 100,
      oid: sha,
      lfs: { oid: sha + sha.slice(0, 24), size: 100, pointerSize: 130 },
    },
  ],
};

const callSeeds = [
  '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>',
  'text <|tool_call_start|>\n```python\nget_weather(city="a\\"b", days=-3, exact=[1, 2.5])\n```\n<|tool_call_end|> more',
  '<function name="get_weather"><param name="city">R&lt;</param><param name="days">3</param></function>',
  "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>",
  '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "x"}}]',
  '{"name": "get_weather", "parameters": {"city": "Rome"}}',
  "<think>a</think>plain { text",
];

export async function targets(): Promise<Target[]> {
  const config = tinyConfig(tiny.shape);
  const { pieces: names, scores, types } = pieces(tiny.shape.vocab);
  const model = writeSentencePiece(names, scores, types);
  const words = (text: string): string[] => text.split(" ");
  const jsonWords = Object.keys(config);
  return [
    {
      name: "gguf",
      kind: "bytes",
      where: 6000,
      seeds: [tinyGguf(tiny), tinyGguf(tiny, "F16", "llama")],
      run: (bytes) => readModel(memoryFiles("m.gguf", { "m.gguf": bytes })),
    },
    { name: "gguf-used", kind: "bytes", where: 6000, share: 0.05, seeds: [tinyGguf(tiny)], run: (bytes) => used(bytes) },
    { name: "safetensors", kind: "bytes", where: 1500, seeds: [folder["model.safetensors"]!], run: within("model.safetensors") },
    {
      name: "safetensors-used",
      kind: "bytes",
      where: 1500,
      share: 0.05,
      seeds: [folder["model.safetensors"]!],
      run: (bytes) => used({ ...folder, "model.safetensors": bytes }),
    },
    {
      name: "config.json",
      kind: "json",
      words: [...jsonWords, "rope_scaling", "quantization_config", "sliding_window", "longrope", "llama", "qwen3"],
      seeds: [
        jsonBytes(config),
        jsonBytes({
          ...config,
          rope_scaling: {
            rope_type: "longrope",
            long_factor: [1, 1, 1, 1, 2, 2, 2, 2],
            short_factor: [1, 1, 1, 1, 1, 1, 1, 1],
            original_max_position_embeddings: 9,
          },
          quantization_config: { bits: 4, group_size: 64, quant_method: "gptq", desc_act: false, sym: true },
        }),
      ],
      run: within("config.json"),
    },
    {
      name: "tokenizer.model",
      kind: "bytes",
      where: 400,
      seeds: [model],
      run: async (bytes) => speak((await readTokenizer(memoryFiles("tokenizer.model", { "tokenizer.model": bytes }))).tokenizer),
    },
    {
      name: "tokenizer.json",
      kind: "json",
      words: words(
        "type Sequence ByteLevel Split Metaspace Prepend Replace NFKC Lowercase Digits pattern Regex String behavior Isolated Removed MergedWithNext add_prefix_space byte_fallback fuse_unk unk_token content normalized single_word lstrip rstrip special",
      ),
      seeds: [jsonBytes(byteLevel), jsonBytes(spaced)],
      run: async (bytes) => speak((await readTokenizer(memoryFiles("tokenizer.json", { "tokenizer.json": bytes }))).tokenizer),
    },
    {
      name: "tokenizer_config.json",
      kind: "json",
      words: words("chat_template bos_token eos_token added_tokens_decoder content name template add_bos_token add_eos_token"),
      seeds: [
        jsonBytes({
          bos_token: "<s>",
          eos_token: { content: "</s>", special: true },
          add_bos_token: true,
          added_tokens_decoder: { 5: { content: "x", special: true } },
          chat_template: [
            { name: "default", template: "{{ messages }}" },
            { name: "tool_use", template: "T" },
          ],
        }),
      ],
      run: within("tokenizer_config.json"),
    },
    {
      name: "generation_config.json",
      kind: "json",
      words: words("eos_token_id temperature top_k top_p"),
      seeds: seeds(
        { eos_token_id: [2, 3], temperature: 0.7, top_k: 40, do_sample: true },
        '{"temperature": NaN, "eos_token_id": 2}',
      ),
      run: within("generation_config.json"),
    },
    {
      name: "index.json",
      kind: "json",
      words: ["weight_map", "metadata"],
      seeds: seeds({
        metadata: { total_size: 1 },
        weight_map: Object.fromEntries([...tiny.weights.keys()].map((name) => [name, "model.safetensors"])),
      }),
      run: within("model.safetensors.index.json"),
    },
    {
      name: "eagle-head",
      kind: "bytes",
      where: 1200,
      share: 0.05,
      seeds: [headFile(tinyHead(2, tiny.shape))],
      run: (bytes) => head(bytes),
    },
    {
      name: "mtp-head",
      kind: "bytes",
      where: 1600,
      share: 0.05,
      seeds: [headFile(new Map([...tinyMtp(tiny.shape)].map(([name, tensor]) => [`model.layers.1.${name}.weight`, tensor])))],
      run: (bytes) => head(bytes, "mtp"),
    },
    {
      name: "file-json",
      kind: "json",
      words: words("a b c NaN Infinity -Infinity true false"),
      seeds: seeds('{"a": [1, -2.5e3, "\\u00e9", NaN], "b": {"c": null}, "d": 12345678901234567890}', { a: "\ud800" }),
      run: (bytes) => jsonLike(textOf(bytes)),
    },
    {
      name: "template",
      kind: "text",
      words: words(
        "{{ }} {% %} {# #} {%- -%} if elif else endif for in endfor set macro endmacro call filter loop.index | . [ ] ( ) : , ~ + - * / // % ** == != <= and or not is defined none true false namespace range(9) 'x' 1.5 1e3 tojson trim join map selectattr sort groupby batch unique format replace indent items dictsort split strftime_now raise_exception caller()",
      ),
      seeds: seeds(
        chatTemplate,
        "{{ bos_token }}{% for m in messages %}{{ m['role'] + m.content|string }}{% endfor %}",
        "{% macro f() %}{{ caller(1) }}{% endmacro %}{% call(x) f() %}{{ x }}{% endcall %}{% filter upper %}a{% endfilter %}",
      ),
      run: (bytes) => void renderChat(templateData(textOf(bytes)), messages, { tools: [tool] }),
    },
    {
      name: "messages",
      kind: "json",
      words: words("role content tool_calls function name arguments tool_call_id reasoning_content user system assistant"),
      seeds: seeds(messages),
      run: (bytes) => void renderChat(templateData(chatTemplate), parsed(bytes) as ChatMessage[]),
    },
    {
      name: "schema",
      kind: "json",
      words: words(
        "type properties required items prefixItems anyOf oneOf allOf not if then else $ref $defs enum const pattern patternProperties additionalProperties propertyNames minLength maxLength minimum maximum multipleOf minItems maxItems uniqueItems contains format date time email uuid integer number string boolean object array null unevaluatedProperties dependentRequired $anchor $id",
      ),
      seeds: seeds(schema),
      run: (bytes) => compiled({ schema: parsed(bytes) }),
    },
    {
      name: "schema-lenient",
      kind: "json",
      words: words("type not if then else minProperties contains dependentSchemas format pattern"),
      seeds: seeds(schema),
      run: (bytes) => compiled({ schema: parsed(bytes) }, { lenient: true }),
    },
    {
      name: "regex",
      kind: "text",
      words: words(
        "( ) (?: [ ] [^ - * + ? {2,} {0,9} | ^ $ . \\d \\w \\s \\b \\p{L} \\u{1f600} \\x41 \\- \\/ (?= (?<a> \\1 (?i)",
      ),
      seeds: seeds("^(a|b)*c{2,5}[^x-z\\d]+$", "(?:\\p{L}+|\\s)*?\\.(com|org)", "[\\u4e00-\\u9fff]{1,3}"),
      run: (bytes) => compiled({ regex: textOf(bytes) }),
    },
    {
      name: "gbnf",
      kind: "text",
      words: words('root ::= | ( ) * + ? {1,3} [a-z] [^"] "x" . # \\n ws <|end|> <[5]> !'),
      seeds: seeds(
        'root ::= obj | arr # c\nobj ::= "{" ws (str ":" root ("," str ":" root)*)? "}"\narr ::= "[" root{0,3} "]"\nstr ::= "\\"" [^"\\\\\\x00-\\x1f]* "\\""\nws ::= [ \\t\\n]*',
      ),
      run: (bytes) => compiled({ grammar: textOf(bytes) }),
    },
    {
      name: "pattern",
      kind: "text",
      words: words("( ) (?: (?i: [ ] [^ && - * + ? ++ *+ {2} | ^ $ . \\d \\w \\s \\b \\p{L} \\p{Han} \\r \\n (?= (?! \\S"),
      seeds: seeds(
        "(?i:'s|'t|'re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      ),
      run: (bytes) => split(textOf(bytes)),
    },
    ...dialectNames.map(
      (dialect): Target => ({
        name: `calls-${dialect}`,
        kind: "text",
        share: 0.3,
        words: words(
          '<tool_call> </tool_call> <function name="get_weather"> </function> <function=get_weather> <parameter=city> </parameter> <param name="city"> [TOOL_CALLS] <|tool_call_start|> <|tool_call_end|> ```python ``` {"name": "get_weather" get_weather( ) city= days= , { } [ ] " \\" \\u00e9 <think> </think> true None -1.5e3',
        ),
        seeds: seeds(...callSeeds),
        run: (bytes) => calls(dialect, textOf(bytes)),
      }),
    ),
    {
      name: "jsonl",
      kind: "bytes",
      seeds: seeds('{"text": "a", "meta": {"x": 1}}\n\n{"content": "b"}\r\n{"text": "\\ud83d\\ude00"}\n'),
      run: lines,
    },
    {
      name: "tasks",
      kind: "json",
      seeds: seeds(
        { prompt: "1 + 1 =", answer: 2, id: "a", match: "math", stop: "\n" },
        { question: "a", choices: ["b", "c"], answer: 1 },
        { prompt: "def f():", test: "def check(f): pass", entry_point: "f" },
        { text: "Write g.", test_list: ["assert g()"], test_setup_code: "", language: "python" },
      ),
      run: (bytes) => readTasks(bytes),
    },
    {
      name: "classifier",
      kind: "bytes",
      where: 900,
      seeds: [await trained("softmax"), await trained("hs"), await trained("ova")],
      run: classifier,
    },
    { name: "train-shard", kind: "bytes", seeds: [await shard()], run: openShard },
    { name: "train-checkpoint", kind: "bytes", seeds: [await checkpoint()], run: openCheckpoint },
    {
      name: "train-config",
      kind: "json",
      seeds: seeds(trainConfig),
      run: (input) => readConfig(parseObject(textOf(input), "config.json")),
    },
    { name: "state", kind: "bytes", where: 200, share: 0.2, seeds: [await saved()], run: restored },
    {
      name: "hub-refs",
      kind: "json",
      words: words("branches tags name ref targetCommit main"),
      seeds: seeds(hubAnswers.refs),
      run: (bytes) => hub(bytes, (client, ref) => client.commitOf(ref)),
    },
    {
      name: "hub-tree",
      kind: "json",
      words: words("type file directory path size oid lfs .. / \\ a/../b con"),
      seeds: seeds(hubAnswers.tree),
      run: (bytes) => hub(bytes, (client, ref) => client.files(ref, sha)),
    },
    {
      name: "chat-body",
      kind: "json",
      share: 0.1,
      words: words(
        "model messages role content text tools tool_choice response_format json_schema schema stream stop n logprobs top_logprobs temperature max_tokens logit_bias seed stream_options include_usage image_url",
      ),
      seeds: seeds(
        {
          model: "tiny",
          messages: [{ role: "user", content: "a" }],
          max_tokens: 1,
          temperature: 0,
          stream: true,
          stream_options: { include_usage: true },
        },
        {
          messages: [{ role: "user", content: [{ type: "text", text: "a" }] }],
          tools: [tool],
          tool_choice: "auto",
          logprobs: true,
          top_logprobs: 2,
          response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "boolean" }, strict: true } },
          stop: ["a"],
          n: 2,
          seed: 1,
          logit_bias: { 5: -100 },
        },
      ),
      run: route("/v1/chat/completions"),
    },
    {
      name: "responses-body",
      kind: "json",
      share: 0.1,
      words: words(
        "input instructions text format tools max_output_tokens type message role content input_text function_call_output call_id output reasoning effort",
      ),
      seeds: seeds({
        model: "tiny",
        input: [
          { role: "user", content: [{ type: "input_text", text: "a" }] },
          { type: "function_call_output", call_id: "x", output: "y" },
        ],
        max_output_tokens: 1,
        stream: false,
        text: { format: { type: "text" } },
      }),
      run: route("/v1/responses"),
    },
    {
      name: "completions-body",
      kind: "json",
      share: 0.1,
      words: words("prompt suffix echo best_of stream stop max_tokens"),
      seeds: seeds({ model: "tiny", prompt: ["a", "b"], max_tokens: 1 }, { prompt: [1, 5], max_tokens: 1, logprobs: 1 }),
      run: route("/v1/completions"),
    },
    {
      name: "embeddings-body",
      kind: "json",
      share: 0.1,
      words: words("input encoding_format base64 dimensions"),
      seeds: seeds({ model: "tiny", input: ["a", "b"], encoding_format: "base64" }, { input: [[1, 5]] }),
      run: route("/v1/embeddings"),
    },
    {
      name: "encode",
      kind: "text",
      seeds: seeds("Hello <s> world\u00e9\u4e2d\u{1f600}", "a  b\n\n\tc e\u0301\u0345"),
      run: (bytes) => roundTrip(textOf(bytes)),
    },
  ];
}

const parsed = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(textOf(bytes));
  } catch {
    throw new CpmError("bad-input", "the input is no JSON");
  }
};

function speak(tokenizer: TokenizerData): void {
  const words = new Tokenizer(tokenizer);
  const ids = words.encode("Hello wor\u00e9ld  <|end|> 12345 word xx \u{1f600}");
  words.decode(ids);
  for (const id of ids) holds(Number.isInteger(id) && id >= 0 && id < words.size, `token ${id} of ${words.size}`);
}

async function head(bytes: Uint8Array, kind: "eagle" | "mtp" = "eagle"): Promise<void> {
  const model = await door.load(tinyGguf(tiny), { ...small, draft: { [kind]: { "model.safetensors": bytes } } } as never);
  try {
    await model.generate("ab", { maxTokens: 3, temperature: 0 });
  } finally {
    await model.dispose();
  }
}

/** What JSON.parse reads to an object is read to the same. */
function jsonLike(text: string): void {
  let wanted: unknown;
  try {
    wanted = JSON.parse(text);
  } catch {
    wanted = undefined;
  }
  const found = parseObject(text, "x.json");
  if (typeof wanted === "object" && wanted !== null && !Array.isArray(wanted) && !/"__proto__"/.test(text))
    holds(JSON.stringify(found) === JSON.stringify(wanted), `read as ${JSON.stringify(found).slice(0, 200)}`);
}

function split(text: string): void {
  let pattern: LinearPattern;
  try {
    pattern = new LinearPattern(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw new CpmError("unsupported", `no pattern: ${error.message}`);
    throw error;
  }
  const within = "Hello  wor1234\r\n\u4e2d\u6587 it's";
  const found = pattern.find(within, 0);
  holds(!found || (found[0] <= found[1] && found[1] <= within.length), `found at ${found}`);
}

/** A text that comes in pieces is read as the text that comes whole. */
function calls(dialect: DialectName, text: string): void {
  const options = { dialect, tools: [tool], newId: () => "id" };
  const whole = parseCalls(text, options);
  const stream = new CallStream(options);
  const parts: CallPart[] = [];
  const size = 1 + (text.length % 5);
  for (let i = 0; i < text.length; i += size) parts.push(...stream.push(text.slice(i, i + size)));
  parts.push(...stream.end());
  const read = parts.flatMap((part) => (part.type === "call-end" ? [part.call] : []));
  holds(
    JSON.stringify(read) === JSON.stringify(whole.calls),
    `in pieces ${JSON.stringify(read)}, whole ${JSON.stringify(whole.calls)}`,
  );
  const said = (type: "text" | "reasoning") => parts.map((part) => (part.type === type ? part.text : "")).join("");
  const content = read.length ? said("text").trim() : said("text");
  holds(content === whole.content, `in pieces ${JSON.stringify(content)}, whole ${JSON.stringify(whole.content)}`);
  holds(said("reasoning") === whole.reasoning, `thoughts in pieces ${JSON.stringify(said("reasoning"))}`);
  for (const call of whole.calls) JSON.parse(JSON.stringify(call));
}

async function lines(bytes: Uint8Array): Promise<void> {
  const pieces = async function* () {
    for (let i = 0; i < bytes.length; i += 7) yield bytes.subarray(i, i + 7);
  };
  for await (const line of linesOf(pieces(), 1 << 16)) {
    try {
      if (line.bytes) parseRecord(line.bytes);
    } catch (error) {
      if (!(error instanceof CpmError)) throw error;
    }
  }
}

async function classifier(bytes: Uint8Array): Promise<void> {
  const found = await data.loadClassifier(bytes);
  try {
    found.score("some words to score", { k: 2 });
  } finally {
    found.close();
  }
}

async function hub(bytes: Uint8Array, use: (client: HubClient, ref: Ref) => Promise<unknown>): Promise<void> {
  const fetch = async () => new Response(bytes.slice(), { status: 200, headers: { "content-type": "application/json" } });
  const client = new HubClient({
    endpoint: "https://hub.example",
    fetch: fetch as typeof globalThis.fetch,
    network: { retries: 0 } as never,
  });
  await use(client, parseRef("hf:a/b")!);
}

const trainConfig = {
  model: { config: { hidden_size: 8 }, tokenizer: "t.json", std: 0.1 },
  out: "run",
  data: [{ files: ["a.jsonl"], weight: 2, format: "chat", answers: "each" }],
  length: 64,
  rows: 4,
  stages: [{ updates: 9 }, { updates: 9, objective: { kind: "ternary", group: 64, teacher: "t", share: 0.5 } }],
  schedule: { kind: "exponential", peak: 1e-3, halfLife: 3 },
  optimiser: { kind: "muon", betas: [0.9, 0.95] },
  export: [{ to: "a.gguf", type: "TQ2_0" }],
};

async function shard(): Promise<Uint8Array> {
  const output = memoryOutput("x.tokens");
  const writer = new ShardWriter(output, 300, new Uint8Array(32));
  await writer.add({ tokens: [1, 2, 3], mask: [0, 1, 1] });
  await writer.add({ tokens: [4, 5, 6, 7] });
  await writer.finish();
  return output.bytes();
}

/** Sums that are right again, so that what lies behind them is read. */
function sealed(bytes: Uint8Array, parts: readonly (readonly [begin: number, end: number, at: number])[]): Uint8Array {
  const out = bytes.slice();
  for (const [begin, end, at] of parts)
    if (at + 16 <= out.length && begin <= end && end <= out.length) out.set(checksumOf(out.subarray(begin, end)), at);
  return out;
}

async function openShard(bytes: Uint8Array): Promise<void> {
  const found = await Shard.open(bytesSource("x.tokens", sealed(bytes, [[0, 144, 144]])), bytes.slice(40, 72));
  await found.read(0, found.tokens);
}

const runState = {
  version: 1,
  config: "c",
  base: "b",
  stage: 0,
  step: 1,
  updates: 1,
  tokens: 9,
  feed: { sources: [{ epoch: 0, next: 1, rows: 2, waiting: [[1, 2]] }] },
  recent: [1.5],
  lowest: null,
} as const;

async function checkpoint(): Promise<Uint8Array> {
  const output = memoryOutput("x.ckpt");
  await writeCheckpoint(async () => output, runState as unknown as RunState, [{ name: "w", bytes: new Uint8Array(40).fill(3) }]);
  return output.bytes();
}

async function openCheckpoint(bytes: Uint8Array): Promise<void> {
  const length = bytes.length >= 16 ? Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8, true)) : 0;
  const found = await Checkpoint.open(
    bytesSource(
      "x.ckpt",
      sealed(bytes, [
        [64, 64 + length, 24],
        [0, 40, 40],
      ]),
    ),
  );
  for (const name of found.names) await found.read(name, new Uint8Array(40));
}

const plain = new Map<string, Tokenizer>();
async function roundTrip(text: string): Promise<void> {
  if (plain.size === 0) {
    const read = (name: string, bytes: Uint8Array) => readTokenizer(memoryFiles(name, { [name]: bytes }));
    const bytes = structuredClone(byteLevel) as Record<string, unknown>;
    bytes["normalizer"] = null;
    bytes["added_tokens"] = [];
    bytes["post_processor"] = null;
    const { pieces: names, scores, types } = pieces(tiny.shape.vocab);
    plain.set("bytes", new Tokenizer((await read("tokenizer.json", jsonBytes(bytes))).tokenizer));
    plain.set("pieces", new Tokenizer((await read("tokenizer.model", writeSentencePiece(names, scores, types))).tokenizer));
  }
  const sound = textOf(utf8(text));
  const encode = (name: string) => plain.get(name)!.encode(text, { special: false, bos: false, eos: false });
  holds(plain.get("bytes")!.decode(encode("bytes")) === sound, "byte-level: decode(encode(text)) is another text");
  plain.get("pieces")!.decode(encode("pieces"));
}
