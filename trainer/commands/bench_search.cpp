#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/count_format.h"
#include "trainer/commands/run_setup.h"
#include "trainer/commands/stopwatch.h"
#include "trainer/function_clones.h"
#include "trainer/retrieval/search_index.h"

namespace muster {
namespace {

constexpr int64_t kDrawnRows = 16384;  // at a time

struct BenchSearchArguments {
  int64_t rows = 1000000;
  int64_t width = 512;
  int64_t top = 10;
  int64_t queries = 64;
  int threads = 0;
  int runs = 7;
  std::string embeddings;
};

using Sixteen = float __attribute__((vector_size(64), aligned(4), may_alias));

// Eight independent sums of vectors: nothing but the reading takes time.
MUSTER_CLONES("avx512f", "arch=haswell") float sum_of(const float* values, int64_t count) {
  Sixteen sums[8] = {};
  for (int64_t i = 0; i + 128 <= count; i += 128) {
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; ++j) sums[j] += *reinterpret_cast<const Sixteen*>(values + i + 16 * j);
  }
  float sum = 0;
  for (const Sixteen& one : sums) {
    for (int lane = 0; lane < 16; ++lane) sum += one[lane];
  }
  return sum;
}

// Reads every byte of a float32 matrix once: the yardstick.
float read_all(const at::Tensor& stored) {
  std::atomic<float> total{0};
  const auto* values = stored.const_data_ptr<float>();
  at::parallel_for(0, stored.size(0), 1, [&](int64_t begin, int64_t end) {
    const int64_t each = stored.size(1) * stored.size(2);
    total.store(total.load() + sum_of(values + begin * each, (end - begin) * each));  // only so that it is used
  });
  return total;
}

// Rows of which only directions matter, drawn from normal numbers.
SearchIndex draw_index(const BenchSearchArguments& arguments, Storage storage) {
  SearchIndex index(arguments.rows, arguments.width, storage);
  at::Generator generator = at::detail::createCPUGenerator(1);
  for (int64_t first = 0; first < arguments.rows; first += kDrawnRows) {
    index.add(at::randn({std::min(kDrawnRows, arguments.rows - first), arguments.width}, generator, at::kFloat));
  }
  return index;
}

std::vector<std::set<int64_t>> found_by(const SearchIndex& index, const at::Tensor& queries, int64_t top) {
  std::vector<std::set<int64_t>> found;
  for (int64_t q = 0; q < queries.size(0); ++q) {
    found.emplace_back();
    for (const Hit& hit : index.search(queries[q], top)) found.back().insert(hit.item);
  }
  return found;
}

// Percent of the hits that both have.
double overlap(const std::vector<std::set<int64_t>>& a, const std::vector<std::set<int64_t>>& b) {
  size_t common = 0, all = 0;
  for (size_t q = 0; q < a.size(); ++q) {
    all += a[q].size();
    for (const int64_t item : a[q]) common += b[q].count(item);
  }
  return all == 0 ? 100 : 100 * static_cast<double>(common) / static_cast<double>(all);
}

void print_overlap(const BenchSearchArguments& arguments, const std::vector<std::set<int64_t>>& full,
                   const std::vector<std::set<int64_t>>& half, const std::string& where) {
  fmt::print("float16 finds {:.3f} % of float32's top {} ({} queries on {})\n", overlap(full, half), arguments.top,
             full.size(), where);
}

// The same on embeddings that a run made: captions find images.
void compare_on_file(const BenchSearchArguments& arguments) {
  const NamedTensors tensors = read_safetensors(arguments.embeddings);
  const at::Tensor images = find_tensor(tensors, "image", arguments.embeddings).to(at::kFloat);
  const at::Tensor texts = find_tensor(tensors, "text", arguments.embeddings).to(at::kFloat);
  if (images.dim() != 2 || texts.dim() != 2 || images.size(1) != texts.size(1)) {
    throw DataError(fmt::format("{}: 'image' and 'text' must be [n, width] of one width, as muster embed writes them",
                                arguments.embeddings));
  }
  std::vector<std::set<int64_t>> found[2];
  for (const Storage storage : {Storage::kFloat32, Storage::kFloat16}) {
    SearchIndex index(images.size(0), images.size(1), storage);
    index.add(images);
    found[storage == Storage::kFloat16] = found_by(index, texts, arguments.top);
  }
  print_overlap(arguments, found[0], found[1],
                fmt::format("the {} images of {}", with_commas(images.size(0)), arguments.embeddings));
}

// A run's median seconds: on the clock, and of all threads.
struct Timed {
  double wall = 0;
  double cpu = 0;
};

Timed median_of(const std::vector<Seconds>& runs) {
  std::vector<double> wall, cpu;
  for (const Seconds& run : runs) {
    wall.push_back(run.wall);
    cpu.push_back(run.cpu);
  }
  return {median(wall), median(cpu)};
}

void print_time(const char* name, const Timed& timed, double bytes, const std::string& more) {
  fmt::print("{:<18} {:>9.2f} ms {:>9.2f} ms cpu {:>8.2f} GB/s   {}\n", name, 1e3 * timed.wall, 1e3 * timed.cpu,
             1e-9 * bytes / timed.wall, more);
}

void bench_search(const BenchSearchArguments& arguments, Process& process) {
  if (process.world_size() > 1) throw ConfigError("muster bench search measures one process; run it without mpirun");
  start_computing(process, arguments.threads);
  at::Generator generator = at::detail::createCPUGenerator(2);
  const at::Tensor queries = at::randn({arguments.queries, arguments.width}, generator, at::kFloat);
  fmt::print("one query, {} rows of width {}, top {}, {} threads, medians of {} interleaved runs\n",
             with_commas(arguments.rows), arguments.width, arguments.top, at::get_num_threads(), arguments.runs);
  std::vector<std::set<int64_t>> full;
  std::vector<Seconds> reads, searches, half_searches;
  const auto query_of = [&](int run) { return queries[run % queries.size(0)]; };
  double bytes = 0;
  {
    const SearchIndex index = draw_index(arguments, Storage::kFloat32);
    const at::Tensor& stored = index.rows().stored();
    bytes = static_cast<double>(stored.nbytes());
    index.search(queries[0], arguments.top);
    float unused = read_all(stored);
    for (int run = 0; run < arguments.runs; ++run) {
      reads.push_back(time_of([&] { unused += read_all(stored); }));
      searches.push_back(time_of([&] { index.search(query_of(run), arguments.top); }));
    }
    full = found_by(index, queries, arguments.top);
  }
  const SearchIndex half = draw_index(arguments, Storage::kFloat16);
  for (int run = 0; run < arguments.runs; ++run) {
    half_searches.push_back(time_of([&] { half.search(query_of(run), arguments.top); }));
  }
  const Timed read = median_of(reads);
  const auto ratio = [&](const Timed& timed, double share) {
    return fmt::format("{:.3f} x, {:.3f} x cpu", timed.wall / read.wall / share, timed.cpu / read.cpu / share);
  };
  const Timed search = median_of(searches), half_search = median_of(half_searches);
  print_time("read the rows", read, bytes, "");
  print_time("search, float32", search, bytes, ratio(search, 1) + " the read");
  print_time("search, float16", half_search, bytes / 2, ratio(half_search, 0.5) + " a read of half the bytes");
  print_overlap(arguments, full, found_by(half, queries, arguments.top), "random unit rows");
  if (!arguments.embeddings.empty()) compare_on_file(arguments);
}

}  // namespace

void add_bench_search(CLI::App& bench, Process& process) {
  CLI::App* command = bench.add_subcommand(
      "search", "Time of one query against reading the rows once, and what float16 storage costs in hits");
  const auto arguments = std::make_shared<BenchSearchArguments>();
  command->add_option("--rows", arguments->rows, "Images")->check(CLI::Range(1, 1 << 30))->capture_default_str();
  command->add_option("--width", arguments->width, "Width of the embeddings")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--top", arguments->top, "Hits a query")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--queries", arguments->queries, "Queries that compare float16's hits with float32's")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--embeddings", arguments->embeddings,
                      "Compare them also on what muster embed wrote, with its captions as queries");
  command->add_option("--threads", arguments->threads, "Threads; 0: all cores")->check(CLI::Range(0, 1024));
  command->add_option("--runs", arguments->runs, "Runs of each")->check(CLI::Range(1, 1000))->capture_default_str();
  command->callback([arguments, &process] { bench_search(*arguments, process); });
}

}  // namespace muster
