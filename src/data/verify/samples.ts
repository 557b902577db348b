// Records of files as samples: fields of their own names, and those of the public sets of programs, problems and conversations.
import { CpmError } from "../../errors.ts";
import { finalAnswer } from "./mathematics.ts";
import type { ChatMessage, Sample } from "./types.ts";

type Fields = Readonly<Record<string, unknown>>;
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** HumanEval: prompt, a completion (or the reference solution), and a function `check` of the tests. */
function humanEval(fields: Fields): Sample | undefined {
  const [prompt, test, entry] = [text(fields["prompt"]), text(fields["test"]), text(fields["entry_point"])];
  if (prompt === undefined || test === undefined || entry === undefined) return undefined;
  const completion = text(fields["completion"]) ?? text(fields["response"]) ?? text(fields["canonical_solution"]) ?? "";
  return { language: "python", code: prompt + completion, tests: `${test}\ncheck(${entry})\n` };
}

/** MBPP: a program, then what the tests need, then the tests. */
function mbpp(fields: Fields): Sample | undefined {
  const [code, list] = [text(fields["completion"]) ?? text(fields["code"]), fields["test_list"]];
  if (code === undefined || !Array.isArray(list)) return undefined;
  return { language: "python", code, tests: [text(fields["test_setup_code"]) ?? "", ...list.map(String)].join("\n") };
}

/** GSM8K and sets like it: the right answer stands at the end of a solution. */
function answerOf(fields: Fields): Sample["answer"] {
  const answer = fields["answer"];
  return typeof answer === "string" && /####|\\boxed/.test(answer) ? finalAnswer(answer) : (answer as Sample["answer"]);
}

/** A record as verifiers read it. @throws CpmError "bad-input" for what is no object, and for fields of the wrong kind */
export function sampleOf(record: unknown): Sample {
  if (typeof record !== "object" || record === null || Array.isArray(record))
    throw new CpmError("bad-input", "expected an object; give a JSON object a line");
  const fields = record as Fields;
  const list = (name: string) => {
    const value = fields[name];
    if (value !== undefined && value !== null && !Array.isArray(value))
      throw new CpmError("bad-input", `${name}: expected a list, found ${typeof value}`, { field: name });
    return Array.isArray(value) ? { [name]: value as readonly unknown[] } : {};
  };
  if (fields["response"] !== undefined && typeof fields["response"] !== "string")
    throw new CpmError("bad-input", `response: expected a text, found ${typeof fields["response"]}`, { field: "response" });
  const messages = list("messages")["messages"] as readonly ChatMessage[] | undefined;
  if (
    messages &&
    !messages.every((message) => typeof message === "object" && message !== null && typeof message.role === "string")
  )
    throw new CpmError("bad-input", "messages: expected objects with a role", { field: "messages" });
  return {
    ...(fields as Sample),
    ...list("tools"),
    ...list("expected_calls"),
    ...list("instruction_id_list"),
    ...list("kwargs"),
    answer: answerOf(fields),
    ...(humanEval(fields) ?? mbpp(fields)),
  };
}
