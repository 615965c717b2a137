#include "ditmoe/training/stop_signal.h"

#include <ctime>

namespace ditmoe::training {

StopSignal::StopSignal() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, &previous_);
}

StopSignal::~StopSignal() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }

bool StopSignal::requested() {
  const timespec no_wait = {};
  if (!requested_ && sigtimedwait(&signals_, nullptr, &no_wait) > 0) {
    requested_ = true;
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  return requested_;
}

}  // namespace ditmoe::training
