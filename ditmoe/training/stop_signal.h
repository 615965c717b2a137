#pragma once

#include <csignal>

namespace ditmoe::training {

// While alive, SIGTERM and SIGINT wait to be asked for instead of ending the process. They are
// blocked, not handled, so that nothing interrupts the arithmetic; threads started meanwhile inherit
// that. Once one was seen, the next ends the process at once. One at a time, made before any thread.
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
