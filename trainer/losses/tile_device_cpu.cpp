#include <stdexcept>

#include "trainer/losses/tile_device.h"

namespace muster {

std::unique_ptr<TileDevice> make_tile_device(at::Device device) {
  throw std::logic_error("make_tile_device: " + device.str() + " in a build without CUDA");
}

}  // namespace muster
