"""Members of a tar that stand twice, and those whose bytes do not lie there as they are."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import small_corpora
from support.web_corpus import declared, opened, picture, reasons, table, write_tar

A, B, C = (small_corpora.picture(n) for n in range(3))
REST = [("zz.jpg", C), ("zz.txt", b"last")]  # a sample of its own


def one(key: str, data: bytes, caption: str) -> list[tuple[str, bytes]]:
    return [(f"{key}.jpg", data), (f"{key}.txt", caption.encode())]


def indexed(folder: Path, members: list[tuple[str, bytes]]) -> Any:
    write_tar(folder / "img2dataset" / "0.tar", members + REST)
    source = opened(folder, "img2dataset")
    found = table(folder, "img2dataset")
    assert source.splits() == {"train": found.num_rows}  # counted without being read
    return found


@pytest.mark.parametrize(
    ("members", "left_out", "usable"),
    [
        (one("0", A, "a") + one("0", B, "b"), {"duplicate_id": 1}, 2),
        (one("0", A, "a") + one("0", B, "b") + one("0", C, "c"), {"duplicate_id": 2}, 2),
        (one("0", A, "a") + one("1", B, "b") + one("0", C, "c"), {"duplicate_id": 1}, 3),
        ([*one("0", A, "a"), ("0.jpg", B)], {"duplicate_member": 2}, 1),
        ([*one("0", A, "a"), ("0.txt", b"b")], {"duplicate_member": 2}, 1),
        ([("0.jpg", A), ("0.jpg", B), ("0.txt", b"a"), ("0.txt", b"b")], {"duplicate_member": 2}, 1),
        ([("0.jpg", A), ("0.txt", b"a"), ("0.txt", b"b"), ("0.jpg", B)], {"duplicate_member": 2}, 1),
        ([("0.jpg", A), ("0.jpg", B), ("0.jpg", C), ("0.txt", b"a")], {"duplicate_member": 3}, 1),
        ([("0.jpg", A), ("0.png", B), ("0.txt", b"a")], {}, 2),
    ],
)
def test_each_row_is_there_or_counted(
    tmp_path: Path, members: list[tuple[str, bytes]], left_out: dict[str, int], usable: int
) -> None:
    assert reasons(indexed(tmp_path, members)) == {"": usable} | left_out


def test_what_belongs_together_is_never_mixed(tmp_path: Path) -> None:
    found = indexed(tmp_path, one("0", A, "a") + one("0", B, "b"))
    rows = found.to_pylist()
    assert [(row["captions"], picture(tmp_path, row, root="img2dataset")) for row in rows] == [
        (["a"], A),
        (["b"], B),
        (["last"], C),
    ]


def add(out: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    out.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "d" * 90 + "/" + "e" * 90 + "/"])
def test_a_hard_link_is_the_member_that_it_names(tmp_path: Path, form: int, folder: str) -> None:
    path = tmp_path / "img2dataset" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=form) as out:
        add(out, f"{folder}0.jpg", A)
        add(out, f"{folder}0.txt", b"a")
        add(out, f"{folder}1.jpg", type=tarfile.LNKTYPE, linkname=f"{folder}0.jpg")
        add(out, f"{folder}1.txt", b"b")
        add(out, f"{folder}2.jpg", B)
        add(out, f"{folder}2.txt", type=tarfile.LNKTYPE, linkname=f"{folder}0.txt")
        add(out, f"{folder}3.jpg", type=tarfile.LNKTYPE, linkname="nowhere.jpg")
        add(out, f"{folder}3.txt", b"d")
    found = table(tmp_path, "img2dataset")
    assert reasons(found) == {"": 3, "not_a_file": 1}
    assert found.column("captions").to_pylist()[:3] == [["a"], ["b"], ["a"]]
    assert [picture(tmp_path, row, root="img2dataset") for row in found.to_pylist()[:3]] == [A, A, B]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("extension", ["jpg", "txt"])
def test_members_without_bytes_are_counted(tmp_path: Path, kind: bytes, extension: str) -> None:
    path = tmp_path / "img2dataset" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as out:
        for name, data in one("0", A, "a") + REST:
            if name == f"0.{extension}":
                add(out, name, type=kind, linkname="zz.jpg")
            else:
                add(out, name, data)
    assert reasons(table(tmp_path, "img2dataset")) == {"": 1, "not_a_file": 1}


def sparse_header(name: str, size: int, blocks: int) -> bytes:
    """The header of a sparse file of GNU tar, with blocks that go on with its map."""
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, size
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    raw[482] = blocks > 0
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    more = [bytearray(512) for _ in range(blocks)]
    for one_more in more[:-1]:
        one_more[504] = 1
    return bytes(raw) + b"".join(more)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_sparse_members_of_gnu(tmp_path: Path, blocks: int) -> None:
    path = write_tar(tmp_path / "img2dataset" / "0.tar", [("0.txt", b"a"), *REST])
    start = sparse_header("0.jpg", len(A), blocks) + A + bytes(-len(A) % 512)
    path.write_bytes(start + path.read_bytes())
    assert reasons(table(tmp_path, "img2dataset")) == {"": 1, "not_a_file": 1}


@pytest.mark.parametrize("version", [{"GNU.sparse.major": "1"}, {"GNU.sparse.map": "0,9"}])
def test_sparse_members_of_pax(tmp_path: Path, version: dict[str, str]) -> None:
    path = tmp_path / "img2dataset" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        add(out, "GNUSparseFile.7/0.jpg", A, pax_headers=version | {"GNU.sparse.name": "0.jpg"})
        for name, data in [("0.txt", b"a"), *REST]:
            add(out, name, data)
    found = table(tmp_path, "img2dataset")
    assert reasons(found) == {"": 1, "not_a_file": 1}
    assert found.column("episode").to_pylist() == ["0/0", "0/zz"]


def test_images_that_are_only_encoded_anew(tmp_path: Path) -> None:
    members = []
    for kind, suffix in (("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif"), ("TIFF", "tiff"), ("PNG", "png")):
        members += [(f"{suffix}.{suffix}", small_corpora.picture(1, kind)), (f"{suffix}.txt", b"Noise.")]
    write_tar(tmp_path / "data" / "0.tar", members)
    fields = {"id": "$key", "image": "image", "captions": "txt"}
    path = declared(tmp_path, format="webdataset", fields=fields, splits={"train": {"annotations": ["*.tar"]}})
    assert reasons(table(tmp_path, path)) == {"": 1, "other_format": 4}
