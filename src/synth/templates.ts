// The prompts of all stages. A configuration may bring its own under the same names; {{name}} is filled in.
import { CpmError, didYouMean } from "../errors.ts";
import type { FamilyName } from "./types.ts";

export const builtIn: Readonly<Record<FamilyName, Readonly<Record<string, string | readonly string[]>>>> = {
  knowledge: {
    points: `Here is a text.

<text>
{{text}}
</text>

List the points of knowledge in it that are worth learning, at most 8. Give each a path from its subject down to the point, from general to special. Leave out what is only about this text itself.`,
    question: `Write one question that a learner may ask about this point of knowledge: {{path}}: {{point}}

{{context}}
The question must be understood without any text beside it, must have an answer that experts agree on, and must not give its answer away.`,
    evolve: [
      "Rewrite this question so that its answer needs one more step of thought. Keep its subject, and keep it short.\n\n{{question}}",
      "Rewrite this question so that it asks for a comparison, a cause or a limit of what it is about. Keep it short.\n\n{{question}}",
      "Rewrite this question as somebody would ask it who met it in practice, with a concrete situation. Keep it short.\n\n{{question}}",
      "Rewrite this question in other words, for another kind of reader. Keep what it asks for.\n\n{{question}}",
    ],
    answer: [
      "{{question}}",
      "{{question}}\n\nAnswer in two or three sentences.",
      "{{question}}\n\nExplain it step by step.",
      "{{question}}\n\nExplain it with an example.",
    ],
    check: `Here is a text, a question and an answer.

<text>
{{text}}
</text>
<question>
{{question}}
</question>
<answer>
{{answer}}
</answer>

Is every claim of the answer supported by the text or common knowledge, and is the question answered?`,
  },
  reasoning: {
    question: `Write one {{form}} problem of mathematics about {{topic}} for {{level}}. It must have exactly one right answer: a number, an expression{{hint}}. Solve it yourself before you give the answer.`,
    program: `Write one exercise in {{language}} about {{topic}} for {{level}}: what a function has to do, with its name and arguments, and tests that raise an exception where a solution is wrong. Cover the edges of what may be given.`,
    solution: [
      "{{question}}\n\nThink step by step, and put the final answer into \\boxed{}.",
      "{{question}}\n\nFind a way to solve this, carry it out, check the result, and put the final answer into \\boxed{}.",
      "{{question}}\n\nSolve this in the way that is simplest to follow, line by line. Put the final answer into \\boxed{}.",
    ],
    code: "{{question}}\n\nAnswer with one program in {{language}}, in a fenced block, without examples of its use.",
    renamed: `Here is an exercise in {{language}}, and a program that solves it.

<exercise>
{{question}}
</exercise>
<program>
{{program}}
</program>

Tell the same exercise in other surroundings: other things and people, another story. What goes in and what comes out stays exactly as it is. The function {{name}} gets another name that fits: give it, and use it in the exercise.`,
    changed: `Here is an exercise in {{language}}, and a program that solves it.

<exercise>
{{question}}
</exercise>
<program>
{{program}}
</program>

Write a similar exercise that asks for something else, so that this program is wrong for it, and tests that raise an exception where a solution is wrong. Say the name and arguments of the function. Cover the edges of what may be given.`,
    extended: `Here is an exercise in {{language}}, and a program that solves it.

<exercise>
{{question}}
</exercise>
<program>
{{program}}
</program>

Write a harder exercise: the same and one thing more that a solution has to do, which this program does not; and tests that raise an exception where a solution is wrong. Say the name and arguments of the function. Cover the edges of what may be given.`,
    inputs: `Here is a program in {{language}}.

<program>
{{program}}
</program>

Which arguments may its function {{name}} be called with? Give some different lists of arguments as JSON, usual ones and edges, and the name of the function.`,
    output: `Here is a program in {{language}}.

\`\`\`{{language}}
{{program}}
\`\`\`

What does {{call}} give? Think through it step by step without running it. End with a fenced block in {{language}} that holds one line, result = VALUE, with the value written out.`,
    diagnosis: [
      "This program in {{language}} is meant to solve an exercise, and has a mistake.\n\n{{question}}\n\n```{{language}}\n{{program}}\n```\n\nSay what is wrong and why, then give the whole program without the mistake, in a fenced block.",
      "My program in {{language}} does not do what it should:\n\n```{{language}}\n{{program}}\n```\n\nIt is for this exercise:\n\n{{question}}\n\nA test says: {{error}}\n\nWhere is the mistake? Explain it, and write the whole mended program in a fenced block.",
    ],
    rewrite: `Here is a program in {{language}}.

\`\`\`{{language}}
{{program}}
\`\`\`

Rewrite it {{how}}. It must do the same, and its functions keep their names and arguments. Give the whole program in a fenced block.`,
    translate: `Here is a program in {{from}}.

\`\`\`{{from}}
{{program}}
\`\`\`

Write it in {{language}}, in a fenced block: a function {{name}} that takes the same arguments and gives the same. Use what {{language}} has for it, without packages.`,
  },
  instructions: {
    task: `Write one request that a person like this may have for an assistant, as that person would write it: {{persona}}. Its subject: {{domain}}. It asks for a text of some sentences. It says nothing about form, length, letters or words.`,
    reverse: `Here is a text that an assistant wrote.

<text>
{{text}}
</text>

Write the request to which it is the answer, as a person would write it. Say nothing about form, length, letters or words, and do not quote the text.`,
  },
  long: {
    extract: `Here is a document.

<document>
{{text}}
</document>

Write a question whose answer is a short passage of the document, word for word. Name what the document is about, so that it is found among others.`,
    summarise: `Here is a document.

<document>
{{text}}
</document>

Write a request to summarise this document, or a part of it. Name what the document is about, so that it is found among others.`,
    reason: `Here is a document.

<document>
{{text}}
</document>

Write a question that is answered only by connecting two or more statements of the document. Name what the document is about, so that it is found among others.`,
    question: `Here is a document.

<document>
{{text}}
</document>

Write a question that the document answers. Name what the document is about, so that it is found among others.`,
    answer: "Here is a document.\n\n<document>\n{{text}}\n</document>\n\n{{question}}",
    passage:
      "Here is a document.\n\n<document>\n{{text}}\n</document>\n\n{{question}}\n\nAnswer with the passage alone, word for word.",
    context: ["Here are {{count}} documents.\n\n{{documents}}\n\n{{question}}", "{{documents}}\n\n{{question}}"],
    check: `Here is a document, a question and an answer.

<document>
{{text}}
</document>
<question>
{{question}}
</question>
<answer>
{{answer}}
</answer>

Is every claim of the answer supported by the document, and is the question answered?`,
  },
  tools: {
    query: `An assistant has these tools:

{{tools}}

Write one request of a user that takes {{calls}} of {{targets}}. Give every value that is needed for its arguments, as people say such things. Do not name tools.`,
    follow: `An assistant has these tools:

{{tools}}

This was said so far:

{{conversation}}

Write the next request of the same user, which goes on from there and takes {{calls}} of {{targets}}. Give every value that is needed for its arguments, as people say such things; what was said before may be pointed at. Do not name tools.`,
    other: `An assistant has these tools:

{{tools}}

Write one request of a user that none of these tools helps with.`,
    reasoning: `A user asks:

{{query}}

An assistant answers by these calls:

{{calls}}

Write what the assistant thinks before it calls: what the user wants, which tool fits, and where the values come from. One to three sentences, without the call itself.`,
    result: `A tool was called:

{{call}}

What it does: {{description}}

Write the result that it gives: a plausible JSON object, short.`,
  },
};

