#include "trainer/commands/matrix_rate.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "trainer/commands/stopwatch.h"

namespace muster {
namespace {

constexpr int64_t kLargest = 16384;
// A product this long is not a matter of launching it.
constexpr double kLongEnough = 0.02;
constexpr int kRuns = 8;

// Until the product is there: reading an element waits for a device as well.
double seconds_of_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& product) {
  return time_of([&] {
           at::mm_out(product, a, b);
           product.select(0, 0).select(0, 0).item();
         })
      .wall;
}

}  // namespace

double matrix_rate(at::ScalarType dtype, at::Device device) {
  const at::TensorOptions options = at::TensorOptions(dtype).device(device);
  for (int64_t size = 1024;; size *= 2) {
    const at::Tensor a = at::ones({size, size}, options), b = at::ones({size, size}, options);
    at::Tensor product = at::ones({size, size}, options);
    double least = seconds_of_product(a, b, product);
    least = std::min(least, seconds_of_product(a, b, product));
    if (least < kLongEnough && size < kLargest) continue;
    for (int run = 0; run < kRuns; ++run) least = std::min(least, seconds_of_product(a, b, product));
    return 2.0 * static_cast<double>(size * size * size) / least;
  }
}

}  // namespace muster
