// The C interface of products with packed weights, dealt out to threads.

#include "product.h"

#include <cstddef>
#include <cstring>
#include <vector>

#include "cpu.h"
#include "quantize.h"
#include "threads.h"

namespace plimsoll {
namespace {

// Words that a thread takes at a time, for which waking it pays.
constexpr int64_t kPieceWords = 16384;
// Elements of rows that a thread quantizes at a time.
constexpr int64_t kPieceElements = 16384;
// Numbers that a kernel may read behind a row's last.
constexpr int64_t kMaxLanes = 16;

ProductKernels kernels_for(int instruction_set, Format format) {
  PLIMSOLL_RETURN_KERNELS(instruction_set, product_kernels(format))
}

QuantizeKernels quantize_kernels_for(int instruction_set, bool is_bf16) {
  PLIMSOLL_RETURN_KERNELS(instruction_set, quantize_kernels(is_bf16))
}

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t pieces_of(int64_t count, int64_t piece) { return (count + piece - 1) / piece; }

// The words of `rows` quantized rows side by side; Word is as many numbers as a word multiplies.
template <class Word>
void lay_out(Word* to, const QuantizedRows& from, int64_t rows, int64_t words) {
  // Back from 128 more, which is the other sign bit.
  const Word sign = static_cast<Word>(0x80808080u);
  for (int64_t word = 0; word < words; ++word) {
    for (int64_t c = 0; c < kPanel; ++c) {
      Word numbers = sign;
      if (c < rows) {
        std::memcpy(&numbers, from.bytes + c * from.words * 4 + word * sizeof(Word), sizeof(Word));
      }
      to[word * kPanel + c] = numbers ^ sign;
    }
  }
}

int32_t sum_of(const uint8_t* bytes, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += bytes[i];
  return sum - static_cast<int32_t>(128 * count);
}

// Words of one output, one after the other.
template <class Word>
void gather(std::vector<int8_t>& numbers, const PackedWeight& weight, int64_t output) {
  const auto* from = reinterpret_cast<const Word*>(weight.panels) +
                     output / kPanel * weight.words * kPanel + output % kPanel;
  for (int64_t word = 0; word < weight.words; ++word) {
    std::memcpy(numbers.data() + word * sizeof(Word), from + word * kPanel, sizeof(Word));
  }
}

}  // namespace
}  // namespace plimsoll

#define PLIMSOLL_API extern "C" __attribute__((visibility("default")))

// Rows of words [outputs, words], `stride` words apart, to panels.
PLIMSOLL_API void plimsoll_pack(uint32_t* panels, const uint32_t* rows, int64_t stride,
                                int64_t outputs, int64_t words, int threads) {
  using namespace plimsoll;
  parallel_for(pieces_of(outputs, kPanel), threads, [&](int64_t panel) {
    uint32_t* to = panels + panel * words * kPanel;
    for (int64_t word = 0; word < words; ++word) {
      for (int64_t c = 0; c < kPanel; ++c) {
        const int64_t row = panel * kPanel + c;
        to[word * kPanel + c] = row < outputs ? rows[row * stride + word] : 0;
      }
    }
  });
}

PLIMSOLL_API void plimsoll_pack_int8(void* panels, float* scales, int32_t* totals, const void* rows,
                                     int64_t outputs, int64_t columns, int rows_are_bf16,
                                     int64_t words, int64_t numbers_per_word, int instruction_set,
                                     int threads) {
  using namespace plimsoll;
  const QuantizeKernels kernels = quantize_kernels_for(instruction_set, rows_are_bf16 != 0);
  const int64_t element = rows_are_bf16 ? 2 : 4;
  parallel_for(pieces_of(outputs, kPanel), threads, [&](int64_t panel) {
    // Kept by the thread: a panel's worth is more than what the allocator keeps.
    thread_local std::vector<uint8_t> bytes;
    const int64_t first = panel * kPanel, count = smaller(kPanel, outputs - first);
    const int64_t quads = pieces_of(columns, 4);
    bytes.resize(kPanel * quads * 4);
    const QuantizedRows quantized{bytes.data(), quads, scales + first};
    const char* from = static_cast<const char*>(rows) + first * columns * element;
    kernels.quantize(quantized, from, columns, columns, 0, count);
    if (totals != nullptr) {
      for (int64_t r = 0; r < count; ++r) {
        totals[first + r] = sum_of(bytes.data() + r * quads * 4, quads * 4);
      }
    }
    const int64_t at = panel * words * kPanel;
    if (numbers_per_word == 4) {
      lay_out(static_cast<uint32_t*>(panels) + at, quantized, count, words);
    } else if (numbers_per_word == 2) {
      lay_out(static_cast<uint16_t*>(panels) + at, quantized, count, words);
    } else {
      lay_out(static_cast<uint8_t*>(panels) + at, quantized, count, words);
    }
  });
}

