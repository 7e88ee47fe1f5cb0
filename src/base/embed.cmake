# SPDX-License-Identifier: Apache-2.0
# Writes OUTPUT: the files of TEMPLATES as bytes, looked up by name through ds::template_text().
set(arrays "")
set(rows "")
set(number 0)
foreach(file IN LISTS TEMPLATES)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "const unsigned char file_${number}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", {reinterpret_cast<const char*>(file_${number}), "
                     "sizeof file_${number} - 1}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUTPUT}" "// Generated from templates/.
#include <string>
#include <string_view>
#include <utility>

#include \"base/error.h\"
#include \"base/text.h\"

namespace {
${arrays}
const std::pair<std::string_view, std::string_view> files[] = {
${rows}};
}  // namespace

namespace ds {
std::string_view template_text(std::string_view name) {
  for (const auto& [known, text] : files) {
    if (known == name) return text;
  }
  throw Error(\"no template is called \" + std::string(name));
}
}  // namespace ds
")
