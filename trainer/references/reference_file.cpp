#include "trainer/references/reference_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "comm/all_or_none.h"
#include "dataloader/formats/safetensors_rows.h"
#include "launch/error.h"

namespace muster {
namespace {

constexpr int64_t kBlockRows = 16384;

at::Tensor require_like(at::Tensor read, const at::Tensor& wanted, const std::string& name, const std::string& path) {
  if (read.sizes() == wanted.sizes() && read.scalar_type() == wanted.scalar_type()) return read;
  throw DataError(
      fmt::format("{}: {} has another shape or type than its rows; take an earlier checkpoint", path, name));
}

}  // namespace

NamedTensors reference_tensors(const ReferenceBank& bank, const NamedTensors& names) {
  NamedTensors tensors = bank.row_state();
  for (auto& mean : bank.means()) tensors.push_back(std::move(mean));
  tensors.insert(tensors.end(), names.begin(), names.end());
  return tensors;
}

void write_references(const std::string& path, const ReferenceBank& bank, const NamedTensors& names,
                      Communicator& communicator) {
  all_or_none(communicator, "references file made", [&] {
    if (communicator.rank() != 0) return;
    std::vector<TensorShape> shapes;
    for (const auto& [name, tensor] : bank.row_state()) {
      shapes.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
      shapes.back().sizes[0] = bank.order().size();
    }
    NamedTensors same = bank.means();
    same.insert(same.end(), names.begin(), names.end());
    for (const auto& [name, tensor] : same) shapes.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    create_safetensors(path, shapes);
    write_safetensors_rows(path, 0, same);
  });
  all_or_none(communicator, "references written",
              [&] { write_safetensors_rows(path, bank.first_row(), bank.row_state()); });
}

int64_t read_references(const std::string& path, ReferenceBank& bank, Communicator& communicator) {
  std::unique_ptr<SafetensorsFile> file;
  const at::Tensor sizes = at::empty({2}, at::kLong);
  if (communicator.rank() == 0) {
    file = std::make_unique<SafetensorsFile>(path);
    if (file->sizes("rows").size() != 2) throw DataError(path + ": rows is no matrix; take an earlier checkpoint");
    std::copy_n(file->sizes("rows").begin(), 2, sizes.data_ptr<int64_t>());
  }
  communicator.broadcast(sizes, 0, "references.sizes").wait();
  const int64_t count = sizes.const_data_ptr<int64_t>()[0], width = sizes.const_data_ptr<int64_t>()[1];
  if (width != bank.width()) {
    throw ConfigError(
        fmt::format("{} has references of width {}, this model's features have width {}; give the config "
                    "it was made with, or another --run",
                    path, width, bank.width()));
  }
  const auto send = [&](const std::string& name, at::Tensor tensor) {
    if (file) tensor.copy_(require_like(file->read(name), tensor, name, path));
    communicator.broadcast(tensor, 0, "references." + name).wait();
  };
  for (const auto& [name, tensor] : bank.means()) send(name, tensor);
  int64_t taken = 0;
  for (int64_t first = 0; first < count; first += kBlockRows) {
    NamedTensors block;
    for (const auto& [name, tensor] : bank.row_state()) {
      std::vector<int64_t> shape = tensor.sizes().vec();
      shape[0] = std::min(kBlockRows, count - first);
      const at::Tensor empty = at::empty(shape, tensor.options());
      block.emplace_back(name, file ? require_like(file->read_rows(name, first, shape[0]), empty, name, path) : empty);
      communicator.broadcast(block.back().second, 0, "references." + name).wait();
    }
    taken += bank.take_rows(block);
  }
  const at::Tensor found = at::scalar_tensor(taken, at::kLong);
  if (bank.is_sharded()) communicator.all_reduce(found, ReduceOp::kSum, "references.found").wait();
  return found.item<int64_t>();
}

}  // namespace muster
