// Allocates known blocks under the allocation counter and prints, a line each, what the counter made of them:
//   NAME expected counted
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <new>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

struct heap {
  int64_t live, peak, blocks, mapped_live, mapped_peak;
};
extern "C" void edgebudget_heap_read(heap*) __attribute__((weak));
extern "C" void edgebudget_heap_reset_peaks() __attribute__((weak));

static heap now() {
  heap counted;
  edgebudget_heap_read(&counted);
  return counted;
}

static void tell(const char* name, int64_t expected, int64_t counted) {
  static char text[256];
  int length = std::snprintf(text, sizeof text, "%s %lld %lld\n", name, (long long)expected, (long long)counted);
  if (write(1, text, length) != length) std::abort();
}

template <class Make, class Drop>
static void check(const char* name, Make make, Drop drop) {
  heap before = now();
  void* volatile block = make();
  std::memset(block, 1, 100);
  tell(name, (int64_t)malloc_usable_size(block), now().live - before.live);
  drop(block);
  tell(name, 0, now().live - before.live);
  tell(name, 0, now().blocks - before.blocks);
}

int main() {
  if (edgebudget_heap_read == nullptr) return 2;
  check("malloc", [] { return malloc(1000); }, free);
  check("malloc-large", [] { return malloc(50 << 20); }, free);
  check("calloc", [] { return calloc(1000, 7); }, free);
  check("memalign", [] { return memalign(64, 1000); }, free);
  check("aligned_alloc", [] { return aligned_alloc(4096, 8192); }, free);
  check("valloc", [] { return valloc(1000); }, free);
  check("new", [] { return operator new(1000); }, [](void* block) { operator delete(block); });
  check("new-aligned", [] { return operator new(1000, std::align_val_t(128)); },
        [](void* block) { operator delete(block, std::align_val_t(128)); });
  check("posix_memalign", [] {
    void* block = nullptr;
    return posix_memalign(&block, 64, 1000) == 0 ? block : nullptr;
  }, free);
  check("realloc-null", [] { return realloc(nullptr, 1000); }, free);
  check("realloc-grown", [] { return realloc(malloc(1000), 3 << 20); }, free);
  check("realloc-shrunk", [] { return realloc(malloc(3 << 20), 1000); }, free);
  check("reallocarray", [] { return reallocarray(malloc(1000), 1000, 8); }, free);
  check("realloc-to-nothing", [] { return malloc(1000); }, [](void* block) { (void)!realloc(block, 0); });

  void* nothing = nullptr;
  tell("posix_memalign-refuses", 22, posix_memalign(&nothing, 3, 8));
  free(nullptr);

  heap before = now();
  edgebudget_heap_reset_peaks();
  tell("peak-after-reset", before.live, now().peak);
  void* volatile first = malloc(1 << 20);
  void* volatile second = malloc(2 << 20);
  int64_t both = (int64_t)(malloc_usable_size(first) + malloc_usable_size(second));
  free(first);
  free(second);
  tell("peak", before.live + both, now().peak);
  tell("live-after", before.live, now().live);

  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  edgebudget_heap_reset_peaks();
  before = now();
  char* pages = (char*)mmap(nullptr, 10 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell("mapped", 10 * page, now().mapped_live - before.mapped_live);
  munmap(pages + 4 * page, 2 * page);
  tell("mapped-with-a-hole", 8 * page, now().mapped_live - before.mapped_live);
  munmap(pages, 10 * page);
  tell("unmapped", 0, now().mapped_live - before.mapped_live);
  tell("mapped-peak", before.mapped_live + 10 * page, now().mapped_peak);
  void* reserved = mmap(nullptr, 10 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell("reserved-only", 0, now().mapped_live - before.mapped_live);
  munmap(reserved, 10 * page);
  tell("mapped-is-not-heap", before.live, now().live);

  auto work = [] {
    for (int i = 1; i <= 20000; i++) free(realloc(malloc(i % 5000 + 1), i % 9000 + 1));
  };
  work();
  {
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; i++) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }
  before = now();
  {
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; i++) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }
  tell("threads", before.live, now().live);
  tell("threads-blocks", before.blocks, now().blocks);
  return 0;
}
