// The C interface of what is between attention and matrix products, dealt out to threads.

#include "layer.h"

#include "cpu.h"
#include "threads.h"

namespace plimsoll {
namespace {

// Elements for which waking another thread pays.
constexpr int64_t kElements = 4096;
// Pieces of many rows for each thread: taking one costs as much as hundreds of elements.
constexpr int64_t kPiecesPerThread = 8;

LayerKernels kernels_for(int instruction_set, bool is_bf16) {
  PLIMSOLL_RETURN_KERNELS(instruction_set, layer_kernels(is_bf16))
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// body(begin, end) for pieces of `count` rows of `width` elements.
template <class Body>
void each_piece(int64_t count, int64_t width, int threads, const Body& body) {
  const int64_t shares = kPiecesPerThread * larger(threads, 1);
  const int64_t piece = larger(kElements / width, count / shares) + 1;
  parallel_for((count + piece - 1) / piece, threads,
               [&](int64_t i) { body(i * piece, smaller(count, (i + 1) * piece)); });
}

}  // namespace
}  // namespace plimsoll

#define PLIMSOLL_API extern "C" __attribute__((visibility("default")))

PLIMSOLL_API void plimsoll_rms_norm(void* out, void* x, int64_t x_stride, void* added,
                                    int64_t added_stride, const void* weight, float eps,
                                    int64_t rows, int64_t width, int how, int threads) {
  using namespace plimsoll;
  const LayerKernels kernels = kernels_for(how / 2, how % 2 != 0);
  const Rows more{added, added_stride};
  each_piece(rows, width, threads, [&](int64_t begin, int64_t end) {
    kernels.rms_norm({out, width}, {x, x_stride}, added == nullptr ? nullptr : &more, weight, eps,
                     width, begin, end);
  });
}

PLIMSOLL_API void plimsoll_norm_heads(void* x, int64_t x_stride, const void* weight, float eps,
                                      int64_t rows, int64_t heads, int64_t head_dim, int how,
                                      int threads) {
  using namespace plimsoll;
  const LayerKernels kernels = kernels_for(how / 2, how % 2 != 0);
  const int64_t element = how % 2 != 0 ? 2 : 4;
  each_piece(rows, heads * head_dim, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Rows row{static_cast<char*>(x) + i * x_stride * element, head_dim};
      kernels.rms_norm(row, row, nullptr, weight, eps, head_dim, 0, heads);
    }
  });
}

PLIMSOLL_API void plimsoll_rotate(void* x, int64_t x_stride, const float* table, int64_t rows,
                                  int64_t heads, int64_t head_dim, int how, int threads) {
  using namespace plimsoll;
  const LayerKernels kernels = kernels_for(how / 2, how % 2 != 0);
  each_piece(rows, heads * head_dim, threads, [&](int64_t begin, int64_t end) {
    kernels.rotate({x, x_stride}, table, heads, head_dim, begin, end);
  });
}

PLIMSOLL_API void plimsoll_silu_and_mul(void* out, void* x, int64_t x_stride, int64_t rows,
                                        int64_t width, int how, int threads) {
  using namespace plimsoll;
  const LayerKernels kernels = kernels_for(how / 2, how % 2 != 0);
  each_piece(rows, width, threads, [&](int64_t begin, int64_t end) {
    kernels.silu_and_mul({out, width}, {x, x_stride}, width, begin, end);
  });
}
