/** What is wrong with wasm/, or undefined when it was built from these sources. */
export function stale(): string | undefined;
