// malloc and its relatives, with a count: they come before those of glibc, for libraries too.

#include <cerrno>
#include <cstddef>
#include <malloc.h>

#include "allocation_watch.h"

namespace {

using ditmoe::formats::test::count_allocated;
using ditmoe::formats::test::count_freed;

void* counted(void* memory) {
  if (memory != nullptr) count_allocated(malloc_usable_size(memory));
  return memory;
}

}  // namespace

extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* memory);

void* malloc(size_t bytes) { return counted(__libc_malloc(bytes)); }

void* calloc(size_t count, size_t bytes) { return counted(__libc_calloc(count, bytes)); }

void* memalign(size_t alignment, size_t bytes) {
  return counted(__libc_memalign(alignment, bytes));
}

void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory != nullptr ? 0 : ENOMEM;
}

// The old and the new piece may be there together.
void* realloc(void* memory, size_t bytes) {
  const size_t before = memory != nullptr ? malloc_usable_size(memory) : 0;
  void* const moved = counted(__libc_realloc(memory, bytes));
  if (moved != nullptr || bytes == 0) count_freed(before);
  return moved;
}

void free(void* memory) {
  if (memory != nullptr) count_freed(malloc_usable_size(memory));
  __libc_free(memory);
}

}  // extern "C"
