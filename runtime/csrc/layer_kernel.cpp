// Norms, rotation and activation, in fp32 between loading and storing. Roundings are those of the
// model in torch, so that both give the same numbers but for the order of a sum.

#include "layer.h"
#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

template <class Element>
Element* row_of(const Rows& rows, int64_t i) {
  return static_cast<Element*>(rows.data) + i * rows.stride;
}

template <class Element>
void rms_norm(const Rows& out, const Rows& x, const Rows* added, const void* weight, float eps,
              int64_t width, int64_t begin, int64_t end) {
  const auto* weights = static_cast<const Element*>(weight);
  for (int64_t i = begin; i < end; ++i) {
    Element* row = row_of<Element>(x, i);
    Element* to = row_of<Element>(out, i);
    Floats squares = {};
    if (added != nullptr) {
      const Element* more = row_of<Element>(*added, i);
      for (int64_t d = 0; d < width; d += kLanes) {
        const Floats both = load_some(row + d, width - d) + load_some(more + d, width - d);
        store_some(row + d, both, width - d);
      }
    }
    for (int64_t d = 0; d < width; d += kLanes) {
      const Floats each = load_some(row + d, width - d);
      squares += each * each;
    }
    const float mean = sum(squares) / static_cast<float>(width);
    const float scale = 1.0f / __builtin_sqrtf(mean + eps);
    for (int64_t d = 0; d < width; d += kLanes) {
      const Floats normed = as_stored<Element>(load_some(row + d, width - d) * scale);
      store_some(to + d, load_some(weights + d, width - d) * normed, width - d);
    }
  }
}

template <class Element>
void rotate(const Rows& x, const float* table, int64_t heads, int64_t head_dim, int64_t begin,
            int64_t end) {
  const int64_t half = head_dim / 2;
  for (int64_t i = begin; i < end; ++i) {
    const float* cosines = table + i * head_dim;
    const float* sines = cosines + half;
    for (int64_t h = 0; h < heads; ++h) {
      Element* first = row_of<Element>(x, i) + h * head_dim;
      Element* second = first + half;
      for (int64_t d = 0; d < half; d += kLanes) {
        const int64_t left = half - d;
        const Floats a = load_some(first + d, left), b = load_some(second + d, left);
        const Floats c = load_some(cosines + d, left), s = load_some(sines + d, left);
        store_some(first + d, a * c - b * s, left);
        store_some(second + d, b * c + a * s, left);
      }
    }
  }
}

template <class Element>
void silu_and_mul(const Rows& out, const Rows& x, int64_t width, int64_t begin, int64_t end) {
  const float log2_e = 1.44269504f;
  for (int64_t i = begin; i < end; ++i) {
    const Element* gates = row_of<Element>(x, i);
    Element* to = row_of<Element>(out, i);
    for (int64_t d = 0; d < width; d += kLanes) {
      const Floats gate = load_some(gates + d, width - d);
      const Floats up = load_some(gates + width + d, width - d);
      const Floats small = exp2_of_negative((gate < 0.0f ? gate : -gate) * log2_e);
      const Floats share = (gate < 0.0f ? small : broadcast(1.0f)) / (small + 1.0f);
      store_some(to + d, as_stored<Element>(gate * share) * up, width - d);
    }
  }
}

template <class Element>
constexpr LayerKernels kernels() {
  return {rms_norm<Element>, rotate<Element>, silu_and_mul<Element>};
}

}  // namespace

LayerKernels layer_kernels(bool is_bf16) {
  return is_bf16 ? kernels<uint16_t>() : kernels<float>();
}

}  // namespace plimsoll::PLIMSOLL_ISA
