// How much memory this host has for this process and its like.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

// Bytes that can be taken now without swapping: what the kernel calls available, and at most what the control groups
// (v1 or v2) of this process leave, counting what they hold of files as free. `root`: where /proc and /sys are, for
// tests.
int64_t available_host_memory(const std::string& root = "/");

}  // namespace muster
