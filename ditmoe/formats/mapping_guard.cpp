#include "ditmoe/formats/mapping_guard.h"

#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <unistd.h>

#include "ditmoe/base/error.h"

// What a signal handler looks at has to be global: it is handed nothing of ours.

namespace ditmoe::formats {
namespace {

using Range = MappingGuard::Range;

std::atomic<Range*> first_range = nullptr;
std::atomic<uintptr_t> page_bytes = 0;
struct sigaction handler_before = {};

// Puts a page of zeros where the file has none. Calls nothing but mmap, which is a system call and
// no more.
bool mend(uintptr_t address) {
  for (Range* range = first_range; range != nullptr; range = range->next) {
    if (address < range->begin || address >= range->end) continue;
    range->lost = true;
    const uintptr_t page = address / page_bytes * page_bytes;
    void* const target = reinterpret_cast<void*>(page);  // NOLINT(performance-no-int-to-ptr)
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return ::mmap(target, page_bytes, PROT_READ, flags, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool mended = mend(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = error;
  if (mended) return;
  if ((handler_before.sa_flags & SA_SIGINFO) != 0) {
    handler_before.sa_sigaction(signal, info, context);
  } else if (handler_before.sa_handler != SIG_DFL && handler_before.sa_handler != SIG_IGN) {
    handler_before.sa_handler(signal);
  } else {
    ::sigaction(signal, &handler_before, nullptr);  // the access is repeated, and ends the process
  }
}

bool install_handler() {
  page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return ::sigaction(SIGBUS, &action, &handler_before) == 0;
}

// A range that nobody uses, or a new one.
Range* take_range() {
  for (Range* range = first_range; range != nullptr; range = range->next) {
    if (!range->taken.exchange(true)) return range;
  }
  auto* range = new Range;
  range->next = first_range;
  while (!first_range.compare_exchange_weak(range->next, range)) {
  }
  return range;
}

}  // namespace

MappingGuard::MappingGuard(std::span<const std::byte> range) : range_(take_range()) {
  static const bool installed = install_handler();
  DITMOE_ASSERT(installed);
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  range_->lost = false;
  range_->begin = begin;
  range_->end = begin + range.size();
}

MappingGuard::~MappingGuard() {
  range_->end = 0;
  range_->taken = false;
}

bool MappingGuard::lost() const { return range_->lost; }

}  // namespace ditmoe::formats
