// SPDX-License-Identifier: Apache-2.0
#include "journal/place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

struct Type {
  std::uint32_t number;
  const char* name;
};

// linux/magic.h, statfs(2), and for what lies outside of the kernel the table of GNU stat(1). FUSE
// is many, sshfs and GlusterFS among them, and does not say which.
constexpr std::array network_types = {
    Type{0x00006969, "NFS"},       Type{0x6E667364, "NFS"},      Type{0x0000517B, "SMB"},
    Type{0xFE534D42, "SMB"},       Type{0xFF534D42, "CIFS"},     Type{0x0BD00BD0, "Lustre"},
    Type{0x47504653, "GPFS"},      Type{0x19830326, "BeeGFS"},   Type{0x00C36400, "CephFS"},
    Type{0x65735546, "FUSE"},      Type{0x5346414F, "AFS"},      Type{0x6B414653, "AFS"},
    Type{0x73757245, "Coda"},      Type{0x0000564C, "NCP"},      Type{0x01021997, "9p"},
    Type{0x01161970, "GFS2"},      Type{0x7461636F, "OCFS2"},    Type{0x61636673, "ACFS"},
    Type{0xAAD7AAEA, "PanFS"},     Type{0xBEEFDEAD, "StorNext"}, Type{0x013111A8, "IBRIX"},
    Type{0x20030528, "OrangeFS"},  Type{0xBACBACBC, "VMware"},   Type{0x786F4256, "VirtualBox"},
    Type{0x7C7C6673, "Parallels"},
};

}  // namespace

std::string network_file_system(std::uint32_t type) {
  const auto found = std::find_if(network_types.begin(), network_types.end(),
                                  [type](const Type& known) { return known.number == type; });
  return found == network_types.end() ? std::string() : found->name;
}

std::string network_file_system_of(const fs::path& folder) {
  struct statfs status {};
  while (::statfs(folder.c_str(), &status) != 0) {
    if (errno != EINTR)
      return {};
  }
  return network_file_system(static_cast<std::uint32_t>(status.f_type));
}

void make_private_folder(const fs::path& folder) {
  const fs::path above = fs::absolute(folder / ".").lexically_normal().parent_path().parent_path();
  make_folders(above);
  if (::mkdir(folder.c_str(), 0700) != 0) {
    const int failure = errno;
    std::error_code unreadable;
    if (fs::is_directory(folder, unreadable))
      return;
    throw Error("cannot make the folder " + folder.string() + ": " + errno_text(failure),
                "make it, let this user write there, or name another folder", ExitStatus::usage);
  }
  const Fd parent(::open(above.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent)
    ::fsync(parent.get());
}

}  // namespace ds
