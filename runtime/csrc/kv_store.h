// Writes new keys and values to their places in the cache.
#pragma once

#include <cstdint>

#include "attention.h"

namespace plimsoll {

// Keys or values of new tokens, `stride` elements apart.
struct NewRows {
  const void* data;
  int64_t stride;
};

// Where they go: the i-th to slot `slots[i]`. A token has `kv_heads` heads of `head_dim` elements.
struct Slots {
  const int64_t* slots;
  int64_t count;
  int64_t kv_heads;
  int64_t head_dim;
  bool is_bf16;
  int threads;
};

// A layer's keys or values, and their scales where they are in int8.
struct LayerPages {
  void* data;
  float* scales;
};

// To int8 each head's elements are rounded as multiples of its scale, which is their largest
// magnitude / 127. NaN and infinity make a scale of theirs, so that whoever reads the head meets them.
void store(PageFormat, const Slots&, const NewRows& key, const LayerPages& keys,
           const NewRows& value, const LayerPages& values);

}  // namespace plimsoll
