export interface Chances {
  next(): number;
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
}
export function chances(text: string): Chances;
export function prose(chance: Chances, n?: number): string;
export interface Completion {
  readonly choices: readonly {
    readonly message: {
      readonly content: string | null;
      readonly reasoning_content?: string;
      readonly tool_calls?: readonly {
        readonly id: string;
        readonly function: { readonly name: string; readonly arguments: string };
      }[];
    };
    readonly finish_reason: string;
  }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}
export function completionOf(body: unknown): Completion;
