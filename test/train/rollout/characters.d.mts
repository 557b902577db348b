export function characterTokenizer(characters: string): Record<"tokenizer.json" | "tokenizer_config.json", Uint8Array>;
