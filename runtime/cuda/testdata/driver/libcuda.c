// A CUDA driver without a device, for tests of the host's side: memory is the host's, a few kernels are C functions
// (kernels.c), and what is put into a stream is done no earlier than somebody waits for it, so that memory that is
// reused too early is found out. Of the nodes of a graph that may come next, the one that was added last does, so that a
// dependency that is missing is found out too. It refuses what a real driver refuses: calls without a context, addresses
// that are not the device's, copies from memory that is not page-locked, more shared memory than was allowed.
//
// The environment says how it behaves, and may change between two calls:
//   FAKE_CUDA_LOG=FILE              a line for every call is appended
//   FAKE_CUDA_FAIL=FUNCTION:N:CODE  the Nth call of a function from then on fails with that result
//   FAKE_CUDA_DEVICES=N             devices there are (default 1); 0 makes cuInit fail, as a driver does
//   FAKE_CUDA_MEMORY=BYTES          what a device holds (default 1 GiB)
//   FAKE_CUDA_ARCH=90               compute capability
#include "libcuda.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUresult sticky; // a fault of a kernel ends the context: every later call reports it
static __thread CUcontext current;
static struct CUctx_st { int device; } contexts[16];

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text != NULL && *text != 0 ? atoi(text) : otherwise;
}

static void record(const char *format, ...) {
  const char *path = getenv("FAKE_CUDA_LOG");
  if (path == NULL || *path == 0) return;
  FILE *file = fopen(path, "a");
  if (file == NULL) return;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
  fputc('\n', file);
  fclose(file);
}

// planned says whether this call is the one that FAKE_CUDA_FAIL names.
static CUresult planned(const char *function) {
  static char last[128];
  static int calls;
  const char *plan = getenv("FAKE_CUDA_FAIL");
  if (plan == NULL || *plan == 0) {
    last[0] = 0;
    return CUDA_SUCCESS;
  }
  if (strncmp(plan, last, sizeof last - 1) != 0) {
    snprintf(last, sizeof last, "%s", plan);
    calls = 0;
  }
  char name[64];
  int nth, code;
  if (sscanf(plan, "%63[^:]:%d:%d", name, &nth, &code) != 3 || strcmp(name, function) != 0) return CUDA_SUCCESS;
  return ++calls == nth ? (CUresult)code : CUDA_SUCCESS;
}

static CUresult leave(CUresult result) {
  pthread_mutex_unlock(&lock);
  return result;
}

// Every function begins with one of these; the second is for those that need a context.
#define ENTER(...) \
  pthread_mutex_lock(&lock); \
  record(__VA_ARGS__); \
  CUresult planned_result = planned(__func__); \
  if (planned_result != CUDA_SUCCESS) return leave(planned_result)
#define ENTER_CONTEXT(...) \
  ENTER(__VA_ARGS__); \
  if (current == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT); \
  if (sticky != CUDA_SUCCESS) return leave(sticky)

// ---- memory

// Addresses of the device carry a bit that none of the host's has.
#define DEVICE_BIT (1ull << 62)

typedef struct allocation {
  char *start;
  size_t bytes;
  int onHost;
  struct allocation *next;
} allocation;
static allocation *allocations;
static size_t taken;

void *fake_memory(unsigned long long address, size_t bytes, int onHost) {
  if (!onHost) {
    if ((address & DEVICE_BIT) == 0) return NULL;
    address &= ~DEVICE_BIT;
  }
  char *start = (char *)(uintptr_t)address;
  for (allocation *a = allocations; a != NULL; a = a->next)
    if (a->onHost == onHost && start >= a->start && start + bytes <= a->start + a->bytes) return start;
  return NULL;
}

static allocation *allocate(size_t bytes, int onHost) {
  allocation *a = malloc(sizeof *a);
  a->start = aligned_alloc(256, (bytes + 255) / 256 * 256);
  memset(a->start, 0xa5, bytes);
  a->bytes = bytes;
  a->onHost = onHost;
  a->next = allocations;
  allocations = a;
  return a;
}

