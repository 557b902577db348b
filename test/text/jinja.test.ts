// The template language against Jinja itself: jinja-table.json holds expressions of the project's own, and what Jinja 3.1.6, set
// up as transformers does, makes of them. Then budgets: hostile templates end by counting work.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { TemplateRefusal } from "../../src/text/jinja/globals.ts";
import { fromJson } from "../../src/text/jinja/json.ts";
import { JinjaTemplate } from "../../src/text/jinja/template.ts";

interface Row {
  readonly template: string;
  readonly right?: string;
  readonly fails?: true;
}
const { text, rows } = ((source: string) => ({ text: source, rows: (JSON.parse(source) as { rows: Row[] }).rows }))(
  readFileSync(new URL("jinja-table.json", import.meta.url), "utf8"),
);
// 2.0 is a float in the variables, as Python has it.
const variables = (() => {
  const whole = /"variables": (\{.*\}),\n/.exec(text)![1]!;
  return Object.fromEntries(
    Object.keys(JSON.parse(whole) as object).map((key) => [key, (fromJson(whole) as { get(k: string): unknown }).get(key)]),
  );
})();
const now = new Date(2026, 2, 5, 14, 7, 9);
const render = (template: string) => new JinjaTemplate(template).render(variables, now);

test("every row of the table gives what Jinja gives, or fails where Jinja fails", () => {
  expect(rows.length).toBeGreaterThan(1500);
  const wrong = rows.flatMap(({ template, right, fails }) => {
    let got: string | undefined;
    let error = "";
    try {
      got = render(template);
    } catch (thrown) {
      error = (thrown as Error).message;
    }
    return (fails ? got === undefined : got === right) ? [] : [{ template, right, got: got ?? `ERROR ${error}` }];
  });
  expect(wrong).toEqual([]);
});

test("what a template refuses is told apart from what fails", () => {
  expect(() => render("{{ raise_exception('no ' ~ i) }}")).toThrow(TemplateRefusal);
  expect(() => render("{{ 1 / 0 }}")).not.toThrow(TemplateRefusal);
});

test("JSON text keeps whole numbers of any size and the points of floats, and both its sides", () => {
  const json = '{"id": 1234567890123456789, "x": 2.0, "e": 1e3, "s": "\\u00e9", "l": [null, true]}';
  const args = { a: fromJson(json) };
  const shown = (template: string) => new JinjaTemplate(template).render(args);
  expect(shown("{{ a|tojson }}")).toBe('{"id": 1234567890123456789, "x": 2.0, "e": 1000.0, "s": "é", "l": [null, true]}');
  expect(shown("{{ 'x' + a }}|{{ a }}|{{ a is mapping }}{{ a is string }}")).toBe(`x${json}|${json}|TrueTrue`);
  expect(shown("{% for k, v in a.items() %}{{ k }}{% endfor %}{{ a.id + 1 }}")).toBe("idxesl1234567890123456790");
  for (const bad of ["", "{", "[1,]", "{1: 2}", "nul", "01", `${"[".repeat(200)}${"]".repeat(200)}`])
    expect(fromJson(bad)).toBeUndefined();
});

describe("work is priced by what is looked at, so that hostile templates end:", () => {
  const doubled = (n: number, rest: string) =>
    `{% set ns = namespace(s="a") %}{% for i in range(${n}) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}${rest}`;
  const loop = (body: string) => doubled(17, `{% for i in range(100000) %}{% set x = ${body} %}{% endfor %}`);
  test.each([
    ["in", loop("'b' in ns.s")],
    ["split", loop("ns.s.split('b')")],
    ["sort", "{% for i in range(100000) %}{% set x = range(50000)|sort %}{% endfor %}"],
    ["title", loop("ns.s|title")],
    ["str.title", loop("ns.s.title()")],
    ["replace", loop("ns.s.replace('b', 'c')")],
    ["the replace filter", loop("ns.s|replace('b', 'c')")],
    ["count, find and strip", loop("ns.s.count('b') + ns.s.find('b') + ns.s.strip()|length")],
    ["equality of long texts in lists", loop("[ns.s] == [ns.s ~ '']")],
    ["an index into a long text", loop("ns.s[5]")],
    ["a slice of a long text", loop("ns.s[5:6]")],
    ["length by iteration", loop("ns.s|list|length")],
    ["a width of a billion", "{{ '{:1000000000}'.format(1) }}"],
    ["a width of a billion by %", "{{ '%1000000000d' % 1 }}"],
    ["center", "{{ 'a'|center(1000000000) }}"],
    ["ljust", "{{ 'a'.ljust(1000000000) }}"],
    ["multiplication", "{{ 'a' * 1000000000 }}"],
    ["a list multiplied", "{{ [1] * 1000000000 }}"],
    ["join", doubled(16, "{{ ns.s|list|join(ns.s) }}")],
    ["a power", "{{ 9 ** (9 ** 9) }}"],
    ["squaring for ever", "{% set ns = namespace(n=9) %}{% for i in range(100) %}{% set ns.n = ns.n * ns.n %}{% endfor %}"],
    ["dates", "{% for i in range(100000) %}{{ strftime_now('%B' * 400) }}{% endfor %}"],
    ["a long date", "{{ strftime_now('%B' * 65536) }}"],
    ["tojson", "{% for i in range(100000) %}{% set x = range(10000)|list|tojson %}{% endfor %}"],
    ["unique", "{% for i in range(100000) %}{% set x = range(50000)|unique|list %}{% endfor %}"],
    ["wordwrap", loop("ns.s|wordwrap(1)")],
    ["striptags", loop("('<' * 100000)|striptags")],
  ])("%s", (_, template) => {
    expect(() => render(template)).toThrow(/more than|steps|characters|items/);
  });

  test("a template has a size, and white space is read in linear time", () => {
    expect(() => new JinjaTemplate("x".repeat((1 << 20) + 1))).toThrow(/1048576 characters/);
    const spaces = " ".repeat(300_000);
    expect(render(`{{ 1 }}${spaces}x`)).toBe(`1${spaces}x`);
    expect(render(`${"\n ".repeat(100_000)}{%- if true -%}${spaces}x{% endif %}`)).toBe("x");
    expect(render(`${"  {# c #}\n".repeat(20_000)}x`)).toBe("x");
  });

  test("a substring search is linear where needle and text repeat", () => {
    expect(render(doubled(17, "{{ (ns.s ~ 'b' ~ ns.s) in (ns.s ~ ns.s ~ ns.s ~ ns.s) }}"))).toBe("False");
    expect(render(doubled(16, "{{ (ns.s ~ ns.s ~ 'b').find(ns.s ~ 'b') }}"))).toBe("65536");
  });
});
