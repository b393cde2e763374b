#!/usr/bin/env python3
"""client.py [--hex] [SOCKET]: a second client, written from docs/PROTOCOL.md alone.

Greets the daemon, checks its proof, asks for its state. Needs blake3 and pynacl, and the key of whoever runs it."""
import os
import socket
import stat
import struct
import sys
from pathlib import Path

import blake3
from nacl.signing import SigningKey, VerifyKey

SOCKET = "/run/closedpaw/closedpawd.sock"
VERSION = 1
MAX_FRAME = 64 * 1024
REQUEST, DAEMON, HEAD = (f"closedpaw 2026-11 {what} v1" for what in ("request", "daemon", "audit head"))
CONTEXT_REQUEST, REQUEST_STATUS, REPLY_STATUS = 0, 9, 9


TIERS = ("process", "gvisor", "kata")


def number(value):
    """Every unsigned integer but u8; also enum tags and lengths."""
    for limit, mark, form in ((251, None, "B"), (1 << 16, 251, ">H"), (1 << 32, 252, ">I"), (1 << 64, 253, ">Q")):
        if value < limit:
            return (b"" if mark is None else bytes([mark])) + struct.pack(form, value)
    raise ValueError(value)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        self.at += count
        if self.at > len(self.data):
            raise ValueError("the message is cut")
        return self.data[self.at - count:self.at]

    def number(self):
        first = self.raw(1)[0]
        if first < 251:
            return first
        form, least = {251: (">H", 251), 252: (">I", 1 << 16), 253: (">Q", 1 << 32)}[first]
        value, = struct.unpack(form, self.raw(struct.calcsize(form)))
        if value < least:
            raise ValueError("not the shortest way to write a number")
        return value

    def tag(self, count):
        value = self.number()
        if value >= count:
            raise ValueError(f"unknown tag {value}")
        return value

    def text(self):
        return self.raw(self.number()).decode("utf-8")

    def texts(self):
        return [self.text() for _ in range(self.number())]

    def end(self):
        if self.at != len(self.data):
            raise ValueError("bytes after the end of the message")


def status(message):
    state = {"version": message.text(), "revision": message.raw(32).hex(), "rules": message.number()}
    state["policy_error"] = message.text() if message.tag(2) else None
    found = "runtime" if message.tag(2) == 0 else "no runtime"
    state[found] = message.text()
    state["limits"], state["missing"] = message.texts(), message.texts()
    state["sessions"], state["since"] = message.number(), message.number()
    state["profiles"], state["halted"] = message.texts(), bool(message.tag(2))
    tiers = [(TIERS[message.tag(3)], message.tag(2), message.text()) for _ in range(message.number())]
    state["tiers"] = [name if lacking == 0 else f"no {name}" for name, lacking, _ in tiers]
    devices = [(message.text(), message.tag(2), message.text()) for _ in range(message.number())]
    state["devices"] = [name if lacking == 0 else f"no {name}" for name, lacking, _ in devices]
    return state


def receive(link):
    length, = struct.unpack(">I", link.recv(4, socket.MSG_WAITALL).ljust(4, b"\0"))
    if not 1 <= length <= MAX_FRAME:
        sys.exit("the daemon hung up, or sent what is no frame")
    return link.recv(length, socket.MSG_WAITALL)


def statement(context, challenge, sequence, body):
    """The 32 bytes that are signed."""
    return blake3.blake3(challenge + struct.pack(">Q", sequence) + body, derive_key_context=context).digest()


def roots_alone(path):
    """The file is root's; every folder above it is a plain folder of root's that nobody else can write to."""
    for place in [path, *path.parents]:
        found = place.lstat()
        if found.st_uid != 0 or place != path and (not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022):
            sys.exit(f"{place}: not root's alone; whatever listens there could be anybody's")


def main(words):
    show = (lambda name, data: print(f"{name:<9} {data.hex()}")) if "--hex" in words else (lambda *_: None)
    named = [word for word in words if word != "--hex"]
    path = Path(named[0] if named else SOCKET)
    pin = Path(str(path).removesuffix(SOCKET) or "/") / "etc/closedpaw/daemon.pub"
    roots_alone(path)
    roots_alone(pin)
    pinned = bytes.fromhex(pin.read_text().strip())
    config = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    key = SigningKey(bytes.fromhex((config / "closedpaw/approver.key").read_text().strip()))
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(path))
    _, listener, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if listener != 0:
        sys.exit("the socket is not served by root")
    own = os.urandom(32)
    hello = number(VERSION) + own
    show("hello", hello)
    link.sendall(struct.pack(">I", len(hello)) + hello)
    welcome = receive(link)
    show("welcome", welcome)
    message = Reader(welcome)
    version, challenge, daemon, proof = message.number(), message.raw(32), message.raw(32), message.raw(64)
    message.end()
    if version != VERSION or daemon != pinned:
        sys.exit("another version, or not the pinned key")
    VerifyKey(daemon).verify(statement(DAEMON, own, 0, challenge), proof)

    body, sequence = number(REQUEST_STATUS), 0
    signature = key.sign(statement(REQUEST, challenge, sequence, body))[:64]
    signed = number(CONTEXT_REQUEST) + key.verify_key.encode() + number(sequence) + signature + number(len(body)) + body
    show("signed", signed)
    link.sendall(struct.pack(">I", len(signed)) + signed)
    answer = receive(link)
    show("outgoing", answer)
    message = Reader(answer)
    if message.tag(2) != 0 or message.number() != sequence:
        sys.exit("not the reply to this statement")
    size, root, time, head = message.number(), message.raw(32), message.number(), message.raw(64)
    signed_head = struct.pack(">QQ", size, time) + root
    VerifyKey(daemon).verify(blake3.blake3(signed_head, derive_key_context=HEAD).digest(), head)
    if message.tag(2) == 1:
        sys.exit(f"refused: code {message.number()} {message.text()}")
    if message.tag(11) != REPLY_STATUS:
        sys.exit("another reply than a status")
    state = status(message)
    message.end()
    for name, value in {**state, "log": f"{size} records, root {root.hex()}"}.items():
        print(f"{name:<13} {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
