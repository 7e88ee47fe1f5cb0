// SPDX-License-Identifier: Apache-2.0
#include "ui/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t most_longest = 5;
constexpr std::size_t few_to_tell = 5;  ///< one of so many, before what is left can be told
constexpr std::ptrdiff_t most_past = 6;
constexpr double worth_a_word = 0.05;      ///< seconds of a stage
constexpr double long_enough_to_tell = 2;  ///< seconds, before what is left can be told

double seconds(Progress::Clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

/// "failed" of "failed: no space left"; "done" of what begins with no word.
std::string first_word(std::string_view outcome, bool failed) {
  const std::string_view word = outcome.substr(0, outcome.find_first_of(":,;("));
  const bool is_word = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || c == ' ' || c == '-' || c == '\'';
  });
  return is_word ? std::string(word) : failed ? "failed" : "done";
}

std::string cut(const std::string& line, std::size_t width) {
  return line.size() <= width ? line : line.substr(0, width - 3) + "...";
}

}  // namespace

void Progress::stage_started(std::string_view stage, std::size_t total, Clock::time_point now) {
  stage_ = stage;
  total_ = total;
  finished_ = 0;
  began_ = now;
  running_.clear();
  outcomes_.clear();
  told_.reset();
  sent_before_ = sent_;
}

void Progress::item_started(std::string_view item, Clock::time_point now) {
  running_.insert_or_assign(std::string(item), now);
}

void Progress::item_finished(std::string_view item, std::string_view outcome, bool failed) {
  ++finished_;
  if (const auto running = running_.find(item); running != running_.end())
    running_.erase(running);
  Outcome& same = outcomes_[first_word(outcome, failed)];
  ++same.number;
  same.failed |= failed;
  if (failed)
    same.names.emplace_back(item);
}

void Progress::stage_finished(Clock::time_point now) {
  if (in_stage() && (past_.empty() || past_.back().first != stage_))
    past_.emplace_back(stage_, 0);
  if (in_stage())
    past_.back().second += seconds(now - began_);
  stage_.clear();
  running_.clear();
}

std::string Progress::counter() const {
  return fmt::format("[{} {}/{}]", stage_, finished_, total_);
}

std::string Progress::stages() const {
  std::vector<std::string> words;
  for (const auto& [name, took] : past_) {
    if (took >= worth_a_word)
      words.push_back(name + " " + human_seconds(took));
  }
  if (std::ssize(words) > most_past)
    words.erase(words.begin(), words.end() - most_past);
  if (in_stage())
    words.push_back(counter());
  return join(words, ", ");
}

std::string Progress::outcomes() const {
  std::vector<std::string> words;
  for (const bool failed : {false, true}) {
    for (const auto& [word, outcome] : outcomes_) {
      if (outcome.failed == failed)
        words.push_back(fmt::format("{} {}", outcome.number, word) +
                        (failed ? " (" + some_of(outcome.names) + ")" : ""));
    }
  }
  if (!running_.empty())
    words.push_back(fmt::format("{} under way", running_.size()));
  return join(words, ", ");
}

std::string Progress::longest(Clock::time_point now) const {
  std::vector<std::pair<Clock::time_point, std::string>> items;
  for (const auto& [name, since] : running_)
    items.emplace_back(since, name);
  const auto middle =
      items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), most_longest));
  std::partial_sort(items.begin(), middle, items.end());
  std::vector<std::string> words;
  for (auto item = items.begin(); item != middle; ++item)
    words.push_back(item->second + " " + human_seconds(seconds(now - item->first)));
  return words.empty() ? "" : "longest: " + join(words, ", ");
}

std::string Progress::speed(Clock::time_point now) const {
  const double took = seconds(now - began_);
  std::vector<std::string> words;
  if (sent_ > sent_before_ && took > 0) {
    const double rate = static_cast<double>(sent_ - sent_before_) / took;
    words.push_back(human_bytes(static_cast<std::uint64_t>(rate)) + "/s");
  }
  std::optional<double> left = told_;
  if (!left && finished_ * few_to_tell >= total_ && finished_ < total_ &&
      took >= long_enough_to_tell)
    left = took * static_cast<double>(total_ - finished_) / static_cast<double>(finished_);
  if (left)
    words.push_back("about " + human_seconds(*left) + " left");
  return join(words, ", ");
}

std::vector<std::string> Progress::lines(std::size_t width, Clock::time_point now) const {
  std::vector<std::string> lines;
  std::string all = stages();
  // The latest stages are worth most.
  if (all.size() > width)
    all = "..." + all.substr(all.size() - (width - 3));
  lines.push_back(all);
  if (in_stage()) {
    for (const std::string& line : {outcomes(), longest(now), speed(now)}) {
      if (!line.empty())
        lines.push_back(cut(line, width));
    }
  }
  return lines;
}

}  // namespace ds
