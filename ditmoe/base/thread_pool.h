#pragma once

#include <cstdint>
#include <memory>

#include "ditmoe/base/function_ref.h"

namespace ditmoe::base {

// A fixed set of threads, the caller among them, that share out numbered tasks. One per program,
// passed explicitly. Workers spin briefly after a run and then sleep.
class ThreadPool {
 public:
  // num_threads counts the caller; 0 means one per CPU this process may run on.
  explicit ThreadPool(int num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls task(i, thread) once for each i in [0, count), thread in [0, size()), and returns when
  // all are done. Which thread takes which i is not fixed: results must not depend on it. The first
  // exception thrown by a task is rethrown here after all threads have stopped. Not reentrant.
  void run(int64_t count, FunctionRef<void(int64_t i, int thread)> task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ditmoe::base
