#pragma once

#include <csignal>

namespace ditmoe::training {

// While alive, SIGTERM and SIGINT ask for an orderly stop instead of ending the process; once one
// was seen, the next ends it at once. They are blocked in the thread that makes this and in those
// started later, so that nothing interrupts the arithmetic; a library's idle thread may take them
// instead. One at a time, made before the threads that compute.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // True from the first signal on.
  bool requested();

 private:
  sigset_t signals_;
  sigset_t previous_;
  bool requested_ = false;
};

}  // namespace ditmoe::training
