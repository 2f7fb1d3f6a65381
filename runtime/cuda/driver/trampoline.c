//go:build cuda && linux && (amd64 || arm64)

// The driver's functions as trampolines: each jumps through a slot, which holds a function that answers "not
// initialized" until driver_open has found the driver. So a program that uses CUDA links and starts without one.
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>

#include "driver.h"
#include "functions.h"

static CUresult not_open(void) { return CUDA_ERROR_NOT_INITIALIZED; }
static CUresult not_in_driver(void) { return CUDA_ERROR_NOT_FOUND; }

#if defined(__x86_64__)
#define JUMP(name) "jmp *slot_" #name "(%rip)\n"
#else
#define JUMP(name) "adrp x16, slot_" #name "\nldr x16, [x16, :lo12:slot_" #name "]\nbr x16\n"
#endif

// Hidden: a driver that calls its own functions by name must not find ours.
#define TRAMPOLINE(name) \
  __attribute__((used, visibility("hidden"))) void *slot_##name = (void *)not_open; \
  __asm__(".text\n.globl " #name "\n.hidden " #name "\n.type " #name ", %function\n" #name ":\n" JUMP(name) ".size " #name ", .-" #name "\n");
DRIVER_FUNCTIONS(TRAMPOLINE)

#define ENTRY(name) {#name, &slot_##name},
static const struct {
  const char *name;
  void **slot;
} table[] = {DRIVER_FUNCTIONS(ENTRY)};

// Package cu calls this when the program starts and ends the program where it fails. It does nothing: driver_open
// initializes the driver once somebody wants a device.
__attribute__((visibility("hidden"))) CUresult cuInit(unsigned int flags) {
  (void)flags;
  return CUDA_SUCCESS;
}

int driver_open(const char *path, char *message, size_t size) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    snprintf(message, size, "%s", dlerror());
    return DRIVER_ABSENT;
  }
  CUresult (*init)(unsigned int) = (CUresult(*)(unsigned int))dlsym(library, "cuInit");
  if (init == NULL) {
    snprintf(message, size, "%s has no cuInit", path);
    return DRIVER_ABSENT;
  }
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    void *function = dlsym(library, table[i].name);
    *table[i].slot = function != NULL ? function : (void *)not_in_driver;
  }
  return (int)init(0);
}

#define PACKED(arguments, size) \
  { CU_LAUNCH_PARAM_BUFFER_POINTER, arguments, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END }

CUresult driver_launch(CUfunction function, const unsigned int *dimensions, unsigned int sharedBytes, CUstream stream, void *arguments, size_t size) {
  void *extra[] = PACKED(arguments, size);
  return cuLaunchKernel(function, dimensions[0], dimensions[1], dimensions[2], dimensions[3], dimensions[4], dimensions[5], sharedBytes, stream,
                        NULL, extra);
}

CUresult driver_add_launch(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, CUfunction function, const unsigned int *dimensions,
                           unsigned int sharedBytes, void *arguments, size_t size) {
  void *extra[] = PACKED(arguments, size);
  CUDA_KERNEL_NODE_PARAMS launch = {
      .func = function,
      .gridDimX = dimensions[0], .gridDimY = dimensions[1], .gridDimZ = dimensions[2],
      .blockDimX = dimensions[3], .blockDimY = dimensions[4], .blockDimZ = dimensions[5],
      .sharedMemBytes = sharedBytes, .extra = extra,
  };
  return cuGraphAddKernelNode(node, graph, after, count, &launch);
}

CUresult driver_prefer(CUgraphNode node, int priority) {
  CUlaunchAttributeValue value = {.priority = priority};
  return cuGraphKernelNodeSetAttribute(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
}

CUresult driver_add_copy(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, void *to, CUdeviceptr from, size_t bytes) {
  CUDA_MEMCPY3D copy = {
      .srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from, .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = to,
      .WidthInBytes = bytes, .Height = 1, .Depth = 1,
  };
  CUcontext context;
  CUresult result = cuCtxGetCurrent(&context);
  return result == CUDA_SUCCESS ? cuGraphAddMemcpyNode(node, graph, after, count, &copy, context) : result;
}

CUresult driver_add_clear(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, CUdeviceptr to, size_t bytes) {
  CUDA_MEMSET_NODE_PARAMS zeros = {.dst = to, .elementSize = 1, .width = bytes, .height = 1};
  CUcontext context;
  CUresult result = cuCtxGetCurrent(&context);
  return result == CUDA_SUCCESS ? cuGraphAddMemsetNode(node, graph, after, count, &zeros, context) : result;
}
