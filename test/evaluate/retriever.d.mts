/** A GGUF of a model with weights set by hand: `keys` count as key words, words of `texts` are tokens. */
export function retriever(options: { readonly keys: readonly string[]; readonly texts: readonly string[] }): Uint8Array;