static CUresult release(char *start, int onHost) {
  for (allocation **a = &allocations; *a != NULL; a = &(*a)->next) {
    if ((*a)->start != start || (*a)->onHost != onHost) continue;
    allocation *gone = *a;
    *a = gone->next;
    if (!onHost) taken -= gone->bytes;
    free(gone->start);
    free(gone);
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

// ---- streams: lists of work

typedef enum { COPY, SET, KERNEL, MARK } kind;

typedef struct work {
  kind kind;
  void *to;
  const void *from;
  size_t bytes; // of a copy, of a fill, of arguments
  int value;
  CUfunction function;
  unsigned int grid[3], block[3];
  char *arguments;
  CUevent event;
  struct work *next;
} work;

typedef struct { work *first, *last; } list;

struct CUstream_st { list pending; };
struct CUgraphNode_st {
  work *work;
  CUgraphNode *after;
  size_t count;
  int done;
  CUgraphNode earlier; // what was added before
};
struct CUgraph_st { CUgraphNode latest; };
struct CUgraphExec_st { list works; };
struct CUevent_st { int pending; double milliseconds; CUstream stream; };
struct CUmod_st { char *names; };

static double clock_ms;

static work *copy_of(const work *w) {
  work *c = malloc(sizeof *c);
  *c = *w;
  c->next = NULL;
  if (w->arguments != NULL) {
    c->arguments = malloc(w->bytes + 1);
    memcpy(c->arguments, w->arguments, w->bytes);
  }
  return c;
}

static void append(list *l, const work *w) {
  work *c = copy_of(w);
  if (l->last == NULL) l->first = c;
  else l->last->next = c;
  l->last = c;
}

static void append_all(list *l, const list *from) {
  for (work *w = from->first; w != NULL; w = w->next) append(l, w);
}

static void drop(list *l) {
  for (work *w = l->first, *next; w != NULL; w = next) {
    next = w->next;
    free(w->arguments);
    free(w);
  }
  l->first = l->last = NULL;
}

static void put(CUstream stream, const work *w) { append(&stream->pending, w); }

static void perform(const work *w) {
  switch (w->kind) {
  case COPY:
    memcpy(w->to, w->from, w->bytes);
    break;
  case SET:
    memset(w->to, w->value, w->bytes);
    break;
  case KERNEL:
    clock_ms += 0.5;
    sticky = fake_kernel(w->function->name, w->arguments, w->bytes, w->grid, w->block);
    break;
  case MARK:
    w->event->pending = 0;
    w->event->milliseconds = clock_ms;
    break;
  }
}

static CUresult drain(CUstream stream) {
  for (work *w = stream->pending.first; w != NULL && sticky == CUDA_SUCCESS; w = w->next) perform(w);
  drop(&stream->pending);
  return sticky;
}

// ---- the driver and its devices

CUresult cuInit(unsigned int flags) {
  ENTER("cuInit %u", flags);
  return leave(number("FAKE_CUDA_DEVICES", 1) > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE);
}

CUresult cuDriverGetVersion(int *version) {
  *version = 13000;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
  switch (error) {
  case CUDA_ERROR_NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
  case CUDA_ERROR_OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
  case CUDA_ERROR_ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
  case CUDA_ERROR_INVALID_PTX: *name = "CUDA_ERROR_INVALID_PTX"; break;
  default: *name = "CUDA_ERROR_OTHER"; break;
  }
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **description) {
  static __thread char text[64];
  snprintf(text, sizeof text, "result %d of the driver in tests", error);
  *description = text;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
  *count = number("FAKE_CUDA_DEVICES", 1);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  if (ordinal < 0 || ordinal >= number("FAKE_CUDA_DEVICES", 1)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  snprintf(name, length, "Fake GPU %d", device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  (void)device;
  *bytes = number("FAKE_CUDA_MEMORY", 1 << 30);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  (void)device;
  int capability = number("FAKE_CUDA_ARCH", 90);
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = capability / 10; break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = capability % 10; break;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  ENTER("cuDevicePrimaryCtxRetain %d", device);
  contexts[device].device = device;
  *context = &contexts[device];
  return leave(CUDA_SUCCESS);
}

// The last release of a primary context ends it, and a fault with it.
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  ENTER("cuDevicePrimaryCtxRelease %d", device);
  sticky = CUDA_SUCCESS;
  return leave(CUDA_SUCCESS);
}

CUresult cuCtxSetCurrent(CUcontext context) {
  current = context;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
  *context = current;
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
  ENTER_CONTEXT("cuMemGetInfo");
  *total = number("FAKE_CUDA_MEMORY", 1 << 30);
  *available = *total > taken ? *total - taken : 0;
  return leave(CUDA_SUCCESS);
}

// ---- modules

static int has_entry(CUmodule module, const char *name) {
  char line[256];
  snprintf(line, sizeof line, "\n%s\n", name);
  return strstr(module->names, line) != NULL;
}

// names_in lists what follows a mark in an image, up to a character that ends a name: the entries of PTX (".entry x(")
// and of a cubin (section ".text.x").
static char *names_in(const char *image, size_t size, const char *mark) {
  char *names = calloc(1, size + 3);
  char *end = names;
  *end++ = '\n';
  size_t length = strlen(mark);
  for (size_t i = 0; i + length < size; i++) {
    if (memcmp(image + i, mark, length) != 0) continue;
    size_t n = strcspn(image + i + length, "( \t\r\n");
    memcpy(end, image + i + length, n);
    end += n;
    *end++ = '\n';
    i += length + n;
  }
  return names;
}

static size_t cubin_size(const char *image) { // to the end of the table of sections, which comes last but for data
  uint64_t sections;
  uint16_t bytes, count;
  memcpy(&sections, image + 0x28, sizeof sections);
  memcpy(&bytes, image + 0x3a, sizeof bytes);
  memcpy(&count, image + 0x3c, sizeof count);
  return sections + (size_t)bytes * count;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, CUjit_option *options, void **values) {
  ENTER_CONTEXT("cuModuleLoadDataEx");
  char *log = NULL;
  size_t size = 0;
  for (unsigned int i = 0; i < count; i++) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) log = values[i];
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) size = (size_t)values[i];
  }
  int cubin = memcmp(image, "\x7f""ELF", 4) == 0;
  const char *target = cubin ? NULL : strstr(image, ".target sm_");
  if (!cubin && target == NULL) {
    if (log != NULL) snprintf(log, size, "ptxas application ptx input, line 1; fatal : Missing .target directive");
    return leave(CUDA_ERROR_INVALID_PTX);
  }
  if (!cubin && atoi(target + strlen(".target sm_")) > number("FAKE_CUDA_ARCH", 90)) return leave(CUDA_ERROR_NO_BINARY_FOR_GPU);
  *module = malloc(sizeof **module);
  (*module)->names = cubin ? names_in(image, cubin_size(image), ".text.") : names_in(image, strlen(image), ".entry ");
  return leave(CUDA_SUCCESS);
}

