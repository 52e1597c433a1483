#include "trainer/encoders/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>

#include "dataloader/random.h"
#include "trainer/encoders/host_to_device.h"
#include "trainer/encoders/keyed_fill.h"

namespace muster {

at::Tensor add_with_dropout(const at::Tensor& x, const at::Tensor& branch, const DropoutKey& key, uint32_t layer) {
  if (!key.active()) return x.add(branch);
  at::Tensor mask = at::empty(branch.sizes(), at::kFloat);
  float* values = mask.mutable_data_ptr<float>();
  const int64_t* positions = key.positions.const_data_ptr<int64_t>();
  const int64_t elements = mask.numel() / mask.size(0);
  const auto kept = static_cast<float>(1.0 / (1.0 - key.rate));
  at::parallel_for(0, mask.size(0), 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const FillKey fill{key.seed, static_cast<uint64_t>(positions[row]),
                         static_cast<uint32_t>(Purpose::kDropout) + layer, 0};
      fill_dropout(fill, key.rate, kept, values + row * elements, elements);
    }
  });
  return at::addcmul(x, branch, host_to_device(mask, branch.device()).to(branch.scalar_type()));
}

}  // namespace muster
