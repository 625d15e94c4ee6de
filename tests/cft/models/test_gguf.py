"""A GGUF file gives every weight of its model, or is refused with what is wrong; nothing of it is drawn at random."""

import random
from pathlib import Path

import gguf
import numpy as np
import pytest

from cft.errors import ModelError
from cft.models.fetch import convert, read_gguf
from tests.support.tiny import write_gguf


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "sound.gguf"
    write_gguf(path)
    return path.read_bytes()


def renamed(data: bytes, name: str) -> bytes:
    """The file with another name of the same length for a tensor, behind its length of eight bytes."""
    was = len(name).to_bytes(8, "little") + name.encode()
    assert data.count(was) == 1
    return data.replace(was, was[:-9] + b"xx" + was[-7:])


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("tensor", "weight"),
    [
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("token_embd.weight", "lm_head.weight"),
    ],
)
def test_a_tensor_of_another_name_is_missed_by_name(sound, tmp_path, tensor, weight):
    with pytest.raises(ModelError, match=rf"lacks \d+ weights of its model, first {weight};"):
        convert(written(tmp_path, renamed(sound, tensor)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_layer_of_another_name_is_not_taken_for_tied(tmp_path, monkeypatch):
    """Without `output.weight` transformers takes the embeddings for the output layer, and nothing is missing."""
    write = gguf.GGUFWriter.write_header_to_file

    def with_head(self, *args, **options):
        self.add_tensor("output.weight", np.random.default_rng(1).standard_normal((260, 32)).astype(np.float32))
        write(self, *args, **options)

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", with_head)
    write_gguf(tmp_path / "model.gguf")
    data = (tmp_path / "model.gguf").read_bytes()
    assert not read_gguf(tmp_path / "model.gguf", "bfloat16").config.tie_word_embeddings
    with pytest.raises(ModelError, match=r"holds 27,072 weights, but its model has 18,752"):
        read_gguf(written(tmp_path, renamed(data, "output.weight")), "bfloat16")


@pytest.mark.parametrize("length", [0, 3, 10, 50, 200, 1000, 3000, 12_000])
def test_a_file_that_is_cut_off_is_refused(sound, tmp_path, length):
    with pytest.raises(ModelError, match="cannot be read as a GGUF model"):
        convert(written(tmp_path, sound[:length]), tmp_path / "out")


def test_more_layers_than_tensors_are_not_built(sound, tmp_path):
    at = sound.index(b"qwen2.block_count") + len(b"qwen2.block_count") + 4
    endless = sound[:at] + (2_000_000_000).to_bytes(4, "little") + sound[at + 4 :]
    with pytest.raises(ModelError, match="2000000000 layers, but holds 14 tensors"):
        convert(written(tmp_path, endless), tmp_path / "out")


def test_damaged_headers_are_refused_or_harmless(sound, tmp_path):
    draw, refused = random.Random(4), 0
    for number in range(60):
        data = bytearray(sound)
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(3500)] = draw.randrange(256)
        try:
            convert(written(tmp_path, bytes(data)), tmp_path / str(number))
        except ModelError:
            refused += 1
    assert refused > 20


def test_no_bar_of_the_library_is_printed(sound, tmp_path, capfd):
    convert(written(tmp_path, sound), tmp_path / "out")
    assert capfd.readouterr() == ("", "")
