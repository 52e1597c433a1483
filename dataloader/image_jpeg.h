// JPEG bytes to pixels: one of the two formats behind decode_image().
#pragma once

#include <string>

#include "dataloader/decoder_complaints.h"
#include "dataloader/image.h"

namespace muster {

bool is_jpeg(const uint8_t* data, size_t size);

// As decode_image(); the bytes start as a JPEG does.
Image decode_jpeg(const uint8_t* data, size_t size, const std::string& what, Complaints& complaints);

}  // namespace muster