CUresult cuModuleUnload(CUmodule module) {
  ENTER_CONTEXT("cuModuleUnload");
  free(module->names);
  free(module);
  return leave(CUDA_SUCCESS);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  ENTER_CONTEXT("cuModuleGetFunction %s", name);
  if (!has_entry(module, name)) return leave(CUDA_ERROR_NOT_FOUND);
  *function = calloc(1, sizeof **function);
  snprintf((*function)->name, sizeof (*function)->name, "%s", name);
  (*function)->sharedBytes = 48 << 10;
  return leave(CUDA_SUCCESS);
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  ENTER_CONTEXT("cuFuncGetAttribute %s %d", function->name, attribute);
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) return leave(CUDA_ERROR_INVALID_VALUE);
  *value = fake_threads(function->name);
  return leave(CUDA_SUCCESS);
}

CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *size) {
  ENTER_CONTEXT("cuFuncGetParamInfo %s %zu", function->name, index);
  return leave(fake_parameter(function->name, index, offset, size));
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  ENTER_CONTEXT("cuFuncSetAttribute %s %d %d", function->name, attribute, value);
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > 227 << 10) return leave(CUDA_ERROR_INVALID_VALUE);
  function->sharedBytes = value;
  return leave(CUDA_SUCCESS);
}

static CUresult launch_of(work *w, const CUDA_KERNEL_NODE_PARAMS *p) {
  *w = (work){.kind = KERNEL, .function = p->func, .grid = {p->gridDimX, p->gridDimY, p->gridDimZ}, .block = {p->blockDimX, p->blockDimY, p->blockDimZ}};
  if (p->kernelParams != NULL || p->extra == NULL || (int)p->sharedMemBytes > p->func->sharedBytes) return CUDA_ERROR_INVALID_VALUE;
  if (p->gridDimX * p->gridDimY * p->gridDimZ == 0) return CUDA_ERROR_INVALID_VALUE;
  if ((int)(p->blockDimX * p->blockDimY * p->blockDimZ) > fake_threads(p->func->name)) return CUDA_ERROR_INVALID_VALUE;
  for (int i = 0; p->extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (p->extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) w->arguments = p->extra[i + 1];
    if (p->extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) w->bytes = *(size_t *)p->extra[i + 1];
  }
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ, unsigned int blockX,
                        unsigned int blockY, unsigned int blockZ, unsigned int sharedBytes, CUstream stream, void **parameters, void **extra) {
  ENTER_CONTEXT("cuLaunchKernel %s grid %u %u %u block %u %u %u shared %u", function->name, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes);
  CUDA_KERNEL_NODE_PARAMS p = {function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, parameters, extra};
  work w;
  CUresult result = launch_of(&w, &p);
  if (result == CUDA_SUCCESS) put(stream, &w);
  return leave(result);
}

