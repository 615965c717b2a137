// AddressSanitizer has a malloc of its own, and tells of each call.

#include <sanitizer/allocator_interface.h>

#include "allocation_watch.h"

namespace {

using ditmoe::formats::test::count_allocated;
using ditmoe::formats::test::count_freed;

void on_allocated(const volatile void* /*memory*/, size_t bytes) { count_allocated(bytes); }

void on_freed(const volatile void* memory) {
  if (memory == nullptr) return;
  count_freed(__sanitizer_get_allocated_size(const_cast<const void*>(memory)));
}

[[maybe_unused]] const int installed =
    __sanitizer_install_malloc_and_free_hooks(on_allocated, on_freed);

}  // namespace
