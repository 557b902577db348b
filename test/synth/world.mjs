// A small world for fine-tuning: eight tools, the ways in which people ask for them, and a scripted model that writes such requests and
// understands them. It is right often, and wrong in ways that verifiers find. Some values and wordings are held out: requests of the
// training set never have them.
import { completionOf as answered, chances } from "./answers.mjs";

const integer = (minimum, maximum) => ({ type: "integer", minimum, maximum });
const text = { type: "string", minLength: 1, maxLength: 12, pattern: "^[A-Za-z]+$" };
const oneOf = (...names) => ({ type: "string", enum: names });
const rooms = ["kitchen", "bedroom", "hall", "garden"];
const names = "Tom Lily Ben Mia Sam Max Anna Lucy Tim Jack Sara Sue Bob Amy Emma Jane Joe Kate Leo Molly".split(" ");
const animals = "dog cat bird fish frog bear rabbit duck horse cow pig lion mouse fox bee turtle".split(" ");
const things = "apples balls books cakes cars flowers hats toys eggs shoes cookies boxes pens cups".split(" ");
const places = "park beach forest farm lake zoo river hill market school".split(" ");
const foods = "bread milk cheese meat rice corn soup grass".split(" ");

/** Slots by name: their values (numbers: from, to), wordings that are trained, and one that is not. */
const world = {
  set_light: {
    description: "Sets the light of a room, in percent.",
    slots: { room: rooms, level: [1, 99] },
    schema: { room: oneOf(...rooms), level: integer(0, 100) },
    ways: ["set the light in the {room} to {level}", "make the light of the {room} {level}", "turn the {room} light to {level}"],
    other: "let the {room} be as bright as {level}",
  },
  move_door: {
    description: "Opens or closes the door of a room.",
    slots: { room: rooms, open: [true, false] },
    schema: { room: oneOf(...rooms), open: { type: "boolean" } },
    ways: ["{open|open|close} the door of the {room}", "the {room} door must be {open|open|closed}"],
    other: "see that the door to the {room} is {open|open|shut}",
  },
  set_timer: {
    description: "Rings after some minutes.",
    slots: { minutes: [2, 90] },
    schema: { minutes: integer(1, 180) },
    ways: ["ring a bell in {minutes} minutes", "wake me up in {minutes} minutes", "tell me when {minutes} minutes are over"],
    other: "{minutes} minutes from now I want to hear a bell",
  },
  call_friend: {
    description: "Calls somebody.",
    slots: { name: names },
    schema: { name: text },
    ways: ["call {name}", "I want to talk to {name}", "let me speak with {name}"],
    other: "ask {name} to come to the phone",
  },
  buy: {
    description: "Buys things.",
    slots: { item: things, count: [2, 60] },
    schema: { item: text, count: integer(1, 100) },
    ways: ["buy {count} {item}", "get {count} {item} for me", "we need {count} {item}"],
    other: "bring {count} new {item} home",
  },
  weather: {
    description: "The weather at a place.",
    slots: { place: places, day: ["today", "tomorrow"] },
    schema: { place: text, day: oneOf("today", "tomorrow") },
    ways: ["is there rain at the {place} {day}", "say how the weather at the {place} is {day}"],
    other: "will the sun shine on the {place} {day}",
  },
  tell_story: {
    description: "Tells a story.",
    slots: { about: animals, pages: [2, 40] },
    schema: { about: text, pages: integer(1, 50) },
    ways: ["tell a story of {pages} pages about a {about}", "read {pages} pages about a {about} to me"],
    other: "I would like to hear of a {about} for {pages} pages",
  },
  feed: {
    description: "Gives an animal its food.",
    slots: { pet: animals, food: foods },
    schema: { pet: text, food: text },
    ways: ["give the {pet} some {food}", "the {pet} wants {food}", "feed {food} to the {pet}"],
    other: "let the {pet} eat some {food}",
  },
};
export const toolNames = Object.keys(world);