// ---- memory, called

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  ENTER_CONTEXT("cuMemAlloc %zu", bytes);
  if (bytes == 0) return leave(CUDA_ERROR_INVALID_VALUE);
  if (taken + bytes > (size_t)number("FAKE_CUDA_MEMORY", 1 << 30)) return leave(CUDA_ERROR_OUT_OF_MEMORY);
  taken += bytes;
  *address = (uintptr_t)allocate(bytes, 0)->start | DEVICE_BIT;
  return leave(CUDA_SUCCESS);
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  ENTER_CONTEXT("cuMemFree");
  return leave(release((char *)(uintptr_t)(address & ~DEVICE_BIT), 0));
}

CUresult cuMemAllocHost_v2(void **pointer, size_t bytes) {
  ENTER_CONTEXT("cuMemAllocHost %zu", bytes);
  *pointer = allocate(bytes, 1)->start;
  return leave(CUDA_SUCCESS);
}

CUresult cuMemFreeHost(void *pointer) {
  ENTER_CONTEXT("cuMemFreeHost");
  return leave(release(pointer, 1));
}

static CUresult copy_between(work *w, CUdeviceptr device, const void *host, size_t bytes, int toDevice) {
  void *memory = fake_memory(device, bytes, 0);
  void *locked = fake_memory((uintptr_t)host, bytes, 1);
  if (memory == NULL || locked == NULL) return CUDA_ERROR_INVALID_VALUE;
  *w = (work){.kind = COPY, .to = toDevice ? memory : locked, .from = toDevice ? locked : memory, .bytes = bytes};
  return CUDA_SUCCESS;
}

static CUresult transfer(CUdeviceptr device, const void *host, size_t bytes, CUstream stream, int toDevice) {
  work w;
  CUresult result = copy_between(&w, device, host, bytes, toDevice);
  if (result == CUDA_SUCCESS) put(stream, &w);
  return result;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  ENTER_CONTEXT("cuMemcpyHtoDAsync %zu", bytes);
  return leave(transfer(to, from, bytes, stream, 1));
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  ENTER_CONTEXT("cuMemcpyDtoHAsync %zu", bytes);
  return leave(transfer(from, to, bytes, stream, 0));
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  ENTER_CONTEXT("cuMemsetD8Async %zu", count);
  void *memory = fake_memory(to, count, 0);
  if (memory == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
  put(stream, &(work){.kind = SET, .to = memory, .value = value, .bytes = count});
  return leave(CUDA_SUCCESS);
}

// ---- streams, events and graphs, called

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  ENTER_CONTEXT("cuStreamCreate %u", flags);
  *stream = calloc(1, sizeof **stream);
  return leave(CUDA_SUCCESS);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  ENTER_CONTEXT("cuStreamDestroy");
  drain(stream);
  free(stream);
  return leave(CUDA_SUCCESS);
}

CUresult cuStreamSynchronize(CUstream stream) {
  ENTER_CONTEXT("cuStreamSynchronize");
  return leave(drain(stream));
}

