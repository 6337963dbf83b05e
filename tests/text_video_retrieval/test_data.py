"""Reading pairs and videos: the rule over frames, five layouts on the disk, what is broken, augmentation."""

from __future__ import annotations

import json
import pickle
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from domains.text_video_retrieval.data import frames, world
from domains.text_video_retrieval.data.augment import VideoAugment
from domains.text_video_retrieval.data.datamodule import TextVideoData, mask_of
from domains.text_video_retrieval.data.datasets.msvd import convert_msvd
from domains.text_video_retrieval.data.frames import positions, read_clip, window
from domains.text_video_retrieval.data.sources import open_pairs
from domains.text_video_retrieval.predict import VideoMatcher
from suite.clip.pictures import Preprocessing
from suite.errors import InputError
from tests.text_video_retrieval import clips
from tests.text_video_retrieval.test_index import encoder  # noqa: F401


@pytest.mark.parametrize(
    ("last", "count", "fps", "rate", "expected"),
    [
        (99, 4, 25.0, 1.0, [0, 25, 50, 75]),  # as many candidates
        (299, 4, 25.0, 1.0, [0, 75, 175, 275]),  # more: whole parts over the candidates' places
        (49, 4, 25.0, 1.0, [0, 16, 32, 49]),  # fewer: over the frames themselves
        (1, 4, 25.0, 1.0, [0, 0, 0, 1]),
        (499, 4, 25.0, 0.4, [0, 124, 310, 496]),  # two and a half seconds: 62.5 frames, rounded to even
        (9, 4, 0.5, 1.0, [0, 3, 6, 9]),  # a stride below 1 is 1
    ],
)
def test_frames_are_chosen_by_the_papers_rule(
    last: int, count: int, fps: float, rate: float, expected: list[int]
) -> None:
    assert positions(0, last, count, fps, rate) == expected


def test_windows_round_as_the_papers_code() -> None:
    assert window(None, None, 100, 25.0) == (0, 99)
    assert window(1.9, 3.2, 1000, 25.0) == (25, 75)
    assert window(3.0, 1.0, 1000, 25.0) == (25, 75)
    assert window(2.0, 2.0, 1000, 25.0) == (50, 75)
    assert window(-4.0, 99.0, 100, 25.0) == (0, 99)
    with pytest.raises(InputError, match="after its last frame"):
        window(10.0, 12.0, 100, 25.0)


def test_a_clip_is_read_at_its_times(tmp_path: Path) -> None:
    path = clips.made(tmp_path / "a.mp4", 0)
    read = read_clip(path, 4, rate=1.0)
    assert read.times == (0.0, 1.0, 2.0, 3.0)
    own = world.clip("test", 0, events=2).pictures(64)
    assert np.abs(read.pictures[1].astype(int) - own[2]).mean() < 12
    assert not read.short
    short = read_clip(clips.still(tmp_path / "b.mp4", 2), 4)
    assert short.short
    assert "several times" in short.notices[0]


@pytest.mark.parametrize("stated", [None, Fraction(0), Fraction(1000)])
def test_a_rate_that_cannot_be_gives_way_to_the_frames_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: Fraction | None
) -> None:
    from dataclasses import replace

    path = clips.made(tmp_path / "a.mp4", 0)
    known = frames.probe(path)
    monkeypatch.setattr(frames, "probe", lambda source: replace(known, fps=stated))
    read = read_clip(path, 4)
    assert read.times == (0.0, 1.0, 2.0, 3.0)
    assert f"states {'no' if stated is None else float(stated)} frames a second" in read.notices[0]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "Videos"
    for name in ("video0", "video1", "v_one", "clip_a", "12@N_00_1.avi"):
        clips.still(folder / f"{name}.mp4", 2)
    return folder


