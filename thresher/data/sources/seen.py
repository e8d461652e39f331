"""Which names have occurred before, in 12 to 24 bytes each however long they are."""

from array import array
from hashlib import blake2b


class Seen:
    """A set of strings that can only grow, kept as 64-bit hashes in a table of open addresses.

    Two different strings of m are taken for one with a probability of m^2 / 2^65: 3e-6 at ten million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._count = 0

    def add(self, name: str) -> bool:
        """Whether `name` is new."""
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if not self._insert(int.from_bytes(digest, "little") or 1):
            return False
        self._count += 1
        if 3 * self._count > 2 * len(self._table):
            self._grow()
        return True

    def _insert(self, value: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        place = value & mask
        while (there := table[place]) != 0:
            if there == value:
                return False
            place = (place + 1) & mask
        table[place] = value
        return True

    def _grow(self) -> None:
        old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
        for value in old:
            if value:
                self._insert(value)
