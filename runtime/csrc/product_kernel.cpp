// Panels of a packed weight times some rows, for the instruction set PLIMSOLL_ISA.
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

float number_at(const uint32_t* word) {
  float x;
  __builtin_memcpy(&x, word, sizeof x);
  return x;
}

struct Fp32Words {
  typedef Floats Sum;
  // Numbers in a word.
  static constexpr int kPack = 1;
  // Words that go with one of the panel's, of rows as they are multiplied.
  static constexpr int kRowWords = 1;
  // Of memory, in words, that kLanes words of a panel take.
  static constexpr int kWidth = kLanes;
  // kLanes words of int8 numbers.
  static void widen(uint32_t* to, const int8_t* from) {
    Int8s numbers;
    __builtin_memcpy(&numbers, from, sizeof numbers);
    const Floats x = __builtin_convertvector(__builtin_convertvector(numbers, Ints), Floats);
    __builtin_memcpy(to, &x, sizeof x);
  }
  static Floats multiply_add(Floats sum, const uint32_t* row, const uint32_t* words) {
    return broadcast(number_at(row)) * (Floats)load(words) + sum;
  }
};

struct Bf16Words {
  typedef Floats Sum;
  static constexpr int kPack = 2;
  static constexpr int kWidth = kLanes;
  // All int8 numbers are exact in bf16.
  static void widen(uint32_t* to, const int8_t* from) {
#if defined(__AVX512BF16__)
    const auto* half = reinterpret_cast<const __m128i*>(from);
    const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(half)));
    const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(half + 1)));
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#else
    const Words words = (Words)first_of(from) >> 16 | ((Words)second_of(from) & 0xffff0000u);
    __builtin_memcpy(to, &words, sizeof words);
#endif
  }
#if defined(__AVX512BF16__)
  static constexpr int kRowWords = 1;
  static Floats multiply_add(Floats sum, const uint32_t* row, const uint32_t* words) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(*row));
    const __m512i y = _mm512_loadu_si512(words);
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
  }
#else
  // Without an instruction for it, products are of fp32; rows were widened before.
  static constexpr int kRowWords = 2;
  static Floats multiply_add(Floats sum, const uint32_t* row, const uint32_t* words) {
    const Words y = load(words);
    return multiply_add(sum, row, (Floats)(y << 16), (Floats)(y & 0xffff0000u));
  }
  // The same with pairs of int8, which need not become bf16 before.
  static Floats multiply_add(Floats sum, const uint32_t* row, const int8_t* numbers) {
    return multiply_add(sum, row, first_of(numbers), second_of(numbers));
  }
  static Floats multiply_add(Floats sum, const uint32_t* row, Floats first, Floats second) {
    return broadcast(number_at(row + 1)) * second + (broadcast(number_at(row)) * first + sum);
  }
  static Floats first_of(const int8_t* pairs) {
    return __builtin_convertvector((Ints)(load_halves(pairs) << 24) >> 24, Floats);
  }
  static Floats second_of(const int8_t* pairs) {
    return __builtin_convertvector((Ints)(load_halves(pairs) << 16) >> 24, Floats);
  }
#endif
};

