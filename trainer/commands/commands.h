// The subcommands of muster, one thin file each. add_X_command() describes the subcommand to the parser and gives it a
// callback that runs it; errors leave the callback as muster::Error.
#pragma once

namespace CLI {
class App;
}

namespace muster {

class Process;

void add_import_command(CLI::App& app, Process& process);
void add_synth_command(CLI::App& app, Process& process);
void add_doctor_command(CLI::App& app, Process& process);
void add_inspect_command(CLI::App& app, Process& process);
void add_tokenize_command(CLI::App& app, Process& process);
void add_train_command(CLI::App& app, Process& process);
void add_eval_command(CLI::App& app, Process& process);
void add_embed_command(CLI::App& app, Process& process);
void add_export_command(CLI::App& app, Process& process);
void add_relevance_command(CLI::App& app, Process& process);
void add_search_command(CLI::App& app, Process& process);
void add_serve_command(CLI::App& app, Process& process);
void add_explain_command(CLI::App& app, Process& process);
void add_loss_command(CLI::App& app, Process& process);
void add_table_command(CLI::App& app, Process& process);
void add_config_command(CLI::App& app, Process& process);
void add_bench_command(CLI::App& app, Process& process);

// `muster bench train`, a subcommand of bench.
void add_bench_train(CLI::App& bench, Process& process);
// `muster bench references`.
void add_bench_references(CLI::App& bench, Process& process);
// `muster bench search`.
void add_bench_search(CLI::App& bench, Process& process);

// `muster doctor data`, a subcommand of doctor. It ends with CLI::RuntimeError(1) where it has findings.
void add_doctor_data(CLI::App& doctor, Process& process);

}  // namespace muster
