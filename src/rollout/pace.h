// SPDX-License-Identifier: Apache-2.0
//
// Which host is activated when, which stays and which goes back. Pure: it is told what happened and
// says what is to begin. Hosts are numbers from 0, in the order in which they are activated.
#pragma once

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <vector>

namespace ds {

struct PaceLimits {
  /// Between activation and the decision at one moment; kept full. At least 1.
  std::size_t in_flight = 1;
  /// Not at a confirmed release at one moment, those that were not before the run among them.
  std::size_t unavailable = 1;
  std::size_t failures = 0;  ///< one more stops the run, and so does one of the canary
  bool together = true;      ///< nobody stays before all that did not fail have proven themselves
  bool all_go_back = true;   ///< once stopped, also those that stay already
  /// How many may have begun by the end of each wave; none of a wave begins before all of the one
  /// before are decided. Empty: all are one wave.
  std::vector<std::size_t> waves = {};
  std::size_t canary = 0;  ///< the first so many of them
  bool bakes = false;      ///< the canary is watched before the next wave begins
  bool prepares = false;   ///< something comes before a host is activated: a drain
  bool rehearses = false;  ///< the canary goes forward, back and forward
  /// Where more than `failures` failed the run stops if they are of several classes, else only the
  /// class; one of the canary stops its class.
  bool class_stops = false;
  std::vector<std::size_t> classes = {};  ///< of each host, for class_stops

  std::size_t at_once() const { return std::min(in_flight, unavailable); }
};

/// What begins now. A host is in one list, once for each time.
struct PaceOrders {
  std::vector<std::size_t> prepare;    ///< then prepared() or passed()
  std::vector<std::size_t> activate;   ///< then activated() or failed()
  std::vector<std::size_t> keep;       ///< then kept(), expired() or stuck()
  std::vector<std::size_t> take_back;  ///< then returned() or stuck()
  std::vector<std::size_t> rehearse;   ///< the same, and all is well with them
};

class Pace {
 public:
  /// `unavailable`: other hosts of the run that are not at a confirmed release and stay so.
  Pace(PaceLimits limits, std::size_t hosts, std::size_t unavailable);

  PaceOrders orders();

  void prepared(std::size_t host);   ///< it can be activated
  void passed(std::size_t host);     ///< it stays as it is, and nobody is to blame
  void refused(std::size_t host);    ///< it stays as it is, and has failed
  void activated(std::size_t host);  ///< the pointer moved; it proves itself now
  void proven(std::size_t host);     ///< a fresh interpreter said yes
  void failed(std::size_t host);     ///< it could not be activated, or not prove itself, or is lost
  void kept(std::size_t host);       ///< it heard that it stays
  void expired(std::size_t host);    ///< it had gone back by itself before it heard
  void returned(std::size_t host);   ///< it is at the release of before
  void stuck(std::size_t host);      ///< it cannot be told where to go
  void untold(std::size_t host);     ///< it was to stay, and was not told
  void giving_back(std::size_t host);  ///< it is decided, and still out of work
  void given_back(std::size_t host);
  void baked(std::size_t host);    ///< it was watched long enough
  void spoiled(std::size_t host);  ///< it failed while it was watched

  /// How many begin together next, if they begin now; 0: none, or some of their wave have begun.
  std::size_t about_to_begin() const;
  /// Nothing new begins; all else goes on.
  void hold() { held_ = true; }
  /// Nothing new begins; who is not decided goes back.
  void interrupt();
  /// No answer comes any more to what was ordered: who was to stay or to go back is told again, and
  /// who was on its way goes back.
  void abandon();

  bool stopped() const { return stopped_; }
  bool stopped(std::size_t host) const;     ///< the run, or the host's class
  bool busy() const;                        ///< something was ordered and its end is not known
  std::vector<std::size_t> baking() const;  ///< those that are watched
  std::size_t class_of(std::size_t host) const { return limits_.classes.at(host); }
  bool prepares() const { return limits_.prepares; }
  bool is_settled(std::size_t host) const;    ///< nothing more is asked of it, but to be watched
  bool is_rehearsed(std::size_t host) const;  ///< it went forward and back, or need not
  std::size_t failures() const { return failures_; }
  std::size_t in_flight() const;    ///< now, those that are not given back among them
  std::size_t unavailable() const;  ///< now
  std::size_t waiting() const;      ///< never activated

 private:
  enum class Stand {
    waiting,
    preparing,
    prepared,
    activating,
    proving,
    proven,
    to_keep,
    keeping,
    baking,
    kept,
    to_rehearse,
    rehearsing,
    to_return,
    returning,
    returned,
    stuck,
  };
  void move(std::size_t host, std::vector<Stand> from, Stand to);
  void fail(std::size_t host);
  struct Range {
    std::size_t begin, end;
  };
  Range open_wave() const;
  std::size_t number_of(std::vector<Stand> stands) const;
  void begin_more(PaceOrders& orders);
  void give(Stand from, Stand to, std::vector<std::size_t>& list);
  void decide();
  void recall();

  PaceLimits limits_;
  std::vector<Stand> hosts_;
  std::size_t before_;
  std::size_t failures_ = 0;
  std::set<std::size_t> failed_classes_, stopped_classes_;
  std::set<std::size_t> out_of_work_;  ///< decided, and not given back
  std::set<std::size_t> rehearsed_;    ///< hosts that went forward and back
  bool stopped_ = false, interrupted_ = false, held_ = false;
};

}  // namespace ds
