#pragma once

namespace CLI {
class App;
}

namespace muster {

class Process;

// muster bench loader and muster bench tokenizer.
void add_data_benchmarks(CLI::App& bench, Process& process);

}  // namespace muster
