#include "cpu.h"

namespace plimsoll {

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
  // These also ask whether the operating system keeps the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    if (!__builtin_cpu_supports("avx512vnni")) return kAvx512;
    return __builtin_cpu_supports("avx512bf16") ? kAvx512Bf16 : kAvx512Vnni;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
  return kPortable;
}

}  // namespace plimsoll

extern "C" __attribute__((visibility("default"))) int plimsoll_best_instruction_set() {
  return plimsoll::best_instruction_set();
}
