#include "malformed.h"

#include <csignal>
#include <filesystem>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

#include "allocation_watch.h"
#include "temp_dir.h"

namespace ditmoe::formats::test {
namespace {

// Ends the program where an action hangs: the name of the test stands above.
class Watchdog {
 public:
  Watchdog() {
    std::signal(SIGALRM, [](int) {
      constexpr char kMessage[] = "a reader did not return within 30 s\n";
      [[maybe_unused]] const auto written = ::write(2, kMessage, sizeof(kMessage) - 1);
      ::_exit(1);
    });
    ::alarm(30);
  }

  ~Watchdog() { ::alarm(0); }

  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
};

}  // namespace

void expect_memory_below(size_t most, base::FunctionRef<void()> action) {
  const Watchdog watchdog;
  const AllocationWatch watch;
  action();
  EXPECT_LE(watch.peak(), most);
}

void expect_refused_at(const std::string& path,
                       size_t file_bytes,
                       const std::string& message,
                       base::FunctionRef<void(const std::string& path)> open) {
  expect_memory_below(file_bytes + kMaxExtraBytes, [&] {
    const auto action = [&] { open(path); };
    expect_error(action, base::ErrorKind::kBadInput, message, path + ":");
  });
}

void expect_refused(const MalformedCase& malformed,
                    base::FunctionRef<void(const std::string& path)> open) {
  const TempDir dir;
  const std::string path = dir.put(malformed.name, malformed.file());
  expect_refused_at(path, std::filesystem::file_size(path), malformed.message, open);
}

}  // namespace ditmoe::formats::test
