#include "comm/communicator.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <exception>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "launch/error.h"
#include "launch/log.h"

namespace muster {
namespace {

const char* name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMax:
      return "max";
    case ReduceOp::kMin:
      return "min";
  }
  return "?";
}

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

// What every rank must have in common: dimension 0 is cut differently on each.
std::string row_shape_of(const at::Tensor& tensor) {
  return fmt::format("{} [rows, {}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes().slice(1), ", "));
}

bool is_supported(at::ScalarType dtype) {
  return dtype == at::kDouble || dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16 ||
         dtype == at::kLong || dtype == at::kInt || dtype == at::kByte;
}

int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

int64_t sum(const std::vector<int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0});
}

// Checks of one call's arguments; each failure is one line that names operation, call, rank and shapes.
struct Door {
  const char* operation;
  const std::string& name;
  const Communicator& communicator;

  [[noreturn]] void refuse(const std::string& what) const {
    throw std::logic_error(fmt::format("{} '{}' on rank {}: {}", operation, name, communicator.rank(), what));
  }

  void check_tensor(const char* role, const at::Tensor& tensor) const {
    if (!tensor.defined()) refuse(fmt::format("{} is undefined", role));
    if (!communicator.takes(tensor.device())) {
      refuse(fmt::format("{} {} is on {}, where this communicator reaches no tensors", role, shape_of(tensor),
                         tensor.device().str()));
    }
    if (!is_supported(tensor.scalar_type()))
      refuse(fmt::format("{} has the dtype {}, which cannot travel", role, shape_of(tensor)));
    if (!tensor.is_contiguous()) {
      refuse(fmt::format("{} {} is not contiguous; call .contiguous() and keep the result", role, shape_of(tensor)));
    }
  }

  void check_rows(const char* role, const std::vector<int64_t>& rows) const {
    if (static_cast<int>(rows.size()) != communicator.size()) {
      refuse(fmt::format("{} has {} entries for {} ranks", role, rows.size(), communicator.size()));
    }
    for (const int64_t n : rows) {
      if (n < 0) refuse(fmt::format("{} [{}] has a negative entry", role, fmt::join(rows, ", ")));
    }
  }

  void check_row_count(const char* role, const at::Tensor& tensor, int64_t expected, const std::vector<int64_t>& rows,
                       const char* meaning) const {
    if (tensor.dim() < 1 || tensor.size(0) != expected) {
      refuse(fmt::format("{} {} should have {} rows, {} of rows [{}]", role, shape_of(tensor), expected, meaning,
                         fmt::join(rows, ", ")));
    }
  }

  void check_same_rows(const at::Tensor& output, const at::Tensor& input) const {
    if (output.scalar_type() != input.scalar_type() || output.sizes().slice(1) != input.sizes().slice(1)) {
      refuse(fmt::format("input {} and output {} differ in dtype or row shape", shape_of(input), shape_of(output)));
    }
    if (output.device() != input.device()) {
      refuse(fmt::format("input is on {}, output on {}", input.device().str(), output.device().str()));
    }
  }

  // `part` may be exactly the slice of `whole` that starts at `row`, or share no memory with it.
  void check_overlap(const at::Tensor& whole, const at::Tensor& part, int64_t row) const {
    if (whole.numel() == 0 || part.numel() == 0) return;
    const auto* begin = static_cast<const char*>(whole.data_ptr());
    const auto* part_begin = static_cast<const char*>(part.data_ptr());
    const bool apart = part_begin + part.nbytes() <= begin || begin + whole.nbytes() <= part_begin;
    const int64_t row_bytes = bytes_of(whole) / whole.size(0);
    if (!apart && part_begin != begin + row * row_bytes) {
      refuse(fmt::format("input and output overlap without being this rank's own slice (shapes {} and {})",
                         shape_of(whole), shape_of(part)));
    }
  }
};

int64_t rows_before(const std::vector<int64_t>& rows, int rank) {
  return std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
}

// A started collective that is recorded once it is finished.
class RecordedState final : public Work::State {
 public:
  RecordedState(std::unique_ptr<Work::State> inner, TraceRecorder& trace, TraceEvent event)
      : inner_(std::move(inner)), trace_(trace), event_(std::move(event)) {}
  void wait() override {
    {
      const TraceSpan waiting(&trace_, "wait", event_.number, event_.category);
      inner_->wait();
    }
    record();
  }
  bool test() override {
    if (!inner_->test()) return false;
    record();
    return true;
  }

