// What a collective costs a rank, from sizes alone: the bytes it is handed, and what MpiCommunicator then sends.
//
//   handed    bytes of the call's input, what Communicator::bytes_started() counts
//   sent      bytes that this rank sends to others. With P ranks and n bytes handed:
//               all-reduce, n P <= kGatherBytes   each rank's n to all others:   (P - 1) n
//               all-reduce, larger                all-to-all of the pieces of split_rows(), then an all-gather of the
//                                                 summed ones:   n - own piece + (P - 1) own piece, 2 (P - 1) / P n
//                                                 for even pieces, which is a ring's
//               all-gather                        own rows to all others:        (P - 1) n
//               reduce-scatter, all-to-all        to each rank its rows:         n - own rows
//   messages  sends of those bytes, one a peer and round
// A world of one sends nothing. tests/mpi/traffic_test.cpp compares with what Open MPI's own monitoring counts.
#pragma once

#include <cstdint>
#include <vector>

namespace muster {

// Below this size (of all ranks' tensors together) one round of latency is dearer than the traffic saved by two.
constexpr int64_t kGatherBytes = 64 * 1024;
// MPI counts are int; longer tensors travel as several collectives of so many elements.
constexpr int64_t kLargestPiece = int64_t{1} << 30;

struct Traffic {
  int64_t handed = 0;
  int64_t sent = 0;
  int64_t messages = 0;

  Traffic& operator+=(const Traffic& other);
};

Traffic all_reduce_traffic(int64_t elements, int64_t element_bytes, int rank, int size);

// `rows`: of each rank; of all_to_all, of this rank for each.
Traffic all_gather_traffic(const std::vector<int64_t>& rows, int64_t row_bytes, int rank);
Traffic reduce_scatter_traffic(const std::vector<int64_t>& rows, int64_t row_bytes, int rank);
Traffic all_to_all_traffic(const std::vector<int64_t>& send_rows, int64_t row_bytes, int rank);

}  // namespace muster
