// SPDX-License-Identifier: Apache-2.0
//
// The ForceCommand of a host: hostshell ROOT. Makes the process look like one on a machine of its
// own, then runs the command through the host's login shell. ROOT/host says how, ROOT/fault what
// goes wrong. `hostshell --check ROOT` prints what is separate here. Without CAP_SYS_ADMIN it takes
// a user namespace; where that is forbidden, too, only HOME and the working directory are the
// host's. In a chroot whose "/" is no mount point, mounts could reach the real system: only the
// name is.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::string read_small_file(const std::string& path) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char buffer[4096];
  for (ssize_t count; fd >= 0 && (count = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, count);
  if (fd >= 0)
    ::close(fd);
  return text;
}

void write_small_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    // What could not be written shows as a missing separation.
    [[maybe_unused]] const ssize_t count = ::write(fd, text.data(), text.size());
    ::close(fd);
  }
}

struct Settings {
  std::string name, shell = "/bin/sh";
  std::vector<std::string> keep;  ///< folders below /tmp that stay visible
  bool separate = true;
  bool read_only_tmp = false;
};

Settings read_settings(const std::string& root) {
  Settings settings;
  const std::string text = read_small_file(root + "/host");
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string line = text.substr(at, end - at);
    const size_t equals = line.find('=');
    const std::string key = line.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : line.substr(equals + 1);
    if (key == "name")
      settings.name = value;
    else if (key == "shell")
      settings.shell = value;
    else if (key == "keep")
      settings.keep.push_back(value);
    else if (key == "separate")
      settings.separate = value == "yes";
    else if (key == "tmp")
      settings.read_only_tmp = value == "read-only";
  }
  return settings;
}

bool bind(const std::string& what, const std::string& over) {
  return ::mount(what.c_str(), over.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

void make_folders(const std::string& path) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    ::mkdir(path.substr(0, at).c_str(), 0755);
  }
}

/// The host's own /tmp, with the folders to keep, which lie below the real one, bound back.
bool separate_tmp(const Settings& settings, const std::string& root) {
  std::vector<int> open;
  for (const std::string& path : settings.keep)
    open.push_back(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  bool done = bind(root + "/tmp", "/tmp");
  for (size_t i = 0; done && i < open.size(); ++i) {
    if (open[i] < 0)
      continue;
    make_folders(settings.keep[i]);
    done = bind("/proc/self/fd/" + std::to_string(open[i]), settings.keep[i]);
  }
  for (const int fd : open) {
    if (fd >= 0)
      ::close(fd);
  }
  if (done && settings.read_only_tmp)
    done = ::mount(nullptr, "/tmp", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
  return done;
}

/// Words for what now is the host's own.
std::string separate(const Settings& settings, const std::string& root) {
  const std::string users = std::to_string(::geteuid()), groups = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUTS | CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWUSER) != 0)
      return {};
    write_small_file("/proc/self/setgroups", "deny");
    write_small_file("/proc/self/uid_map", users + " " + users + " 1");
    write_small_file("/proc/self/gid_map", groups + " " + groups + " 1");
  }
  std::string words;
  if (::sethostname(settings.name.data(), settings.name.size()) == 0)
    words += "name ";
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return words;
  if (bind(root + "/machine-id", "/etc/machine-id"))
    words += "machine-id ";
  if (bind(root + "/boot-id", "/proc/sys/kernel/random/boot_id"))
    words += "boot-id ";
  if (separate_tmp(settings, root))
    words += "tmp ";
  return words;
}

/// The sshd processes that this command belongs to, nearest first.
std::vector<pid_t> my_sshd() {
  std::vector<pid_t> found;
  pid_t pid = ::getppid();
  for (int depth = 0; pid > 1 && depth < 8; ++depth) {
    const std::string stat = read_small_file("/proc/" + std::to_string(pid) + "/stat");
    const size_t open = stat.find('('), close = stat.rfind(')');
    if (open == std::string::npos || close == std::string::npos)
      break;
    const bool sshd = stat.compare(open + 1, 4, "sshd") == 0;
    if (sshd)
      found.push_back(pid);
    else if (!found.empty())
      break;
    pid = std::atoi(stat.c_str() + close + 4);
  }
  return found;
}

void kill_sshd_after(int milliseconds) {
  const std::vector<pid_t> doomed = my_sshd();
  if (::fork() != 0)
    return;
  ::setsid();
  for (int fd = 0; fd < 3; ++fd)
    ::close(fd);
  ::usleep(static_cast<useconds_t>(milliseconds) * 1000);
  for (const pid_t pid : doomed)
    ::kill(pid, SIGKILL);
  ::_exit(0);
}

[[noreturn]] void run(const char* program, const char* name, const char* first = nullptr,
                      const char* second = nullptr) {
  ::execl(program, name, first, second, static_cast<char*>(nullptr));
  std::fprintf(stderr, "hostshell: cannot run %s: %s\n", program, std::strerror(errno));
  ::_exit(127);
}

}  // namespace

int main(int argc, char** argv) {
  const bool check = argc == 3 && std::strcmp(argv[1], "--check") == 0;
  if (argc != 2 && !check) {
    std::fprintf(stderr, "usage: hostshell [--check] ROOT\n");
    return 2;
  }
  const std::string root = argv[argc - 1];
  const Settings settings = read_settings(root);
  const std::string fault = check ? "" : read_small_file(root + "/fault");
  if (fault.starts_with("kill "))
    kill_sshd_after(std::atoi(fault.c_str() + 5));
  const std::string words = settings.separate ? separate(settings, root) : "";
  if (check) {
    std::printf("%s\n", words.c_str());
    return 0;
  }

  const std::string home = root + "/home";
  const char* command = ::getenv("SSH_ORIGINAL_COMMAND");
  const std::string line = command == nullptr ? "" : command;
  ::setenv("HOME", home.c_str(), 1);
  ::setenv("SHELL", settings.shell.c_str(), 1);
  ::setenv("FLEET_ROOT", root.c_str(), 1);
  // What sshd's own shell left, and a host without a ForceCommand does not have.
  for (const char* name : {"SSH_ORIGINAL_COMMAND", "SHLVL", "OLDPWD", "PWD", "_"})
    ::unsetenv(name);
  if (::chdir(home.c_str()) != 0)
    std::fprintf(stderr, "hostshell: %s: %s\n", home.c_str(), std::strerror(errno));
  if (fault.starts_with("hang")) {
    for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGPIPE})
      std::signal(number, SIG_IGN);
    run("/bin/sleep", "sleep", "1000000");
  }
  const std::string base = settings.shell.substr(settings.shell.rfind('/') + 1);
  if (command == nullptr)
    run(settings.shell.c_str(), ("-" + base).c_str());
  run(settings.shell.c_str(), base.c_str(), "-c", line.c_str());
}
