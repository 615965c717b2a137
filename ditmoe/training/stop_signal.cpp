#include "ditmoe/training/stop_signal.h"

#include <ctime>

namespace ditmoe::training {
namespace {

// A signal handler can reach nothing but a global.
volatile std::sig_atomic_t handled = 0;

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
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

bool StopSignal::requested() {
  const timespec no_wait = {};
  const bool seen = handled != 0 || sigtimedwait(&signals_, nullptr, &no_wait) > 0;
  if (seen && !requested_) {
    requested_ = true;
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  return requested_;
}

}  // namespace ditmoe::training
