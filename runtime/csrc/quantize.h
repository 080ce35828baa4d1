// Rows of numbers to int8 and back, each row by itself: symmetric, with one scale a row.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace plimsoll {

struct QuantizedRows {
  // The int8 numbers, 128 added to each; a row is `words` words of four.
  uint8_t* bytes;
  int64_t words;
  // What 1 stands for: the row's largest magnitude / 127. Not finite where a number of it is not.
  float* scales;
};

struct QuantizeKernels {
  // Rows `begin` to `end` of x, `stride` elements apart, each of `columns` elements.
  void (*quantize)(const QuantizedRows& to, const void* x, int64_t stride, int64_t columns,
                   int64_t begin, int64_t end);
  // `columns` int8 numbers, each times `scale`, to a row; kLanes may be read behind the last.
  void (*dequantize)(void* to, const int8_t* numbers, float scale, int64_t columns);
};

PLIMSOLL_DECLARE_KERNELS(QuantizeKernels quantize_kernels(bool is_bf16))

}  // namespace plimsoll
