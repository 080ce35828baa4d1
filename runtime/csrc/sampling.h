// Choosing tokens from logits, fp32 [rows, vocab]. One row in, one token out: no row knows of the
// others.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace plimsoll {

// `_Draw` in engine/native_sampler.py. All logits of the row are finite or -inf, and not all -inf.
struct Draw {
  int64_t row;
  int64_t likeliest;
  int64_t top_k;  // 0 is off
  double temperature;
  double min_p;
  double top_p;    // 1 is off
  double uniform;  // in [0, 1)
};

// What a logit x weighs: exp((x - highest) / temperature), and nothing below min_p.
struct Weighing {
  float highest;
  float scale;  // to powers of two
  float lowest;
};

struct Candidate {
  uint32_t key;  // orders logits
  int32_t token;
  float weight;
};

// Logits that are taken together.
constexpr int64_t kSampleBlock = 256;

// Room for a thread's row: a number for each block, and as many candidates as there are tokens.
struct SampleScratch {
  double* sums;  // of each block and all before it, or its largest key
  Candidate* candidates;
};

struct SamplingKernels {
  // The lowest index of the largest; returns whether all are finite. With NaN it is any index.
  bool (*scan)(const float* row, int64_t vocab, int64_t* largest);
  // `candidates` are needed with top-k or top-p only.
  int64_t (*draw)(const float* row, int64_t vocab, const Draw&, const Weighing&,
                  const SampleScratch&);
};

PLIMSOLL_DECLARE_KERNELS(SamplingKernels sampling_kernels())

}  // namespace plimsoll

// The same for many rows, `stride` elements apart, dealt out to threads.
extern "C" {
void plimsoll_scan(const float* logits, int64_t stride, int64_t rows, int64_t vocab,
                   int64_t* largest, bool* finite, int instruction_set, int threads);
// Returns 0, or 1 where there is no memory.
int plimsoll_draw(const float* logits, int64_t stride, int64_t vocab, const plimsoll::Draw* draws,
                  int64_t count, int64_t* tokens, int instruction_set, int threads);
}
