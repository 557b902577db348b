import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "test/runtimes/**", "test/bundlers/**"],
    // Two cores: more workers would only take turns.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // The package as built runs as installed packages do: as it is.
    server: { deps: { external: [/\/dist\//] } },
  },
});
