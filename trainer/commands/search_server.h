// The page of muster serve, over HTTP on this machine alone.
//
//   /?q=WORDS    the page; with words, what they find
//   /image/ROW   the thumbnail of a row of the gallery
//   /style.css
//
// Whoever asks is a stranger: a browser may be led here by a page from elsewhere. So: only 127.0.0.1 is listened on; a
// request whose Host is another name (DNS rebinding) is refused; other sites may neither frame the page nor use its
// pictures; nothing is ever written; words are escaped; what cannot be answered is one line of text.
#pragma once

#include <memory>
#include <string>

#include "trainer/commands/search_setup.h"

namespace muster {

class SearchServer {
 public:
  // Takes the port, 0: any that is free. ConfigError: it is in use, or may not be opened by this user.
  explicit SearchServer(int port);
  ~SearchServer();
  SearchServer(const SearchServer&) = delete;
  SearchServer& operator=(const SearchServer&) = delete;

  int port() const;
  // Calls ready() and answers until SIGINT or SIGTERM. `top`: hits a query. The gallery is asked by one request at a
  // time.
  void serve(const Gallery& gallery, int64_t top, const std::function<void()>& ready);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
