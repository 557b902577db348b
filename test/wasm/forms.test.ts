// Which form of the kernels is taken: by timing on a clock of the test's own, by what the machine's instructions say, or as asked.
import { expect, test } from "vitest";
import { CpmError } from "../../src/errors.ts";
import { type Form, KINDS } from "../../src/wasm/abi.ts";
import { chooseBuild } from "../../src/wasm/features.ts";
import { chooseForms, expectedForm, fastest, formsOf } from "../../src/wasm/forms.ts";
import { host, variants } from "../support/engine.ts";
import { noise } from "../support/noise.ts";

const still = { breathe: async () => {} };

/** Times as an engine gives them: slow code first, then fast, each call disturbed at random. */
function machine(fast: Record<string, number>, { slow = 2.2, after = 40, seed = 1, load = 3 } = {}) {
  const random = noise(seed);
  let calls = 0;
  return (form: Form) => {
    const tier = calls++ < after ? slow : 1;
    // Half of all calls meet a neighbour.
    return fast[form]! * tier * (random() < 0.5 ? 1 + load * random() : 1 + 0.02 * random());
  };
}

test("the faster form is found in 200 of 200 loads on a busy machine, whatever was expected", async () => {
  for (let seed = 1; seed <= 100; seed++) {
    const times = { dot16: 1, dot32: 0.85, "dot32-lanes": 1.1 };
    const forms = ["dot16", "dot32", "dot32-lanes"] as const;
    expect(await fastest(still, machine(times, { seed }), forms, "dot16")).toBe("dot32");
    expect(await fastest(still, machine(times, { seed, after: 150, load: 8 }), forms, "dot32-lanes")).toBe("dot32");
  }
});

test("of forms that are equally fast the expected one stays", async () => {
  for (let seed = 1; seed <= 50; seed++)
    for (const expected of ["dot16", "extended"] as const)
      expect(await fastest(still, machine({ dot16: 1, extended: 1.01 }, { seed }), ["dot16", "extended"], expected)).toBe(
        expected,
      );
});

test("the first compiler's code does not decide: what is slower there may be faster later", async () => {
  const first = machine({ dot16: 0.9, dot32: 1 }, { after: 1e9 });
  const then = machine({ dot16: 1 / 2, dot32: 0.8 / 2 }, { after: 0 });
  let calls = 0;
  const time = (form: Form) => (calls++ < 100 ? first(form) : then(form));
  expect(await fastest(still, time, ["dot16", "dot32"], "dot16")).toBe("dot32");
});

test("a clock that stands still leaves the expected form, after a bounded number of rounds", async () => {
  let calls = 0;
  const time = () => {
    calls++;
    return 0;
  };
  expect(await fastest(still, time, ["dot16", "dot32"], "dot32")).toBe("dot32");
  expect(calls).toBeLessThanOrEqual(480);
});

if (variants.includes("relaxed"))
  test("registers of 256 bits hold the cache's wider form, which is taken with turbo alone", async () => {
    const build = await chooseBuild(host, "relaxed", false);
    const vnni = { ...build, probe: { ...build.probe, machine_traits: () => 2 } };
    expect((await chooseForms(host, vnni, [], "auto", false)).cache).toBe("dot32");
    expect(await chooseForms(host, vnni, [], "auto", true)).toMatchObject({ int4: "dot32", cache: "dot32-lanes" });
  });

if (variants.includes("relaxed"))
  test("with vpdpbusd its form is taken for every kind without a look at the clock; without, large weights are timed", async () => {
    const build = await chooseBuild(host, "relaxed", false);
    const weights = KINDS.map((kind) => ({ kind, bytes: 1 << 30 }));
    let looks = 0;
    const watched = { ...host, now: () => ++looks };
    const vnni = { ...build, probe: { ...build.probe, machine_traits: () => 2 } };
    expect(await chooseForms(watched, vnni, weights, "auto", false)).toEqual({
      int4: "dot32",
      int6: "dot32",
      int8: "dot32",
      ternary: "dot32",
      cache: "dot32",
    });
    expect(looks).toBe(0);
    const neither = { ...build, probe: { ...build.probe, machine_traits: () => 0 } };
    // A clock that ticks once a look tells no form from another.
    expect((await chooseForms(watched, neither, weights, "auto", false)).int6).toBe("dot16");
    expect(looks).toBeGreaterThan(0);
  });

for (const variant of variants) {
  test(`every form of the ${variant} kernels is taken when asked for, and no other`, async () => {
    const build = await chooseBuild(host, variant, false);
    for (const form of formsOf(variant))
      expect(await chooseForms(host, build, [], form, false)).toEqual({
        int4: form,
        int6: form,
        int8: form,
        ternary: form,
        cache: form,
      });
    const other = variant === "base" ? "dot32" : "extended";
    const error = await chooseForms(host, build, [], other, false).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CpmError);
    expect(error).toMatchObject({ code: "unsupported", detail: { field: "form" } });
  });

  test(`a form of the ${variant} kernels that computes wrong is refused, and never chosen`, async () => {
    const build = await chooseBuild(host, variant, false);
    const wrong = formsOf(variant)[1]!;
    let current = 0;
    const probe = {
      ...build.probe,
      machine_traits: () => (variant === "base" ? 4 : 2),
      choose_form: (kind: number, form: number) => {
        current = form;
        return build.probe.choose_form(kind, form);
      },
      gemm_rows: (...args: Parameters<typeof build.probe.gemm_rows>) => {
        const status = build.probe.gemm_rows(...args);
        if (current === (variant === "base" ? 3 : 1)) new DataView(build.probeMemory.buffer).setInt8(args[4], 77);
        return status;
      },
    };
    const broken = { ...build, probe };
    expect(expectedForm(broken)).toBe(wrong);
    expect((await chooseForms(host, broken, [], "auto", false)).int4).toBe("dot16");
    await expect(chooseForms(host, broken, [], wrong, false)).rejects.toMatchObject({
      code: "unsupported",
      detail: { field: "form" },
    });
  });
}
