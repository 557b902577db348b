// One step of a draft head: a decoder layer over the target's embeddings and hidden states that guesses the token after
// the next one. Row t holds the embedding e of token t + 1 and the hidden state h of token t:
//   EAGLE-2: x = fc([RMS(e); RMS(h)]) + bias;  y = x + r Attn(RMS(x));  y += r MLP(RMS(y));  logits = head(y * s)
//   EAGLE-3: x = fc(h) for h of the target (three tapped layers), x = h for h of the head itself;
//            y = x + r Attn([RMS(e); RMS(x)]);  y += r MLP(RMS(y));  logits = head(RMS(y))
//   kNormedResidual: as EAGLE-3, but y = RMS(x) + r Attn([RMS(e); RMS(x)])
// The next hidden state is y. Norms that a head does not have are left out.
// Source: EAGLE-2 (arXiv 2406.16858), EAGLE-3 (arXiv 2503.01840), MiniCPM4 report (arXiv 2506.07900).
#pragma once
#include "../abi.h"

constexpr int kNormedResidual = 4;

struct DraftHead {
  Model m;                     // one layer, the target's embedding, the head's rows; m.norm: before the head (EAGLE-3), else 0
  int32_t version, fc_inputs;  // 2, 3 or kNormedResidual; columns of fc
  Tensor fc;
  word bias;                     // (hidden) float32 or 0
  word embed_norm, hidden_norm;  // (hidden) float32 or 0
};

// rows[i] sees slots from first[i] on, of those that its base and mask show.
struct DraftBatch {
  word rows;     // (count) Row
  word first;    // (count) int32
  word hidden;   // (count, width) float32: width is hidden, but fc_inputs for taps of an EAGLE-3 target
  word out;      // (count, hidden) float32: y
  word scratch;  // draft_scratch_bytes(head, capacity, lanes)
  word logits;   // (logit rows, m.head.rows) float32
  int32_t count, capacity, lanes, logit_capacity;
  int32_t from_target;  // EAGLE-3: `hidden` are taps of the target
};

// Bytes of DraftBatch.scratch for up to `rows` rows.
size_t draft_scratch_bytes_of(const DraftHead& head, int rows, int lanes);

// Runs the batch's rows through the layer; their keys and values go to their slots.
int draft_rows(const DraftHead& head, const DraftBatch& b);

// Logits of rows picked[0 ... count) of the last step, into b.logits.
int draft_logits_of(const DraftHead& head, const DraftBatch& b, const int32_t* picked, int count);

// Hidden states of rows picked[0 ... count) of the target's last step, as they are in its scratch, to out (count, stride):
// times scale, after its final norm when `normed`.
void draft_taps_of(const Model& m, const Batch& b, int context, const int32_t* picked, int count, float* out, int stride,
                   bool normed, float scale);