export const tools = Object.fromEntries(
  Object.entries(world).map(([name, { description, schema }]) => [
    name,
    {
      type: "function",
      function: {
        name,
        description,
        parameters: { type: "object", properties: schema, required: Object.keys(schema), additionalProperties: false },
      },
    },
  ]),
);

/** Seeds of `cpm synth`: the tools by twos. */
export const seeds = [
  ["set_light", "move_door"],
  ["set_timer", "call_friend"],
  ["buy", "weather"],
  ["tell_story", "feed"],
].map((pair) => ({ id: pair.join("+"), tools: pair.map((name) => tools[name]) }));

/** Whether a value is kept for tests: a fifth of the names, things and numbers that are no choice of the schema's. */
const isHeldOut = (name, slot, value) =>
  !world[name].schema[slot].enum && typeof value !== "boolean" && chances(`held out ${name} ${slot} ${value}`).below(5) === 0;

function valuesOf(name, slot, held) {
  const given = world[name].slots[slot];
  const [low, high] = given;
  const all = typeof low === "number" ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : given;
  const chosen = all.filter((value) => isHeldOut(name, slot, value));
  // Of a short list chance may have chosen none: then the last two.
  const kept = chosen.length || world[name].schema[slot].enum || typeof low === "boolean" ? chosen : all.slice(-2);
  const wanted = all.filter((value) => kept.includes(value) === held);
  return wanted.length ? wanted : all;
}

/** `{slot}`, or `{slot|said of true|said of false}`. */
const SLOT = /\{(\w+)(?:\|(\w+)\|(\w+))?\}/g;

const clause = (way, given) =>
  way.replace(SLOT, (_, slot, yes, no) => (yes === undefined ? String(given[slot]) : given[slot] ? yes : no));

/** All wordings as patterns: what people say -> the call they mean. */
const readers = Object.entries(world).flatMap(([name, { ways, other, slots }]) =>
  [...ways, other].map((way) => {
    const found = [];
    const pattern = way.replace(SLOT, (_, slot, yes, no) => {
      found.push({ slot, yes });
      return yes === undefined ? "(\\w+)" : `(${yes}|${no})`;
    });
    const read = (match) =>
      Object.fromEntries(
        Object.keys(slots).map((slot) => {
          const at = found.findIndex((one) => one.slot === slot);
          const said = match[at + 1];
          const { yes } = found[at];
          return [slot, yes !== undefined ? said === yes : typeof slots[slot][0] === "number" ? Number(said) : said];
        }),
      );
    return { name, pattern: new RegExp(`^${pattern}$`), read };
  }),
);

const BEGIN = ["Please, ", "Now ", "", "Can you help: ", "My dear, "];

/** A request for these tools, and its calls. `held`: with values, `other`: in wordings, that are held out. */
export function request(targets, chance, { held = false, other = false } = {}) {
  const calls = [];
  const said = [];
  for (const name of targets) {
    const given = {};
    // Two calls of one tool differ.
    for (let again = true; again; again = calls.some((one) => JSON.stringify(one) === JSON.stringify({ name, arguments: given })))
      for (const slot of Object.keys(world[name].slots)) given[slot] = chance.pick(valuesOf(name, slot, held));
    calls.push({ name, arguments: given });
    said.push(clause(other ? world[name].other : chance.pick(world[name].ways), given));
  }
  return { text: `${chance.pick(BEGIN)}${said.join(", and ")}.`, calls };
}

/** The calls that a request means, or undefined. */
export function understood(request) {
  const begin = BEGIN.filter((one) => request.startsWith(one)).sort((a, b) => b.length - a.length)[0] ?? "";
  const clauses = request.slice(begin.length).replace(/\.$/, "").split(", and ");
  const calls = clauses.map((said) => {
    for (const { name, pattern, read } of readers) {
      const match = pattern.exec(said);
      if (match) return { name, arguments: read(match) };
    }
    return undefined;
  });
  return calls.includes(undefined) ? undefined : calls;
}

