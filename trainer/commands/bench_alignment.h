#pragma once

namespace CLI {
class App;
}

namespace muster {

class Process;

// muster bench alignment.
void add_bench_alignment(CLI::App& bench, Process& process);

}  // namespace muster
