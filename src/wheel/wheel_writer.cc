// SPDX-License-Identifier: Apache-2.0
//
// Wheels by libzip: same spec, same bytes. libzip reads the sources when it closes the archive, so
// every text of a spec lives until then.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/fd.h"
#include "base/sha256.h"
#include "base/text.h"
#include "wheel/metadata.h"
#include "wheel/record.h"
#include "wheel/wheel.h"
#include "wheel/wheel_name.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr int deflate_level = 9;

[[noreturn]] void refuse(const std::string& what, const std::string& fix) {
  throw Error("cannot write a wheel: " + what, fix, ExitStatus::usage);
}

struct DosTime {
  std::uint16_t time = 0, date = 0;
};

/// SOURCE_DATE_EPOCH in the zip format's own calendar, which is 1980 to 2107.
DosTime entry_time() {
  constexpr long first = 315532800, last = 4354819198;
  long seconds = first;
  const char* epoch = std::getenv("SOURCE_DATE_EPOCH");
  if (epoch != nullptr && *epoch != '\0') {
    const auto given = parse_integer(epoch, 0, last);
    if (!given) {
      refuse("SOURCE_DATE_EPOCH is '" + clean_line(epoch) + "'",
             "set it to seconds since 1970, or unset it");
    }
    seconds = std::max(first, *given);
  }
  const std::time_t when = seconds;
  std::tm utc{};
  ::gmtime_r(&when, &utc);
  return {.time = static_cast<std::uint16_t>((utc.tm_hour << 11) | (utc.tm_min << 5) |
                                             (utc.tm_sec / 2)),
          .date = static_cast<std::uint16_t>(((utc.tm_year - 80) << 9) | ((utc.tm_mon + 1) << 5) |
                                             utc.tm_mday)};
}

/// An archive that is being written; thrown away unless close() is reached.
class ZipFile {
 public:
  explicit ZipFile(const fs::path& file) : file_(file) {
    int code = 0;
    zip_ = ::zip_open(file.c_str(), ZIP_CREATE | ZIP_EXCL, &code);
    if (zip_ == nullptr) {
      zip_error_t error;
      ::zip_error_init_with_code(&error, code);
      const std::string why = ::zip_error_strerror(&error);
      ::zip_error_fini(&error);
      fail(why);
    }
  }
  ~ZipFile() {
    if (zip_ != nullptr)
      ::zip_discard(zip_);
  }
  ZipFile(const ZipFile&) = delete;
  ZipFile& operator=(const ZipFile&) = delete;

