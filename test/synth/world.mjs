// A small world for fine-tuning: four tools whose arguments are choices of their schemas, the ways in which people ask for them, and a scripted
// model that writes such requests and understands them. It is right often, and wrong in ways that verifiers find. Values are told by words
// that are not always their names ("mom" is the mother). Some combinations of values and some wordings are held out: requests of the
// training set never have them.
import { completionOf as answered, chances } from "./answers.mjs";

/** Slots by name: values, each with the words that say it; wordings that are trained, and one that is not. */
const world = {
  set_light: {
    description: "Sets the light of a room.",
    slots: {
      room: { kitchen: ["kitchen"], bedroom: ["bed"], garden: ["garden"], hall: ["door"] },
      state: { on: ["bright"], off: ["dark"], dim: ["soft"] },
    },
    ways: ["make a {state} light at the {room}", "I want a {state} light near the {room}", "let the {room} have a {state} light"],
    other: "the light by the {room} must be {state}",
  },
  call: {
    description: "Calls somebody.",
    slots: {
      who: { mother: ["mom", "mommy"], father: ["dad", "daddy"], doctor: ["doctor"] },
      when: { now: ["now"], later: ["soon"] },
    },
    ways: ["call {who} {when}", "I want to talk to {who} {when}", "{when} let me talk with {who}"],
    other: "can you ask {who} to talk to me {when}",
  },
  buy: {
    description: "Buys things.",
    slots: {
      item: { food: ["food", "cake"], toy: ["toy", "ball"], book: ["book"], hat: ["hat"] },
      count: { one: ["a", "one"], two: ["two"], many: ["many"] },
    },
    ways: ["buy {count} {item}", "get {count} {item} at the store", "we need {count} new {item}"],
    other: "go and find {count} {item} for us",
  },
  tell_story: {
    description: "Tells a story.",
    slots: {
      about: { bear: ["bear"], princess: ["princess", "girl"], man: ["boy", "man"], rabbit: ["bunny", "rabbit"] },
      mood: { happy: ["happy", "fun"], sad: ["sad"], fear: ["scary"] },
    },
    ways: [
      "tell me a {mood} story about a {about}",
      "read about a {about} in a {mood} story",
      "I want to hear a {mood} story of the {about}",
    ],
    other: "a {about} must be in the {mood} story that you tell",
  },
};
export const toolNames = Object.keys(world);

const propertiesOf = (slots) =>
  Object.fromEntries(Object.entries(slots).map(([slot, values]) => [slot, { type: "string", enum: Object.keys(values) }]));

export const tools = Object.fromEntries(
  Object.entries(world).map(([name, { description, slots }]) => {
    const [properties, required] = [propertiesOf(slots), Object.keys(slots)];
    const parameters = { type: "object", properties, required, additionalProperties: false };
    return [name, { type: "function", function: { name, description, parameters } }];
  }),
);

/** Seeds of `cpm synth`: the tools by twos. */
export const seeds = [
  ["set_light", "call"],
  ["buy", "tell_story"],
].map((pair) => ({ id: pair.join("+"), tools: pair.map((name) => tools[name]) }));

/** Whether a combination of values is kept for tests: about a quarter of them. Each value is in some that are trained. */
const isHeldOut = (name, given) => {
  const [places, sizes] = [[], []];
  for (const [slot, values] of Object.entries(world[name].slots)) {
    places.push(Object.keys(values).indexOf(given[slot]));
    sizes.push(Object.keys(values).length);
  }
  return (places[0] + places[1]) % Math.max(...sizes) === 1;
};

/** `{slot}`. */
const SLOT = /\{(\w+)\}/g;

const clause = (way, said) => way.replace(SLOT, (_, slot) => said[slot]);

/** All wordings as patterns: what people say -> the call they mean. */
const readers = Object.entries(world).flatMap(([name, { ways, other, slots }]) =>
  [...ways, other].map((way) => {
    const found = [];
    const pattern = way.replace(SLOT, (_, slot) => {
      found.push(slot);
      return `(${Object.values(slots[slot]).flat().join("|")})`;
    });
    const meant = (slot, said) => Object.keys(slots[slot]).find((value) => slots[slot][value].includes(said));
    const read = (match) =>
      Object.fromEntries(Object.keys(slots).map((slot) => [slot, meant(slot, match[found.indexOf(slot) + 1])]));
    return { name, pattern: new RegExp(`^${pattern}$`), read };
  }),
);

const BEGIN = ["Please, ", "", "Oh, ", "Hello! "];

/** A request for these tools, and its calls. `held`: with combinations of values, `other`: in wordings, that are held out. */
export function request(targets, chance, { held = false, other = false } = {}) {
  const calls = [];
  const clauses = [];
  for (const name of targets) {
    const { slots, ways } = world[name];
    const given = {};
    // Two calls of one tool differ.
    do for (const [slot, values] of Object.entries(slots)) given[slot] = chance.pick(Object.keys(values));
    while (
      isHeldOut(name, given) !== held ||
      calls.some((one) => JSON.stringify(one) === JSON.stringify({ name, arguments: given }))
    );
    calls.push({ name, arguments: given });
    const said = Object.fromEntries(Object.entries(given).map(([slot, value]) => [slot, chance.pick(slots[slot][value])]));
    clauses.push(clause(other ? world[name].other : chance.pick(ways), said));
  }
  return { text: `${chance.pick(BEGIN)}${clauses.join(", and ")}.`, calls };
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
const NAMES = ["Tim", "Sam", "Ben", "Mia", "Anna", "Lucy"];
export const idle = (chance, held = false) =>
  `I ${chance.pick(["like", "want", "love"])} to ${chance.pick(held ? IDLE.slice(7) : IDLE.slice(0, 7))} with ${chance.pick(NAMES)}.`;
export const idleAnswer = "I have no tool for that.";

const wordsOf = (calls) => calls.map(({ name }) => name.replaceAll("_", " ")).join(" and ");

/** What the scripted model thinks before its calls. */
export const thought = (calls) => `I can use ${wordsOf(calls)} for that.`;

export const toolResult = { done: true };
export const doneAnswer = "It is done.";

/** Wrong in one of the ways in which models are. The third is a surplus argument; of a call it may be another choice of "when", which no verifier finds. */
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
    return { role: "assistant", content: JSON.stringify(toolResult) };
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
  if (body.tool_choice === "none") return { role: "assistant", content: doneAnswer };
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