/** Requests that no tool helps with. */
const IDLE = "dance sing sleep run jump swim paint fly play hide".split(" ");
export const idle = (chance, held = false) =>
  `I ${chance.pick(["like", "want", "love"])} to ${chance.pick(held ? IDLE.slice(7) : IDLE.slice(0, 7))} with ${chance.pick(names)}.`;
export const idleAnswer = "I am sorry, I have no tool for that.";

const wordsOf = (calls) => calls.map(({ name }) => name.replaceAll("_", " ")).join(" and ");

/** What the scripted model thinks before its calls. */
export const thought = (calls) => `I can use ${wordsOf(calls)} for that.`;

export const resultOf = (name) => (name === "weather" ? { weather: "sun" } : { done: true });
export const answerTo = (calls) => (calls.every(({ name }) => name === "weather") ? "There will be sun." : "It is done.");

/** Wrong in one of the ways in which models are. The last way keeps to the schema; only expected calls tell of it. */
function spoilt(calls, chance) {
  const [first, ...rest] = calls;
  const slots = Object.keys(first.arguments);
  const slot = chance.pick(slots);
  const how = chance.below(5);
  if (how === 0) return [{ ...first, name: `${first.name}_now` }, ...rest];
  if (how === 1) return [{ ...first, arguments: { ...first.arguments, [slot]: [first.arguments[slot]] } }, ...rest];
  if (how === 2) return [{ ...first, arguments: { ...first.arguments, when: "now" } }, ...rest];
  if (how === 3)
    return [{ ...first, arguments: Object.fromEntries(slots.slice(1).map((s) => [s, first.arguments[s]])) }, ...rest];
  return [...calls, { name: chance.pick(toolNames), arguments: {} }];
}

function messageOf(body) {
  const chance = chances(JSON.stringify([body.messages, body.seed, body.tools ?? null, body.tool_choice ?? null]));
  const prompt = String(body.messages.findLast(({ role }) => role === "user")?.content ?? "");
  if (body.response_format) {
    const name = /A tool was called:\n\n(\w+)\(/.exec(prompt)?.[1];
    return { role: "assistant", content: JSON.stringify(resultOf(name)) };
  }
  const wanted = /takes (one call|one call each|(\d+) calls, with different values,) of (.+?)\. Give every value/.exec(prompt);
  if (wanted) {
    const listed = wanted[3].split(" and ");
    const targets = wanted[2] ? Array.from({ length: Number(wanted[2]) }, () => listed[0]) : listed;
    return { role: "assistant", content: request(targets, chance).text };
  }
  if (prompt.includes("none of these tools helps with")) return { role: "assistant", content: idle(chance) };
  if (prompt.includes("Write what the assistant thinks")) {
    const lines = prompt.split("by these calls:\n\n")[1].split("\n\n")[0].split("\n");
    return { role: "assistant", content: thought(lines.map((line) => ({ name: line.slice(0, line.indexOf("(")) }))) };
  }
  const calls = understood(prompt) ?? [];
  const known = new Set((body.tools ?? []).map((tool) => tool.function.name));
  if (body.tool_choice === "none") return { role: "assistant", content: answerTo(calls) };
  if (calls.some(({ name }) => !known.has(name)) || calls.length === 0) return { role: "assistant", content: idleAnswer };
  const made = chance.next() < 0.3 ? spoilt(calls, chance) : calls;
  return {
    role: "assistant",
    content: null,
    tool_calls: made.map(({ name, arguments: given }, index) => ({
      // As servers have it: by chance, but of one length, which counts as tokens.
      id: `call_${String(Math.floor(Math.random() * 1e9)).padStart(9, "0")}`,
      type: "function",
      index,
      function: { name, arguments: JSON.stringify(given) },
    })),
  };
}

/** The whole answer to a body of /v1/chat/completions. */
export const completionOf = (body) => answered(body, messageOf(body));
