// What is between matrix products and attention: norms, rotation and activation. One row in, one row
// out: no row knows of the others.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace plimsoll {

// Rows of `width` elements, `stride` elements apart.
struct Rows {
  void* data;
  int64_t stride;
};

struct LayerKernels {
  // out = x / rms(x) * weight. With `added`, x += added first, and x keeps the sum.
  void (*rms_norm)(const Rows& out, const Rows& x, const Rows* added, const void* weight, float eps,
                   int64_t width, int64_t begin, int64_t end);
  // Rotates the first `heads` heads of each row by its cosines and sines [2, head_dim / 2].
  void (*rotate)(const Rows& x, const float* table, int64_t heads, int64_t head_dim, int64_t begin,
                 int64_t end);
  // out = silu(first half of a row) * second half, which is `width` elements each.
  void (*silu_and_mul)(const Rows& out, const Rows& x, int64_t width, int64_t begin, int64_t end);
};

PLIMSOLL_DECLARE_KERNELS(LayerKernels layer_kernels(bool is_bf16))

}  // namespace plimsoll

// The same for all rows, dealt out to threads. Strides are in elements; `how` is the instruction set,
// times two, plus one for bf16.
extern "C" {
void plimsoll_rms_norm(void* out, void* x, int64_t x_stride, void* added, int64_t added_stride,
                       const void* weight, float eps, int64_t rows, int64_t width, int how,
                       int threads);
// Each of the first `heads` heads of each row by itself, in place.
void plimsoll_norm_heads(void* x, int64_t x_stride, const void* weight, float eps, int64_t rows,
                         int64_t heads, int64_t head_dim, int how, int threads);
void plimsoll_rotate(void* x, int64_t x_stride, const float* table, int64_t rows, int64_t heads,
                     int64_t head_dim, int how, int threads);
void plimsoll_silu_and_mul(void* out, void* x, int64_t x_stride, int64_t rows, int64_t width,
                           int how, int threads);
}
