// A process whose addresses are limited, as machines with many users and schedulers of jobs limit them.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { main, root, story } from "./command.ts";

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

// Where the file system says "no such folder" of what lies in a folder that is there, Node's own recursive mkdir never ends.
test.skipIf(!limited)(
  "an output below a folder that cannot be made is told by every command that makes folders (Linux only)",
  () => {
    const folder = mkdtempSync(join(tmpdir(), "cpm-nowhere-"));
    try {
      const text = join(folder, "a.jsonl");
      writeFileSync(text, `${JSON.stringify({ text: "There was a dog." })}\n`);
      const signed = join(folder, "signed");
      expect(spawnSync(process.execPath, [main, "clean", text, "-o", signed, "--signatures"]).status).toBe(0);
      const train = join(folder, "train.json");
      const said = {
        model: story,
        data: [{ files: text }],
        out: "/proc/cpm/x",
        updates: 1,
        rows: 1,
        length: 8,
        schedule: { peak: 0.001 },
      };
      writeFileSync(train, JSON.stringify(said));
      const synth = join(root, "examples/synth/config.json");
      for (const args of [
        ["clean", text, "-o", "/proc/cpm/x"],
        ["clean", text, "-o", join(text, "x")],
        ["dedup", signed, "-o", "/proc/cpm/x"],
        ["quantize", story, "/proc/cpm/x.gguf"],
        ["synth", synth, "--model", story, "-o", "/proc/cpm/x"],
        ["train", train],
        ["verify-data", text, "--default", text, "--command", "true", "-o", "/proc/cpm/x"],
      ]) {
        const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", cwd: root });
        expect({ args, status, stdout, stderr }).toMatchObject({
          status: 1,
          stdout: "",
          stderr: expect.stringMatching(/\/x\S*: .*(ENOENT|ENOTDIR|there is no folder \/proc\/cpm; make it first)/),
        });
        expect(stderr).not.toMatch(/\n\s+at /);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
