#include <cuda.h>

struct CUfunc_st {
  char name[128];
  int sharedBytes; // allowed
};

// fake_memory returns the host's address of an address of the device, or of page-locked memory, where so many bytes
// from there on belong to one allocation; else NULL.
void *fake_memory(unsigned long long address, size_t bytes, int onHost);

// fake_kernel runs a kernel over a packed argument buffer. Of one that it does not know it does nothing.
CUresult fake_kernel(const char *name, const char *arguments, size_t bytes, const unsigned int *grid, const unsigned int *block);

// fake_parameter says where an argument of a kernel lies: CUDA_ERROR_INVALID_VALUE is for an index beyond the last, as
// of the driver, CUDA_ERROR_NOT_SUPPORTED for a kernel that is not known.
CUresult fake_parameter(const char *name, size_t index, size_t *offset, size_t *size);

// fake_threads is how many threads a block of that kernel may have.
int fake_threads(const char *name);