 private:
  void record() {
    event_.end = inner_->finished_at();
    trace_.add(std::move(event_));
  }

  std::unique_ptr<Work::State> inner_;
  TraceRecorder& trace_;
  TraceEvent event_;
};

// One line of fixed length, so that the comparison itself never depends on what is compared.
constexpr int64_t kFingerprintBytes = 320;

std::string fingerprint(int64_t sequence, const std::string& description) {
  std::string line = fmt::format("call {}: {}", sequence, description);
  if (line.size() >= static_cast<size_t>(kFingerprintBytes)) {
    const size_t hash = std::hash<std::string>()(line);
    line.resize(kFingerprintBytes - 24);
    line += fmt::format("... ({:016x})", hash);
  }
  line.resize(kFingerprintBytes, '\0');
  return line;
}

}  // namespace

Work& Work::operator=(Work&& other) {
  if (this != &other) {
    wait();
    state_ = std::move(other.state_);
  }
  return *this;
}

Work::~Work() {
  if (std::uncaught_exceptions() > 0) return;
  try {
    wait();
  } catch (const std::exception& error) {
    log_error(error.what());  // the next call on the communicator throws it again
  }
}

void Work::wait() {
  if (const std::unique_ptr<State> state = std::move(state_)) state->wait();
}

bool Work::test() {
  if (state_ && state_->test()) state_.reset();
  return state_ == nullptr;
}

Work Communicator::all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) {
  const Door door{"all_reduce", name, *this};
  door.check_tensor("tensor", tensor);
  if (op != ReduceOp::kSum && (tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16)) {
    door.refuse(fmt::format("{} of {}: 16-bit floats can only be summed", name_of(op), shape_of(tensor)));
  }
  begin(fmt::format("all_reduce '{}' {} {}", name, name_of(op), shape_of(tensor)), name);
  return record("all_reduce", name, bytes_of(tensor), tensor.numel() == 0 ? Work() : do_all_reduce(tensor, op, name));
}

Work Communicator::all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                              const std::string& name) {
  const Door door{"all_gather", name, *this};
  door.check_tensor("output", output);
  door.check_tensor("input", input);
  door.check_rows("rows", rows);
  door.check_row_count("output", output, sum(rows), rows, "the sum");
  door.check_row_count("input", input, rows[static_cast<size_t>(rank_)], rows, "this rank's entry");
  door.check_same_rows(output, input);
  door.check_overlap(output, input, rows_before(rows, rank_));
  begin(fmt::format("all_gather '{}' {} rows [{}]", name, row_shape_of(input), fmt::join(rows, ", ")), name);
  return record("all_gather", name, bytes_of(input),
                output.numel() == 0 ? Work() : do_all_gather(output, input, rows, name));
}

Work Communicator::reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                                  const std::string& name) {
  const Door door{"reduce_scatter", name, *this};
  door.check_tensor("output", output);
  door.check_tensor("input", input);
  door.check_rows("rows", rows);
  door.check_row_count("input", input, sum(rows), rows, "the sum");
  door.check_row_count("output", output, rows[static_cast<size_t>(rank_)], rows, "this rank's entry");
  door.check_same_rows(output, input);
  door.check_overlap(input, output, rows_before(rows, rank_));
  begin(fmt::format("reduce_scatter '{}' {} rows [{}]", name, row_shape_of(input), fmt::join(rows, ", ")), name);
  return record("reduce_scatter", name, bytes_of(input),
                input.numel() == 0 ? Work() : do_reduce_scatter(output, input, rows, name));
}

Work Communicator::broadcast(const at::Tensor& tensor, int root, const std::string& name) {
  const Door door{"broadcast", name, *this};
  door.check_tensor("tensor", tensor);
  if (root < 0 || root >= size_) door.refuse(fmt::format("root {} is no rank of {}", root, size_));
  begin(fmt::format("broadcast '{}' {} from rank {}", name, shape_of(tensor), root), name);
  return record("broadcast", name, bytes_of(tensor), tensor.numel() == 0 ? Work() : do_broadcast(tensor, root, name));
}

