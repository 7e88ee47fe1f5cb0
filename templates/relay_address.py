# SPDX-License-Identifier: Apache-2.0
# Where other hosts can reach this one. relay_fetch.py stands before this text.
import ipaddress
import socket
import struct


def kernel_addresses():
    """(address, prefix length) of each interface, rtnetlink(7): all of an interface's, of both
    families."""
    kind, dump, done, error = 22, 0x301, 3, 2  # RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(GREETING)
        kernel.send(struct.pack("=IHHII8x", 24, kind, dump, 1, 0))
        while True:
            data = kernel.recv(1 << 17)
            while len(data) >= 16:
                length, what = struct.unpack_from("=IH", data)
                if what in (done, error) or length < 16:
                    return found
                found += address_in(data[16:length])
                data = data[(length + 3) & ~3:]


def address_in(message):
    """Of one interface: its own address is IFA_LOCAL where the other end of a line has one."""
    family, prefix, flags = struct.unpack_from("=BBB", message)
    said, at = {}, 8
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        said[kind] = message[at + 4:at + max(4, length)]
        at += max(4, (length + 3) & ~3)
    packed = said.get(2, said.get(1))
    unready = flags & 0x48  # tentative, or found to be another's too
    if family not in (socket.AF_INET, socket.AF_INET6) or not packed or unready:
        return []
    return [(socket.inet_ntop(family, packed), prefix)]


def is_ours(address):
    """Whether this machine has it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trial:
        try:
            trial.bind((address, 0))
            return True
        except OSError:
            return False


def by_ssh():
    """The one that the coordinator has reached, sshd(8); "" where that is not known."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    try:
        return str(ipaddress.ip_address(words[2])) if is_ours(words[2]) else ""
    except (IndexError, ValueError, OSError):
        return ""


def own_addresses(relay_net):
    """"ADDRESS/PREFIX" of each that others may reach, the one of SSH first; in `relay_net` if it is
    given. The loopback's only where it is asked for, or there is nothing else."""
    first, found = by_ssh(), kernel_addresses()
    if first and first not in [address for address, _ in found]:
        loop = ipaddress.ip_address(first).is_loopback and ":" not in first
        found.insert(0, (first, 8 if loop else ipaddress.ip_address(first).max_prefixlen))
    found.sort(key=lambda one: one[0] != first)
    usable = [ipaddress.ip_interface("%s/%d" % one) for one in dict.fromkeys(found)]
    usable = [one for one in usable if not one.ip.is_link_local]
    if relay_net:
        net = ipaddress.ip_network(relay_net, strict=False)
        usable = [one for one in usable if one.version == net.version and one.ip in net]
    else:
        usable = [one for one in usable if not one.ip.is_loopback] or usable
    return [str(one) for one in usable]


def listen(addresses, relay_net):
    """Sockets with one port on all that this host has, or on `addresses` if a net is chosen."""
    hosts = [one.partition("/")[0] for one in addresses] if relay_net else ["::"]
    for _ in range(8):
        sockets, port = [], 0
        try:
            for host in hosts:
                sockets.append(listening(host, port))
                port = sockets[0].getsockname()[1]
            return sockets, port
        except OSError as error:
            for one in sockets:
                one.close()
            if hosts == ["::"]:  # a kernel without IPv6
                hosts = ["0.0.0.0"]
            problem = error
    raise problem


def listening(host, port):
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if ":" in host:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        one.bind((host, port))
        one.listen(128)
        one.setblocking(False)
        return one
    except OSError:
        one.close()
        raise
