#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>

#include "trainer/losses/fold_kernels.h"
#include "trainer/losses/tile_device.h"
#include "trainer/losses/weigh_kernels.h"

namespace muster {
namespace {

using namespace tile_kernels;

__device__ inline float shuffled(float x, int mask) {
  return __shfl_xor_sync(0xffffffffU, x, mask);
}
__device__ inline double shuffled(double x, int mask) {
  return __shfl_xor_sync(0xffffffffU, x, mask);
}
template <typename T>
__device__ inline Best<T> shuffled(Best<T> x, int mask) {
  return {__shfl_xor_sync(0xffffffffU, x.cosine, mask), __shfl_xor_sync(0xffffffffU, x.index, mask)};
}

constexpr size_t kSharedBytes = kWarps * kGroupColumns * sizeof(Best<double>);

// One block of threads.
class BlockTeam {
 public:
  template <typename X>
  struct PerThread {
    X value;
    __device__ X& operator[](int) { return value; }
  };

  __device__ explicit BlockTeam(unsigned char* shared) : shared_(shared) {}

  template <typename F>
  __device__ void each(F f) {
    f(static_cast<int>(threadIdx.x));
  }

  template <typename E, int N, typename Op>
  __device__ void reduce_rows(PerThread<Array<E, N>>& x, Op op) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
#pragma unroll
      for (int mask = kLanes / 2; mask > 0; mask /= 2) x.value[i] = op(x.value[i], shuffled(x.value[i], mask));
    }
  }

  template <typename E, int N, typename Op>
  __device__ void reduce_columns(PerThread<Array<E, N>>& x, Op op) {
    E* all = reinterpret_cast<E*>(shared_);
    const int warp = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    constexpr int kWidth = N * kLanes;
    __syncthreads();  // the last reduction has been read
#pragma unroll
    for (int k = 0; k < N; ++k) all[warp * kWidth + k * kLanes + lane] = x.value[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; ++k) {
      E folded = all[k * kLanes + lane];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) folded = op(folded, all[w * kWidth + k * kLanes + lane]);
      x.value[k] = folded;
    }
  }

 private:
  unsigned char* shared_;
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) fold_kernel(const __grid_constant__ FoldCall<T> call) {
  __shared__ __align__(16) unsigned char shared[kSharedBytes];
  BlockTeam team(shared);
  fold_group<T>(team, call, blockIdx.y, blockIdx.x);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) weigh_kernel(const __grid_constant__ WeighCall<T> call) {
  __shared__ __align__(16) unsigned char shared[kSharedBytes];
  BlockTeam team(shared);
  weigh_group<T>(team, call, blockIdx.y, blockIdx.x);
}

// A thread an anchor: blockIdx.y is the part, rows come before columns.
template <typename T>
__global__ void merge_kernel(const __grid_constant__ FoldCall<T> call) {
  const int64_t anchor = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool is_row = anchor < call.tile.rows;
  if (anchor < call.tile.rows + call.tile.columns) {
    merge_anchor(call, static_cast<int>(blockIdx.y), is_row, is_row ? anchor : anchor - call.tile.rows);
  }
}

template <typename T>
__global__ void totals_kernel(const __grid_constant__ WeighCall<T> call) {
  const int64_t anchor = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool is_row = anchor < call.tile.rows;
  if (anchor < call.tile.rows + call.tile.columns) {
    merge_totals(call, static_cast<int>(blockIdx.y), is_row, is_row ? anchor : anchor - call.tile.rows);
  }
}

template <typename T>
dim3 groups_of(const DeviceTile<T>& tile) {
  return dim3(static_cast<unsigned>(tile.column_groups()), static_cast<unsigned>(tile.row_groups()));
}

template <typename Call>
dim3 anchors_of(const Call& call) {
  const int64_t anchors = call.tile.rows + call.tile.columns;
  return dim3(static_cast<unsigned>((anchors + kThreads - 1) / kThreads), static_cast<unsigned>(call.parts));
}

template <typename T>
void launch_fold(const FoldCall<T>& call, cudaStream_t stream) {
  if (call.parts == 0 || call.tile.rows == 0 || call.tile.columns == 0) return;
  fold_kernel<T><<<groups_of(call.tile), kThreads, 0, stream>>>(call);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  merge_kernel<T><<<anchors_of(call), kThreads, 0, stream>>>(call);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename T>
void launch_weigh(const WeighCall<T>& call, cudaStream_t stream) {
  if (call.tile.rows == 0 || call.tile.columns == 0) return;
  weigh_kernel<T><<<groups_of(call.tile), kThreads, 0, stream>>>(call);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (call.parts == 0) return;
  totals_kernel<T><<<anchors_of(call), kThreads, 0, stream>>>(call);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

class CudaTileDevice final : public TileDevice {
 public:
  explicit CudaTileDevice(at::Device device) : device_(device) {}

  at::Device device() const override { return device_; }
  void fold(const FoldCall<float>& call) const override { launch_fold(call, stream()); }
  void fold(const FoldCall<double>& call) const override { launch_fold(call, stream()); }
  void weigh(const WeighCall<float>& call) const override { launch_weigh(call, stream()); }
  void weigh(const WeighCall<double>& call) const override { launch_weigh(call, stream()); }

 private:
  cudaStream_t stream() const { return c10::cuda::getCurrentCUDAStream(device_.index()).stream(); }

  at::Device device_;
};

}  // namespace

std::unique_ptr<TileDevice> make_tile_device(at::Device device) {
  return std::make_unique<CudaTileDevice>(device);
}

}  // namespace muster
