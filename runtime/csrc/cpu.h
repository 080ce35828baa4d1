// Which instruction set the kernels use, and how the rest of the library gets at theirs.
#pragma once

namespace plimsoll {

// The numbers are part of the C interface. Each has all that those before it have.
enum InstructionSet : int {
  kPortable = 0,
  kAvx2 = 1,
  kAvx512 = 2,
  kAvx512Vnni = 3,
  kAvx512Bf16 = 4,
};

// The best that this processor and its operating system allow.
InstructionSet best_instruction_set();

}  // namespace plimsoll

// DO for each instruction set but the portable one, with the namespace that its kernels lie in. The
// compiler's options for each are in build.py.
#if defined(__x86_64__)
#define PLIMSOLL_WIDE_SETS(DO, ...)         \
  DO(kAvx2, avx2, __VA_ARGS__)              \
  DO(kAvx512, avx512, __VA_ARGS__)          \
  DO(kAvx512Vnni, avx512_vnni, __VA_ARGS__) \
  DO(kAvx512Bf16, avx512_bf16, __VA_ARGS__)
#else
#define PLIMSOLL_WIDE_SETS(DO, ...)
#endif

// Declares a function of every instruction set.
#define PLIMSOLL_DECLARE_KERNELS(...)                    \
  PLIMSOLL_DECLARE_ONE(kPortable, portable, __VA_ARGS__) \
  PLIMSOLL_WIDE_SETS(PLIMSOLL_DECLARE_ONE, __VA_ARGS__)
#define PLIMSOLL_DECLARE_ONE(number, name, ...) \
  namespace name {                              \
  __VA_ARGS__;                                  \
  }

// Returns what a call of the function of one of them gives.
#define PLIMSOLL_RETURN_KERNELS(instruction_set, ...)    \
  switch (instruction_set) {                             \
    PLIMSOLL_WIDE_SETS(PLIMSOLL_RETURN_ONE, __VA_ARGS__) \
    default: return portable::__VA_ARGS__;               \
  }
#define PLIMSOLL_RETURN_ONE(number, name, ...) \
  case number: return name::__VA_ARGS__;
