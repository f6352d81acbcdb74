"""Checkpoints that mean harm: nothing of them is executed, they take little memory, and each is
refused in one sentence.
"""

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import ROOT

from maml.system import safe_pickle
from maml.system.errors import UserError

MEMORY = 200 << 20  # bytes that reading any of them may take
PROTOCOL_4 = b"\x80\x04"


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def string(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def found(module: str, name: str) -> bytes:
    return string(module) + string(name) + b"\x93"


def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    """A NumPy array with whatever state."""
    return (
        found("numpy.core.multiarray", "_reconstruct")
        + found("numpy", "ndarray")
        + b"K\x00\x85C\x01b\x87R"
        + b"(K\x01"
        + shape
        + kind
        + b"\x89"
        + data
        + b"tb"
    )


def number_type(
    name: str, state: bytes = b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
) -> bytes:
    return found("numpy", "dtype") + string(name) + b"\x89\x88\x87R" + state


def eight(n: int) -> bytes:
    return struct.pack("<Q", n)


def hostile(mark) -> dict[str, bytes]:
    """By what it tries; any that calls something makes the file `mark`."""
    command = f"touch {mark}"
    laughs = b"]\x94" + b"".join(b"](" + (b"h" + bytes([i])) * 10 + b"e\x94" for i in range(30))
    return {
        "os.system by reduce": pickle.dumps(Call(os.system, command)),
        "os.system within": pickle.dumps(
            {"format": safe_pickle.FORMAT, "weights": [Call(os.system, command)]}
        ),
        "os.system in an array of objects": pickle.dumps(
            {"weights": [np.array([Call(os.system, command)], dtype=object)]}
        ),
        "eval": pickle.dumps(Call(eval, f"__import__('os').system('{command}')")),
        "a global of protocol 0": b"cposix\nsystem\n(V" + command.encode() + b"\ntR.",
        "an instance": b"(V" + command.encode() + b"\niposix\nsystem\n.",
        "an object": b"(cposix\nsystem\nV" + command.encode() + b"\no.",
        "a nested global": PROTOCOL_4 + found("numpy", "ndarray.tofile") + b".",
        "NumPy's loader of pickles": (
            PROTOCOL_4 + found("numpy", "load") + string(str(mark)) + b"\x85R."
        ),
        "a registered extension": PROTOCOL_4 + b"\x82\x01.",
        "a persistent object": PROTOCOL_4 + string("a") + b"Q.",
        "huge bytes": PROTOCOL_4 + b"\x8e" + eight(1 << 40) + b"a.",
        "huge text": PROTOCOL_4 + b"\x8d" + eight(1 << 40) + b"a.",
        "huge bytearray": b"\x80\x05\x96" + eight(1 << 33) + b"a.",
        "a huge frame": PROTOCOL_4 + b"\x95" + eight(1 << 40) + b"N.",
        "a huge memo": PROTOCOL_4 + b"Nr" + struct.pack("<I", 1 << 30) + b".",
        "a huge number": PROTOCOL_4 + b"\x8b" + struct.pack("<i", 1 << 30) + b"\x01.",
        "a huge empty array": (
            PROTOCOL_4
            + found("numpy", "ndarray")
            + b"\x8a\x06"
            + (1 << 40).to_bytes(6, "little")
            + b"\x85\x85R."
        ),
        "an array larger than its bytes": (
            PROTOCOL_4
            + array(
                b"\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85",
                number_type("f4"),
                b"C\x04abcd",
            )
            + b"."
        ),
        "pointers as objects": (
            PROTOCOL_4 + array(b"K\x01\x85", number_type("O8"), b"C\x08abcdefgh") + b"."
        ),
        "numbers turned into objects": (
            PROTOCOL_4
            + array(
                b"K\x01\x85",
                number_type("f8", b"(K\x03\x8c\x01|NNNK\x08K\x08K\x3ftb"),
                b"C\x08abcdefgh",
            )
            + b"]b."
        ),
        "elements of a gigabyte": (
            PROTOCOL_4 + array(b"K\x01\x85", number_type("V1000000000"), b"C\x04abcd") + b"."
        ),
        "deep lists": PROTOCOL_4 + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a list in itself": PROTOCOL_4 + b"]\x94h\x00a.",
        "lists of lists of lists": PROTOCOL_4 + laughs + b".",
        "a set": pickle.dumps({1, 2}),
        "nothing": b"",
    }


