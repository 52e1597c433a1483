#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "launch/process.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/search_server.h"
#include "trainer/commands/search_setup.h"

namespace muster {
namespace {

struct ServeArguments {
  SearchRequest request;
  int port = 8080;
};

void serve(const ServeArguments& arguments, const Process& process) {
  SearchServer server(arguments.port);  // first: a port in use is known before anything is embedded
  const Gallery gallery = open_gallery(arguments.request, "muster serve", {}, process);
  fmt::print("{}\n", gallery.name);
  if (!gallery.ranking.empty()) fmt::print("ranked {}\n", gallery.ranking);
  if (!gallery.refinement.empty()) fmt::print("refined: {}\n", gallery.refinement);
  server.serve(gallery, arguments.request.top, [&] {
    fmt::print("http://127.0.0.1:{}/ (Ctrl-C ends it)\n", server.port());
    std::fflush(stdout);
  });
}

}  // namespace

void add_serve_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("serve", "Answer words with the images of a split, on a page for a browser on this machine");
  const auto arguments = std::make_shared<ServeArguments>();
  add_search_options(*command, arguments->request);
  command->add_option("--port", arguments->port, "Port on 127.0.0.1; 0: any that is free")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->callback([arguments, &process] { serve(*arguments, process); });
}

}  // namespace muster
