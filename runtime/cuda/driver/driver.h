#include <cuda.h>

// No library, or none that is a driver: apart from the results of cuInit.
#define DRIVER_ABSENT -1

// driver_open loads the driver, fills the trampolines and initializes it. It returns DRIVER_ABSENT with a message, or
// what cuInit answers.
int driver_open(const char *path, char *message, size_t size);

// driver_launch starts a kernel whose arguments lie as in a C struct; dimensions are those of the grid and of a block.
CUresult driver_launch(CUfunction function, const unsigned int *dimensions, unsigned int sharedBytes, CUstream stream, void *arguments, size_t size);

// driver_add_launch adds the same as a node of a graph, which waits for so many others.
CUresult driver_add_launch(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, CUfunction function, const unsigned int *dimensions,
                           unsigned int sharedBytes, void *arguments, size_t size);

// driver_prefer gives a node's launch a priority: smaller numbers run first.
CUresult driver_prefer(CUgraphNode node, int priority);

// driver_add_copy adds a copy from the device to the host's memory.
CUresult driver_add_copy(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, void *to, CUdeviceptr from, size_t bytes);

// driver_add_clear adds zeros for so many bytes of the device.
CUresult driver_add_clear(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t count, CUdeviceptr to, size_t bytes);
