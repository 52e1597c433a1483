#include "comm/traffic.h"

#include <algorithm>
#include <numeric>

#include "comm/communicator.h"

namespace muster {
namespace {

// One message for each peer that gets rows of this rank.
Traffic to_each_its_rows(const std::vector<int64_t>& rows, int64_t row_bytes, int rank) {
  Traffic traffic;
  for (int r = 0; r < static_cast<int>(rows.size()); ++r) {
    const int64_t bytes = rows[static_cast<size_t>(r)] * row_bytes;
    traffic.handed += bytes;
    if (r == rank || bytes == 0) continue;
    traffic.sent += bytes;
    ++traffic.messages;
  }
  return traffic;
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& other) {
  handed += other.handed;
  sent += other.sent;
  messages += other.messages;
  return *this;
}

Traffic all_reduce_traffic(int64_t elements, int64_t element_bytes, int rank, int size) {
  Traffic traffic;
  for (int64_t begin = 0; begin < elements; begin += kLargestPiece) {
    const int64_t count = std::min(kLargestPiece, elements - begin), bytes = count * element_bytes;
    if (bytes * size <= kGatherBytes) {
      traffic += {bytes, (size - 1) * bytes, size - 1};
      continue;
    }
    const std::vector<int64_t> pieces = split_rows(count, size);
    traffic += to_each_its_rows(pieces, element_bytes, rank);
    const Traffic second = all_gather_traffic(pieces, element_bytes, rank);
    traffic.sent += second.sent;
    traffic.messages += second.messages;
  }
  return traffic;
}

Traffic all_gather_traffic(const std::vector<int64_t>& rows, int64_t row_bytes, int rank) {
  const int64_t bytes = rows[static_cast<size_t>(rank)] * row_bytes;
  const int64_t peers = bytes == 0 ? 0 : static_cast<int64_t>(rows.size()) - 1;
  return {bytes, peers * bytes, peers};
}

Traffic reduce_scatter_traffic(const std::vector<int64_t>& rows, int64_t row_bytes, int rank) {
  return to_each_its_rows(rows, row_bytes, rank);
}

Traffic all_to_all_traffic(const std::vector<int64_t>& send_rows, int64_t row_bytes, int rank) {
  return to_each_its_rows(send_rows, row_bytes, rank);
}

}  // namespace muster
