// A scripted model: what it answers depends on the request alone, its seed included. It is right often, and wrong in the ways that
// models are: values of the wrong type, tools that there are not, wrong numbers, texts that run in circles, no answer at all.
import { createHash } from "node:crypto";

const words =
  "amber basin candle delta ember forest garden harbour island juniper kettle lantern meadow nectar orchard pebble quarry river saddle timber umbrella valley willow yarrow zephyr bridge copper dragon engine falcon glacier hammer insect jacket kitchen ladder mirror needle oxygen pepper rabbit silver tunnel violin window".split(
    " ",
  );

/** Chances of a text. */
export function chances(text) {
  let [bytes, at, round] = [createHash("sha256").update(text).digest(), 0, 0];
  const next = () => {
    if (at === bytes.length) [bytes, at] = [createHash("sha256").update(`${text} ${++round}`).digest(), 0];
    const value = bytes.readUInt32BE(at) / 2 ** 32;
    at += 4;
    return value;
  };
  const below = (n) => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)] };
}

const sentence = (chance, n = 6 + chance.below(8)) => {
  const text = Array.from({ length: n }, () => chance.pick(words)).join(" ");
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
};
export const prose = (chance, n = 3 + chance.below(5)) => Array.from({ length: n }, () => sentence(chance)).join(" ");

/** A value that holds to a JSON Schema. */
export function instance(schema, chance) {
  if (schema.enum) return chance.pick(schema.enum);
  if (schema.type === "object") {
    const names = Object.keys(schema.properties ?? {});
    if (names.length === 0) return { result: chance.pick(words) };
    const made = names.filter((name) => (schema.required ?? []).includes(name) || chance.next() < 0.5);
    return Object.fromEntries(made.map((name) => [name, instance(schema.properties[name], chance)]));
  }
  if (schema.type === "array") {
    const [low, high] = [schema.minItems ?? 1, schema.maxItems ?? 3];
    return Array.from({ length: low + chance.below(high - low + 1) }, () => instance(schema.items ?? { type: "string" }, chance));
  }
  if (schema.type === "integer") return (schema.minimum ?? 0) + chance.below((schema.maximum ?? 50) - (schema.minimum ?? 0) + 1);
  if (schema.type === "number") return Math.round(1000 * chance.next()) / 10;
  if (schema.type === "boolean") return chance.next() < 0.8;
  return Array.from({ length: 2 + chance.below(3) }, () => chance.pick(words)).join(" ");
}

/** Spoils arguments: another type, one too many, one too few. */
function spoilt(value, chance) {
  const names = Object.keys(value);
  const how = chance.below(3);
  if (how === 0 || names.length === 0) return { ...value, surplus: 1 };
  const name = chance.pick(names);
  if (how === 1) return { ...value, [name]: { wrong: true } };
  const { [name]: _, ...rest } = value;
  return { ...rest, [`${name}_`]: 1 };
}

function calls(body, prompt, chance) {
  const tools = body.tools.map((tool) => tool.function);
  const named = [...prompt.matchAll(/\[\[([\w.-]+)\]\]/g)].map((match) => match[1]);
  const wanted = named.filter((name) => tools.some((tool) => tool.name === name));
  const chosen = wanted.length ? wanted : body.tool_choice === "required" ? [chance.pick(tools).name] : [];
  return chosen.map((name, i) => {
    const tool = tools.find((one) => one.name === name);
    const value = instance(tool.parameters ?? { type: "object" }, chance);
    const bad = chance.next();
    return {
      // As servers have it: by chance.
      id: `call_${String(Math.floor(Math.random() * 1e9)).padStart(9, "0")}`,
      type: "function",
      index: i,
      function: {
        name: bad < 0.08 ? `${name}_v2` : name,
        arguments: JSON.stringify(bad > 0.7 ? spoilt(value, chance) : value),
      },
    };
  });
}

