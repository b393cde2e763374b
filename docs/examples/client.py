#!/usr/bin/env python3
"""A second client for closedpawd, from docs/PROTOCOL.md alone: greets the daemon, checks its proof, asks for its state.

Needs blake3 and pynacl. Run it as the person whose key is enrolled:

    client.py [--hex] [SOCKET]
"""
import os
import socket
import stat
import struct
import sys
from pathlib import Path

import blake3
from nacl.bindings import crypto_sign_BYTES
from nacl.signing import SigningKey, VerifyKey

SOCKET = "/run/closedpaw/closedpawd.sock"
VERSION = 1
MAX_FRAME = 64 * 1024
CONTEXT_REQUEST = ("closedpaw 2026-11 request v1", 0)
CONTEXT_DAEMON = ("closedpaw 2026-11 daemon v1", 5)
REQUEST_STATUS = 9


# --- encoding: bincode 2, standard(), big-endian ---------------------------------------------------------------------

def number(value):
    """Every unsigned integer but u8; also enum tags and lengths."""
    for limit, mark, form in ((251, None, "B"), (1 << 16, 251, ">H"), (1 << 32, 252, ">I"), (1 << 64, 253, ">Q")):
        if value < limit:
            return (b"" if mark is None else bytes([mark])) + struct.pack(form, value)
    raise ValueError(value)


class Reader:
    """Reads the canonical encoding, and nothing else."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        if self.at + count > len(self.data):
            raise ValueError("the message is cut")
        self.at += count
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

    def bool(self):
        return bool(self.tag(2))

    def text(self):
        return self.raw(self.number()).decode("utf-8")

    def texts(self):
        return [self.text() for _ in range(self.number())]

    def end(self):
        if self.at != len(self.data):
            raise ValueError("bytes after the end of the message")


def status(message):
    state = {"version": message.text(), "revision": message.raw(32).hex(), "rules": message.number()}
    state["policy_error"] = message.text() if message.bool() else None
    state["runtime" if message.tag(2) == 0 else "no_runtime"] = message.text()
    state["limits"], state["missing"] = message.texts(), message.texts()
    state["sessions"], state["since"] = message.number(), message.number()
    state["profiles"], state["halted"] = message.texts(), message.bool()
    return state


# --- frames, signatures, trust ---------------------------------------------------------------------------------------

def send(link, body):
    link.sendall(struct.pack(">I", len(body)) + body)


def receive(link):
    def exactly(count):
        data = b""
        while len(data) < count:
            piece = link.recv(count - len(data))
            if not piece:
                raise ConnectionError("the daemon hung up")
            data += piece
        return data

    length, = struct.unpack(">I", exactly(4))
    if not 1 <= length <= MAX_FRAME:
        raise ValueError("no frame has that length")
    return exactly(length)


def statement(context, challenge, sequence, body):
    """The 32 bytes that are signed."""
    return blake3.blake3(challenge + struct.pack(">Q", sequence) + body, derive_key_context=context[0]).digest()


def roots_alone(path):
    """The file is root's; every folder above it is a plain folder of root's that nobody else can write to."""
    for place in [path, *path.parents]:
        found = place.lstat()
        open_folder = place != path and (not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022)
        if found.st_uid != 0 or open_folder:
            sys.exit(f"{place}: not root's alone; whatever listens there could be anybody's")


def main(words):
    show = (lambda name, data: print(f"{name:<9} {data.hex()}")) if "--hex" in words else (lambda name, data: None)
    path = Path(next((word for word in words if not word.startswith("--")), os.environ.get("CLOSEDPAW_SOCKET", SOCKET)))
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
    send(link, hello)
    welcome = receive(link)
    show("welcome", welcome)
    message = Reader(welcome)
    version, challenge, daemon, proof = message.number(), message.raw(32), message.raw(32), message.raw(64)
    message.end()
    if version != VERSION or daemon != pinned:
        sys.exit("another version, or not the pinned key")
    VerifyKey(daemon).verify(statement(CONTEXT_DAEMON, own, 0, challenge), proof)

    body, sequence = number(REQUEST_STATUS), 0
    signature = key.sign(statement(CONTEXT_REQUEST, challenge, sequence, body))[:crypto_sign_BYTES]
    signed = number(CONTEXT_REQUEST[1]) + key.verify_key.encode() + number(sequence) + signature + number(len(body)) + body
    show("signed", signed)
    send(link, signed)
    answer = receive(link)
    show("outgoing", answer)
    message = Reader(answer)
    if message.tag(2) != 0 or message.number() != sequence:
        sys.exit("not the reply to this statement")
    head = {"size": message.number(), "root": message.raw(32).hex(), "time": message.number(), "signature": message.raw(64).hex()}
    if message.tag(2) == 1:
        sys.exit(f"refused: code {message.number()} {message.text()}")
    if message.tag(11) != 9:
        sys.exit("another reply than a status")
    state = status(message)
    message.end()
    for name, value in {**state, "head": head}.items():
        print(f"{name:<13} {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
