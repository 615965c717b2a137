#pragma once

namespace ditmoe::training {

// While alive, SIGTERM and SIGINT ask for an orderly stop instead of ending the process; a second one
// ends it at once. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool requested() const;
};

}  // namespace ditmoe::training
