// A process whose addresses are limited, as machines with many users and schedulers of jobs limit them.
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { main, story } from "./command.ts";

// Other systems do not count reserved addresses, or have no such limit.
const limited = process.platform === "linux";

test.skipIf(!limited)("under ulimit -v a refused memory is told with what to do, and nothing is written (Linux only)", () => {
  for (const kib of [4_000_000, 12_000_000]) {
    const script = `ulimit -v ${kib}; exec "$0" "$@"`;
    const args = ["-c", script, process.execPath, main, "run", story, "--max-tokens", "4", "--temperature", "0"];
    const { status, stdout, stderr } = spawnSync("bash", args, { encoding: "utf8" });
    // Which engines get along with the larger one differs by version.
    if (status === 0) expect({ kib, stdout }).toMatchObject({ kib: 12_000_000, stdout: expect.stringMatching(/./) });
    else {
      expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      expect(stderr).toMatch(/memory.*ulimit -v counts/);
      expect(stderr).not.toMatch(/\n\s+at /);
    }
  }
});
