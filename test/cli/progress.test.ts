// Lines of progress, at every width.
import { expect, test } from "vitest";
import { lineOf, megabytes, ProgressBar } from "../../src/cli/progress.ts";
import { visible, visibleJson, visibleLine } from "../../src/cli/visible.ts";

const load = {
  what: "loading",
  done: 150e6,
  total: 300e6,
  more: [megabytes(150e6, 300e6), "model.layers.17.mlp.down_proj.weight"],
};

test("a line fits its terminal, and tells the percentage as long as that fits", () => {
  for (let width = 1; width <= 200; width++) {
    const line = lineOf(load, width);
    expect(line.length).toBeLessThanOrEqual(width);
    if (width >= 14) expect(line).toContain("50 %");
    if (width >= 39) expect(line).toContain("150 of 300 MB");
    if (width >= 21) expect(line).toMatch(/█+░+/);
  }
  expect(lineOf(load, 39)).toBe("loading █████░░░░░  50 %  150 of 300 MB");
  expect(lineOf(load, 120)).toContain("down_proj");
});

test("names with controls neither steer the terminal nor break the line", () => {
  const line = lineOf({ ...load, more: ["a\u001b[2Jb\nc"] }, 80);
  expect(line).toContain("a\\u001b[2Jb c");
});

test("a bar is drawn over, ends at the last step and is taken away", () => {
  const seen: string[] = [];
  const bar = new ProgressBar({ columns: 40, write: (text) => seen.push(text) });
  bar.show({ what: "loading", done: 0, total: 10 });
  bar.show({ what: "loading", done: 10, total: 10 });
  bar.close();
  bar.close();
  expect(seen.length).toBe(3);
  expect(seen[1]).toContain("100 %");
  expect(seen[2]).toBe("\r\u001b[K");
});

test("what would steer a terminal is written out; text, tabs and line breaks stay", () => {
  expect(visible("ä\t😀\r\nx\u001b]0;title\u0007\u009b31m\u202e\ry")).toBe(
    "ä\t😀\nx\\u001b]0;title\\u0007\\u009b31m\\u202e\\u000dy",
  );
  expect(visibleLine("a\nb\tc")).toBe("a b c");
  expect(visibleLine("x".repeat(1e6), 10)).toBe(`${"x".repeat(9)}…`);
  const json = JSON.stringify({ a: "\u009b\u202e\u007f\u001b" });
  expect(visibleJson(json)).not.toMatch(/[\u007f-\u009f\u202e]/);
  expect(JSON.parse(visibleJson(json))).toEqual(JSON.parse(json));
});