/** The placeholders of a template. */
const FIELD = /\{\{(\w+)\}\}/g;

/** A template filled in. What values hold is not looked at again. */
export const fill = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replace(FIELD, (whole, name: string) => (Object.hasOwn(values, name) ? values[name]! : whole));

/**
 * The prompts of a family: the configuration's, else the built-in ones.
 * @throws CpmError "bad-option" for stages that the family does not have, and for fields that the built-in prompt of a stage has not
 */
export function templatesOf(
  family: FamilyName,
  given: Readonly<Record<string, string | readonly string[]>> = {},
): Readonly<Record<string, readonly string[]>> {
  const own = builtIn[family];
  const list = (value: string | readonly string[]) => (typeof value === "string" ? [value] : value);
  const fields = (texts: readonly string[]) => new Set(texts.flatMap((text) => [...text.matchAll(FIELD)].map((m) => m[1]!)));
  for (const [name, value] of Object.entries(given)) {
    const field = `families.${family}.templates.${name}`;
    const fail = (what: string): never => {
      throw new CpmError("bad-option", `${field}: ${what}`, { field });
    };
    if (!Object.hasOwn(own, name))
      fail(`there is no such stage${didYouMean(name, Object.keys(own))}; stages are ${Object.keys(own).join(", ")}`);
    const texts = list(value);
    if (!Array.isArray(texts) || texts.length === 0 || texts.some((text) => typeof text !== "string" || text.trim() === ""))
      fail("expected a text, or a list of texts");
    const known = fields(list(own[name]!));
    for (const used of fields(texts))
      if (!known.has(used)) fail(`{{${used}}} is not known here; known are ${[...known].join(", ")}`);
  }
  return Object.fromEntries(Object.keys(own).map((name) => [name, list(given[name] ?? own[name]!)]));
}
