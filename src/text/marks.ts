// How a model marks its reasoning, told from its chat template.

/** Texts around reasoning, and around the answer behind it where a model marks that, too. */
export interface ThinkingMarks {
  readonly open: string;
  readonly close: string;
  readonly answer?: readonly [open: string, close: string];
}

/** Qwen 3, SmolLM3, EXAONE 4, OLMo 3, Phi-4-mini-reasoning, MiniCPM4.1 and 5, … */
export const thinkMarks: ThinkingMarks = { open: "<think>", close: "</think>" };

const others: readonly ThinkingMarks[] = [
  // Magistral.
  { open: "[THINK]", close: "[/THINK]" },
  // EXAONE Deep.
  { open: "<thought>", close: "</thought>" },
  // Granite 3.2.
  { open: "Here is my thought process:", close: "Here is my response:" },
];

/** Granite 3.3 has the answer between tags, too. */
const withResponse: ThinkingMarks = { ...thinkMarks, answer: ["<response>", "</response>"] };

/** Names of tokens that are never hidden, whatever type a file gives them: reasoning is told from the answer by them. */
export const reasoningTags: ReadonlySet<string> = new Set([
  "<think>",
  "</think>",
  "[THINK]",
  "[/THINK]",
  "<thought>",
  "</thought>",
]);

/** The marks that a template names; `<think>` where it names none. */
export function marksOf(template: string | undefined): ThinkingMarks {
  if (template?.includes(thinkMarks.open)) return template.includes("<response>") ? withResponse : thinkMarks;
  return others.find(({ open }) => template?.includes(open)) ?? thinkMarks;
}

/** Whether a template knows of reasoning at all. */
export const reasons = (template: string | undefined): boolean => template?.includes(marksOf(template).open) ?? false;
