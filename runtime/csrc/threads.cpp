#include "threads.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <mutex>
#include <new>

namespace plimsoll {
namespace {

// Looks at what is to be done before a thread goes to sleep: some 50 microseconds, longer than the
// pauses between two calls of a step.
constexpr int kLooks = 2000;
constexpr int kMaxWorkers = 255;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

struct Job {
  std::atomic<PieceWork> work{nullptr};
  std::atomic<const void*> body{nullptr};
  std::atomic<int64_t> count{0};
  std::atomic<int> threads{0};
};

class Pool {
 public:
  void run(PieceWork work, const void* body, int64_t count, int threads) {
    start(threads - 1);
    const uint64_t number = (next_.load(std::memory_order_relaxed) >> 32) + 1;
    // Threads may still look at the job before, which is in the other place.
    Job& job = jobs_[number % 2];
    job.work.store(work, std::memory_order_relaxed);
    job.body.store(body, std::memory_order_relaxed);
    job.count.store(count, std::memory_order_relaxed);
    job.threads.store(threads, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    next_.store(number << 32, std::memory_order_release);
    signal_.store(static_cast<uint32_t>(number), std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      syscall(SYS_futex, &signal_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }
    while (take(0)) {
    }
    for (int looks = 0; done_.load(std::memory_order_acquire) != count; ++looks) {
      // Whoever has the last piece may be waiting for this very processor.
      if (looks < kLooks) pause(); else sched_yield();
    }
  }

 private:
  // Takes one piece of the job that is on; false when there is none for this thread.
  bool take(int thread) {
    uint64_t next = next_.load(std::memory_order_acquire);
    for (;;) {
      const Job& job = jobs_[(next >> 32) % 2];
      const PieceWork work = job.work.load(std::memory_order_relaxed);
      const void* body = job.body.load(std::memory_order_relaxed);
      const auto piece = static_cast<int64_t>(next & 0xffffffffu);
      if (piece >= job.count.load(std::memory_order_relaxed)) return false;
      if (thread >= job.threads.load(std::memory_order_relaxed)) return false;
      // Succeeds only while this job is still on, so that what was read of it belongs together.
      if (next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        work(body, piece);
        done_.fetch_add(1, std::memory_order_release);
        return true;
      }
    }
  }

  void work(int thread) {
    for (;;) {
      const auto number = static_cast<uint32_t>(next_.load(std::memory_order_acquire) >> 32);
      while (take(thread)) {
      }
      wait(number);
    }
  }

  // Until another job than `number` is on.
  void wait(uint32_t number) {
    for (int looks = 0; looks < kLooks; ++looks) {
      if (signal_.load(std::memory_order_acquire) != number) return;
      pause();
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    // Returns at once when `signal_` is no longer `number`.
    syscall(SYS_futex, &signal_, FUTEX_WAIT_PRIVATE, number, nullptr, nullptr, 0);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  struct Start {
    Pool* pool;
    int thread;
  };

  // Has `count` threads beside the caller, or as many as there may be.
  void start(int count) {
    if (count > kMaxWorkers) count = kMaxWorkers;
    for (; workers_ < count; ++workers_) {
      // Signals are for the process' other threads.
      sigset_t all, before;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      starts_[workers_] = {this, workers_ + 1};
      pthread_t made;
      const int failed = pthread_create(&made, nullptr, enter, &starts_[workers_]);
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (failed != 0) return;
      pthread_detach(made);
    }
  }

  static void* enter(void* argument) {
    const Start& start = *static_cast<Start*>(argument);
    start.pool->work(start.thread);
    return nullptr;
  }

  Job jobs_[2];
  // The number of the job that is on, and in the lower half the next piece of it.
  alignas(64) std::atomic<uint64_t> next_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  // The number of the job, for those who sleep.
  alignas(64) std::atomic<uint32_t> signal_{0};
  std::atomic<int> sleepers_{0};
  int workers_ = 0;
  Start starts_[kMaxWorkers];
};

// Never destroyed: its threads look at it until the process ends.
Pool* pool = nullptr;
std::mutex in_use;

void forget_after_fork() {
  // The child has none of the threads.
  pool = nullptr;
  new (&in_use) std::mutex;
}

}  // namespace

void run_parallel(PieceWork work, const void* body, int64_t count, int threads) {
  const std::unique_lock<std::mutex> lock(in_use, std::try_to_lock);
  // Two at once: the second does without.
  if (!lock.owns_lock() || count > INT_MAX) {
    for (int64_t i = 0; i < count; ++i) work(body, i);
    return;
  }
  if (pool == nullptr) {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_after_fork);
    static_cast<void>(registered);
    pool = new Pool;
  }
  pool->run(work, body, count, threads);
}

}  // namespace plimsoll
