// The descriptors of configs/run.proto and all it imports, comments included: a serialised FileDescriptorSet made by
// protoc during the build (launch/cmake/embed_bytes.cmake).
#pragma once

#include <cstddef>

namespace muster {

extern const unsigned char kRunDescriptor[];
extern const size_t kRunDescriptorBytes;

}  // namespace muster
