// A model file whose greedy answers are calls: under the tools' grammar what follows its "{" can only go one way. It answers with text
// once a result stands in the conversation.
import { scriptedModel } from "../cli/scripted.ts";

const template = `{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n{% endfor %}assistant:\n{{ 'a' if 'Result of' in messages[-1].content else '' }}`;

/** Says "bcd" behind a result, and calls the first tool otherwise. */
export const callingModel = (): Uint8Array => scriptedModel(["<0x7B>", "x", "a", "b", "c", "d"], { template });
