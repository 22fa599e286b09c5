// Runs one ExecuTorch program alone in a process, as a device would, and prints its memory as one JSON object.
//
// Usage: executorch_runner PROGRAM.pte map|read THREADS RUNS SHAPE...    e.g. model.pte map 1 3 1x3x224x224:float32
// The inputs are made before the baseline is read: they are the caller's. Built against the executorch wheel, with
// heap_counter.so loaded through LD_PRELOAD; without it the program refuses to run.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/runtime.h>

// The wheel carries the library but not this header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

struct edgebudget_heap {
  int64_t live, peak, blocks, mapped_live, mapped_peak;
};
extern "C" void edgebudget_heap_read(edgebudget_heap*) __attribute__((weak));
extern "C" void edgebudget_heap_reset_peaks(void) __attribute__((weak));

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;

namespace {

void check(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

void check(Error error, const std::string& what) {
  check(error == Error::Ok, what + ": ExecuTorch error " + std::to_string(static_cast<int>(error)));
}

int64_t kib_of(const char* status, const char* field) {
  const char* found = std::strstr(status, field);
  check(found != nullptr, std::string("no ") + field + " in /proc/self/status");
  return std::strtoll(found + std::strlen(field), nullptr, 10) * 1024;
}

void reset_peaks() {
  edgebudget_heap_reset_peaks();
  int file = open("/proc/self/clear_refs", O_WRONLY);
  check(file >= 0 && write(file, "5", 1) == 1, "cannot reset VmHWM through /proc/self/clear_refs");
  close(file);
}

void print_phase(const char* name, const char* end) {
  edgebudget_heap heap;
  edgebudget_heap_read(&heap);
  static char status[8192];
  int file = open("/proc/self/status", O_RDONLY);
  ssize_t size = file < 0 ? -1 : read(file, status, sizeof status - 1);
  check(size > 0, "cannot read /proc/self/status");
  status[size] = 0;
  close(file);
  static char text[1024];
  int length = std::snprintf(
      text, sizeof text,
      "\"%s\": {\"heap\": {\"live_bytes\": %lld, \"peak_bytes\": %lld, \"live_blocks\": %lld, \"mapped_live_bytes\": %lld, "
      "\"mapped_peak_bytes\": %lld}, \"process\": {\"peak_bytes\": %lld, \"anonymous_bytes\": %lld, \"file_bytes\": %lld}}%s\n",
      name, (long long)heap.live, (long long)heap.peak, (long long)heap.blocks, (long long)heap.mapped_live,
      (long long)heap.mapped_peak, (long long)kib_of(status, "VmHWM:"), (long long)kib_of(status, "RssAnon:"),
      (long long)kib_of(status, "RssFile:"), end);
  check(write(STDOUT_FILENO, text, length) == length, "cannot write the result");
}

ScalarType scalar_type(const std::string& name) {
  if (name == "float32") return ScalarType::Float;
  if (name == "float64") return ScalarType::Double;
  if (name == "int64") return ScalarType::Long;
  if (name == "int32") return ScalarType::Int;
  if (name == "int8") return ScalarType::Char;
  if (name == "uint8") return ScalarType::Byte;
  if (name == "bool") return ScalarType::Bool;
  throw std::runtime_error("no input of type " + name);
}

// A tensor of zeros: the memory a program takes does not depend on the values it is given.
TensorPtr input_tensor(const std::string& text, std::vector<std::vector<uint8_t>>& storage) {
  size_t colon = text.find(':');
  check(colon != std::string::npos, "an input is written like 1x3x224x224:float32, not " + text);
  std::vector<executorch::aten::SizesType> sizes;
  size_t numel = 1;
  for (const char* at = text.c_str(); *at != ':';) {
    char* after;
    sizes.push_back(static_cast<executorch::aten::SizesType>(std::strtol(at, &after, 10)));
    check(after != at, "an input is written like 1x3x224x224:float32, not " + text);
    numel *= sizes.back();
    at = *after == 'x' ? after + 1 : after;
  }
  ScalarType type = scalar_type(text.substr(colon + 1));
  storage.emplace_back(numel * executorch::runtime::elementSize(type));
  return from_blob(storage.back().data(), sizes, type);
}

void run(Module& module, const std::vector<EValue>& inputs) {
  auto outputs = module.forward(inputs);
  check(outputs.error(), "forward");
}

void measure(int argc, char** argv) {
  check(argc >= 5, "usage: executorch_runner PROGRAM.pte map|read THREADS RUNS SHAPE...");
  check(edgebudget_heap_read != nullptr, "heap_counter.so is not loaded");
  const std::string mode = argv[2];
  check(mode == "map" || mode == "read", "the load mode is map or read, not " + mode);
  const int runs = std::atoi(argv[4]);
  check(runs >= 2, "at least two runs are needed: the first one differs");
  auto* pool = executorch::extension::threadpool::get_threadpool();
  check(pool != nullptr && pool->_unsafe_reset_threadpool(std::atoi(argv[3])), "cannot set the number of threads");

  std::vector<std::vector<uint8_t>> storage;
  std::vector<TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (int i = 5; i < argc; i++) tensors.push_back(input_tensor(argv[i], storage));
  for (const TensorPtr& tensor : tensors) inputs.emplace_back(tensor);

  const std::string opening = "{\"phases\": {";
  check(write(STDOUT_FILENO, opening.data(), opening.size()) == (ssize_t)opening.size(), "cannot write the result");
  reset_peaks();
  print_phase("baseline", ",");

  reset_peaks();
  Module module(argv[1], mode == "map" ? Module::LoadMode::Mmap : Module::LoadMode::File);
  check(module.load_forward(), "load");
  print_phase("load", ",");

  reset_peaks();
  run(module, inputs);
  print_phase("first_inference", ",");
  reset_peaks();
  for (int i = 1; i < runs; i++) run(module, inputs);
  print_phase("steady_inference", "}}");
}

}  // namespace

int main(int argc, char** argv) {
  executorch::runtime::runtime_init();
  try {
    measure(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "executorch_runner: %s\n", error.what());
    return 1;
  }
  return 0;
}
