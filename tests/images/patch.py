"""Makes images that no tool makes, and tries what becomes of them.

patch.py rename FILE OLD NEW…   other names for directory entries, as long
patch.py loop FILE NAME         lets a directory's entry lead to the root
patch.py fields IMAGE           alters one number at a time, as a table on
                                standard input says, see `fields`
patch.py noise IMAGE SEED N     alters bytes of the metadata at random, N times
patch.py cut IMAGE              cuts it off at every length that means something
patch.py set IMAGE NEW REGION OFFSET WIDTH VALUE   writes a copy with one number

The first two want a squashfs with uncompressed tables (mksquashfs -noI).
"""

import os
import random
import struct
import subprocess
import sys

MARKER = "hostile\n"
# Seconds; a refusal takes a hundredth of one.
LIMIT = 20


def superblock(data, at=0):
    """The number at a place of the superblock, in bytes from its start."""
    return lambda place: struct.unpack_from("<Q", data, at + place)[0]


def directories(data):
    """Where the directory table is: up to the next table behind it."""
    number = superblock(data)
    start = number(72)
    behind = [number(place) for place in (48, 56, 80, 88)]
    return start, min(end for end in behind if end > start)


def rename(path, pairs):
    data = bytearray(open(path, "rb").read())
    start, end = directories(data)
    for old, new in zip(pairs[::2], pairs[1::2]):
        old, new = old.encode(), new.encode()
        assert len(old) == len(new), (old, new)
        place = data.index(old, start, end)
        data[place : place + len(old)] = new
    open(path, "wb").write(data)


def loop(path, name):
    data = bytearray(open(path, "rb").read())
    place = data.index(name.encode(), *directories(data))
    # An entry is: offset in its inode's block, inode number, type, length, name.
    struct.pack_into("<H", data, place - 8, superblock(data)(32) & 0xFFFF)
    open(path, "wb").write(data)


class Trial:
    """An image that is altered in place, tried, and put back."""

    def __init__(self, path):
        self.path = path
        self.data = open(path, "rb").read()
        self.partition, self.other, self.squashfs = 0, 0, 0
        if self.data[32:41] == b"SIF_MAGIC":
            for at in range(4096, 4096 + 48 * 585, 585):
                kind, used = struct.unpack_from("<iB", self.data, at)
                if used and kind == 0x4004:
                    self.partition = at
                    self.squashfs = struct.unpack_from("<q", self.data, at + 17)[0]
                elif not used and not self.other:
                    self.other = at
        self.bases = {"header": 0, "partition": self.partition, "unused": self.other, "squashfs": self.squashfs}
        self.count, self.ran, self.problems = 0, 0, []

    def alter(self, name, changes, trial=None):
        with open(self.path, "r+b") as file:
            for place, value in changes:
                file.seek(place)
                file.write(value)
            file.flush()
        (trial or self.try_it)(name)
        with open(self.path, "r+b") as file:
            for place, value in changes:
                file.seek(place)
                file.write(self.data[place : place + len(value)])

    def command(self, name, *words):
        try:
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{name}: {words[1]} takes longer than {LIMIT} s")
            return None
        said = f"{name}: {words[1]}: exit code {done.returncode}, {done.stdout!r}, {done.stderr!r}"
        lines = done.stderr.splitlines()
        own = [line for line in lines if line.startswith("oarlock: ")]
        if "panicked" in done.stderr or "\x1b" in done.stdout + done.stderr:
            self.problems.append(said)
            return None
        return done.returncode, done.stdout, lines, own, said

    def try_it(self, name):
        self.count += 1
        told = f"oarlock: image {self.path}: "
        seen = self.command(name, "oarlock", "inspect", self.path)
        if seen:
            code, out, lines, own, said = seen
            refused = code == 1 and not out and len(lines) == 1 and lines[0].startswith(told)
            if not refused and not (code == 0 and out and not lines):
                self.problems.append(said)
        seen = self.command(name, "oarlock", "exec", self.path, "cat", "/marker")
        if seen:
            code, out, lines, own, said = seen
            ran = code == 0 and out == MARKER and not lines
            refused = code == 125 and not out and len(lines) == 1 and lines[0].startswith(told)
            # The image was served and is damaged where only the program looks.
            damaged = code in (1, 126, 127) and not out and lines and len(own) <= 1
            self.ran += ran
            if not (ran or refused or damaged):
                self.problems.append(said)

    def try_damaged(self, name):
        """A program that no image has: every word is then Oarlock's own, and so
        is every death by a signal."""
        self.count += 1
        seen = self.command(name, "oarlock", "exec", self.path, "/absent")
        if seen:
            code, out, lines, own, said = seen
            self.ran += code == 127
            if code not in (125, 126, 127) or out or len(own) != 1 or lines != own:
                self.problems.append(said)
        # How this one ends is the program's matter; that it ends is not.
        self.command(name, "oarlock", "exec", self.path, "cat", "/marker")

    def report(self):
        print(f"{self.count} tried, {self.ran} ran, {len(self.problems)} wrong")
        for problem in self.problems[:20]:
            print(problem)


