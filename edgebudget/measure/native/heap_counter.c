/* Counts what a process has allocated: load it with LD_PRELOAD, read it through edgebudget_heap_read().
 *
 * Two counts, never mixed. `live` and `peak` are the sum of malloc_usable_size over the blocks that malloc and its
 * relatives handed out and free has not taken back: what the program holds, without what the allocator keeps for itself.
 * `mapped_live` and `mapped_peak` are private, anonymous, writable pages that the program asked for by calling mmap
 * itself; the mappings glibc makes to serve malloc do not come this way and are not counted twice.
 * A realloc counts as the block it ends with; that both blocks may exist while it copies is the allocator's affair.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

struct edgebudget_heap {
  int64_t live, peak, blocks, mapped_live, mapped_peak;
};

static _Atomic int64_t live, peak, blocks;

static void raise_to(_Atomic int64_t *maximum, int64_t value) {
  int64_t seen = atomic_load_explicit(maximum, memory_order_relaxed);
  while (seen < value && !atomic_compare_exchange_weak(maximum, &seen, value)) {
  }
}

static void *count(void *block) {
  if (block != NULL) {
    int64_t size = (int64_t)malloc_usable_size(block);
    raise_to(&peak, atomic_fetch_add(&live, size) + size);
    atomic_fetch_add(&blocks, 1);
  }
  return block;
}

static void uncount(void *block) {
  if (block != NULL) {
    atomic_fetch_sub(&live, (int64_t)malloc_usable_size(block));
    atomic_fetch_sub(&blocks, 1);
  }
}

void *malloc(size_t size) { return count(__libc_malloc(size)); }

void *calloc(size_t number, size_t size) { return count(__libc_calloc(number, size)); }

void free(void *block) {
  uncount(block);
  __libc_free(block);
}

void *realloc(void *block, size_t size) {
  if (block == NULL) return malloc(size);
  int64_t before = (int64_t)malloc_usable_size(block);
  void *moved = __libc_realloc(block, size);
  if (moved == NULL) {
    if (size == 0) { /* glibc frees then */
      atomic_fetch_sub(&live, before);
      atomic_fetch_sub(&blocks, 1);
    }
    return NULL;
  }
  int64_t grown = (int64_t)malloc_usable_size(moved) - before;
  raise_to(&peak, atomic_fetch_add(&live, grown) + grown);
  return moved;
}

void *reallocarray(void *block, size_t number, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(number, size, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  return realloc(block, total);
}

void *memalign(size_t alignment, size_t size) { return count(__libc_memalign(alignment, size)); }

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  int before = errno;
  void *made = memalign(alignment, size);
  errno = before;
  if (made == NULL) return ENOMEM;
  *block = made;
  return 0;
}

static size_t whole_pages(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (size + page - 1) & ~(page - 1);
}

void *valloc(size_t size) { return memalign((size_t)sysconf(_SC_PAGESIZE), size); }

void *pvalloc(size_t size) { return valloc(whole_pages(size)); }

/* The anonymous mappings that are counted: sorted by nothing, searched through; a process has few. */
struct mapping {
  uintptr_t start, end;
};
enum { MAPPINGS = 1 << 14 };
static struct mapping mappings[MAPPINGS];
static int mapping_count;
static int64_t mapped_live, mapped_peak;
static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;

static void add_mapping(uintptr_t start, uintptr_t end) {
  if (mapping_count == MAPPINGS) abort(); /* a wrong figure would be worse than none */
  mappings[mapping_count++] = (struct mapping){start, end};
  mapped_live += (int64_t)(end - start);
  if (mapped_live > mapped_peak) mapped_peak = mapped_live;
}

static void cut_mappings(uintptr_t start, uintptr_t end) {
  for (int i = mapping_count - 1; i >= 0; i--) {
    struct mapping old = mappings[i];
    if (old.end <= start || end <= old.start) continue;
    mappings[i] = mappings[--mapping_count];
    mapped_live -= (int64_t)(old.end - old.start);
    int64_t reached = mapped_peak; /* putting the rest back is no new peak */
    if (old.start < start) add_mapping(old.start, start);
    if (end < old.end) add_mapping(end, old.end);
    mapped_peak = reached;
  }
}

void *mmap(void *wanted, size_t size, int protection, int flags, int file, off_t offset) {
  void *got = (void *)syscall(SYS_mmap, wanted, size, protection, flags, file, offset);
  if (got == MAP_FAILED) return got;
  pthread_mutex_lock(&mapping_lock);
  uintptr_t start = (uintptr_t)got, end = start + whole_pages(size);
  if (flags & MAP_FIXED) cut_mappings(start, end);
  if ((flags & MAP_ANONYMOUS) && (flags & MAP_PRIVATE) && (protection & PROT_WRITE)) add_mapping(start, end);
  pthread_mutex_unlock(&mapping_lock);
  return got;
}

void *mmap64(void *wanted, size_t size, int protection, int flags, int file, off_t offset) {
  return mmap(wanted, size, protection, flags, file, offset);
}

int munmap(void *block, size_t size) {
  pthread_mutex_lock(&mapping_lock); /* held over the call: the pages may be given to another thread at once */
  int result = (int)syscall(SYS_munmap, block, size);
  if (result == 0) cut_mappings((uintptr_t)block, (uintptr_t)block + whole_pages(size));
  pthread_mutex_unlock(&mapping_lock);
  return result;
}

void edgebudget_heap_read(struct edgebudget_heap *out) {
  pthread_mutex_lock(&mapping_lock);
  *out = (struct edgebudget_heap){atomic_load(&live), atomic_load(&peak), atomic_load(&blocks), mapped_live, mapped_peak};
  pthread_mutex_unlock(&mapping_lock);
}

void edgebudget_heap_reset_peaks(void) {
  pthread_mutex_lock(&mapping_lock);
  atomic_store(&peak, atomic_load(&live));
  mapped_peak = mapped_live;
  pthread_mutex_unlock(&mapping_lock);
}
