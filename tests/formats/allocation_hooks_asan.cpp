// AddressSanitizer has a malloc of its own, and tells of each call.

#include <cstddef>

#include "allocation_watch.h"

// From sanitizer/allocator_interface.h, which g++ does not bring.
extern "C" {
size_t __sanitizer_get_allocated_size(const volatile void* memory);
int __sanitizer_install_malloc_and_free_hooks(void (*on_allocated)(const volatile void*, size_t),
                                              void (*on_freed)(const volatile void*));
}

namespace {

using ditmoe::formats::test::count_allocated;
using ditmoe::formats::test::count_freed;

void on_allocated(const volatile void* /*memory*/, size_t bytes) { count_allocated(bytes); }

void on_freed(const volatile void* memory) {
  if (memory == nullptr) return;
  count_freed(__sanitizer_get_allocated_size(memory));
}

[[maybe_unused]] const int installed =
    __sanitizer_install_malloc_and_free_hooks(on_allocated, on_freed);

}  // namespace
