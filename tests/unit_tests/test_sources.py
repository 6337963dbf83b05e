"""Pairs for training, in every form that users have them; what is wrong with a file is told with its line."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import pytest

from domains.unit_tests.data.mining import mine
from domains.unit_tests.data.sources import read_pairs
from suite.errors import InputError
from tests.unit_tests.test_java_sources import STACK

TEST = """
public class StackTest extends Base {
    private Stack stack;
    @Test
    public void testSize() {
        int size = stack.size();
        assertEquals(0, size);
    }
}
"""


def write(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_the_studys_columns_are_read_from_json_lines_packed_or_not(tmp_path):
    records = [{"id": f"1_{n}", "source": f"class A{n} {{\n", "target": "    }\n\n}"} for n in range(3)]
    plain = write(tmp_path / "pairs.jsonl", *records)
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(Path(plain).read_bytes()))
    for source in (plain, f"{plain}.gz"):
        assert [(pair.id, pair.source, pair.target) for pair in read_pairs(source)] == [
            (one["id"], one["source"], one["target"]) for one in records
        ]


def test_a_corpus_gives_the_level_that_is_asked_for(tmp_path):
    record = {"target": "void t() {}", "src_fm": "void f() {}", "src_fm_fc": "A void f() {}"}
    (tmp_path / "corpus" / "7").mkdir(parents=True)
    (tmp_path / "corpus" / "7" / "7_1.json").write_text(json.dumps(record))
    [pair] = read_pairs(str(tmp_path / "corpus"), level="src_fm_fc")
    assert (pair.source, pair.target) == ("A void f() {}", "void t() {}")
    with pytest.raises(InputError, match=r"7_1.json: has no src_fm_fc_ms; it has src_fm, src_fm_fc"):
        list(read_pairs(str(tmp_path / "corpus"), level="src_fm_fc_ms"))


def test_mined_pairs_become_the_studys_sources(tmp_path):
    files = {"p/src/main/java/Stack.java": STACK, "p/src/test/java/StackTest.java": TEST}
    [found] = mine(files).pairs
    [pair] = read_pairs(write(tmp_path / "mined.jsonl", found.to_dict({"repo_id": "1"})))
    assert "class Stack extends Base implements Cloneable {\n\n    @Override\n    public int size() {" in pair.source
    assert pair.source.endswith(
        "class StackTest extends Base {\n\n    private Stack stack;\n\n    @Test\n    public void testSize() {\n"
    )
    assert pair.target == "        int size = stack.size();\n        assertEquals(0, size);\n    }\n\n}"


def test_the_made_world_gives_functions_with_tests_of_other_names_in_every_split():
    train, test = (list(read_pairs(f"world:{split}:30")) for split in ("train", "test"))
    assert len(train) == len(test) == 30
    names = [{pair.source.rpartition("def test_")[2] for pair in pairs} for pairs in (train, test)]
    assert not names[0] & names[1]
    for pair in train:
        opening = pair.source.rpartition("\n")[2]
        tests = ast.parse(opening + pair.target).body
        assert len(tests) > 1 and all(one.name.startswith("test_") for one in tests)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
            r":1: is a pointer of Git LFS.*git lfs pull",
        ),
        ('{"source": "a", "target": "b"}\n{"source": "a", "tar', r":2: no JSON .* fetched again"),
        ('{"source": "a", "target": "b"}\n[1]\n', r":2: holds list, not an object"),
        ('{"text": "a"}\n', r":1: has the columns text; wanted are id, source and target"),
        ('{"source": "a", "target": null}\n', r":1: source and target must be texts"),
        ('{"focal_class": {}, "focal_method": {}, "test_class": {}, "test_case": {}}\n', r":1: is no whole record"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path, text, said):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=f"pairs.jsonl{said}"):
        list(read_pairs(str(path)))


def test_files_and_splits_that_there_are_not_are_refused(tmp_path):
    (tmp_path / "half.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    for source, said in (
        ("absent.jsonl", "no such file"),
        ("world:dev", "world:SPLIT"),
        ("world:train:few", "world:SPLIT"),
        (str(tmp_path / "half.jsonl.gz"), "is it whole"),
    ):
        with pytest.raises(InputError, match=said):
            list(read_pairs(source))
    with pytest.raises(InputError, match=r"data.level 'fm'"):
        list(read_pairs("world:train", level="fm"))
