// The functions of cuda.h that the driver is asked for, under the names that it exports.
#define DRIVER_FUNCTIONS(X) \
  X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGet) X(cuDeviceGetCount) X(cuDeviceGetName) X(cuDeviceGetUuid) \
  X(cuDeviceTotalMem_v2) X(cuDeviceGetAttribute) X(cuDeviceCanAccessPeer) X(cuDeviceGetP2PAttribute) X(cuDevicePrimaryCtxRetain) \
  X(cuDevicePrimaryCtxRelease_v2) X(cuDevicePrimaryCtxReset_v2) X(cuDevicePrimaryCtxSetFlags_v2) X(cuDevicePrimaryCtxGetState) \
  X(cuCtxCreate_v2) X(cuCtxDestroy_v2) X(cuCtxPushCurrent_v2) X(cuCtxPopCurrent_v2) X(cuCtxSetCurrent) X(cuCtxGetCurrent) \
  X(cuCtxGetDevice) X(cuCtxGetFlags) X(cuCtxSynchronize) X(cuCtxSetLimit) X(cuCtxGetLimit) X(cuCtxGetCacheConfig) X(cuCtxSetCacheConfig) \
  X(cuCtxGetSharedMemConfig) X(cuCtxSetSharedMemConfig) X(cuCtxGetApiVersion) X(cuCtxGetStreamPriorityRange) X(cuCtxResetPersistingL2Cache) \
  X(cuCtxEnablePeerAccess) X(cuCtxDisablePeerAccess) X(cuModuleLoad) X(cuModuleLoadData) X(cuModuleLoadDataEx) X(cuModuleLoadFatBinary) \
  X(cuModuleUnload) X(cuModuleGetFunction) X(cuModuleGetGlobal_v2) X(cuModuleGetTexRef) X(cuModuleGetSurfRef) X(cuLinkCreate_v2) \
  X(cuLinkAddData_v2) X(cuLinkAddFile_v2) X(cuLinkComplete) X(cuLinkDestroy) X(cuFuncGetAttribute) X(cuFuncSetAttribute) \
  X(cuFuncGetParamInfo) X(cuFuncSetCacheConfig) X(cuFuncSetSharedMemConfig) X(cuLaunchKernel) X(cuOccupancyMaxActiveBlocksPerMultiprocessor) X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags) \
  X(cuMemGetInfo_v2) X(cuMemAlloc_v2) X(cuMemAllocPitch_v2) X(cuMemAllocManaged) X(cuMemFree_v2) X(cuMemAllocHost_v2) X(cuMemFreeHost) \
  X(cuMemGetAddressRange_v2) X(cuMemAdvise) X(cuMemPrefetchAsync) X(cuPointerGetAttribute) X(cuPointerSetAttribute) X(cuMemcpy) \
  X(cuMemcpyAsync) X(cuMemcpyPeer) X(cuMemcpyPeerAsync) X(cuMemcpyHtoD_v2) X(cuMemcpyDtoH_v2) X(cuMemcpyDtoD_v2) X(cuMemcpyHtoDAsync_v2) \
  X(cuMemcpyDtoHAsync_v2) X(cuMemcpyDtoDAsync_v2) X(cuMemcpyDtoA_v2) X(cuMemcpyAtoD_v2) X(cuMemcpyHtoA_v2) X(cuMemcpyAtoH_v2) \
  X(cuMemcpyAtoA_v2) X(cuMemcpyHtoAAsync_v2) X(cuMemcpyAtoHAsync_v2) X(cuMemcpy2D_v2) X(cuMemcpy2DUnaligned_v2) X(cuMemcpy2DAsync_v2) \
  X(cuMemcpy3D_v2) X(cuMemcpy3DAsync_v2) X(cuMemcpy3DPeer) X(cuMemcpy3DPeerAsync) X(cuMemsetD8_v2) X(cuMemsetD16_v2) X(cuMemsetD32_v2) \
  X(cuMemsetD2D8_v2) X(cuMemsetD2D16_v2) X(cuMemsetD2D32_v2) X(cuMemsetD8Async) X(cuMemsetD16Async) X(cuMemsetD32Async) X(cuMemsetD2D8Async) \
  X(cuMemsetD2D16Async) X(cuMemsetD2D32Async) X(cuArrayCreate_v2) X(cuArrayGetDescriptor_v2) X(cuArray3DCreate_v2) X(cuArray3DGetDescriptor_v2) \
  X(cuArrayDestroy) X(cuStreamCreate) X(cuStreamCreateWithPriority) X(cuStreamDestroy_v2) X(cuStreamGetPriority) X(cuStreamGetFlags) \
  X(cuStreamWaitEvent) X(cuStreamAttachMemAsync) X(cuStreamQuery) X(cuStreamSynchronize) X(cuStreamWaitValue32_v2) X(cuStreamWriteValue32_v2) \
  X(cuEventCreate) X(cuEventDestroy_v2) X(cuEventRecord) X(cuEventQuery) \
  X(cuEventSynchronize) X(cuEventElapsedTime) X(cuGraphCreate) X(cuGraphClone) X(cuGraphDestroy) X(cuGraphDestroyNode) X(cuGraphAddDependencies) \
  X(cuGraphAddEmptyNode) X(cuGraphAddHostNode) X(cuGraphAddKernelNode) X(cuGraphAddMemcpyNode) X(cuGraphAddMemsetNode) X(cuGraphAddChildGraphNode) \
  X(cuGraphGetEdges) X(cuGraphKernelNodeSetAttribute) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphExecDestroy) X(cuTexRefSetArray) X(cuTexRefSetAddress_v2) \
  X(cuTexRefSetAddress2D_v3) X(cuTexRefSetFormat) X(cuTexRefSetAddressMode) X(cuTexRefSetFilterMode) X(cuTexRefSetMipmapFilterMode) \
  X(cuTexRefSetMipmapLevelBias) X(cuTexRefSetMipmapLevelClamp) X(cuTexRefSetMaxAnisotropy) X(cuTexRefSetBorderColor) X(cuTexRefSetFlags) \
  X(cuTexRefGetAddress_v2) X(cuTexRefGetArray) X(cuTexRefGetAddressMode) X(cuTexRefGetFilterMode) X(cuTexRefGetFormat) X(cuTexRefGetMaxAnisotropy) \
  X(cuTexRefGetBorderColor) X(cuTexRefGetFlags) X(cuSurfRefSetArray) X(cuSurfRefGetArray)
