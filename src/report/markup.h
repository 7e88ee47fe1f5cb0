// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace ds {

/// Cleaned, and as text or the value of an attribute in HTML and XML 1.0. `@` is escaped too, so
/// that no text reads as a place of a template.
std::string markup_text(std::string_view text);

/// Cleaned, and as text in GitHub's Markdown, also in a table's cell: nothing in it is markup.
std::string markdown_text(std::string_view text);

/// What stands behind `::` in a workflow command, on one line.
std::string command_data(std::string_view text);
std::string command_property(std::string_view text);  ///< the value in `title=...`

}  // namespace ds
