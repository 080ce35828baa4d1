// The largest of a row's logits, and a token drawn from what they weigh. Passes over the row, never a
// sort of it: the tokens that top-k and top-p leave are found digit by digit of their logits.

#include "sampling.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

// The digits of a logit's key, highest first.
constexpr int kDigitBits[] = {11, 11, 10};
constexpr int kDigits = 1 << 11;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

Floats load_some(const float* from, int64_t count, float rest) {
  if (count >= kLanes) return load(from);
  Floats some = broadcast(rest);
  for (int64_t i = 0; i < count; ++i) some[i] = from[i];
  return some;
}

bool scan(const float* row, int64_t vocab, int64_t* largest) {
  // What lies behind the row's end is its first one again: that changes neither answer.
  Floats highest = load_some(row, vocab, row[0]);
  Floats differences = highest - highest;
  Ints at = {};
  for (int64_t i = kLanes; i < vocab; i += kLanes) {
    const Floats x = load_some(row + i, vocab - i, row[0]);
    const Ints better = x > highest;
    highest = better ? x : highest;
    at = better ? Ints{} + static_cast<int32_t>(i) : at;
    // 0, or NaN for ever.
    differences += x - x;
  }
  bool finite = true;
  int best = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    finite = finite && differences[lane] == 0;
    const bool equal = highest[lane] == highest[best] && at[lane] + lane < at[best] + best;
    if (highest[lane] > highest[best] || equal) best = lane;
  }
  *largest = at[best] + best;
  return finite;
}

// The weights of up to kSampleBlock logits, with zeros up to a whole vector; returns their sum.
float weigh(const float* from, int64_t count, const Weighing& how, float* weights) {
  Floats total = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats x = load_some(from + i, count - i, -__builtin_inff());
    const Floats weight = exp2_of_negative((x - how.highest) * how.scale);
    const Floats kept = x < how.lowest ? Floats{} : weight;
    store(weights + i, kept);
    total += kept;
  }
  return sum(total);
}

// Orders as the logit does; 0 and -0 are equal.
uint32_t key_of(float x) {
  x += 0.0f;
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// What the row's blocks weigh, each with all before it; returns the sum of all.
double weigh_all(const float* row, int64_t vocab, const Weighing& how, double* sums) {
  float weights[kSampleBlock];
  double total = 0;
  for (int64_t i = 0; i < vocab; i += kSampleBlock) {
    total += static_cast<double>(weigh(row + i, smaller(kSampleBlock, vocab - i), how, weights));
    sums[i / kSampleBlock] = total;
  }
  return total;
}

// From all tokens that weigh anything.
int64_t draw_from_all(const float* row, int64_t vocab, const Draw& draw, const Weighing& how,
                      double* sums) {
  const double target = draw.uniform * weigh_all(row, vocab, how, sums);
  int64_t block = 0;
  for (; block * kSampleBlock < vocab && !(sums[block] > target); ++block) {
  }
  const int64_t first = block * kSampleBlock;
  double sum = block > 0 ? sums[block - 1] : 0;
  // The block's own sum may be a little more than its weights one by one: then it is the last.
  int64_t token = draw.likeliest;
  float weights[kSampleBlock];
  const int64_t count = smaller(kSampleBlock, vocab - first);
  weigh(row + first, count, how, weights);
  for (int64_t i = 0; i < count && !(sum > target); ++i) {
    if (weights[i] > 0) token = first + i;
    sum += static_cast<double>(weights[i]);
  }
  return token;
}

// Where the largest candidates end that together cost `target`, at 1 each or at their weights.
struct End {
  uint32_t key;  // of the last one
  double above;  // what those with larger keys cost
};

End end_of(const Candidate* candidates, int64_t count, double target, bool by_weight) {
  End end{0, 0};
  uint32_t known = 0;
  int shift = 32;
  for (const int bits : kDigitBits) {
    shift -= bits;
    const uint32_t mask = (1u << bits) - 1;
    double costs[kDigits] = {};
    uint32_t digit = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Candidate& each = candidates[i];
      if ((each.key & known) != end.key) continue;
      const uint32_t its = each.key >> shift & mask;
      costs[its] += by_weight ? static_cast<double>(each.weight) : 1.0;
      if (its > digit) digit = its;
    }
    while (digit > 0 && end.above + costs[digit] < target) end.above += costs[digit--];
    end.key |= digit << shift;
    known |= mask << shift;
  }
  return end;
}

