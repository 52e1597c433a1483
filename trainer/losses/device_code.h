// Marks of functions that are compiled for GPUs too, where a *.cu includes them.
#pragma once

#if defined(__CUDACC__)
#define MUSTER_DEVICE __device__
#define MUSTER_HOST_DEVICE __host__ __device__
#define MUSTER_UNROLL _Pragma("unroll")
#else
#define MUSTER_DEVICE
#define MUSTER_HOST_DEVICE
#define MUSTER_UNROLL
#endif