// Rows' bytes are unsigned, the panel's signed, as the instruction for it wants them.
struct Int8Words {
  typedef Ints Sum;
  static constexpr int kWidth = kLanes;
  static constexpr int kRowWords = 1;
  static Ints multiply_add(Ints sum, const uint32_t* row, const uint32_t* words) {
    const uint32_t word = *row;
#if defined(__AVX512VNNI__)
    const __m512i y = _mm512_loadu_si512(words);
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(static_cast<int>(word)), y);
#elif defined(__AVX512BW__)
    const __m512i y = _mm512_loadu_si512(words);
    const __m512i x = _mm512_set1_epi32(static_cast<int>(word));
    const __m512i low = _mm512_set1_epi16(0xff);
    const __m512i even = _mm512_madd_epi16(_mm512_and_si512(x, low),
                                           _mm512_srai_epi16(_mm512_slli_epi16(y, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(x, 8), _mm512_srai_epi16(y, 8));
    return sum + (Ints)even + (Ints)odd;
#elif defined(__AVX2__)
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    const __m256i x = _mm256_set1_epi32(static_cast<int>(word));
    const __m256i low = _mm256_set1_epi16(0xff);
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, low),
                                           _mm256_srai_epi16(_mm256_slli_epi16(y, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(y, 8));
    return sum + (Ints)even + (Ints)odd;
#else
    Ints y;
    __builtin_memcpy(&y, words, sizeof y);
    for (int i = 0; i < 4; ++i) {
      const auto x = static_cast<int32_t>(word >> (8 * i) & 0xff);
      sum += ((Ints)((Words)y << (24 - 8 * i)) >> 24) * x;
    }
    return sum;
#endif
  }
};

// The same with panels of int8, widened in registers: for as few rows as share them.
template <class Compute>
struct Narrow {
  typedef typename Compute::Sum Sum;
  static constexpr int kWidth = kLanes * Compute::kPack / 4;
  static constexpr int kRowWords = Compute::kRowWords;
  static Sum multiply_add(Sum sum, const uint32_t* row, const uint32_t* words) {
    const auto* numbers = reinterpret_cast<const int8_t*>(words);
    if constexpr (Compute::kRowWords == 2) {
      return Compute::multiply_add(sum, row, numbers);
    } else {
      uint32_t widened[kLanes];
      Compute::widen(widened, numbers);
      return Compute::multiply_add(sum, row, widened);
    }
  }
};

// A part of a panel, and what the words of its rows are multiplied for.
struct Part {
  const Product& product;
  int64_t panel;
  const uint32_t* words;
  int count;
  bool first, last;
};

// What kLanes outputs are by their sums.
struct Outputs {
  Floats scale, bias;
  Ints offset;
  Floats of(Floats sum, float) const { return sum * scale + bias; }
  Floats of(Ints sum, float x_scale) const {
    return __builtin_convertvector(sum - offset, Floats) * (scale * x_scale) + bias;
  }
};

template <class Out>
Outputs outputs_from(const Product& product, int64_t output) {
  const PackedWeight& weight = *product.weight;
  Outputs outputs{broadcast(1.0f), {}, {}};
  if (weight.scales != nullptr) outputs.scale = load(weight.scales + output);
  if (weight.totals != nullptr) {
    __builtin_memcpy(&outputs.offset, weight.totals + output, sizeof outputs.offset);
    outputs.offset *= 128;
  }
  const auto* bias = static_cast<const Out*>(product.bias);
  if (bias != nullptr) outputs.bias = load_some(bias + output, weight.outputs - output);
  return outputs;
}

// Of rows from `row` on, the outputs from the panel's `column` on.
template <class Out, class Sum, int kRows>
inline __attribute__((always_inline)) void write(const Part& part, int column, int64_t row,
                                                 const Sum (&sums)[kRows][kVectors]) {
  constexpr int kCount = kVectors * kLanes;
  const Product& product = part.product;
  const int64_t output = part.panel * kPanel + column, left = product.weight->outputs - output;
  Out* out = static_cast<Out*>(product.out) + row * product.out_stride + output;
  Out some[kRows * kCount];
  const bool whole = left >= kCount;
  Out* to = whole ? out : some;
  const int64_t stride = whole ? product.out_stride : kCount;
  for (int v = 0; v < kVectors; ++v) {
    const Outputs outputs = outputs_from<Out>(product, output + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float x_scale = product.x_scales == nullptr ? 1.0f : product.x_scales[row + r];
      store(to + r * stride + v * kLanes, outputs.of(sums[r][v], x_scale));
    }
  }
  for (int r = 0; !whole && r < kRows; ++r) {
    for (int64_t i = 0; i < left; ++i) out[r * product.out_stride + i] = some[r * kCount + i];
  }
}

// The rows' sums [rows, kPanel], += rows times a part of the panel; after the last part they are
// written at once: outputs of all rows in one go would be waited for, as each is in another line and
// page.
template <class Compute, int kRows>
void add_part(const Part& part, const uint32_t* x, int64_t x_stride, int64_t row, uint32_t* sums) {
  typedef typename Compute::Sum Sum;
  for (int column = 0; column < kPanel; column += kVectors * kLanes) {
    Sum all[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        if (part.first) {
          all[r][v] = Sum{};
        } else {
          __builtin_memcpy(&all[r][v], sums + r * kPanel + column + v * kLanes, sizeof(Sum));
        }
      }
    }
    constexpr int kRow = kPanel / kLanes * Compute::kWidth;
    const uint32_t* at = part.words + column / kLanes * Compute::kWidth;
    const int count = part.count;
    for (int i = 0; i < count; ++i, at += kRow) {
      __builtin_prefetch(at + kAhead * kRow);
      __builtin_prefetch(at + kAhead * kRow + kRow / 2);
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          const uint32_t* words = x + r * x_stride + i * Compute::kRowWords;
          all[r][v] = Compute::multiply_add(all[r][v], words, at + v * Compute::kWidth);
        }
      }
    }
    if (!part.last) {
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          __builtin_memcpy(sums + r * kPanel + column + v * kLanes, &all[r][v], sizeof(Sum));
        }
      }
    } else if (part.product.out_is_bf16) {
      write<uint16_t>(part, column, row, all);
    } else {
      write<float>(part, column, row, all);
    }
  }
}

typedef void (*AddPart)(const Part&, const uint32_t*, int64_t, int64_t, uint32_t*);

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

