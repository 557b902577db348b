// The tokens that end a generation: those that a file names, and those whose names say so.

/** Tokens that end a generation by their name, as llama.cpp has them. */
const endNames =
  "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response>".split(
    " ",
  );
/** What else ends one there: the marks of code infilling. */
const infillNames = "<|fim_pad|> <fim-pad> <fim_pad> <PAD> <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <|file_sep|>".split(" ");
/** EXAONE's, which llama.cpp takes from the file alone. */
const turnNames = ["[|endofturn|]"];

/** The stop tokens: those in `named`, then those that `find` knows by the names above. */
export function stopTokens(find: (name: string) => number | undefined, named: readonly (number | undefined)[]): number[] {
  const has = (name: string) => find(name) !== undefined;
  const stop = new Set(named.filter((id) => id !== undefined));
  for (const name of [...endNames, ...infillNames, ...turnNames]) if (has(name)) stop.add(find(name)!);
  const calls = has("<|call|>") || has("<|calls|>");
  // Where messages end in <|return|> or <|call|>, <|end|> only parts them; beside <|tool_response>, </s> is text.
  if (calls && (has("<|return|>") || has("<|flush|>")) && has("<|end|>")) stop.delete(find("<|end|>")!);
  if (has("<|tool_response>") && has("</s>")) stop.delete(find("</s>")!);
  return [...stop];
}
