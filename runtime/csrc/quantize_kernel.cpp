// Rows to int8 and back for the instruction set PLIMSOLL_ISA; see `quantize` in model/int8.py.
//
// Every operation is exact or rounded once, so that all instruction sets give the same bits.

#include <cfloat>

#include "quantize.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

template <class Element>
float scale_of(const Element* row, int64_t columns) {
  Words most = {};
  for (int64_t i = 0; i < columns; i += kLanes) {
    most = larger_magnitudes(most, load_some(row + i, columns - i));
  }
  const float scale = largest_magnitude(most) / 127.0f;
  // Normal, so that no quotient overflows.
  return scale < FLT_MIN ? FLT_MIN : scale;
}

template <class Element>
void quantize(const QuantizedRows& to, const void* x, int64_t stride, int64_t columns,
              int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const Element* row = static_cast<const Element*>(x) + r * stride;
    uint8_t* bytes = to.bytes + r * to.words * 4;
    const float scale = to.scales[r] = scale_of(row, columns);
    // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the lowest bits.
    const auto rounded = [&](int64_t i) {
      const Floats shifted = load_some(row + i, columns - i) / scale + 12582912.0f;
      return __builtin_convertvector((Ints)shifted ^ 0x80, Int8s);
    };
    int64_t i = 0;
    for (; i + kLanes <= columns; i += kLanes) {
      const Int8s numbers = rounded(i);
      __builtin_memcpy(bytes + i, &numbers, sizeof numbers);
    }
    if (i == columns) continue;
    const Int8s numbers = rounded(i);
    for (int64_t j = 0; i + j < to.words * 4; ++j) bytes[i + j] = static_cast<uint8_t>(numbers[j]);
  }
}

template <class Element>
void dequantize(void* to, const int8_t* numbers, float scale, int64_t columns) {
  auto* row = static_cast<Element*>(to);
  for (int64_t i = 0; i < columns; i += kLanes) {
    const Floats x = __builtin_convertvector(load_int8(numbers + i), Floats) * scale;
    store_some(row + i, x, columns - i);
  }
}

template <class Element>
constexpr QuantizeKernels kernels() {
  return {quantize<Element>, dequantize<Element>};
}

}  // namespace

QuantizeKernels quantize_kernels(bool is_bf16) {
  return is_bf16 ? kernels<uint16_t>() : kernels<float>();
}

}  // namespace plimsoll::PLIMSOLL_ISA