def values(width, own, length):
    """The extremes of a number, and what is next to what it should be."""
    top = 1 << width
    wanted = [0, 1, 2, 127, 128, 4095, 4096, own - 1, own + 1, own << 1, length - 1, length, length + 1]
    wanted += [(1 << bits) + step for bits in (31, 32, 63) if bits <= width for step in (-1, 0, 1)]
    wanted += [top - 1, top - 2, top // 2, top // 2 - 1, top - own]
    return sorted({value % top for value in wanted} - {own})


def fields(path, table):
    """Each line of the table: REGION NAME OFFSET WIDTH, the width in bits; 0 for
    text of WIDTH bytes is written as tN."""
    trial = Trial(path)
    trial.try_it("as it is")
    for line in table:
        region, name, offset, width = line.split()
        place = trial.bases[region] + int(offset)
        name = f"{region} {name}"
        if width.startswith("t"):
            length = int(width[1:])
            for text in (b"\0", b"\xff", b"\n", b"\x1b[2J", b"A"):
                value = (text * length)[:length]
                trial.alter(f"{name} {value[:8]!r}", [(place, value)])
            continue
        size = int(width) // 8
        own = int.from_bytes(trial.data[place : place + size], "little")
        for value in values(int(width), own, len(trial.data)):
            changes = [(place, value.to_bytes(size, "little"))]
            if region == "unused":
                # Only a used one is looked at: a second partition on the first.
                whole = bytearray(trial.data[trial.partition : trial.partition + 585])
                struct.pack_into("<I", whole, 5, 77)
                struct.pack_into("<i", whole, 205, 3)
                whole[int(offset) : int(offset) + size] = changes[0][1]
                changes = [(trial.other, bytes(whole))]
            trial.alter(f"{name} {value:#x}", changes)
    trial.report()


def cut(path):
    """Whatever is shorter than it says is refused; and one that says what length
    it was cut to is refused or runs."""
    trial = Trial(path)
    used = trial.squashfs + superblock(trial.data, trial.squashfs)(40)
    trial.try_it("as it is")
    number = superblock(trial.data, trial.squashfs)
    tables = [trial.squashfs + number(at) for at in (48, 64, 72, 80, 88) if number(at) != 2**64 - 1]
    marks = [0, 32, 42, 128, 4096, 4096 + 585, 4096 + 48 * 585, trial.squashfs, trial.squashfs + 96, used // 2, used]
    for mark in sorted(set(marks + tables)):
        for length in (mark - 1, mark, mark + 1):
            if not 0 <= length < used:
                continue
            with open(path, "wb") as file:
                file.write(trial.data[:length])
            ran = trial.ran
            trial.try_it(f"cut to {length}")
            if trial.ran != ran:
                trial.problems.append(f"cut to {length}: runs")
            if length < trial.squashfs + 96:
                continue
            changes = [(trial.squashfs + 40, struct.pack("<Q", length - trial.squashfs))]
            if trial.partition:
                changes.append((trial.partition + 25, changes[0][1]))
            trial.alter(f"cut to {length} and says so", changes)
    trial.report()


def set_number(path, new, region, offset, width, value):
    trial = Trial(path)
    data, place, size = bytearray(trial.data), trial.bases[region] + int(offset), int(width) // 8
    own = int.from_bytes(data[place : place + size], "little")
    # A sign before the number is relative to what is there.
    number = own + int(value) if value[0] in "+-" else int(value, 0)
    data[place : place + size] = (number % (1 << int(width))).to_bytes(size, "little")
    open(new, "wb").write(data)


def noise(path, seed, times):
    trial = Trial(path)
    chance = random.Random(seed)
    start = superblock(trial.data, trial.squashfs)(64) + trial.squashfs
    for number in range(times):
        changes = []
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(start, len(trial.data) - 8)
            value = chance.choice((b"\xff" * 4, b"\0\0", b"\x7f", bytes([chance.randrange(256)]), b"\xff\xff\xff\x7f"))
            changes.append((place, value))
        trial.alter(f"noise {number} {changes}", changes, trial.try_damaged)
    trial.report()


def main():
    verb, path, *rest = sys.argv[1:]
    if verb == "rename":
        rename(path, rest)
    elif verb == "loop":
        loop(path, rest[0])
    elif verb == "fields":
        fields(path, [line for line in sys.stdin.read().splitlines() if line])
    elif verb == "cut":
        cut(path)
    elif verb == "set":
        set_number(path, *rest)
    elif verb == "noise":
        noise(path, int(rest[0]), int(rest[1]))


main()