Work Communicator::all_to_all(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& send_rows,
                              const std::vector<int64_t>& receive_rows, const std::string& name) {
  const Door door{"all_to_all", name, *this};
  door.check_tensor("output", output);
  door.check_tensor("input", input);
  door.check_rows("send_rows", send_rows);
  door.check_rows("receive_rows", receive_rows);
  door.check_row_count("input", input, sum(send_rows), send_rows, "the sum");
  door.check_row_count("output", output, sum(receive_rows), receive_rows, "the sum");
  door.check_same_rows(output, input);
  door.check_overlap(input, output, -1);
  begin(fmt::format("all_to_all '{}' {}", name, row_shape_of(input)), name);
  if (checked_) compare_rows_over_ranks(send_rows, receive_rows, name);
  return record("all_to_all", name, bytes_of(input), do_all_to_all(output, input, send_rows, receive_rows, name));
}

void Communicator::barrier(const std::string& name) {
  begin(fmt::format("barrier '{}'", name), name);
  {
    const TraceSpan waiting(trace_, "wait", {"bytes", 0}, "barrier");
    do_barrier(name);
  }
  record("barrier", name, 0, Work());
}

void Communicator::begin(std::string description, const std::string& name) {
  if (trace_ != nullptr && trace_->is_recording()) began_ = TraceClock::now();
  ++sequence_;
  description_ = std::move(description);
  if (checked_ && size_ > 1) compare_over_ranks(name);
}

Work Communicator::record(const char* operation, const std::string& name, int64_t bytes, Work work) {
  bytes_started_ += bytes;
  if (trace_ == nullptr || !trace_->is_recording()) return work;
  TraceEvent event{name, operation, began_, {}, {"bytes", bytes}, 0, /*overlaps=*/true};
  if (work.state_ != nullptr) {
    return Work(std::make_unique<RecordedState>(std::move(work.state_), *trace_, std::move(event)));
  }
  event.end = TraceClock::now();
  trace_->add(std::move(event));
  return Work();
}

void Communicator::compare_over_ranks(const std::string& name) {
  const std::string mine = fingerprint(sequence_, description_);
  const at::Tensor input = at::empty({1, kFingerprintBytes}, at::kByte);
  const at::Tensor output = at::empty({size_, kFingerprintBytes}, at::kByte);
  std::memcpy(input.data_ptr(), mine.data(), mine.size());
  do_all_gather(output, input, std::vector<int64_t>(static_cast<size_t>(size_), 1), name).wait();
  for (int r = 0; r < size_; ++r) {
    const char* theirs = static_cast<const char*>(output.data_ptr()) + r * kFingerprintBytes;
    if (std::memcmp(theirs, mine.data(), mine.size()) != 0) {
      throw CommError(fmt::format("ranks make different calls: rank {} makes {}; rank {} makes {}", rank_, mine.c_str(),
                                  r, theirs));
    }
  }
}

void Communicator::compare_rows_over_ranks(const std::vector<int64_t>& send_rows,
                                           const std::vector<int64_t>& receive_rows, const std::string& name) {
  const at::Tensor input = at::empty({1, size_}, at::kLong);
  const at::Tensor output = at::empty({size_, size_}, at::kLong);
  std::memcpy(input.data_ptr(), send_rows.data(), input.nbytes());
  do_all_gather(output, input, std::vector<int64_t>(static_cast<size_t>(size_), 1), name).wait();
  const auto* sent = static_cast<const int64_t*>(output.data_ptr());
  for (int r = 0; r < size_; ++r) {
    const int64_t from_r = sent[r * size_ + rank_];
    const int64_t expected = receive_rows[static_cast<size_t>(r)];
    if (from_r != expected) {
      throw CommError(fmt::format("all_to_all '{}' on rank {}: rank {} sends {} rows where {} are expected", name,
                                  rank_, r, from_r, expected));
    }
  }
}

std::vector<int64_t> split_rows(int64_t total, int size) {
  std::vector<int64_t> rows(static_cast<size_t>(size), total / size);
  for (int64_t r = 0; r < total % size; ++r) ++rows[static_cast<size_t>(r)];
  return rows;
}

}  // namespace muster
