// The data wing's exports: fastText classifiers (score, fold, train), hashes, MinHash. No allocation; the caller's memory holds
// everything.
export {
  count_bytes,
  count_entries,
  count_open,
  count_resume,
  count_tokens,
  dictionary_clear,
  dictionary_fill,
  dictionary_open,
} from "./dictionary";
export { hash_begin, hash_end, hash_stripes } from "./hash";
export {
  count_take,
  line_begin,
  line_ended,
  line_finish,
  line_labels,
  line_move,
  line_open,
  line_prune,
  line_take,
  line_words,
} from "./line";
export { minhash, minhash_bands } from "./minhash";
export { fold_rows, rows_begin, rows_open, rows_total } from "./rows";
export { score_best, score_open, sigmoid_open } from "./score";
export { tokens_open, tokens_put, tokens_take } from "./tokens";
export {
  train_examples,
  train_fill,
  train_local,
  train_loss,
  train_negatives,
  train_open,
  train_restart,
  train_seed,
  train_take,
  train_told,
  train_tree,
  train_why,
} from "./train";

export function data_abi_version(): i32 {
  return 2;
}