// Where rows are widened, they are so once for some panels, and the panels' parts lie in the second
// cache.
template <class Compute>
constexpr bool kWidensRows = Compute::kRowWords == 2;
template <class Compute>
constexpr int kPanelsAtOnce = kWidensRows<Compute> ? 4 : 1;
// Words of a row after which sums are put aside: else a panel's part fits the first cache.
template <class Compute>
constexpr int kPartWords = kWidensRows<Compute> ? 384 : 256;

// Adds the products of rows `begin` to `end`, from their `word` on, with parts of panels `first` to
// `last` to their sums. part_of(panel) is a panel's part.
template <class Compute, class PartOf>
void add_rows(const Product& product, int64_t word, int count, int64_t first, int64_t last,
              int64_t begin, int64_t end, const PartOf& part_of) {
  alignas(64) static thread_local uint32_t sums[kPanelsAtOnce<Compute> * kMaxRows * kPanel];
  for (int64_t row = begin; row < end; row += kTile) {
    const int rows = static_cast<int>(end - row < kTile ? end - row : kTile);
    const auto add = [&](const uint32_t* x, int64_t x_stride) {
      for (int64_t panel = first; panel < last; ++panel) {
        uint32_t* to = sums + ((panel - first) * kMaxRows + row - begin) * kPanel;
        add_part_of<Compute>(rows)(part_of(panel), x, x_stride, row, to);
      }
    };
    const uint32_t* x = product.x + row * product.x_stride + word;
    if constexpr (kWidensRows<Compute>) {
      // No power of two: rows would drive each other out of the first cache.
      constexpr int kStride = kPartWords<Compute> * 2 + 16;
      alignas(64) float widened[kTile * kStride];
      for (int r = 0; r < rows; ++r) {
        const auto* numbers = reinterpret_cast<const uint16_t*>(x + r * product.x_stride);
        copy(widened + r * kStride, numbers, count * 2);
      }
      add(reinterpret_cast<const uint32_t*>(widened), kStride);
    } else {
      add(x, product.x_stride);
    }
  }
}

// body(word, count) for the parts of a row, all about as long.
template <class Compute, class Body>
void each_part(int64_t words, const Body& body) {
  const int64_t parts = (words + kPartWords<Compute> - 1) / kPartWords<Compute>;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t word = i * words / parts;
    body(word, static_cast<int>((i + 1) * words / parts - word));
  }
}

template <class Compute>
void multiply(const Product& product, int64_t first, int64_t last, int64_t begin, int64_t end) {
  const int64_t words = product.weight->words;
  each_part<Compute>(words, [&](int64_t word, int count) {
    const auto part_of = [&](int64_t panel) {
      const int64_t at = (panel * words + word) * (kPanel / kLanes * Compute::kWidth);
      return Part{product, panel, product.weight->panels + at, count, word == 0, word + count == words};
    };
    add_rows<Compute>(product, word, count, first, last, begin, end, part_of);
  });
}

// With an int8 weight. For many rows parts of panels are widened.
template <class Compute>
void multiply_widened(const Product& product, int64_t first, int64_t last, int64_t begin,
                      int64_t end) {
  if (end - begin <= kTile) return multiply<Narrow<Compute>>(product, first, last, begin, end);
  constexpr int kPart = kPartWords<Compute> * kPanel;
  alignas(64) static thread_local uint32_t widened[kPanelsAtOnce<Compute> * kPart];
  const int64_t words = product.weight->words;
  const auto* weights = reinterpret_cast<const int8_t*>(product.weight->panels);
  each_part<Compute>(words, [&](int64_t word, int count) {
    for (int64_t panel = first; panel < last; ++panel) {
      const int8_t* from = weights + (panel * words + word) * kPanel * Compute::kPack;
      uint32_t* to = widened + (panel - first) * kPart;
      for (int i = 0; i < count * kPanel; i += kLanes) {
        __builtin_prefetch(from + (i + 2 * kAhead * kPanel) * Compute::kPack);
        Compute::widen(to + i, from + i * Compute::kPack);
      }
    }
    const auto part_of = [&](int64_t panel) {
      const uint32_t* at = widened + (panel - first) * kPart;
      return Part{product, panel, at, count, word == 0, word + count == words};
    };
    add_rows<Compute>(product, word, count, first, last, begin, end, part_of);
  });
}

}  // namespace

ProductKernels product_kernels(Format format) {
  switch (format) {
    case kFp32: return {multiply<Fp32Words>, kPanelsAtOnce<Fp32Words>};
    case kBf16: return {multiply<Bf16Words>, kPanelsAtOnce<Bf16Words>};
    case kBf16ByInt8: return {multiply_widened<Bf16Words>, kPanelsAtOnce<Bf16Words>};
    case kFp32ByInt8: return {multiply_widened<Fp32Words>, kPanelsAtOnce<Fp32Words>};
    default: return {multiply<Int8Words>, kPanelsAtOnce<Int8Words>};
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