// Leaves the largest candidates that together cost `target`, in their order, of equal ones the first.
int64_t keep(Candidate* candidates, int64_t count, double target, bool by_weight) {
  End end = end_of(candidates, count, target, by_weight);
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Candidate each = candidates[i];
    const bool reached = kept > 0 && !(end.above < target);
    if (each.key < end.key || (each.key == end.key && reached)) continue;
    if (each.key == end.key) end.above += by_weight ? static_cast<double>(each.weight) : 1.0;
    candidates[kept++] = each;
  }
  return kept;
}

// A key that at least `top_k` of the row's logits reach: so many blocks have one. 0 where there are
// not so many blocks. Each block's largest key is left in `sums`.
uint32_t key_of_top_k(const float* row, int64_t vocab, int64_t top_k,
                      const SampleScratch& scratch) {
  int64_t blocks = 0;
  for (int64_t first = 0; first < vocab; first += kSampleBlock, ++blocks) {
    const int64_t count = smaller(kSampleBlock, vocab - first);
    Floats highest = broadcast(-__builtin_inff());
    for (int64_t i = 0; i < count; i += kLanes) {
      const Floats x = load_some(row + first + i, count - i, -__builtin_inff());
      highest = x > highest ? x : highest;
    }
    scratch.candidates[blocks] = {key_of(largest(highest)), 0, 0};
    scratch.sums[blocks] = static_cast<double>(scratch.candidates[blocks].key);
  }
  if (top_k > blocks) return 0;
  return end_of(scratch.candidates, blocks, static_cast<double>(top_k), false).key;
}

// The tokens, in their order, whose keys reach `key` and whose weights are more than `least`. With
// `block_keys` only in blocks whose own reach it.
int64_t gather(const float* row, int64_t vocab, const Weighing& how, uint32_t key, float least,
               const double* block_keys, Candidate* candidates) {
  float weights[kSampleBlock];
  int64_t kept = 0;
  for (int64_t first = 0; first < vocab; first += kSampleBlock) {
    if (block_keys != nullptr && block_keys[first / kSampleBlock] < key) continue;
    const int64_t count = smaller(kSampleBlock, vocab - first);
    weigh(row + first, count, how, weights);
    for (int64_t i = 0; i < count; ++i) {
      candidates[kept] = {key_of(row[first + i]), static_cast<int32_t>(first + i), weights[i]};
      kept += candidates[kept].key >= key && weights[i] > least;
    }
  }
  return kept;
}

double sum_of(const Candidate* candidates, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(candidates[i].weight);
  return sum;
}

// From the `top_k` likeliest, and of these from the fewest that weigh `top_p` of all these.
int64_t draw_from_some(const float* row, int64_t vocab, const Draw& draw, const Weighing& how,
                       const SampleScratch& scratch) {
  Candidate* candidates = scratch.candidates;
  const bool has_top_k = draw.top_k > 0 && draw.top_k < vocab;
  int64_t count;
  double total;
  if (has_top_k) {
    const uint32_t key = key_of_top_k(row, vocab, draw.top_k, scratch);
    count = gather(row, vocab, how, key, 0, scratch.sums, candidates);
    if (draw.top_k < count) count = keep(candidates, count, static_cast<double>(draw.top_k), false);
    total = sum_of(candidates, count);
  } else {
    total = weigh_all(row, vocab, how, scratch.sums);
    // All that weigh less are not enough for top-p to need one of them.
    const double least = (1 - draw.top_p) * total / static_cast<double>(vocab) / 2;
    count = gather(row, vocab, how, 0, static_cast<float>(least), nullptr, candidates);
  }
  if (draw.top_p < 1) {
    count = keep(candidates, count, draw.top_p * total, true);
    total = sum_of(candidates, count);
  }
  const double target = draw.uniform * total;
  int64_t token = draw.likeliest;
  double sum = 0;
  for (int64_t i = 0; i < count && !(sum > target); ++i) {
    token = candidates[i].token;
    sum += static_cast<double>(candidates[i].weight);
  }
  return token;
}

int64_t draw(const float* row, int64_t vocab, const Draw& draw, const Weighing& how,
             const SampleScratch& scratch) {
  const bool truncates = draw.top_p < 1 || (draw.top_k > 0 && draw.top_k < vocab);
  return truncates ? draw_from_some(row, vocab, draw, how, scratch)
                   : draw_from_all(row, vocab, draw, how, scratch.sums);
}

}  // namespace

SamplingKernels sampling_kernels() { return {scan, draw}; }

}  // namespace plimsoll::PLIMSOLL_ISA
