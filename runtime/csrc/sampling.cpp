// The C interface of choosing tokens, dealt out to threads row by row.

#include "sampling.h"

#include <cfloat>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "cpu.h"
#include "threads.h"

namespace plimsoll {
namespace {

// Elements for which waking another thread pays.
constexpr int64_t kElements = 16384;

SamplingKernels kernels_for(int instruction_set) {
  PLIMSOLL_RETURN_KERNELS(instruction_set, sampling_kernels())
}

bool is_truncated(const Draw& draw, int64_t vocab) {
  return draw.top_p < 1 || (draw.top_k > 0 && draw.top_k < vocab);
}

Weighing weighing_of(const Draw& draw, float highest) {
  // Neither 0 nor infinite, which would make NaN of an infinite difference or of none.
  const double scale = std::fmin(std::fmax(M_LOG2E / draw.temperature, FLT_MIN), FLT_MAX);
  // The smallest fp32 that is not below.
  const double least = highest + draw.temperature * std::log(draw.min_p);
  float lowest = static_cast<float>(least);
  if (lowest < least) lowest = std::nextafter(lowest, INFINITY);
  return {highest, static_cast<float>(scale), lowest};
}

// Of one thread. Kept from step to step: fresh memory costs more than what is done with it.
struct Room {
  std::vector<double> sums;
  std::unique_ptr<Candidate[]> candidates;
  int64_t size = 0;

  SampleScratch scratch(int64_t vocab, bool truncates) {
    sums.resize(vocab / kSampleBlock + 1);
    if (truncates && size < vocab) {
      size = 0;
      // Not std::make_unique, which would write to all of it.
      candidates.reset(new Candidate[vocab]);
      size = vocab;
    }
    return {sums.data(), candidates.get()};
  }
};

}  // namespace
}  // namespace plimsoll

#define PLIMSOLL_API extern "C" __attribute__((visibility("default")))

PLIMSOLL_API void plimsoll_scan(const float* logits, int64_t stride, int64_t rows, int64_t vocab,
                                int64_t* largest, bool* finite, int instruction_set, int threads) {
  using namespace plimsoll;
  const SamplingKernels kernels = kernels_for(instruction_set);
  const int64_t piece = kElements / vocab + 1;
  parallel_for((rows + piece - 1) / piece, threads, [&](int64_t i) {
    for (int64_t row = i * piece; row < rows && row < (i + 1) * piece; ++row) {
      finite[row] = kernels.scan(logits + row * stride, vocab, largest + row);
    }
  });
}

PLIMSOLL_API int plimsoll_draw(const float* logits, int64_t stride, int64_t vocab,
                               const plimsoll::Draw* draws, int64_t count, int64_t* tokens,
                               int instruction_set, int threads) try {
  using namespace plimsoll;
  const SamplingKernels kernels = kernels_for(instruction_set);
  bool truncates = false;
  for (int64_t i = 0; i < count; ++i) truncates = truncates || is_truncated(draws[i], vocab);
  if (threads > count) threads = static_cast<int>(count);
  if (threads < 1 || vocab * count < kElements) threads = 1;
  thread_local std::vector<Room> rooms;
  if (static_cast<int>(rooms.size()) < threads) rooms.resize(threads);
  std::vector<SampleScratch> scratch;
  for (int i = 0; i < threads; ++i) scratch.push_back(rooms[i].scratch(vocab, truncates));
  int64_t next = 0;
  parallel_for(threads, threads, [&](int64_t thread) {
    for (;;) {
      const int64_t i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (i >= count) return;
      const float* row = logits + draws[i].row * stride;
      const Weighing weighing = weighing_of(draws[i], row[draws[i].likeliest]);
      tokens[i] = kernels.draw(row, vocab, draws[i], weighing, scratch[thread]);
    }
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
