// Ranks as threads of one process: for tests, which run four ranks in milliseconds and see every rank's error.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace muster {

// Makes `size` communicators that talk to each other; element r belongs to the thread that plays rank r.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int size, bool checked = true,
                                                                     double timeout_s = 60);

// Runs body(communicator) on `size` threads with one intra-op thread each and joins them. If any rank throws, the
// others are released (their calls throw CommError) and the first error is rethrown.
void run_ranks(int size, const std::function<void(Communicator&)>& body);

}  // namespace muster