def test_msrvtt(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text(
        'key,vid_key,video_id,sentence\nret0,msr1,video1,"a dog, running"\nret1,msr9,video9,gone\n'
    )
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\n")
    sentences = [{"caption": f"c{n}", "video_id": f"video{n % 2}", "sen_id": n} for n in range(6)]
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    test = open_pairs(f"{tmp_path}:test")
    assert [(pair.video, pair.caption) for pair in test.pairs] == [("video1", "a dog, running")]
    assert test.missing == ("video9",)
    assert "1 videos are missing (video9); 1 pairs are left" in test.notices[0]
    train = open_pairs(f"{tmp_path}:train")
    assert [pair.caption for pair in train.pairs] == ["c0", "c2", "c4"]
    assert train.numbers == [0, 0, 0]


def test_lsmdc(tmp_path: Path, videos: Path) -> None:
    line = 'clip_a\t00.1\t00.2\t00.1\t00.2\tSOMEONE "quotes" it.'
    (tmp_path / "LSMDC16_annos_training.csv").write_text(f"{line}\n{line}\n")
    train = open_pairs(f"{tmp_path}:train")
    assert [pair.caption for pair in train.pairs] == ['SOMEONE "quotes" it.'] * 2
    (tmp_path / "LSMDC16_annos_training.csv").write_text("clip_a\tno more\n")
    with pytest.raises(InputError, match="line 1 has fewer columns"):
        open_pairs(f"{tmp_path}:train")


def test_activitynet(tmp_path: Path, videos: Path) -> None:
    told = {"v_one": {"duration": 82.73, "timestamps": [[0, 1], [1, 2]], "sentences": ["A man. ", " He runs."]}}
    for name in ("train", "val_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    for name in ("train_ids", "val_ids"):
        (tmp_path / f"{name}.json").write_text(json.dumps(["v_one", "v_absent"]))
    test = open_pairs(f"{tmp_path}:test")
    assert [(p.caption, p.start, p.end) for p in test.pairs] == [("A man. He runs.", 0.0, 83.0)]
    assert (test.words, test.frames) == (64, 64)


def test_didemo(tmp_path: Path, videos: Path) -> None:
    told = [{"description": text, "times": [[0, 1]], "video": "12@N_00_1.avi"} for text in ("a boat", "it turns")]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}_list.txt").write_text("12@N_00_1.avi\n")
        (tmp_path / f"{split}_data.json").write_text(json.dumps(told))
    test = open_pairs(f"{tmp_path}:test")
    assert [(p.caption, p.start, p.end) for p in test.pairs] == [("a boat it turns", 0.0, 31.0)]
    assert test.videos["12@N_00_1.avi"].name == "12@N_00_1.avi.mp4"


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("run",))


def test_msvd_converts_its_pickle_once_and_runs_nothing(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "test_list.txt").write_text("clip_a\n")
    file = tmp_path / "raw-captions.pkl"
    file.write_bytes(pickle.dumps({"clip_a": [["a", "man"], ["he", "sings"]]}))
    with pytest.raises(InputError, match=r"is a pickle.*convert-msvd"):
        open_pairs(f"{tmp_path}:test")
    convert_msvd(file)
    test = open_pairs(f"{tmp_path}:test")
    assert [pair.caption for pair in test.pairs] == ["a man", "he sings"]
    assert (test.several, test.numbers) == (True, [0, 0])
    file.write_bytes(pickle.dumps({"clip_a": Evil()}))
    with pytest.raises(InputError, match=r"no pickle of captions \(it asks for builtins\.print\)"):
        convert_msvd(file)
    assert "run" not in capsys.readouterr().out