// The rows of those outputs again, [count, columns] of bf16 or fp32, of a weight in int8.
PLIMSOLL_API void plimsoll_unpack_int8(void* rows, const plimsoll::PackedWeight* weight,
                                       const int64_t* outputs, int64_t count, int64_t columns,
                                       int rows_are_bf16, int threads) {
  using namespace plimsoll;
  const QuantizeKernels kernels = quantize_kernels_for(weight->instruction_set, rows_are_bf16 != 0);
  const int64_t row_bytes = columns * (rows_are_bf16 ? 2 : 4);
  const int format = weight->format;
  parallel_for(count, columns * count < kPieceElements ? 1 : threads, [&](int64_t i) {
    thread_local std::vector<int8_t> numbers;
    numbers.resize(static_cast<std::size_t>(weight->words * 4 + kMaxLanes));
    if (format == kInt8) {
      gather<uint32_t>(numbers, *weight, outputs[i]);
    } else if (format == kBf16ByInt8) {
      gather<uint16_t>(numbers, *weight, outputs[i]);
    } else {
      gather<uint8_t>(numbers, *weight, outputs[i]);
    }
    kernels.dequantize(static_cast<char*>(rows) + i * row_bytes, numbers.data(),
                       weight->scales[outputs[i]], columns);
  });
}

// The rows of those outputs again, [count, words].
PLIMSOLL_API void plimsoll_unpack(uint32_t* rows, const uint32_t* panels, const int64_t* outputs,
                                  int64_t count, int64_t words, int threads) {
  using namespace plimsoll;
  parallel_for(count, words * count < kPieceWords ? 1 : threads, [&](int64_t i) {
    const uint32_t* from = panels + outputs[i] / kPanel * words * kPanel + outputs[i] % kPanel;
    uint32_t* to = rows + i * words;
    for (int64_t word = 0; word < words; ++word) to[word] = from[word * kPanel];
  });
}

PLIMSOLL_API void plimsoll_multiply(const plimsoll::PackedWeight* weight, const uint32_t* x,
                                    int64_t x_stride, int64_t rows, const float* x_scales,
                                    const void* bias, void* out, int64_t out_stride,
                                    int out_is_bf16, int threads) {
  using namespace plimsoll;
  const Product product{weight, x, x_stride, x_scales, bias, out, out_stride, out_is_bf16 != 0};
  const auto format = static_cast<Format>(weight->format);
  const ProductKernels kernels = kernels_for(weight->instruction_set, format);
  const int64_t panels = pieces_of(weight->outputs, kPanel);
  const int64_t chunks = pieces_of(rows, kMaxRows);
  const int64_t for_waking = kPieceWords / (smaller(rows, 8) * weight->words * kPanel + 1) + 1;
  const int64_t at_once = larger(for_waking, kernels.panels_at_once);
  // As many pieces for each thread.
  const int64_t shares = threads > 1 ? threads : 1;
  const int64_t pieces = smaller(panels, shares * pieces_of(panels, shares * at_once));
  parallel_for(pieces * chunks, threads, [&](int64_t i) {
    const int64_t begin = i % chunks * kMaxRows, piece = i / chunks;
    const int64_t end = (piece + 1) * panels / pieces;
    for (int64_t panel = piece * panels / pieces; panel < end; panel += kernels.panels_at_once) {
      kernels.multiply(product, panel, smaller(panel + kernels.panels_at_once, end), begin,
                       smaller(begin + kMaxRows, rows));
    }
  });
}

PLIMSOLL_API void plimsoll_multiply_int8(const plimsoll::PackedWeight* weight, const void* x,
                                         int64_t x_stride, int x_is_bf16, int64_t rows,
                                         int64_t columns, uint32_t* bytes, float* x_scales,
                                         const void* bias, void* out, int64_t out_stride,
                                         int out_is_bf16, int threads) {
  using namespace plimsoll;
  const QuantizeKernels kernels = quantize_kernels_for(weight->instruction_set, x_is_bf16 != 0);
  const QuantizedRows to{reinterpret_cast<uint8_t*>(bytes), weight->words, x_scales};
  const int64_t piece = kPieceElements / columns + 1;
  parallel_for(pieces_of(rows, piece), threads, [&](int64_t i) {
    kernels.quantize(to, x, x_stride, columns, i * piece, smaller((i + 1) * piece, rows));
  });
  plimsoll_multiply(weight, bytes, weight->words, rows, x_scales, bias, out, out_stride,
                    out_is_bf16, threads);
}
