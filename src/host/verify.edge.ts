// The verifiers on edge runtimes.
import type { Sandbox } from "../data/verify/code.ts";
import type { SandboxOptions } from "../data/verify/sandbox.ts";
import { CpmError } from "../errors.ts";

export * from "../data/verify/index.ts";

/**
 * Not here: programs that do not end must be killed, and workerd and its like have neither threads nor processes, and clocks that stand
 * still while something computes, so that nothing in them can tell or end it.
 * @throws CpmError "unsupported", always
 */
export function createSandbox(_options?: SandboxOptions): Sandbox {
  throw new CpmError(
    "unsupported",
    "an edge runtime cannot end a program that does not end itself: it has no threads, and its clock stands still meanwhile; run programs in Node, Deno, Bun or a page",
    { field: "createSandbox" },
  );
}