function text(prompt, chance) {
  const wanted = /takes (?:one call|one call each|(\d+) calls, with different values,) of (.+?)\. Give every value/.exec(prompt);
  if (wanted) {
    const listed = wanted[2].split(" and ");
    const targets = wanted[1] ? Array.from({ length: Number(wanted[1]) }, () => listed[0]) : listed;
    return `Please, ${targets.map((name) => `[[${name}]]`).join(" and ")} for ${prose(chance, 1)}`;
  }
  if (/What is (\d+) \+ (\d+)\?/.test(prompt) && prompt.includes("\\boxed")) {
    const [, a, b] = /What is (\d+) \+ (\d+)\?/.exec(prompt);
    const sum = Number(a) + Number(b) + (chance.next() < 0.3 ? 1 : 0);
    return `${a} and ${b} are ${sum} together, so the answer is \\boxed{${sum}}.`;
  }
  if (prompt.includes("\\boxed")) return `${prose(chance, 2)} So \\boxed{${chance.below(2)}}.`;
  if (/Answer with the passage alone/.test(prompt)) {
    const body = /<document>\n([\s\S]*?)\n<\/document>/.exec(prompt)?.[1] ?? "";
    return chance.next() < 0.8 ? chance.pick(body.split(/(?<=\.)\s+/)) : prose(chance, 1);
  }
  if (/return the double/.test(prompt)) {
    const by = chance.next() < 0.6 ? 2 : 3;
    return `\`\`\`javascript\nfunction double(x) {\n  return x * ${by};\n}\n\`\`\``;
  }
  const kind = chance.next();
  if (kind < 0.04) return `${chance.pick(words)} `.repeat(60);
  if (kind < 0.06) return "I'm sorry, but I can't help with that.";
  if (kind < 0.08) return "";
  let said = prose(chance);
  if (chance.next() < 0.5) said = said.replaceAll(",", "");
  if (prompt.includes("<<")) said = `<<${chance.pick(words)}>>\n\n${said}`;
  if (/lowercase/.test(prompt)) said = said.toLowerCase();
  if (/capital letters only|all capital letters/.test(prompt)) said = said.toUpperCase();
  if (/\* This is a point|each beginning with "\* "/.test(prompt))
    said = `${said}\n\n* ${sentence(chance)}\n* ${sentence(chance)}\n* ${sentence(chance)}`;
  return said;
}

/** The message of an answer to a body of /v1/chat/completions. */
export function messageOf(body) {
  const chance = chances(
    JSON.stringify([body.model, body.messages, body.seed, body.tools ?? null, body.response_format ?? null]),
  );
  const prompt = String(body.messages.findLast((message) => message.role === "user")?.content ?? "");
  const schema = body.response_format?.json_schema?.schema;
  if (schema) {
    if (chance.next() < 0.05) return { role: "assistant", content: "{ not json" };
    const value = instance(schema, chance);
    if (typeof value.question === "string" && "answer" in value) {
      const [a, b] = [chance.below(90), chance.below(90)];
      Object.assign(value, { question: `What is ${a} + ${b}?`, answer: String(a + b) });
    }
    return { role: "assistant", content: JSON.stringify(value) };
  }
  if (body.tools && body.tool_choice !== "none") {
    const made = calls(body, prompt, chance);
    const reasoning = chance.next() < 0.5 ? { reasoning_content: `The user asks for this, and ${sentence(chance)}` } : {};
    return {
      role: "assistant",
      content: made.length ? null : prose(chance),
      ...reasoning,
      ...(made.length ? { tool_calls: made } : {}),
    };
  }
  return { role: "assistant", content: text(prompt, chance) };
}

/** The whole answer to a body: `message`. */
export function completionOf(body, message = messageOf(body)) {
  const count = (value) => Math.ceil(JSON.stringify(value).length / 4);
  return {
    object: "chat.completion",
    model: body.model,
    choices: [{ index: 0, message, finish_reason: message.tool_calls ? "tool_calls" : "stop" }],
    usage: { prompt_tokens: count(body.messages), completion_tokens: count(message) },
  };
}
