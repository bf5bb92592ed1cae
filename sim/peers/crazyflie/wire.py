"""The Crazyflie-like vehicle on CRTP: one packet a datagram, as cflib's UDP driver has it.

Packet: a header byte (port in the upper four bits, channel in the lower two), then up to 30 bytes.
Source: Crazyflie documentation, "CRTP" and the pages of its ports (protocol version 12).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim.peers.cascade import Target
from sim.peers.crazyflie.firmware import CrazyflieFirmware, hover_target, target_of_full_state

PROTOCOL_VERSION = 12
_MAX_DATA = 30
(_PARAM, _COMMANDER, _MEMORY, _LOG, _LOCATION, _GENERIC, _HIGH_LEVEL, _SUPERVISOR, _PLATFORM, _LINK) = (
    2, 3, 4, 5, 6, 7, 8, 9, 13, 15
)  # fmt: skip
_LOG_TYPES = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 3, "int8_t": 4, "int16_t": 5, "int32_t": 6, "float": 7}
_PARAM_TYPES = {
    "uint8_t": 8,
    "uint16_t": 9,
    "uint32_t": 10,
    "int8_t": 0,
    "int16_t": 1,
    "int32_t": 2,
    "float": 6,
}
_FORMATS = {
    "uint8_t": "<B", "uint16_t": "<H", "uint32_t": "<I", "int8_t": "<b", "int16_t": "<h", "int32_t": "<i",
    "float": "<f",
}  # fmt: skip
_ENOENT, _E2BIG = 2, 7
_FULL_STATE = struct.Struct("<hhhhhhhhhIhhh")


@dataclass
class _Block:
    names: list[str] = field(default_factory=list)
    period_ns: int = 0
    due_ns: int = 0


class CrtpPeer:
    """Connects a vehicle to packets.

    Args:
        firmware: the vehicle.
        send: takes a packet for the client.
    """

    def __init__(self, firmware: CrazyflieFirmware, send: Callable[[bytes], None]) -> None:
        """Say nothing before a client speaks."""
        self.firmware, self._send = firmware, send
        self._blocks: dict[int, _Block] = {}
        # Packets that made no sense, and how often each port was spoken to.
        self.malformed = 0
        self.seen: dict[tuple[int, int], int] = {}
        self._handlers: dict[int, Callable[[int, bytes], None]] = {
            _PARAM: self._on_param,
            _COMMANDER: self._on_commander,
            _MEMORY: self._on_memory,
            _LOG: self._on_log,
            _LOCATION: self._on_location,
            _GENERIC: self._on_generic,
            _HIGH_LEVEL: self._on_high_level,
            _SUPERVISOR: self._on_supervisor,
            _PLATFORM: self._on_platform,
            _LINK: self._on_link,
        }

    def receive(self, packet: bytes) -> None:
        """Take in a packet, any bytes at all."""
        if not packet or len(packet) > _MAX_DATA + 1:
            self.malformed += 1
            return
        if packet[0] == 0xFF:
            # A null packet: whoever scans wants to hear anything.
            self._send(b"\xff")
            return
        port, channel = packet[0] >> 4, packet[0] & 3
        self.seen[port, channel] = self.seen.get((port, channel), 0) + 1
        handler = self._handlers.get(port)
        try:
            if handler is not None:
                handler(channel, packet[1:])
        except (struct.error, IndexError, UnicodeDecodeError):
            self.malformed += 1

    def step(self) -> None:
        """Move the vehicle on by one step and send the log blocks that are due."""
        self.firmware.step()
        now_ns = self.firmware.now_ns
        for number, block in self._blocks.items():
            if block.period_ns and now_ns >= block.due_ns:
                block.due_ns = max(block.due_ns + block.period_ns, now_ns)
                stamp = (now_ns // 1_000_000 & 0xFFFFFF).to_bytes(3, "little")
                self._put(_LOG, 2, bytes([number]) + stamp + b"".join(map(self._value, block.names)))

    # --- private ------------------------------------------------------------------------------

    def _put(self, port: int, channel: int, data: bytes) -> None:
        self._send(bytes([port << 4 | 3 << 2 | channel]) + data)

    def _value(self, name: str) -> bytes:
        kind, read = self.firmware.variables[name]
        return _packed(kind, read())

    def _on_link(self, channel: int, data: bytes) -> None:
        if channel == 0:
            self._put(_LINK, 0, data)
        elif channel == 1:
            self._put(_LINK, 1, b"Bitcraze Crazyflie\0")

    def _on_platform(self, channel: int, data: bytes) -> None:
        if channel == 1 and data[0] == 0:
            self._put(_PLATFORM, 1, bytes([0, PROTOCOL_VERSION]))

    def _on_memory(self, channel: int, data: bytes) -> None:
        if channel == 0 and data[0] == 1:
            self._put(_MEMORY, 0, bytes([1, 0]))

    def _on_supervisor(self, channel: int, data: bytes) -> None:
        command = data[0]
        if channel == 0 and command == 0x0C:
            self._put(_SUPERVISOR, 0, bytes([0x8C]) + self.firmware.supervisor.to_bytes(2, "little"))
        elif channel == 1 and command == 1:
            done = self.firmware.arm(wanted=bool(data[1]))
            self._put(_SUPERVISOR, 1, bytes([0x81, done, self.firmware.armed]))
        elif channel == 1 and command in (3, 4):
            self.firmware.emergency_stop()

    def _toc(self, port: int, data: bytes, names: list[str], code: Callable[[str], int]) -> None:
        """The table of contents: how many, and one by one."""
        if data[0] == 3:
            crc = zlib.crc32("\n".join(f"{code(n)} {n}" for n in names).encode())
            self._put(port, 0, struct.pack("<BHIBB", 3, len(names), crc, 16, 128))
        elif data[0] == 2:
            (number,) = struct.unpack("<H", data[1:3])
            entry = b""
            if number < len(names):
                group, _, name = names[number].partition(".")
                entry = bytes([code(names[number])]) + f"{group}\0{name}\0".encode()
            self._put(port, 0, data[:3] + entry)

    def _on_log(self, channel: int, data: bytes) -> None:
        names = list(self.firmware.variables)
        if channel == 0:
            self._toc(_LOG, data, names, lambda n: _LOG_TYPES[self.firmware.variables[n][0]])
            return
        if channel != 1:
            return
        command, number = data[0], data[1] if len(data) > 1 else 0
        error = 0
        if command in (6, 7):
            # As the firmware: whole entries of three bytes; cflib leaves a byte behind them.
            entries = range(2, len(data) - 2, 3)
            ids = [struct.unpack("<H", data[i + 1 : i + 3])[0] for i in entries]
            block = self._blocks.setdefault(number, _Block()) if command == 6 else self._blocks.get(number)
            if block is None or any(i >= len(names) for i in ids):
                error = _ENOENT
            else:
                block.names += [names[i] for i in ids]
                size = sum(struct.calcsize(_FORMATS[self.firmware.variables[n][0]]) for n in block.names)
                error = _E2BIG if size > _MAX_DATA - 4 else 0
        elif command in (3, 4):
            block = self._blocks.get(number)
            if block is None:
                error = _ENOENT
            else:
                block.period_ns = data[2] * 10_000_000 if command == 3 else 0
                block.due_ns = self.firmware.now_ns
        elif command == 2:
            error = _ENOENT if self._blocks.pop(number, None) is None else 0
        elif command == 5:
            self._blocks.clear()
        self._put(_LOG, 1, bytes([command, number, error]))

    def _on_param(self, channel: int, data: bytes) -> None:
        store = self.firmware.parameters
        names = list(store)
        if channel == 0:
            self._toc(_PARAM, data, names, lambda n: _PARAM_TYPES[store[n][0]])
        elif channel in (1, 2):
            (number,) = struct.unpack("<H", data[:2])
            if number >= len(names):
                self._put(_PARAM, channel, data[:2] + bytes([_ENOENT]))
                return
            kind, value = store[names[number]]
            if channel == 2:
                value = struct.unpack(_FORMATS[kind], data[2:])[0]
                store[names[number]] = (kind, value)
            status = b"\0" if channel == 1 else b""
            self._put(_PARAM, channel, data[:2] + status + _packed(kind, value))

    def _on_commander(self, channel: int, data: bytes) -> None:
        """Roll, pitch, heading rate and thrust: only its end is understood, as cflib sends it on leaving."""
        _, _, _, thrust = struct.unpack("<fffH", data)
        if thrust == 0:
            self.firmware.stop()

    def _on_generic(self, channel: int, data: bytes) -> None:
        firmware, kind, rest = self.firmware, data[0], data[1:]
        if channel == 1:
            if kind == 0:
                firmware.notify_setpoint_stop()
            elif kind == 1:
                # RAPTOR's firmware: the packet that keeps the learned controller on the motors.
                firmware.activate()
            return
        if kind == 0:
            firmware.stop()
        elif kind == 6:
            n = _FULL_STATE.unpack(rest)
            metres = [v / 1000.0 for v in n[:9]]
            yaw = _yaw_of_compressed(n[9])
            firmware.setpoint(
                target_of_full_state(tuple(metres[0:3]), tuple(metres[3:6]), tuple(metres[6:9]), yaw)
            )
        elif kind in (7, 8, 10):
            a, b, c, d = struct.unpack("<ffff", rest)
            if not all(map(math.isfinite, (a, b, c, d))):
                self.malformed += 1
            elif kind == 7:
                firmware.setpoint(Target((a, b, c), yaw=math.radians(d)))
            elif kind == 8:
                firmware.setpoint(Target(velocity=(a, b, c), yaw_rate=math.radians(d)))
            else:
                firmware.setpoint(hover_target(a, b, math.radians(c), d, yaw=firmware.estimate.yaw))

    def _on_high_level(self, channel: int, data: bytes) -> None:
        firmware, error = self.firmware, 0
        if data[0] in (7, 8):
            height, yaw, keeps_yaw, duration = struct.unpack("<ff?f", data[2:])
            begin = firmware.take_off if data[0] == 7 else firmware.land
            error = 0 if begin(height, duration, None if keeps_yaw else yaw) else _ENOENT
        elif data[0] == 3:
            firmware.stop()
        self._put(_HIGH_LEVEL, 0, bytes([data[0], 0, 0, error]))

    def _on_location(self, channel: int, data: bytes) -> None:
        estimator = self.firmware.estimator
        if channel == 0:
            position = struct.unpack("<fff", data)
            orientation = self.firmware.estimate.orientation
        elif channel == 1 and data[0] == 8:
            n = struct.unpack("<fffffff", data[1:])
            position, orientation = n[:3], (n[6], *n[3:6])
        else:
            return
        if not 0.9 < math.hypot(*orientation) < 1.1:
            self.malformed += 1
            return
        # It carries no stamp: it is taken for the present.
        estimator.external(np.array(position), np.array(orientation), self.firmware.now_s)


def _packed(kind: str, value: float) -> bytes:
    if kind == "float":
        return struct.pack("<f", value)
    size = 8 * struct.calcsize(_FORMATS[kind])
    low, high = (0, 2**size - 1) if kind[0] == "u" else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    return struct.pack(_FORMATS[kind], min(high, max(low, round(value))))


def _yaw_of_compressed(packed: int) -> float:
    """The heading in a quaternion of 32 bits (x, y, z, w; the largest left out)."""
    q, largest, total = [0.0] * 4, packed >> 30, 0.0
    for i in range(3, -1, -1):
        if i != largest:
            size = (packed & 511) / 511.0 * math.sqrt(0.5)
            q[i] = -size if packed >> 9 & 1 else size
            packed >>= 10
            total += q[i] ** 2
    q[largest] = math.sqrt(max(0.0, 1.0 - total))
    x, y, z, w = q
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
