#pragma once

namespace CLI {
class App;
}

namespace muster {

class Process;

// muster bench retrieval.
void add_bench_retrieval(CLI::App& bench, Process& process);

}  // namespace muster