def test_a_table_of_ones_own_and_what_is_wrong_with_it(tmp_path: Path, videos: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("video,caption,start,end\nvideo0,one,,\nvideo1.mp4,two,0,1.5\n")
    own = open_pairs(str(table))
    assert [(p.video, p.start, p.end) for p in own.pairs] == [("video0", None, None), ("video1.mp4", 0.0, 1.5)]
    for text, message in (
        ("name,caption\nvideo0,one\n", "line 1 lacks the column video; it has name, caption"),
        ("video,caption,start\nvideo0,one,soon\n", "line 2: start and end are seconds"),
        ("video,caption\nvideo77,one\n", "holds none of the 1 videos"),
        ("video,caption,split\nvideo0,one,test\n", "has no pair of the split train"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=message):
            open_pairs(str(table))
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\n")
    (tmp_path / "MSRVTT_data.json").write_text('{"sentences": [\n oops')
    with pytest.raises(InputError, match="line 2 is no JSON"):
        open_pairs(f"{tmp_path}:train")
    (tmp_path / "MSRVTT_data.json").write_text('{"sentence": []}')
    with pytest.raises(InputError, match="laid out in another way; expected"):
        open_pairs(f"{tmp_path}:train")


def test_a_table_without_splits_is_parted_by_videos_when_one_is_asked_for(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.mp4").touch()
    lines = [f"{number % 30},sentence {number}" for number in range(60)]
    (tmp_path / "captions.csv").write_text("\n".join(["video,caption", *lines]) + "\n")
    source = str(tmp_path / "captions.csv")
    assert len(open_pairs(source)) == 60
    parts = {split: open_pairs(f"{source}:{split}") for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 60 and len(parts["train"]) > 36
    held = [{pair.video for pair in part.pairs} for part in parts.values()]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    first = open_pairs(f"{source}:train_test")
    assert [pair.video for pair in first.pairs] == sorted(held[0], key=int) and len(first) == len(held[0])


def test_sentences_beside_their_videos(tmp_path: Path) -> None:
    for name in ("00000", "00001", "00002"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "00000.txt").write_bytes("a dog runs\r\n\r\nit déjà barks\n".encode("cp1252"))
    (tmp_path / "00001.json").write_text('{"caption": "a boat", "url": "x"}')
    assert [(p.video, p.caption) for p in open_pairs(str(tmp_path)).pairs] == [
        ("00000", "a dog runs"), ("00000", "it déjà barks"), ("00001", "a boat"),
    ]  # fmt: skip
    (tmp_path / "00001.json").write_text('{"text": "a boat"}')
    with pytest.raises(InputError, match=r'00001\.json: is laid out in another way; expected {"caption"'):
        open_pairs(str(tmp_path))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "00000.tar").touch()
    with pytest.raises(InputError, match=r"unpack its archives first: tar -xf 00000\.tar"):
        open_pairs(str(tmp_path / "packed"))


RUN_9K = {"MSRVTT_train.9k.csv": "video_id\nvideo0\n"}
IDS = {"train_ids.json": '["v_one"]', "val_1.json": "{}"}
LISTED = {"train_list.txt": "clip_a\n"}
MSRVTT, DIDEMO = "MSRVTT_data.json", "train_data.json"


def _told(**told: object) -> str:
    return json.dumps({"v_one": {"duration": 5, "sentences": ["a"], **told}})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({MSRVTT: "{}", "MSRVTT_train.9k.csv": "id\nvideo0\n"}, "line 1 lacks the column video_id; it has id"),
        ({MSRVTT: "{}", "MSRVTT_train.9k.csv": "\xff\xfe\x00\x01"}, "lacks the column video_id"),
        ({MSRVTT: "{}", "MSRVTT_train.9k.csv": "video_id\n" + "x" * 200_000}, "is no table"),
        ({MSRVTT: "[" * 100_000, **RUN_9K}, "is no JSON"),
        ({MSRVTT: '{"a": 1' + "0" * 5000 + "}", **RUN_9K}, "is no JSON"),
        ({MSRVTT: '{"sentences": [{"caption": "c", "video_id": ["video0"]}]}', **RUN_9K}, "another way"),
        ({MSRVTT: '{"sentences": [{"caption": null, "video_id": "video0"}]}', **RUN_9K}, "another way"),
        ({"train.json": "{}", "train_ids.json": '"v_one"', "val_1.json": "{}"}, "another way"),
        ({"train.json": "{}", "train_ids.json": '{"v_one": 1}', "val_1.json": "{}"}, "another way"),
        ({"train.json": _told(duration="long"), **IDS}, "another way"),
        ({"train.json": _told(duration=float("nan")), **IDS}, "another way"),
        ({"train.json": _told(duration=-1), **IDS}, "another way"),
        ({"train.json": _told(sentences=[5]), **IDS}, "another way"),
        ({"train.json": _told(sentences="a man"), **IDS}, "another way"),
        ({DIDEMO: '[{"description": null, "video": "clip_a"}]', **LISTED}, "another way"),
        ({DIDEMO: '[{"description": "a", "video": ["clip_a"]}]', **LISTED}, "another way"),
        ({"raw-captions.json": '{"clip_a": "sentence"}', **LISTED}, "another way"),
        ({"raw-captions.json": '{"clip_a": [1]}', **LISTED}, "another way"),
        ({"raw-captions.json": '{"clip_a": ["a"]}'}, "train_list.txt: No such file .*; get the annotations anew$"),
        ({"LSMDC16_challenge_1000_publictect.csv": ""}, "training.csv: No such file .*; get the annotations anew$"),
    ],
)
def test_annotations_of_another_layout_are_one_line(files: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "Videos").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message) as error:
        open_pairs(f"{tmp_path}:train")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("times", ["nan,5", "0,inf", "3,1", "-3,1", "2,2"])
