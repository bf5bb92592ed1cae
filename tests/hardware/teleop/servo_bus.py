"""Six STS3215 servos on a pseudo terminal, as far as a leader arm needs them (instruction set of Feetech)."""

import os
import pty
import select
import struct
import threading
import tty


def checked(body):
    return b"\xff\xff" + body + bytes([~sum(body) & 0xFF])


class ServoBus:
    """Answers writes and synchronous reads of registers."""

    def __init__(self, count=6):
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.port, self._slave = os.ttyname(slave), slave
        self.registers = {i: bytearray(128) for i in range(1, count + 1)}
        # Servo numbers that do not answer, and those whose answers are garbled.
        self.silent, self.garbled = set(), set()
        self._running = True
        for i in self.registers:
            self.registers[i][40] = 1
            self.place(i, 2048)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def place(self, servo, count):
        value = abs(count) | (0x8000 if count < 0 else 0)
        self.registers[servo][56:58] = struct.pack("<H", value)

    def torque(self, servo):
        return self.registers[servo][40]

    def _serve(self):
        waiting = bytearray()
        while self._running:
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            try:
                waiting += os.read(self._master, 4096)
            except OSError:
                return
            while len(waiting) >= 4 and len(waiting) >= 4 + waiting[3]:
                length = 4 + waiting[3]
                self._answer(bytes(waiting[:length]))
                del waiting[:length]

    def _answer(self, request):
        servo, instruction, parameters = request[2], request[4], request[5:-1]
        assert request[:2] == b"\xff\xff"
        assert checked(request[2:-1]) == request
        if instruction == 3:
            address, data = parameters[0], parameters[1:]
            self.registers[servo][address : address + len(data)] = data
            self._send(servo, b"")
        elif instruction == 0x82:
            address, count = parameters[:2]
            for other in parameters[2:]:
                self._send(other, bytes(self.registers[other][address : address + count]))

    def _send(self, servo, data):
        if servo in self.silent:
            return
        packet = bytearray(checked(bytes([servo, len(data) + 2, 0]) + data))
        if servo in self.garbled:
            packet[-1] ^= 0x55
        os.write(self._master, packet)

    def unplug(self):
        """The adapter is pulled: the terminal hangs up."""
        self._running = False
        self._thread.join(5)
        os.close(self._master)
        os.close(self._slave)
