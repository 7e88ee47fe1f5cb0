// SPDX-License-Identifier: Apache-2.0
#include "rollout/run_authority.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "support/shell.h"

namespace ds {
namespace {

// Two peers as they are on hosts: TLS 1.3, each asks the other for a certificate.
constexpr const char* handshake = R"(
import socket, ssl, sys, threading
def context(role, name, authority):
    made = ssl.SSLContext(role)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.load_verify_locations(authority + ".pem")
    made.load_cert_chain(name + ".pem", name + ".key")
    made.verify_mode = ssl.CERT_REQUIRED
    return made
def serve(end):
    try:
        with context(ssl.PROTOCOL_TLS_SERVER, "n1", "ours").wrap_socket(end, server_side=True) as peer:
            peer.sendall(dict(one for (one,) in peer.getpeercert()["subject"])["commonName"].encode())
    except ssl.SSLError as error:
        said.append(error.reason)
said, ends = [], socket.socketpair()
server = threading.Thread(target=serve, args=ends[:1])
server.start()
try:
    with context(ssl.PROTOCOL_TLS_CLIENT, *sys.argv[1:]).wrap_socket(ends[1]) as peer:
        print(peer.recv(100).decode(), peer.version(), peer.getpeercert()["notAfter"])
except (ssl.SSLError, ConnectionError) as error:
    print("refused")
server.join()
print(said)
)";

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("ds-deploy-test." + std::to_string(::getpid()) + ".authority");
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

TEST_CASE("run authority: its peers take each other, and nobody of another run") {
  const Folder folder;
  const RunAuthority ours, others;
  const auto put = [&](const std::string& name, const std::string& text) {
    write_file(folder.path / name, text);
  };
  put("ours.pem", ours.certificate());
  put("others.pem", others.certificate());
  put("handshake.py", handshake);
  for (const auto& [name, of] : {std::pair("n1", &ours), {"n2", &ours}, {"stranger", &others}}) {
    const RunAuthority::Identity identity = of->identity(name);
    put(std::string(name) + ".pem", identity.certificate);
    put(std::string(name) + ".key", identity.key);
  }
  const auto meet = [&](const std::string& who, const std::string& whom) {
    return shell("cd '" + folder.path.string() + "' && python3 handshake.py " + who + " " + whom)
        .output;
  };
  CHECK(meet("n2", "ours") == "n2 TLSv1.3 Dec 31 23:59:59 9999 GMT\n[]\n");
  CHECK(meet("stranger", "ours").find("CERTIFICATE_VERIFY_FAILED") != std::string::npos);
  CHECK(meet("n2", "others").find("refused\n") == 0);
}

TEST_CASE("run authority: a name that is too long is an error") {
  const RunAuthority authority;
  CHECK_THROWS_AS(authority.identity(std::string(65, 'n')), Error);
}

}  // namespace
}  // namespace ds
