// muster serve, asked as a browser and as a stranger would ask: real sockets, real signals, and a real browser where
// there is one.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "dataloader/store.h"
#include "tests/commands/trained_run.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr std::chrono::seconds kLimit{60};

class Socket {
 public:
  Socket() : descriptor_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() { close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

sockaddr_in local_address(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

struct Answer {
  int status = 0;
  std::string head, body;
};

// Sends these bytes and reads until the server closes the connection.
Answer send_bytes(int port, const std::string& bytes) {
  const Socket socket;
  const sockaddr_in address = local_address(port);
  if (connect(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("cannot connect");
  }
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t some = send(socket.descriptor(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (some <= 0) break;  // it has heard enough
    sent += static_cast<size_t>(some);
  }
  std::string text;
  char buffer[4096];
  for (ssize_t some = 0; (some = recv(socket.descriptor(), buffer, sizeof buffer, 0)) > 0;) {
    text.append(buffer, static_cast<size_t>(some));
  }
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos || text.rfind("HTTP/1.1 ", 0) != 0) return {0, text, ""};
  return {std::stoi(text.substr(9)), text.substr(0, end), text.substr(end + 4)};
}

std::string url_encoded(const std::string& text) {
  std::string encoded;
  for (const char c : text) encoded += fmt::format("%{:02X}", static_cast<uint8_t>(c));
  return encoded;
}

class ServeCommand : public TrainedRunTest {
 protected:
  void SetUp() override {
    fs::copy(run(), folder_ / "run", fs::copy_options::recursive);
    write_safetensors(folder_ / "run/checkpoints/step_0000000004/references.safetensors",
                      {{"rows", at::eye(16).narrow(0, 0, 8).contiguous()},
                       {"identity", at::arange(8)},
                       {"mean.image", at::full({16}, 0.1)},
                       {"mean.text", at::full({16}, -0.1)}});
  }

  std::vector<std::string> serve(const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {muster_program(), "serve", "--run", folder_ / "run", "--data", store()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  // Starts a server on a free port and waits until it answers.
  void start(const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv = serve({"--port", "0"});
    argv.insert(argv.end(), more.begin(), more.end());
    server_ = std::make_unique<ChildProcess>(argv);
    const std::regex address(R"(http://127\.0\.0\.1:([0-9]+)/ )");
    ASSERT_TRUE(server_->wait_until(
        [&] {
          std::smatch found;
          const std::string output = server_->output();
          if (!std::regex_search(output, found, address)) return false;
          port_ = std::stoi(found[1]);
          return true;
        },
        kLimit))
        << server_->output();
  }

  Answer get(const std::string& target, const std::string& host = "") const {
    return send_bytes(port_, fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target,
                                         host.empty() ? fmt::format("127.0.0.1:{}", port_) : host));
  }
  Answer query(const std::string& words) const { return get("/?q=" + url_encoded(words)); }

  int port_ = 0;
  std::unique_ptr<ChildProcess> server_;
};

TEST_F(ServeCommand, ShowsBothRankingsAndEndsOnCtrlC) {
  start({"--refine", "--set", "refinement.phi=[CENTRE]", "--set", "refinement.beta=[1]"});
  const Answer empty = get("/");
  EXPECT_EQ(empty.status, 200);
  EXPECT_THAT(empty.body, HasSubstr("<input name=\"q\" value=\"\""));
  EXPECT_THAT(empty.body, Not(HasSubstr("<h3>")));

  const Answer found = query("thing 8");
  EXPECT_EQ(found.status, 200);
  EXPECT_THAT(found.body, HasSubstr("<input name=\"q\" value=\"thing 8\""));
  EXPECT_THAT(found.body, HasSubstr("<h3>Plain</h3>"));
  EXPECT_THAT(found.body, HasSubstr("<h3>Refined</h3>"));
  EXPECT_THAT(found.body,
              HasSubstr("<dt>refined by</dt><dd><bdi>8 references, phi CENTRE, beta 1, z-scores, as the config "
                        "says</bdi></dd>"));
  for (const char* header :
       {"Content-Security-Policy: default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff", "Cross-Origin-Resource-Policy: same-origin", "Cache-Control: no-store",
        "Content-Type: text/html; charset=utf-8"}) {
    EXPECT_THAT(found.head, HasSubstr(header));
  }
  const Store images(store());
  for (int row = 0; row < 4; ++row) {
    EXPECT_THAT(found.body, HasSubstr(fmt::format("src=\"/image/{}\"", row)));
    const Answer picture = get(fmt::format("/image/{}", row));
    EXPECT_THAT(picture.head, HasSubstr("Content-Type: image/jpeg"));
    const std::vector<uint8_t> bytes = images.image_bytes(images.images_of(Split::kTest)[static_cast<size_t>(row)]);
    EXPECT_EQ(picture.body, std::string(bytes.begin(), bytes.end()));
  }
  EXPECT_THAT(get("/style.css").head, HasSubstr("Content-Type: text/css"));

  kill(server_->pid(), SIGINT);
  const ProgramResult ended = server_->wait();
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("4 images of test of "));
}

TEST_F(ServeCommand, HitsAreThoseOfSearch) {
  start();
  const std::string page = query("a red thing").body;
  EXPECT_THAT(page, Not(HasSubstr("Refined")));
  std::vector<std::string> served, printed;
  const std::regex hit("<li title=\"([^\"]*)\">.*class=\"score\">([^<]*)<");
  for (const std::string& line : lines_of(page)) {
    std::smatch found;
    if (std::regex_search(line, found, hit)) served.push_back(found[2].str() + " " + found[1].str());
  }
  const std::regex row("^ +[0-9]+  ([-0-9.]+)  thing [0-9]+ +([^ ]+)$");
  for (const std::string& line :
       lines_of(output_of({muster_program(), "search", "--run", folder_ / "run", "--data", store(), "a red thing"}))) {
    std::smatch found;
    if (std::regex_search(line, found, row)) printed.push_back(found[1].str() + " " + found[2].str());
  }
  EXPECT_EQ(served.size(), 4U);
  EXPECT_EQ(served, printed);
  kill(server_->pid(), SIGTERM);
  EXPECT_EQ(server_->wait().exit_code, 0);
}

TEST_F(ServeCommand, StrangersGetALineOrTheirWordsEscaped) {
  start();
  const std::string script = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
  const Answer hostile = query(script);
  EXPECT_EQ(hostile.status, 200);
  EXPECT_THAT(hostile.body, Not(HasSubstr("<script")));
  EXPECT_THAT(hostile.body, Not(HasSubstr("<img src=x")));
  EXPECT_THAT(hostile.body, HasSubstr("value=\"&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&lt;img"));
  EXPECT_THAT(hostile.body, HasSubstr("<h3>Plain</h3>"));

  const auto expect_complaint = [&](const std::string& words, const std::string& complaint) {
    const Answer answer = query(words);
    EXPECT_EQ(answer.status, 400) << words.substr(0, 20);
    EXPECT_THAT(answer.body, HasSubstr("<p class=\"complaint\">the query "));
    EXPECT_THAT(answer.body, HasSubstr(complaint));
    EXPECT_THAT(answer.body, Not(HasSubstr("<h3>")));
  };
  expect_complaint("", "has no word to search for");
  expect_complaint(" \t\n", "has no word to search for");
  expect_complaint(std::string(1, '\0'), "has no word to search for");
  expect_complaint("<end_of_text>", "has no word to search for");
  expect_complaint("a red \xff\xfe", "is not UTF-8");
  EXPECT_EQ(query(std::string("a\0b", 3)).status, 200);
  EXPECT_THAT(query(std::string("a\0b", 3)).body, HasSubstr("value=\"a\xef\xbf\xbd"
                                                            "b\""));
  EXPECT_THAT(get("/?q=" + std::string(5000, 'a')).body, HasSubstr("the query has 5000 bytes: give at most 4096"));
  const Answer long_one = get("/?q=" + std::string(1 << 20, 'a'));
  EXPECT_EQ(long_one.status, 414);
  EXPECT_EQ(long_one.body, "the query is too long: give the words of a caption\n");

  for (const std::string host :
       {"evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"}) {
    EXPECT_EQ(get("/?q=thing", host).status, 421) << host;
  }
  EXPECT_EQ(send_bytes(port_, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").status, 421);
  EXPECT_EQ(send_bytes(port_, fmt::format("GET / HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nHost: evil.example\r\n"
                                          "Connection: close\r\n\r\n",
                                          port_))
                .status,
            421);
  EXPECT_EQ(get("/?q=thing", fmt::format("localhost:{}", port_)).status, 200);
  EXPECT_EQ(send_bytes(port_, fmt::format("POST /?q=thing HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n"
                                          "Connection: close\r\n\r\n",
                                          port_))
                .status,
            405);
  for (const char* target : {"/image/4", "/image/999999999999", "/image/", "/image/../../etc/passwd", "/etc/passwd",
                             "/image/0%00", "/%2e%2e/%2e%2e/etc/passwd"}) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 404) << target;
    EXPECT_EQ(lines_of(answer.body).size(), 1U) << answer.body;
  }
  send_bytes(port_, std::string("\0\xff\x01nonsense\r\n\r\n", 14));
  EXPECT_EQ(query("thing 8").status, 200);  // it lives
  EXPECT_THAT(server_->output(), Not(HasSubstr("error")));
}

TEST_F(ServeCommand, APortInUseOrOutOfReachIsSaidBeforeAnythingIsLoaded) {
  const Socket taken;
  sockaddr_in address = local_address(0);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(taken.descriptor(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(taken.descriptor(), 1), 0);
  ASSERT_EQ(getsockname(taken.descriptor(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  const std::vector<std::string> on_port = {muster_program(), "serve", "--run",  folder_ / "absent",
                                            "--data",         store(), "--port", std::to_string(port)};
  const ProgramResult in_use = run_program(on_port);
  EXPECT_EQ(in_use.exit_code, 2);
  EXPECT_EQ(in_use.output, fmt::format("muster: --port {0}: another program listens on 127.0.0.1:{0}; give another "
                                       "port, or 0 for any that is free\n",
                                       port));
}

TEST_F(ServeCommand, APortThatIsNotForThisUserIsSaid) {
  int first_free = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free;
  if (first_free <= 80) GTEST_SKIP() << "every port is open to every user here";
  std::vector<std::string> argv = {muster_program(), "serve", "--run", "absent", "--data", "absent", "--port", "80"};
  if (getuid() == 0) {
    const std::vector<std::string> as_nobody = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    if (run_program({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", muster_program(), "--version"})
            .exit_code != 0) {
      GTEST_SKIP() << "no other user can run " << muster_program();
    }
    argv.insert(argv.begin(), as_nobody.begin(), as_nobody.end());
  }
  const ProgramResult result = run_program(argv);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output,
            "muster: --port 80: it cannot be opened (Permission denied); give a port of 1024 or more, or 0 for any "
            "that is free\n");
}

TEST_F(ServeCommand, TwoServersNeverShareAPort) {
  start();
  ChildProcess second(serve({"--port", std::to_string(port_)}));
  second.wait_until([&] { return second.output().find("http://") != std::string::npos; }, kLimit);
  EXPECT_THAT(second.output(), HasSubstr("another program listens on 127.0.0.1:"));
  EXPECT_THAT(second.output(), Not(HasSubstr("http://")));
}

// Debian's browser, without its window and, as root, without its sandbox.
std::string browser() {
  for (const char* name : {"/usr/bin/chromium", "/usr/bin/chromium-headless-shell"}) {
    if (fs::exists(name)) return name;
  }
  return "";
}

TEST_F(ServeCommand, ABrowserShowsBothRankingsAndRunsNothing) {
  if (browser().empty()) GTEST_SKIP() << "no chromium: run launch/setup.sh --tests";
  start({"--refine", "--set", "refinement.phi=[CENTRE]", "--set", "refinement.beta=[1]"});
  const std::string words = "thing 8 <script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">";
  std::string dom = output_of({browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                               "--user-data-dir=" + (folder_ / "browser"), "--virtual-time-budget=5000", "--dump-dom",
                               fmt::format("http://127.0.0.1:{}/?q={}", port_, url_encoded(words))});
  EXPECT_THAT(dom, HasSubstr("<title>Muster search</title>"));
  EXPECT_THAT(dom, HasSubstr("<h3>Plain</h3>"));
  EXPECT_THAT(dom, HasSubstr("<h3>Refined</h3>"));
  // The words stand in the box; browsers differ in how they write an attribute's < down.
  const size_t box = dom.find("<form"), end = dom.find("</form>");
  ASSERT_LT(box, end) << dom;
  EXPECT_THAT(dom.substr(box, end - box), HasSubstr("value=\"thing 8 "));
  dom.erase(box, end - box);
  EXPECT_THAT(dom, Not(HasSubstr("script")));
  EXPECT_THAT(dom, Not(HasSubstr("onerror")));
  const std::regex picture("<img class=\"picture\" src=\"/image/");
  EXPECT_EQ(std::distance(std::sregex_iterator(dom.begin(), dom.end(), picture), std::sregex_iterator()), 8);
}

}  // namespace
}  // namespace muster
