// Writes new keys and values to their places in the cache.
#pragma once

#include <cstdint>

namespace plimsoll {

// Copies `count` rows of `row_bytes` bytes, the i-th to slot `slots[i]` of both `keys` and `values`.
// Strides of what is copied are in bytes.
void store_kv(char* keys, char* values, const char* new_keys, int64_t key_stride,
              const char* new_values, int64_t value_stride, const int64_t* slots, int64_t count,
              int64_t row_bytes, int threads);

}  // namespace plimsoll
