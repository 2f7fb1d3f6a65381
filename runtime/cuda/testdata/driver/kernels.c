// The kernels of the driver in tests. Each reads its arguments as the struct that the host packs, and covers what the
// threads of its grid would: a grid that is too small shows in the results.
#include "libcuda.h"

#include <string.h>

typedef struct {
  CUdeviceptr out, in;
  int32_t n;
  float factor;
} scale_arguments;

// scale: out[i] = factor * in[i]
static CUresult scale(const void *packed, size_t bytes, unsigned long long threads) {
  scale_arguments a;
  if (bytes != sizeof a) return CUDA_ERROR_LAUNCH_FAILED;
  memcpy(&a, packed, sizeof a);
  float *out = fake_memory(a.out, 4 * (size_t)a.n, 0);
  const float *in = fake_memory(a.in, 4 * (size_t)a.n, 0);
  if (out == NULL || in == NULL) return CUDA_ERROR_ILLEGAL_ADDRESS;
  for (unsigned long long i = 0; i < threads && i < (unsigned long long)a.n; i++) out[i] = a.factor * in[i];
  return CUDA_SUCCESS;
}

// accumulate: out[i] += factor * in[i]
static CUresult accumulate(const void *packed, size_t bytes, unsigned long long threads) {
  scale_arguments a;
  if (bytes != sizeof a) return CUDA_ERROR_LAUNCH_FAILED;
  memcpy(&a, packed, sizeof a);
  float *out = fake_memory(a.out, 4 * (size_t)a.n, 0);
  const float *in = fake_memory(a.in, 4 * (size_t)a.n, 0);
  if (out == NULL || in == NULL) return CUDA_ERROR_ILLEGAL_ADDRESS;
  for (unsigned long long i = 0; i < threads && i < (unsigned long long)a.n; i++) out[i] += a.factor * in[i];
  return CUDA_SUCCESS;
}

typedef struct {
  CUdeviceptr out;
  int32_t gap; // the host leaves one, so that the constant is aligned
  int64_t amount;
} count_arguments;

// count: out[0] += amount, of 64-bit integers
static CUresult count(const void *packed, size_t bytes, unsigned long long threads) {
  (void)threads;
  count_arguments a;
  if (bytes != sizeof a) return CUDA_ERROR_LAUNCH_FAILED;
  memcpy(&a, packed, sizeof a);
  int64_t *out = fake_memory(a.out, 8, 0);
  if (out == NULL) return CUDA_ERROR_ILLEGAL_ADDRESS;
  *out += a.amount;
  return CUDA_SUCCESS;
}

// fault: an address that is nobody's
static CUresult fault(const void *packed, size_t bytes, unsigned long long threads) {
  (void)packed, (void)bytes, (void)threads;
  return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static const struct {
  const char *name;
  CUresult (*run)(const void *packed, size_t bytes, unsigned long long threads);
  const char *sizes; // of the parameters, a character each: '0' and so many. Accumulate takes a struct of 24 bytes.
} kernels[] = {{"scale", scale, "8844"}, {"accumulate", accumulate, "H"}, {"count", count, "848"}, {"fault", fault, "8844"}, {"narrow", fault, ""}};

CUresult fake_kernel(const char *name, const char *arguments, size_t bytes, const unsigned int *grid, const unsigned int *block) {
  unsigned long long threads = 1;
  for (int i = 0; i < 3; i++) threads *= (unsigned long long)grid[i] * block[i];
  for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
    if (strcmp(name, kernels[i].name) == 0) return kernels[i].run(arguments, bytes, threads);
  return CUDA_SUCCESS;
}

CUresult fake_parameter(const char *name, size_t index, size_t *offset, size_t *size) {
  for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
    if (strcmp(name, kernels[i].name) != 0) continue;
    if (index >= strlen(kernels[i].sizes)) return CUDA_ERROR_INVALID_VALUE;
    for (size_t at = *offset = 0; at <= index; at++) {
      if (at > 0) *offset += *size;
      *size = kernels[i].sizes[at] - '0';
      *offset = (*offset + *size - 1) / *size * *size;
    }
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_SUPPORTED;
}

int fake_threads(const char *name) { return strcmp(name, "narrow") == 0 ? 128 : 1024; }