CHILD = """
    import json, resource, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from maml.system import safe_pickle
    from maml.system.errors import UserError

    def taken():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    safe_pickle.load({whole!r})
    before, said = taken(), {{}}
    for path in sorted(Path({folder!r}).iterdir()):
        try:
            said[path.name] = "read: " + str(type(safe_pickle.load(path)))
        except UserError as error:
            said[path.name] = str(error)
    print(json.dumps({{"said": said, "memory": taken() - before}}))
"""


def read_all(folder, whole) -> tuple[dict[str, str], int]:
    """What `safe_pickle.load` said of each file in `folder`, and the bytes that it took, in a
    process of its own.
    """
    code = textwrap.dedent(CHILD).format(root=str(ROOT), whole=str(whole), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    return result["said"], result["memory"]


@pytest.fixture
def whole(tmp_path):
    """A sound checkpoint."""
    state = {
        "weights": [np.arange(60, dtype=np.float32).reshape(3, 20)],
        "running": [],
        "config": {"way": 5, "bn": "auto"},
        "best": {"accuracy": 0.5},
        "rng": np.random.default_rng(0).bit_generator.state,
    }
    safe_pickle.save(state, tmp_path / "whole.pkl")
    return tmp_path / "whole.pkl"


def sentence(text: str) -> bool:
    return "is not a checkpoint of this project" in text and "\n" not in text and len(text) < 500


@pytest.mark.parametrize("checksum", [True, False], ids=["checksum", "no checksum"])
def test_hostile_pickles_are_refused(tmp_path, whole, checksum):
    folder, mark = tmp_path / "hostile", tmp_path / "executed"
    folder.mkdir()
    cases = hostile(mark)
    for name, content in cases.items():
        (folder / name).write_bytes(
            content + (hashlib.sha256(content).digest() if checksum else b"")
        )
    said, memory = read_all(folder, whole)
    assert said.keys() == cases.keys() and len(cases) >= 20
    assert [(name, text) for name, text in said.items() if not sentence(text)] == []
    assert not mark.exists() and memory < MEMORY


def test_the_marks_would_be_made(tmp_path):
    """What the hostile pickles call does make the mark, so that its absence means something."""
    for name in ("os.system by reduce", "a global of protocol 0", "an instance", "an object"):
        mark = tmp_path / name.replace(" ", "-")
        pickle.loads(hostile(mark)[name])
        assert mark.exists()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with a few bytes changed, taken out, put in, or a part of it repeated."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        i = rng.integers(len(changed))
        kind = rng.integers(4)
        if kind == 0:
            changed[i] ^= rng.integers(1, 256)
        elif kind == 1:
            del changed[i : i + rng.integers(1, 9)]
        elif kind == 2:
            changed[i:i] = rng.bytes(rng.integers(1, 9))
        else:
            changed[i:i] = changed[i : i + rng.integers(1, 40)]
    return bytes(changed)


def test_a_thousand_mutations_are_refused(tmp_path, whole, rng):
    content = whole.read_bytes()
    (tmp_path / "mutated").mkdir()
    for n in range(1000):
        (tmp_path / "mutated" / f"{n:04}").write_bytes(mutated(content, rng))
    said, memory = read_all(tmp_path / "mutated", whole)
    assert len(said) == 1000 and all(map(sentence, said.values())) and memory < MEMORY


def test_a_thousand_mutations_with_a_right_checksum_do_no_harm(tmp_path, whole, rng):
    """Some give other numbers or names, which nobody could tell from a checkpoint; the others are
    refused.
    """
    content = whole.read_bytes()[: -safe_pickle.DIGEST]
    (tmp_path / "mutated").mkdir()
    for n in range(1000):
        changed = mutated(content, rng)
        (tmp_path / "mutated" / f"{n:04}").write_bytes(changed + hashlib.sha256(changed).digest())
    said, memory = read_all(tmp_path / "mutated", whole)
    refused = [text for text in said.values() if text != "read: <class 'dict'>"]
    assert (
        len(said) == 1000 and len(refused) > 500 and all(map(sentence, refused)) and memory < MEMORY
    )


def test_truncations_are_refused(tmp_path, whole):
    content, path = whole.read_bytes(), tmp_path / "short.pkl"
    for end in range(0, len(content), max(1, len(content) // 50)):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match="is not a checkpoint"):
            safe_pickle.load(path)
