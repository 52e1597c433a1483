#include "trainer/commands/search_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "dataloader/text/printable.h"
#include "launch/error.h"
#include "launch/log.h"
#include "launch/signals.h"
#include "trainer/model_tokenizer.h"
#include "trainer/thumbnail.h"

namespace muster {
namespace {

constexpr const char* kHost = "127.0.0.1";
constexpr size_t kThreads = 8;  // a browser opens six connections

void answer_line(httplib::Response& response, int status, const std::string& line) {
  response.status = status;
  response.set_content(line + "\n", "text/plain; charset=utf-8");
}

std::string content_type(const std::vector<uint8_t>& image) {
  return image.size() > 2 && image[0] == 0xff && image[1] == 0xd8 ? "image/jpeg" : "image/png";
}

// Only these names mean this server to whoever typed them.
bool is_own_name(const std::string& host, int port) {
  for (const char* name : {kHost, "localhost"}) {
    if (host == fmt::format("{}:{}", name, port) || (port == 80 && host == name)) return true;
  }
  return false;
}

[[noreturn]] void refuse_port(int port, int error) {
  if (error == EADDRINUSE) {
    throw ConfigError(
        fmt::format("--port {}: another program listens on {}:{}; give another port, or 0 for any that is free", port,
                    kHost, port));
  }
  throw ConfigError(
      fmt::format("--port {}: it cannot be opened ({}); give a port of 1024 or more, or 0 for any that "
                  "is free",
                  port, std::strerror(error)));
}

}  // namespace

class SearchServer::Impl {
 public:
  explicit Impl(int port) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    // The library's own choice would let two servers share a port.
    server_.set_socket_options([](int socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server_.set_tcp_nodelay(true);
    server_.set_keep_alive_timeout(1);  // how long an idle connection may hold up the end
    server_.set_payload_max_length(0);
    errno = 0;
    port_ = port == 0 ? server_.bind_to_any_port(kHost) : server_.bind_to_port(kHost, port) ? port : -1;
    if (port_ <= 0) refuse_port(port, errno);
  }

  int port() const { return port_; }

  void serve(const Gallery& gallery, int64_t top, const std::function<void()>& ready) {
    add_answers(gallery, top);
    std::atomic<bool> ended{false};
    const StopOnSignal stop([&] {
      // A stop before the server runs would be lost, and so would be a second one that finds it ending.
      while (!ended && !server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      server_.stop();
    });
    ready();
    server_.listen_after_bind();
    ended = true;
  }

 private:
  void add_answers(const Gallery& gallery, int64_t top);
  std::string page(const Gallery& gallery, int64_t top, const httplib::Request& request, int& status);

  httplib::Server server_;
  int port_ = -1;
  std::mutex gallery_mutex_;
};

void SearchServer::Impl::add_answers(const Gallery& gallery, int64_t top) {
  server_.set_default_headers({{"Content-Security-Policy", kServedPolicy},
                               {"X-Content-Type-Options", "nosniff"},
                               {"Cross-Origin-Resource-Policy", "same-origin"},
                               {"Cross-Origin-Opener-Policy", "same-origin"},
                               {"Referrer-Policy", "no-referrer"}});
  server_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    using Answer = httplib::Server::HandlerResponse;
    if (request.get_header_value_count("Host") == 1 && is_own_name(request.get_header_value("Host"), port_)) {
      if (request.method == "GET" || request.method == "HEAD") return Answer::Unhandled;
      answer_line(response, 405, "only GET is answered here");
      return Answer::Handled;
    }
    answer_line(response, 421, fmt::format("this page is http://{}:{}/, under no other name", kHost, port_));
    return Answer::Handled;
  });
  server_.Get("/", [this, &gallery, top](const httplib::Request& request, httplib::Response& response) {
    int status = 200;
    const std::string html = page(gallery, top, request, status);
    response.status = status;
    response.set_header("Cache-Control", "no-store");
    response.set_content(html, "text/html; charset=utf-8");
  });
  server_.Get("/style.css", [](const httplib::Request&, httplib::Response& response) {
    response.set_content(search_style(), "text/css; charset=utf-8");
  });
  server_.Get(R"(/image/([0-9]{1,12}))", [&gallery](const httplib::Request& request, httplib::Response& response) {
    const std::string digits = request.matches[1];
    size_t row = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), row);
    if (row >= gallery.images.size()) return answer_line(response, 404, "the gallery has no such row");
    const std::vector<uint8_t> bytes = thumbnail(*gallery.store, gallery.images[row]);
    response.set_content(reinterpret_cast<const char*>(bytes.data()), bytes.size(), content_type(bytes));
  });
  server_.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr error) {
    std::string line = "internal error";
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      line = printable(exception.what());
    }
    log_error(line);
    answer_line(response, 500, line);
  });
  server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return;
    const int status = response.status;
    answer_line(response, status,
                status == 414   ? "the query is too long: give the words of a caption"
                : status == 404 ? "there is nothing here; the page is /"
                                : "this request is not understood");
  });
}

std::string SearchServer::Impl::page(const Gallery& gallery, int64_t top, const httplib::Request& request,
                                     int& status) {
  SearchPage made;
  made.title = "Muster search";
  made.facts = gallery_facts(gallery);
  made.refinement = gallery.refinement;
  made.is_served = true;
  if (!request.has_param("q")) return render_search_page(made);
  const std::string words = request.get_param_value("q");
  if (words.size() <= kMaxQueryBytes) made.typed = words;
  try {
    const std::lock_guard<std::mutex> lock(gallery_mutex_);
    const auto picture = [&](int64_t row) {
      const bool has_one = gallery.store->image_size(gallery.images[static_cast<size_t>(row)]) > 0;
      return has_one ? fmt::format("/image/{}", row) : std::string();
    };
    made.queries.push_back(find_images(gallery, words, top, picture));
  } catch (const ConfigError& error) {
    status = 400;
    made.complaint = error.what();
  }
  return render_search_page(made);
}

SearchServer::SearchServer(int port) : impl_(std::make_unique<Impl>(port)) {}

SearchServer::~SearchServer() = default;

int SearchServer::port() const {
  return impl_->port();
}

void SearchServer::serve(const Gallery& gallery, int64_t top, const std::function<void()>& ready) {
  impl_->serve(gallery, top, ready);
}

}  // namespace muster
