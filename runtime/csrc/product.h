// Products of rows with a weight that was packed once: y = x · Wᵀ.
//
// A weight [outputs, inputs] is cut into panels of 32 outputs. In a panel the elements lie in the
// order in which the vector units take them: words of 4 bytes, which hold neighbouring inputs of one
// output (one in fp32, two in bf16, four in int8), 32 words of as many outputs side by side,
// one word of inputs after the other. Outputs beyond the last are zeros. The same on every
// instruction set.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace plimsoll {

constexpr int kPanel = 32;
// Rows whose sums a thread keeps at a time.
constexpr int kMaxRows = 384;

// The numbers are part of the C interface.
enum Format : int {
  kFp32 = 0,
  kBf16 = 1,
  kInt8 = 2,
  // The weight's numbers are int8 in the order of the words of kBf16 or kFp32, the rows are of these.
  kBf16ByInt8 = 3,
  kFp32ByInt8 = 4,
};

// `PackedWeight` in model/packed.py.
struct PackedWeight {
  const uint32_t* panels;
  int64_t words;  // of a row
  int64_t outputs;
  // What an int8 weight's numbers stand for, by output, and in kInt8 their sums; else null.
  const float* scales;
  const int32_t* totals;
  int32_t format;
  int32_t instruction_set;
};

struct Product {
  const PackedWeight* weight;
  // Rows of words in the weight's format, `x_stride` words apart. In int8, 128 was added to each
  // number, and `x_scales` is what they stand for, by row.
  const uint32_t* x;
  int64_t x_stride;
  const float* x_scales;
  // One for each output, in the output's type; may be null.
  const void* bias;
  // bf16 or fp32 rows, `out_stride` elements apart.
  void* out;
  int64_t out_stride;
  bool out_is_bf16;
};

struct ProductKernels {
  // Rows `begin` to `end`, at most kMaxRows, of the outputs of panels `first` to `last`.
  void (*multiply)(const Product&, int64_t first, int64_t last, int64_t begin, int64_t end);
  // As many panels at most.
  int64_t panels_at_once;
};

PLIMSOLL_DECLARE_KERNELS(ProductKernels product_kernels(Format))

}  // namespace plimsoll

// y = x · Wᵀ + bias for `rows` rows. `x_stride` is in words, `out_stride` in elements.
extern "C" void plimsoll_multiply(const plimsoll::PackedWeight* weight, const uint32_t* x,
                                  int64_t x_stride, int64_t rows, const float* x_scales,
                                  const void* bias, void* out, int64_t out_stride, int out_is_bf16,
                                  int threads);

// The same with an int8 weight (kInt8): rows of x [rows, columns], `x_stride` elements apart, are
// quantized before, into `bytes` [rows, words of the weight] and `x_scales` [rows].
extern "C" void plimsoll_multiply_int8(const plimsoll::PackedWeight* weight, const void* x,
                                       int64_t x_stride, int x_is_bf16, int64_t rows,
                                       int64_t columns, uint32_t* bytes, float* x_scales,
                                       const void* bias, void* out, int64_t out_stride,
                                       int out_is_bf16, int threads);

// Rows [outputs, columns] of bf16 or fp32 to panels of int8, `words` of `numbers_per_word` (4, 2 or
// 1: kInt8, kBf16ByInt8, kFp32ByInt8) a row: quantized as rows of x are, one after the other and
// nowhere else held. Scales, and totals where they are not null, are of these rows.
extern "C" void plimsoll_pack_int8(void* panels, float* scales, int32_t* totals, const void* rows,
                                   int64_t outputs, int64_t columns, int rows_are_bf16,
                                   int64_t words, int64_t numbers_per_word, int instruction_set,
                                   int threads);
