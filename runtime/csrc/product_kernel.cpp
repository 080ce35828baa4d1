// One panel of a packed weight times some rows, for the instruction set PLIMSOLL_ISA.
//
// An output is summed up over the inputs in their order, one after the other, whatever rows there
// are beside: a row's product is the same bits alone and among a thousand.

#include "product.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

// Vectors side by side, and rows that share what was loaded of the panel: as many as there are
// registers for the sums.
constexpr int kVectors = 2;
constexpr int kTile = kLanes == 16 ? 12 : 5;
// How far ahead the panel is asked for: a processor's own prefetching ends at a page's border.
constexpr int kAhead = 16;

struct Fp32Words {
  typedef Floats Sum;
  static Floats multiply_add(Floats sum, uint32_t word, const uint32_t* words) {
    float x;
    __builtin_memcpy(&x, &word, sizeof x);
    Floats y;
    __builtin_memcpy(&y, words, sizeof y);
    return broadcast(x) * y + sum;
  }
};

struct Bf16Words {
  typedef Floats Sum;
  static Floats multiply_add(Floats sum, uint32_t word, const uint32_t* words) {
#if defined(__AVX512BF16__)
    const __m512i x = _mm512_set1_epi32(static_cast<int>(word));
    const __m512i y = _mm512_loadu_si512(words);
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
#else
    Words y;
    __builtin_memcpy(&y, words, sizeof y);
    const Words x = word - Words{};
    const Floats low = (Floats)(x << 16) * (Floats)(y << 16) + sum;
    return (Floats)(x & 0xffff0000u) * (Floats)(y & 0xffff0000u) + low;
#endif
  }
};

// Rows' bytes are unsigned, the panel's signed, as the instruction for it wants them.
struct Int8Words {
  typedef Ints Sum;
  static Ints multiply_add(Ints sum, uint32_t word, const uint32_t* words) {
#if defined(__AVX512VNNI__)
    const __m512i y = _mm512_loadu_si512(words);
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(static_cast<int>(word)), y);
#else
    Ints y;
    __builtin_memcpy(&y, words, sizeof y);
    for (int i = 0; i < 4; ++i) {
      const auto x = static_cast<int32_t>(word >> (8 * i) & 0xff);
      sum += ((y << (24 - 8 * i)) >> 24) * x;
    }
    return sum;
#endif
  }
};

// sums[r][column] of the panel, += part of rows times part of the panel.
template <class Compute, int kRows>
void add_part(const uint32_t* rows, int64_t row_stride, const uint32_t* panel, int words,
              uint32_t* sums, bool first) {
  typedef typename Compute::Sum Sum;
  for (int column = 0; column < kPanel; column += kVectors * kLanes) {
    Sum all[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        if (first) {
          all[r][v] = Sum{};
        } else {
          __builtin_memcpy(&all[r][v], sums + r * kPanel + column + v * kLanes, sizeof(Sum));
        }
      }
    }
    const uint32_t* at = panel + column;
    for (int i = 0; i < words; ++i, at += kPanel) {
      __builtin_prefetch(at + kAhead * kPanel);
      __builtin_prefetch(at + kAhead * kPanel + kPanel / 2);
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          all[r][v] = Compute::multiply_add(all[r][v], rows[r * row_stride + i], at + v * kLanes);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        __builtin_memcpy(sums + r * kPanel + column + v * kLanes, &all[r][v], sizeof(Sum));
      }
    }
  }
}

typedef void (*AddPart)(const uint32_t*, int64_t, const uint32_t*, int, uint32_t*, bool);

template <class Compute, int... kRows>
struct AddParts {
  static constexpr AddPart all[] = {add_part<Compute, kRows>...};
};

template <class Compute>
AddPart add_part_of(int rows) {
  if constexpr (kTile == 12) {
    return AddParts<Compute, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>::all[rows - 1];
  } else {
    return AddParts<Compute, 1, 2, 3, 4, 5>::all[rows - 1];
  }
}

template <class Out>
void write_row(const Product& product, int64_t panel, int64_t row, const uint32_t* sums) {
  const PackedWeight& weight = *product.weight;
  const int64_t first = panel * kPanel;
  const auto* bias = static_cast<const Out*>(product.bias);
  Out* to = static_cast<Out*>(product.out) + row * product.out_stride + first;
  float values[kPanel];
  for (int column = 0; column < kPanel; column += kLanes) {
    Floats x;
    if (weight.scales == nullptr) {
      __builtin_memcpy(&x, sums + column, sizeof x);
    } else {
      Ints total, sum;
      __builtin_memcpy(&sum, sums + column, sizeof sum);
      __builtin_memcpy(&total, weight.totals + first + column, sizeof total);
      const Floats scale = load(weight.scales + first + column) * product.x_scales[row];
      x = __builtin_convertvector(sum - total * 128, Floats) * scale;
    }
    store(values + column, x);
  }
  const int64_t left = weight.outputs - first;
  if (left >= kPanel) {
    for (int column = 0; column < kPanel; column += kLanes) {
      Floats x = load(values + column);
      if (bias != nullptr) x += load(bias + first + column);
      store(to + column, x);
    }
    return;
  }
  Out some[kLanes], more[kLanes] = {};
  for (int64_t column = 0; column < left; column += kLanes) {
    const int64_t count = left - column < kLanes ? left - column : kLanes;
    Floats x = load(values + column);
    if (bias != nullptr) {
      for (int64_t i = 0; i < count; ++i) more[i] = bias[first + column + i];
      x += load(more);
    }
    store(some, x);
    for (int64_t i = 0; i < count; ++i) to[column + i] = some[i];
  }
}

template <class Compute>
void multiply(const Product& product, int64_t panel, int64_t begin, int64_t end) {
  alignas(64) static thread_local uint32_t sums[kMaxRows * kPanel];
  const int64_t words = product.weight->words;
  const uint32_t* weights = product.weight->panels + panel * words * kPanel;
  for (int64_t word = 0; word < words; word += kPartWords) {
    const int part = static_cast<int>(words - word < kPartWords ? words - word : kPartWords);
    for (int64_t row = begin; row < end; row += kTile) {
      const int rows = static_cast<int>(end - row < kTile ? end - row : kTile);
      add_part_of<Compute>(rows)(product.x + row * product.x_stride + word, product.x_stride,
                                 weights + word * kPanel, part, sums + (row - begin) * kPanel,
                                 word == 0);
    }
  }
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t* from = sums + (row - begin) * kPanel;
    if (product.out_is_bf16) {
      write_row<uint16_t>(product, panel, row, from);
    } else {
      write_row<float>(product, panel, row, from);
    }
  }
}

}  // namespace

ProductKernels product_kernels(Format format) {
  switch (format) {
    case kFp32: return {multiply<Fp32Words>};
    case kBf16: return {multiply<Bf16Words>};
    default: return {multiply<Int8Words>};
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