CUresult cuGraphCreate(CUgraph *graph, unsigned int flags) {
  ENTER_CONTEXT("cuGraphCreate %u", flags);
  *graph = calloc(1, sizeof **graph);
  return leave(CUDA_SUCCESS);
}

static void add(CUgraph graph, CUgraphNode *node, const work *w, const CUgraphNode *after, size_t count) {
  CUgraphNode n = calloc(1, sizeof *n);
  n->work = copy_of(w);
  n->after = calloc(count + 1, sizeof *after);
  for (size_t i = 0; i < count; i++) n->after[i] = after[i];
  n->count = count;
  n->earlier = graph->latest;
  *node = graph->latest = n;
}

CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, const CUDA_KERNEL_NODE_PARAMS *launch) {
  ENTER_CONTEXT("cuGraphAddKernelNode %s after %zu", launch->func->name, count);
  work w;
  CUresult result = launch_of(&w, launch);
  if (result == CUDA_SUCCESS) add(graph, node, &w, after, count);
  return leave(result);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, const CUDA_MEMCPY3D *copy, CUcontext context) {
  ENTER_CONTEXT("cuGraphAddMemcpyNode %zu after %zu", copy->WidthInBytes, count);
  if (copy->srcMemoryType != CU_MEMORYTYPE_DEVICE || copy->dstMemoryType != CU_MEMORYTYPE_HOST || copy->Height != 1 || copy->Depth != 1 || context != current)
    return leave(CUDA_ERROR_INVALID_VALUE);
  work w;
  CUresult result = copy_between(&w, copy->srcDevice, copy->dstHost, copy->WidthInBytes, 0);
  if (result == CUDA_SUCCESS) add(graph, node, &w, after, count);
  return leave(result);
}

static int waits(CUgraphNode n) {
  for (size_t i = 0; i < n->count; i++)
    if (!n->after[i]->done) return 1;
  return 0;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags) {
  ENTER_CONTEXT("cuGraphInstantiate %llu", flags);
  *executable = calloc(1, sizeof **executable);
  for (CUgraphNode n = graph->latest; n != NULL;) {
    if (n->done || waits(n)) {
      n = n->earlier;
      continue;
    }
    append(&(*executable)->works, n->work);
    n->done = 1;
    n = graph->latest;
  }
  return leave(CUDA_SUCCESS);
}

CUresult cuGraphDestroy(CUgraph graph) {
  ENTER_CONTEXT("cuGraphDestroy");
  for (CUgraphNode n = graph->latest, earlier; n != NULL; n = earlier) {
    earlier = n->earlier;
    free(n->work->arguments);
    free(n->work);
    free(n->after);
    free(n);
  }
  free(graph);
  return leave(CUDA_SUCCESS);
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  ENTER_CONTEXT("cuGraphLaunch");
  append_all(&stream->pending, &executable->works);
  return leave(CUDA_SUCCESS);
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
  ENTER_CONTEXT("cuGraphExecDestroy");
  drop(&executable->works);
  free(executable);
  return leave(CUDA_SUCCESS);
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
  ENTER_CONTEXT("cuEventCreate %u", flags);
  *event = calloc(1, sizeof **event);
  return leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy_v2(CUevent event) {
  ENTER_CONTEXT("cuEventDestroy");
  if (event->pending) drain(event->stream);
  free(event);
  return leave(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  ENTER_CONTEXT("cuEventRecord");
  event->pending = 1;
  event->stream = stream;
  put(stream, &(work){.kind = MARK, .event = event});
  return leave(CUDA_SUCCESS);
}

CUresult cuEventQuery(CUevent event) {
  ENTER_CONTEXT("cuEventQuery");
  return leave(event->pending ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent event) {
  ENTER_CONTEXT("cuEventSynchronize");
  return leave(event->pending ? drain(event->stream) : CUDA_SUCCESS);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  ENTER_CONTEXT("cuEventElapsedTime");
  if (start->pending || end->pending) return leave(CUDA_ERROR_NOT_READY);
  *milliseconds = (float)(end->milliseconds - start->milliseconds);
  return leave(CUDA_SUCCESS);
}