  void add(const WheelFile& entry, DosTime when) {
    zip_source_t* source =
        entry.source.empty()
            ? ::zip_source_buffer(zip_, entry.content.data(), entry.content.size(), 0)
            : ::zip_source_file(zip_, entry.source.c_str(), 0, -1);
    check(source != nullptr);
    const zip_int64_t added = ::zip_file_add(zip_, entry.path.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (added < 0)
      ::zip_source_free(source);
    check(added >= 0);
    const auto index = static_cast<zip_uint64_t>(added);
    const zip_uint32_t mode = S_IFREG | (entry.executable ? 0755u : 0644u);
    check(::zip_file_set_external_attributes(zip_, index, 0, ZIP_OPSYS_UNIX, mode << 16) == 0);
    check(::zip_file_set_dostime(zip_, index, when.time, when.date, 0) == 0);
    check(::zip_set_file_compression(zip_, index, ZIP_CM_DEFLATE, deflate_level) == 0);
  }

  void close() {
    check(::zip_close(zip_) == 0);
    zip_ = nullptr;
  }

 private:
  void check(bool good) const {
    if (!good)
      fail(::zip_strerror(zip_));
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(fmt::format("cannot write {}: {}", file_.string(), why), {}, ExitStatus::usage);
  }

  fs::path file_;
  zip_t* zip_ = nullptr;
};

/// A hidden folder beside the wheel-to-be, on the same file system; removed with the object.
class Workshop {
 public:
  explicit Workshop(const fs::path& folder) {
    std::error_code failure;
    fs::create_directories(folder, failure);
    std::string pattern = (folder / ".wheel.XXXXXX").string();
    if (failure || ::mkdtemp(pattern.data()) == nullptr) {
      const std::string why = failure ? failure.message() : errno_text(errno);
      throw Error(fmt::format("cannot write into {}: {}", folder.string(), why), {},
                  ExitStatus::usage);
    }
    path_ = pattern;
  }
  ~Workshop() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void check_spec(const WheelSpec& spec) {
  if (spec.name.empty() || spec.name != normalised_name(spec.name) ||
      !parse_wheel_name(spec.name + "-0-py3-none-any.whl")) {
    refuse("'" + clean_line(spec.name) + "' is no normalised name",
           "use lower case letters, digits and single '_'");
  }
  const auto version = normalised_version(spec.version);
  if (version != spec.version) {
    refuse("'" + clean_line(spec.version) + "' is no normalised version (PEP 440)",
           version ? "use '" + *version + "'" : "use a version such as 0.1.0+g1a2b3c4");
  }
  if (!is_tag(spec.tag)) {
    refuse("'" + clean_line(spec.tag) + "' is no wheel tag", "use one such as py3-none-any");
  }
  const std::string problem =
      spec.metadata.empty() ? "" : metadata_problem(spec.metadata, spec.name);
  if (!problem.empty())
    refuse("its METADATA " + problem, "give that of the project itself");
}

std::string metadata_text(const WheelSpec& spec) {
  if (!spec.metadata.empty())
    return with_version(spec.metadata, spec.version);
  return render(
      template_text("METADATA"),
      std::vector<Replacement>{
          {"NAME", spec.name}, {"VERSION", spec.version}, {"SUMMARY", clean_line(spec.summary)}});
}

/// "py2.py3-none-any" stands for two tags; WHEEL lists each.
std::string tag_lines(const std::string& tag) {
  const std::vector<std::string> sets = split(tag, '-');
  std::vector<std::string> out;
  for (const std::string& python : split(sets[0], '.')) {
    for (const std::string& abi : split(sets[1], '.')) {
      for (const std::string& platform : split(sets[2], '.')) {
        out.push_back(fmt::format("Tag: {}-{}-{}", python, abi, platform));
      }
    }
  }
  return join(out, "\n");
}

std::string top_level_text(const std::vector<WheelFile>& files) {
  std::set<std::string> names;
  for (const WheelFile& file : files) {
    const std::string first = split(file.path, '/').front();
    if (first.ends_with(".data"))
      continue;
    names.insert(first == file.path ? first.substr(0, first.find('.')) : first);
  }
  std::string out;
  for (const std::string& name : names)
    out += name + "\n";
  return out;
}

/// Everything but RECORD, in the order of the archive: by path, .dist-info last.
std::vector<WheelFile> gather(const WheelSpec& spec, const std::string& stem) {
  const auto by_path = [](const WheelFile& a, const WheelFile& b) { return a.path < b.path; };
  std::vector<WheelFile> files = spec.files;
  for (const WheelFile& file : spec.data) {
    files.push_back(file);
    files.back().path = stem + ".data/" + file.path;
  }
  std::sort(files.begin(), files.end(), by_path);
  std::vector<WheelFile> info = spec.dist_info;
  const auto add = [&info](std::string path, std::string content) {
    info.push_back({.path = std::move(path), .content = std::move(content), .source = {}});
  };
  add("METADATA", metadata_text(spec));
  add("WHEEL", render(template_text("WHEEL"),
                      std::vector<Replacement>{{"GENERATOR_VERSION", DS_DEPLOY_VERSION},
                                               {"TAGS", tag_lines(spec.tag)}}));
  if (std::none_of(info.begin(), info.end(),
                   [](const WheelFile& file) { return file.path == "top_level.txt"; }))
    add("top_level.txt", top_level_text(spec.files));
  for (WheelFile& file : info)
    file.path = stem + ".dist-info/" + file.path;
  std::sort(info.begin(), info.end(), by_path);
  std::move(info.begin(), info.end(), std::back_inserter(files));
  return files;
}

void check_paths(const std::vector<WheelFile>& files, const std::string& record) {
  std::set<std::string_view> seen = {record};
  for (const WheelFile& file : files) {
    const std::string problem = path_problem(file.path);
    if (!problem.empty())
      refuse("'" + clean_line(file.path) + "': " + problem, "rename the file");
    if (!seen.insert(file.path).second) {
      refuse("'" + file.path + "' is listed twice", "leave one of the two out");
    }
  }
}

RecordLine record_line(const WheelFile& file) {
  RecordLine line{.path = file.path, .hash = "sha256=", .size = file.content.size()};
  if (file.source.empty()) {
    line.hash += base64url(sha256(file.content));
    return line;
  }
  std::error_code failure;
  line.size = fs::file_size(file.source, failure);
  if (failure)
    refuse(file.source.string() + ": " + failure.message(), {});
  line.hash += base64url(sha256_file(file.source));
  return line;
}

void sync(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) {
    throw Error(fmt::format("cannot write {}: {}", path.string(), errno_text(errno)), {},
                ExitStatus::usage);
  }
}

bool same_bytes(const fs::path& left, const fs::path& right) {
  std::error_code failure;
  return fs::is_regular_file(right, failure) &&
         fs::file_size(left, failure) == fs::file_size(right, failure) && !failure &&
         ::access(right.c_str(), R_OK) == 0 && sha256_file(left) == sha256_file(right);
}

}  // namespace

std::filesystem::path write_wheel(const WheelSpec& spec, const std::filesystem::path& folder) {
  check_spec(spec);
  const DosTime when = entry_time();
  const std::string stem = fmt::format("{}-{}", spec.name, spec.version);
  const std::string record = stem + ".dist-info/RECORD";
  std::vector<WheelFile> files = gather(spec, stem);
  check_paths(files, record);
  std::vector<RecordLine> lines;
  for (const WheelFile& file : files)
    lines.push_back(record_line(file));
  lines.push_back({.path = record, .hash = {}, .size = {}});
  files.push_back({.path = record, .content = record_text(lines), .source = {}});

  const std::string name = fmt::format("{}-{}-{}.whl", spec.name, spec.version, spec.tag);
  const fs::path wheel = folder / name;
  const Workshop workshop(folder);
  const fs::path made = workshop.path() / name;
  ZipFile zip(made);
  for (const WheelFile& file : files)
    zip.add(file, when);
  zip.close();
  if (same_bytes(made, wheel))
    return wheel;
  ::chmod(made.c_str(), 0644);
  sync(made);
  if (::rename(made.c_str(), wheel.c_str()) != 0) {
    throw Error(fmt::format("cannot write {}: {}", wheel.string(), errno_text(errno)), {},
                ExitStatus::usage);
  }
  sync(folder);
  return wheel;
}

}  // namespace ds
