// SPDX-License-Identifier: Apache-2.0
//
// Hosts against requirements.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/text.h"
#include "report/summary.h"

namespace ds {
namespace {

Cell cell_of(Severity severity) {
  switch (severity) {
    case Severity::fail:
      return Cell::fail;
    case Severity::unknown:
      return Cell::unknown;
    case Severity::warn:
      return Cell::warn;
    case Severity::ok:
      return Cell::ok;
  }
  return Cell::none;
}

/// A host's cells by the name of their column.
using Cells = std::map<std::string, Cell>;

Cells cells_of(const HostAudit& audit, GridOf columns) {
  Cells cells;
  for (const Finding& finding : audit.findings) {
    const std::string& name = columns == GridOf::rules ? finding.rule : finding.op;
    if (name.empty())
      continue;
    Cell& cell = cells.emplace(name, Cell::none).first->second;
    cell = std::min(cell, cell_of(finding.severity));
  }
  return cells;
}

struct Column {
  Cell worst = Cell::none;
  std::size_t bad = 0;  ///< hosts that are not ok
};

std::vector<std::pair<std::string, Column>> sorted_columns(const std::vector<Cells>& hosts) {
  std::map<std::string, Column> columns;
  for (const Cells& cells : hosts) {
    for (const auto& [name, cell] : cells) {
      Column& column = columns[name];
      column.worst = std::min(column.worst, cell);
      column.bad += cell < Cell::ok ? 1 : 0;
    }
  }
  std::vector<std::pair<std::string, Column>> sorted(columns.begin(), columns.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& left, const auto& right) {
    return std::make_tuple(left.second.worst, right.second.bad) <
           std::make_tuple(right.second.worst, left.second.bad);
  });
  return sorted;
}

}  // namespace

char symbol(Cell cell) {
  switch (cell) {
    case Cell::fail:
      return 'F';
    case Cell::unknown:
      return '?';
    case Cell::warn:
      return 'w';
    case Cell::ok:
      return '.';
    case Cell::none:
      break;
  }
  return '-';
}

Grid grid_of(const Report& report, GridOf columns) {
  const auto audits = audits_by_host(report);
  std::vector<Cells> hosts;
  for (const HostOutcome& host : report.hosts) {
    const auto audit = audits.find(host.host);
    hosts.push_back(audit == audits.end() ? Cells() : cells_of(*audit->second, columns));
  }
  Grid grid;
  for (const auto& [name, column] : sorted_columns(hosts)) {
    grid.columns.push_back(name);
    grid.worst.push_back(column.worst);
  }
  std::map<std::tuple<int, std::vector<Cell>>, GridRow> rows;
  for (std::size_t host = 0; host < hosts.size(); ++host) {
    std::vector<Cell> cells;
    for (const std::string& name : grid.columns) {
      const auto cell = hosts[host].find(name);
      cells.push_back(cell == hosts[host].end() ? Cell::none : cell->second);
    }
    const HostState state = report.hosts[host].state;
    GridRow& row = rows[{rank(state), cells}];
    row.state = state;
    row.cells = std::move(cells);
    row.hosts.push_back(host);
  }
  for (auto& [key, row] : rows)
    grid.rows.push_back(std::move(row));
  return grid;
}

namespace {

constexpr std::size_t text_width = 100;
constexpr std::size_t names_width = 44;

/// "ok at every host that was asked: a, b", in lines that fit.
std::string wrapped(const std::string& head, const std::vector<std::string>& words) {
  std::string text, line = head;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string word = " " + words[at] + (at + 1 < words.size() ? "," : "");
    if (line.size() + word.size() > text_width) {
      text += line + "\n";
      line = "   ";
    }
    line += word;
  }
  return text + line + "\n";
}

/// Names of columns as a staircase: each stands above its column and needs no more room than that.
std::string staircase(const std::vector<std::string>& names, std::size_t indent) {
  std::string text;
  for (std::size_t step = 0; step < names.size(); ++step) {
    text += std::string(indent, ' ');
    for (std::size_t left = 0; left < step; ++left)
      text += "| ";
    text += names[step] + "\n";
  }
  return text;
}

}  // namespace

std::string grid_text(const Report& report, bool verbose) {
  const Grid grid = grid_of(report, GridOf::rules);
  if (grid.columns.empty())
    return {};
  std::vector<std::size_t> shown;
  std::vector<std::string> shown_names, good;
  for (std::size_t at = 0; at < grid.columns.size(); ++at) {
    if (verbose || grid.worst[at] < Cell::ok) {
      shown.push_back(at);
      shown_names.push_back(grid.columns[at]);
    } else {
      good.push_back(grid.columns[at]);
    }
  }
  // Rows may be equal in the columns that are shown, and keep the order of all.
  std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> rows;
  for (const GridRow& row : grid.rows) {
    std::string cells;
    for (const std::size_t at : shown)
      cells += std::string(" ") + symbol(row.cells[at]);
    const std::string state = to_string(row.state);
    const std::vector<std::string> names = names_of(report, row.hosts);
    if (rows.empty() || std::get<0>(rows.back()) != state || std::get<1>(rows.back()) != cells)
      rows.emplace_back(state, cells, std::vector<std::string>());
    std::vector<std::string>& all = std::get<2>(rows.back());
    all.insert(all.end(), names.begin(), names.end());
  }
  std::string text = "matrix\n";
  if (!shown.empty()) {
    std::size_t widest = 0, widest_state = 0;
    std::vector<std::string> folded;
    for (const auto& [state, cells, names] : rows) {
      folded.push_back(names_and_number(names, names_width));
      widest = std::max(widest, folded.back().size());
      widest_state = std::max(widest_state, state.size());
    }
    text += staircase(shown_names, 2 + widest + 2 + widest_state + 2);
    for (std::size_t at = 0; at < rows.size(); ++at) {
      text += fmt::format("  {:<{}}  {:<{}} {}\n", folded[at], widest, std::get<0>(rows[at]),
                          widest_state, std::get<1>(rows[at]));
    }
    text += "  F fail   ? unknown   w warn   . ok   - not asked\n";
  }
  return good.empty() ? text : text + wrapped("  ok wherever it was asked:", good);
}

}  // namespace ds
