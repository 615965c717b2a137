#include "ditmoe/training/stop_signal.h"

#include <ctime>

namespace ditmoe::training {
namespace {

// A signal handler can reach nothing but a global.
volatile std::sig_atomic_t handled = 0;

// Takes all pending signals of the set; true where there was one. Unblocking must not deliver them.
bool take_pending(const sigset_t& signals) {
  const timespec no_wait = {};
  bool any = false;
  while (sigtimedwait(&signals, nullptr, &no_wait) > 0) any = true;
  return any;
}

void note_signal(int signal) {
  handled = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  handled = 0;
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, &previous_);
  std::signal(SIGTERM, note_signal);
  std::signal(SIGINT, note_signal);
}

StopSignal::~StopSignal() {
  take_pending(signals_);
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool StopSignal::requested() {
  const bool pending = take_pending(signals_);
  if ((pending || handled != 0) && !requested_) {
    requested_ = true;
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  return requested_;
}

}  // namespace ditmoe::training
