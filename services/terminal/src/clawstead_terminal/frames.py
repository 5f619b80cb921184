"""Output of a container without a terminal, as the engine sends it: framed by channel. Pure."""

from clawstead_terminal.errors import EngineError

STDOUT, STDERR = 1, 2
_HEADER = 8
_LARGEST = 1024 * 1024


class Demultiplexer:
    """Takes the engine's bytes as they come, and returns whole frames.

    Before each piece the engine puts its channel, three zeros and its length (big-endian).
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes wait for the rest of their frame."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that ``data`` completes: channel and content.

        Raises:
            EngineError: a frame is longer than any that the engine makes.
        """
        self._pending += data
        frames = []
        while len(self._pending) >= _HEADER:
            length = int.from_bytes(self._pending[4:_HEADER], "big")
            if length > _LARGEST:
                raise EngineError("the engine's output is not framed as it should be")
            if len(self._pending) < _HEADER + length:
                break
            frames.append((self._pending[0], bytes(self._pending[_HEADER : _HEADER + length])))
            del self._pending[: _HEADER + length]
        return frames
