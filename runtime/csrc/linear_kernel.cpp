// Products of few rows of bf16 with a weight that lies in memory as it was loaded.
//
// With few rows all the time goes into reading the weight: it is read once, front to back, and
// needs no other layout. An element of the output is summed up in the same order whatever tile it
// falls into, so that a row is the same alone and among others.

#include "layer.h"
#include "simd.h"

#if defined(__AVX512BF16__)

namespace plimsoll::PLIMSOLL_ISA {
namespace {

// Sums of each of 16 vectors, in one.
Floats sums_of(const Floats (&vectors)[16]) {
  alignas(64) uint32_t turned[16 * 16];
  const uint32_t* rows[16];
  for (int i = 0; i < 16; ++i) rows[i] = reinterpret_cast<const uint32_t*>(&vectors[i]);
  transpose(rows, 0, turned, 16);
  Floats result = {};
  for (int i = 0; i < 16; ++i) result += load(reinterpret_cast<const float*>(turned + 16 * i));
  return result;
}

// Adds the products of 32 elements of each row, or of those that `mask` has.
template <int kX, int kWeights>
void add_products(Floats (&sums)[16], const uint16_t* x, int64_t x_stride, const uint16_t* weight,
                  int64_t weight_stride, __mmask32 mask) {
  __m512bh ours[kX];
  for (int i = 0; i < kX; ++i) {
    ours[i] = (__m512bh)_mm512_maskz_loadu_epi16(mask, x + i * x_stride);
  }
  for (int j = 0; j < kWeights; ++j) {
    const auto theirs = (__m512bh)_mm512_maskz_loadu_epi16(mask, weight + j * weight_stride);
    for (int i = 0; i < kX; ++i) {
      Floats& total = sums[i * kWeights + j];
      total = (Floats)_mm512_dpbf16_ps((__m512)total, ours[i], theirs);
    }
  }
}

// kX rows of x from `row` on with kWeights rows of the weight from `column` on.
template <int kX, int kWeights>
void multiply_tile(const Linear& linear, int64_t row, int64_t column) {
  static_assert(kX * kWeights <= 16);
  Floats sums[16] = {};
  const uint16_t* x = linear.x + row * linear.x_stride;
  const uint16_t* weight = linear.weight + column * linear.k;
  int64_t k = 0;
  for (; k + 32 <= linear.k; k += 32) {
    add_products<kX, kWeights>(sums, x + k, linear.x_stride, weight + k, linear.k, ~__mmask32{0});
  }
  if (k < linear.k) {
    const auto mask = static_cast<__mmask32>((uint64_t{1} << (linear.k - k)) - 1);
    add_products<kX, kWeights>(sums, x + k, linear.x_stride, weight + k, linear.k, mask);
  }
  uint16_t results[16] = {};
  if (linear.bias != nullptr) {
    for (int i = 0; i < kX * kWeights; ++i) results[i] = linear.bias[column + i % kWeights];
  }
  store(results, sums_of(sums) + load(results));
  for (int i = 0; i < kX; ++i) {
    for (int j = 0; j < kWeights; ++j) {
      linear.out[(row + i) * linear.out_stride + column + j] = results[i * kWeights + j];
    }
  }
}

template <int kX>
void multiply_rows(const Linear& linear, int64_t row, int64_t begin, int64_t end) {
  constexpr int kWeights = 16 / kX;
  int64_t column = begin;
  for (; column + kWeights <= end; column += kWeights) {
    multiply_tile<kX, kWeights>(linear, row, column);
  }
  for (; column < end; ++column) multiply_tile<kX, 1>(linear, row, column);
}

}  // namespace

void multiply(const Linear& linear, int64_t begin, int64_t end) {
  int64_t row = 0;
  for (; row + 4 <= linear.m; row += 4) multiply_rows<4>(linear, row, begin, end);
  switch (linear.m - row) {
    case 3: multiply_rows<3>(linear, row, begin, end); break;
    case 2: multiply_rows<2>(linear, row, begin, end); break;
    case 1: multiply_rows<1>(linear, row, begin, end); break;
    default: break;
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA

#endif