def test_times_of_a_table_that_are_no_part_of_a_video(times: str, tmp_path: Path, videos: Path) -> None:
    (tmp_path / "captions.csv").write_text(f"video,caption,start,end\nvideo0,one,{times}\n")
    with pytest.raises(InputError, match=r"captions\.csv: line 2: start and end are seconds"):
        open_pairs(str(tmp_path / "captions.csv"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_tables_and_annotations_are_read_as_any_editor_saves_them(encoding: str, tmp_path: Path, videos: Path) -> None:
    (tmp_path / "captions.csv").write_text("video,caption\nvideo0,café\n", encoding=encoding)
    assert open_pairs(str(tmp_path / "captions.csv")).pairs[0].caption == "café"
    told = json.dumps({"sentences": [{"caption": "café", "video_id": "video0"}]}, ensure_ascii=False)
    (tmp_path / MSRVTT).write_text(told, encoding=encoding)
    (tmp_path / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\n", encoding=encoding)
    (tmp_path / "captions.csv").unlink()
    assert open_pairs(f"{tmp_path}:train").pairs[0].caption == "café"


@pytest.mark.parametrize("content", [pickle.dumps([1]), pickle.dumps({"a": 5}), pickle.dumps({"a": ["x"]})[:9], b""])
def test_pickles_of_something_else_write_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "raw-captions.pkl").write_bytes(content)
    with pytest.raises(InputError, match="no pickle of captions"):
        convert_msvd(tmp_path / "raw-captions.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["raw-captions.pkl"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("world:tests", "e.g. world:train:400"), ("world:train:x", "e.g. world:train:400"), ("absent", "no such file")],
)
def test_sources_that_are_none(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_pairs(source)


def test_every_frame_of_a_video_gets_the_same_operations() -> None:
    """Equal frames stay equal; another video gets others."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    augment = VideoAugment(side=40)
    random.seed(0)
    np.random.seed(0)
    changed = [augment([picture] * 3) for _ in range(6)]
    assert all(np.array_equal(video[0], frame) for video in changed for frame in video)
    assert len({video[0].tobytes() for video in changed}) > 3
    assert {frame.shape for video in changed for frame in video} == {picture.shape}
    with pytest.raises(InputError, match="give a policy of timm"):
        VideoAugment("twist-m7")


def test_reversed_clips_stand_beside_their_own_and_are_of_the_same_pictures() -> None:
    found = open_pairs("world:test:20")
    for place in range(0, 20, 2):
        one, other = (found.videos[found.pairs[place + more].video] for more in (0, 1))
        assert isinstance(one, world.Clip) and isinstance(other, world.Clip)
        assert one.turned() == other and other.turned() == one and one.caption != other.caption
        pictures = [[picture.tobytes() for picture in clip.pictures(16)[::2]] for clip in (one, other)]
        assert pictures[0] != pictures[1]
        if len(one.events) == 2:  # a bag of pictures cannot tell them apart
            assert sorted(pictures[0]) == sorted(pictures[1])
    assert sum(", then " in pair.caption for pair in found.pairs) > 8


def test_clips_that_are_much_alike_are_in_one_batch_of_training(encoder) -> None:  # noqa: F811
    data = TextVideoData(train="world:train:12", val=None, batch_size=4)
    data.meet(4, Preprocessing(24), encoder.words)
    numbers = [batch["pair"].tolist() for batch in data.train_dataloader()]
    order = [number for batch in numbers for number in batch]
    assert sorted(order) == list(range(12)) != order
    assert all(
        first % 2 == 0 and second == first + 1 for first, second in (b[i : i + 2] for b in numbers for i in (0, 2))
    )


def test_stills_of_pretraining_hold_out_what_happens_and_two_shapes() -> None:
    captions = [world.still(number, 16)[1] for number in range(300)]
    held = (*world.HELD_OUT, *world.ACTIONS, "then")
    assert not any(word in caption for caption in captions for word in held)


def test_batches_hold_frames_tokens_and_the_videos_numbers(encoder) -> None:  # noqa: F811
    data = TextVideoData(train="world:train:6", val=None, batch_size=3)  # which parts groups of two: as they come
    data.meet(4, Preprocessing(24), encoder.words)
    batch = next(iter(data.train_dataloader()))
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "frames": (3, 4, 3, 24, 24), "tokens": (3, 12), "words": (3, 12), "video": (3,), "pair": (3,),
    }  # fmt: skip
    assert np.array_equal(batch["words"], mask_of(batch["tokens"]))
    with pytest.raises(InputError, match="fewer than a batch of 8"):
        small = TextVideoData(train="world:train:6", batch_size=8)
        small.meet(4, Preprocessing(24), encoder.words)
        small.train_dataloader()
    with pytest.raises(InputError, match="fps is 0"):
        TextVideoData(fps=0)


def test_a_video_beside_sentences(encoder, tmp_path: Path) -> None:  # noqa: F811
    matcher = VideoMatcher(encoder)
    path = clips.made(tmp_path / "one.mp4", 3)
    result = matcher(path, captions=["a red", "a square moves left"])
    assert result.best in ("a red", "a square moves left")
    assert list(result.scores.values()) == sorted(result.scores.values(), reverse=True)
    assert set(result.moments.values()) <= set(result.times)
    files = result.save(tmp_path / "out")
    assert sorted(file.suffix for file in files) == [".json", ".npy", ".png"]
    with pytest.raises(InputError, match="a caption is empty"):
        matcher(path, captions=[" "])
    with pytest.raises(InputError, match="end is 1 s, not after start"):
        matcher(path, start=2.0, end=1)
