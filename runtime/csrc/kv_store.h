// Writes new keys and values to their places in the cache.
#pragma once

#include <cstdint>

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

// Pages in int8 and their scales [slots, kv_heads].
struct Int8Pages {
  void* data;
  float* scales;
};

// Copies them to pages of the same type.
void store(const Slots& slots, const NewRows& key, void* keys, const NewRows& value, void* values);

// Rounds each head's elements to multiples of its scale, which is their largest magnitude / 127.
// NaN and infinity make a scale of theirs, so that whoever reads the head meets them.
void store_int8(const Slots& slots, const NewRows& key, const Int8Pages& keys,
                const NewRows& value, const Int8Pages& values);

}  // namespace plimsoll
