import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "test/runtimes/**", "test/bundlers/**"],
    // Two cores: more workers would only take turns.
    maxWorkers: 2,
    // Only what hangs may meet it: a machine busy with other things must fail no test.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // The package as built runs as installed packages do: as it is.
    server: { deps: { external: [/\/dist\//] } },
  },
});
