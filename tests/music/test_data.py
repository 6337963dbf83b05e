"""Recordings and captions in: readers, splits, clips, vocabularies, and the data that training sees."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
import torch

from domains.music.data import captions, vocabulary
from domains.music.data.clips import clips_of
from domains.music.data.datamodule import MusicData
from domains.music.data.recordings import drawn, split_of
from domains.music.data.sources import open_recordings, read_all
from domains.music.data.world import Piece
from suite.errors import InputError
from tests.music.made import MBIDS, FakeEncoder, folder, tone


def data(train: str | Path, val: str | Path | None = None, **options) -> tuple[MusicData, FakeEncoder]:
    made = MusicData(str(train), None if val is None else str(val), **options)
    encoder = FakeEncoder()
    made.bind(encoder, seed=3)
    return made, encoder


# Readers


def test_a_folder_takes_captions_from_texts_json_and_tags(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    tone(tmp_path / "one.wav").with_suffix(".txt").write_text("a slow\nwaltz", encoding="utf-8")
    tone(tmp_path / "deep" / "two.flac").with_suffix(".json").write_text(
        json.dumps({"description": "drums alone", "bpm": 90}), encoding="utf-8"
    )
    with soundfile.SoundFile(tmp_path / "three.ogg", "w", 8000, 1) as file:
        file.title, file.artist, file.copyright = "Evening", "Nobody", "CC BY 4.0"
        file.write([0.1] * 8000)
    held = read_all(tmp_path)
    said = {one.name: one.caption for one in held.recordings}
    assert said == {"one.wav": "a slow waltz", "two.flac": "drums alone", "three.ogg": "Evening, Nobody"}
    assert held.licences == ("CC BY 4.0",)


def test_saraga_s_json_is_read_with_its_diacritics(tmp_path: Path) -> None:
    path = tone(tmp_path / "Malkauns.mp3")
    content = {
        "mbid": MBIDS[0],
        "title": "Malkauns",
        "length": 333144,
        "artists": [
            {"instrument": {"name": "Harmonium"}, "lead": False},
            {"instrument": {"name": "Voice"}, "lead": True},
        ],
        "raags": [{"common_name": "Malkauns", "name": "Ma\u0304lkauns"}],
        "taals": [{"common_name": "Teentaal", "name": "T\u012bnt\u0101l"}],
        "layas": [{"common_name": "Vilambit", "name": "Vila\u1e41bit"}],
        "forms": [],
        "works": [],
    }
    path.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    [one] = read_all(tmp_path).recordings
    assert one.id == MBIDS[0]
    assert one.fields["raga"] == ("Mālkauns",)  # composed: one letter a sign
    assert one.fields["instruments"] == ("Voice", "Harmonium")
    assert "CC BY-NC" in one.licence
    [clip, *_] = clips_of([one], 1.0)
    assert "Mālkauns raga, Tīntāl taal, Vilaṁbit laaya" in clip.caption


def test_dunya_s_table_is_read_and_its_captions_are_the_same_for_a_seed(tmp_path: Path) -> None:
    tone(tmp_path / "songs" / f"Kar_{MBIDS[1]}.mp3", 3.0)
    (tmp_path / "makam.csv").write_text(
        "title,mbid,makam,usul,instrument,audio_path\n"
        f'Kar,{MBIDS[1]},"Nihavent, Nihavent",Düyek,"Oud,Ney",songs/Kar_{MBIDS[1]}.mp3\n',
        encoding="utf-8",
    )
    [one] = read_all(tmp_path / "makam.csv").recordings
    assert one.fields == {"instruments": ("Oud", "Ney"), "makam": ("Nihavent",), "usul": ("Düyek",)}
    first, again, other = ([clip.caption for clip in clips_of([one], 0.25, seed=seed)] for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 1  # clips of one recording are said in several ways
    assert all("Oud, Ney instruments, Nihavent makam, Düyek usul" in caption for caption in first)


@pytest.mark.parametrize("end", ["\u2028", "\u0085"])
def test_a_caption_of_json_lines_may_hold_the_end_of_a_line_that_is_none_of_json(tmp_path: Path, end: str) -> None:
    tone(tmp_path / "a.wav")
    row = json.dumps({"path": "a.wav", "text": f"slow{end}raga"}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_bytes(f"{row}\r\n".encode())
    [one] = read_all(tmp_path / "metadata.jsonl").recordings
    assert one.caption.split() == ["slow", "raga"]


def test_manifests_of_audiocraft_and_mustango_are_read(tmp_path: Path) -> None:
    tone(tmp_path / "a" / "one.wav").with_suffix(".json").write_text(
        json.dumps({"genre": "folk", "bpm": 90, "moods": ["calm", "warm"]}), encoding="utf-8"
    )
    rows = {"path": "a/one.wav", "duration": 2.0, "sample_rate": 8000, "amplitude": None, "weight": None}
    with gzip.open(tmp_path / "data.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(rows) + "\n")
    [one] = read_all(tmp_path / "data.jsonl.gz").recordings
    assert one.caption == "genre: folk. moods: calm, warm. bpm: 90"
    (tmp_path / "m").mkdir()
    tone(tmp_path / "m" / f"Raga_{MBIDS[2]}_30000.wav")
    line = {
        "dataset": "Hindustani",
        "location": f"..\\/Training Dataset\\/chunks\\/Raga_{MBIDS[2]}_30000.wav".replace("\\/", "/"),
        "main_caption": "Imagine ...",
    }
    (tmp_path / "metadata.json").write_text(json.dumps(line) + "\n", encoding="utf-8")
    [one] = read_all(tmp_path / "metadata.json", recordings=tmp_path / "m").recordings
    assert (one.id, one.caption) == (MBIDS[2], "Imagine ...")


def test_a_hugging_face_folder_is_read(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    (tmp_path / "metadata.csv").write_text("file_name,text\npiece1.wav,hello\n", encoding="utf-8")
    [one] = read_all(tmp_path).recordings
    assert one.caption == "hello"


# Bad input


@pytest.mark.parametrize("named", ["../outside.wav", "/tmp/../etc/outside.wav", "a/../../outside.wav"])
def test_a_table_does_not_lead_out_of_its_folder(tmp_path: Path, named: str) -> None:
    tone(tmp_path / "outside.wav")
    table = tmp_path / "inside" / "table.csv"
    table.parent.mkdir()
    table.write_text(f"path,text\n{named},x\n", encoding="utf-8")
    with pytest.raises(InputError, match="leads out of"):
        read_all(table)
    manifest = tmp_path / "inside" / "data.jsonl"
    manifest.write_text(json.dumps({"path": named, "sample_rate": 8000}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="leads out of"):
        read_all(manifest)


def test_a_link_does_not_lead_out_of_its_folder_either(tmp_path: Path) -> None:
    tone(tmp_path / "outside" / "one.wav")
    home = tmp_path / "inside"
    home.mkdir()
    (home / "link").symlink_to(tmp_path / "outside")
    (home / "table.csv").write_text("path,text\nlink/one.wav,x\n", encoding="utf-8")
    with pytest.raises(InputError, match="leads out of"):
        read_all(home / "table.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,text\n", "holds none of the 0"),
        ("path,text\nnone.wav,x\n", "holds none of the 1 recordings of table.csv, e.g. none.wav"),
        ("name,text\na,b\n", "line 1 names name, text; a column path"),
        ("path,text\npiece0.wav\n", "line 2 has fewer columns"),
        ("path,start\npiece0.wav,soon\n", "line 2: start is 'soon'"),
        ("path,start\npiece0.wav,-3\n", "line 2: start is '-3'"),
        ("path,split\npiece0.wav,sometimes\n", "'sometimes' is none of train, val, test"),
        ("path,text\n,x\n", "line 2: names no recording"),
        ("", "line 1 names nothing"),
    ],
)
def test_a_broken_table_says_where(tmp_path: Path, text: str, said: str) -> None:
    folder(tmp_path, 1)
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as refusal:
        read_all(tmp_path / "table.csv")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ['{"path": ', "[1, 2]", '"words"'])
def test_broken_json_lines_say_where(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.jsonl").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1 is no JSON"):
        read_all(tmp_path / "data.jsonl")


def test_a_torn_archive_and_a_bomb_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gzip.compress(b'{"path": "a.wav"}\n' * 1000)
    (tmp_path / "data.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_all(tmp_path / "data.jsonl.gz")
    (tmp_path / "data.jsonl.gz").write_bytes(whole)
    monkeypatch.setattr("domains.music.data.readers.json_lines.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_all(tmp_path / "data.jsonl.gz")


def test_what_is_nothing(tmp_path: Path) -> None:
    for where, said in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path, "holds no recording"),
    ):
        with pytest.raises(InputError, match=said):
            read_all(where)
    with pytest.raises(InputError, match="unknown data format 'xml'"):
        read_all(tmp_path, format="xml")
    for source in ("world:often", "world:train:many", "world:train:0", "world:train:4:polka", "world:a:1:waltz:x"):
        with pytest.raises(InputError, match="made"):
            open_recordings(source)


# Splits


def test_no_recording_is_in_two_splits_whatever_the_order() -> None:
    sides = drawn(MBIDS, seed=1)
    assert {side: list(sides.values()).count(side) for side in ("train", "val", "test")} == {
        "train": 8,
        "val": 1,
        "test": 3,
    }
    turned = list(MBIDS)
    random.Random(0).shuffle(turned)
    assert drawn(turned, seed=1) == sides != drawn(MBIDS, seed=2)
    assert set(drawn(MBIDS[:2]).values()) == {"train", "val"}


def test_chunks_of_one_recording_stay_together(tmp_path: Path) -> None:
    for mbid in MBIDS[:5]:
        for start in (0, 30000, 60000):
            tone(tmp_path / f"Kar_{mbid}_{start}.wav", 0.6)
    sides = {
        split: {one.id for one in open_recordings(f"{tmp_path}:{split}").recordings}
        for split in ("train", "val", "test")
    }
    assert sides["train"] | sides["val"] | sides["test"] == set(MBIDS[:5])
    assert sum(map(len, sides.values())) == 5


def test_a_recording_on_two_sides_is_refused(tmp_path: Path) -> None:
    for start in (0, 30000):
        tone(tmp_path / f"Kar_{MBIDS[0]}_{start}.wav", 0.6)
    (tmp_path / "table.csv").write_text(
        f"path,split\nKar_{MBIDS[0]}_0.wav,train\nKar_{MBIDS[0]}_30000.wav,test\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match=f"recording {MBIDS[0]} is in the splits train and test"):
        open_recordings(f"{tmp_path / 'table.csv'}:train")
    with pytest.raises(InputError, match="none of 4 recordings is in the split"):
        split_of(read_all(folder(tmp_path / "few")).recordings[:0] or read_all(tmp_path / "few").recordings, "none")  # type: ignore[arg-type]


def test_the_same_recordings_are_not_trained_and_validated_on(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    made, _ = data(tmp_path, tmp_path)
    with pytest.raises(InputError, match="share 3 recordings"):
        made.setup()
    made, _ = data(f"{tmp_path}:train", f"{tmp_path}:val")
    made.setup()


# Captions and vocabularies


def test_names_are_found_without_their_diacritics() -> None:
    assert vocabulary.is_known("raga", "yaman kalyan")
    assert vocabulary.is_known("makam", "Kürdîli Hicazkâr")
    assert vocabulary.is_known("usul", "DÜYEK")
    assert vocabulary.plain("Uşşak, Tīntāl, ışık") == "Ussak, Tintal, isik"
    assert captions.unknown_names([{"raga": ("Yaman kalyan", "Yamn kalyan", "Nothing")}]) == [
        "unknown raga: Yamn kalyan (near Yaman kalyāṇ), Nothing"
    ]


def test_swapped_makams_and_usuls_are_found_and_put_back(tmp_path: Path) -> None:
    wrong = (
        "Compose a soulful Makam piece that blends the rich timbre of performing orchestra,Voice, Aksaksemai makam, "
        "Kürdi usul."
    )
    found = captions.slots(wrong)
    assert found == captions.Slots("Aksaksemai", "Kürdi")
    assert found.swapped
    right = captions.unswapped(wrong)
    assert "Voice, Kürdi makam, Aksaksemai usul." in right
    assert captions.unswapped(right) == right
    tone(tmp_path / "a.wav").with_suffix(".txt").write_text(wrong, encoding="utf-8")
    warned = open_recordings(str(tmp_path))
    assert "swapped in 1 caption," in warned.notices[-1]
    mended = open_recordings(str(tmp_path), fix_swapped=True)
    assert mended.recordings[0].caption == right
    assert "put back" in mended.notices[-1]


def test_every_sentence_keeps_its_slots_and_none_lacks_a_verb() -> None:
    fields = {"instruments": ("Oud", "Ney"), "makam": ("Nihavent",), "usul": ("Düyek",)}
    said = {captions.caption(fields, key=str(number)) for number in range(40)}
    assert len(said) == len(captions.TEMPLATES)
    for sentence in said:
        assert captions.slots(sentence) == captions.Slots("Nihavent", "Düyek")
        assert not captions.slots(sentence).swapped
    assert captions.caption({}) == ""
    assert captions.names_of("Tabla, Voice,Tabla; nan") == ("Tabla", "Voice")


# Clips and batches


def test_recordings_are_cut_into_clips(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 10.0)
    [one] = read_all(tmp_path).recordings
    cut = [(clip.start, clip.seconds, clip.whole) for clip in clips_of([one], 4.0)]
    assert cut == [(0.0, 4.0, True), (4.0, 4.0, True), (8.0, 2.0, False)]
    published = [(clip.start, clip.seconds) for clip in clips_of([one], 3.0, edges=(0.2, 0.1))]
    assert published == [(2.0, 3.0), (5.0, 3.0), (8.0, 1.0)]


def test_codes_and_states_are_made_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "in", 3, seconds=5.0)
    made, encoder = data(tmp_path / "in", cache=str(tmp_path / "cache"), batch_size=2)
    loader = made.train_dataloader()
    first = [batch["codes"].shape for batch in loader]
    assert sorted(encoder.encoded) == [8000, 8000, 8000, 32000, 32000, 32000]
    assert len(encoder.said) == 3
    list(loader)
    assert len(encoder.encoded) == 6
    again, other = data(tmp_path / "in", cache=str(tmp_path / "cache"), batch_size=2)
    assert [batch["codes"].shape for batch in again.train_dataloader()]
    assert other.encoded == other.said == []
    assert {shape[0] for shape in first} == {2}
    assert "3 clips are shorter than 4 s; they are padded and masked" in capfd.readouterr().err


def test_silent_clips_are_dropped_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, 2)
    import numpy as np

    from suite.media import audio

    audio.write(tmp_path / "silent.wav", np.full((1, 16000), 1e-5, np.float32), 8000)
    audio.write(tmp_path / "zero.wav", np.zeros((1, 16000), np.float32), 8000)
    made, _ = data(tmp_path)
    made.setup()
    assert len(made.clips["train"]) == 2
    assert "2 silent clips are left out" in capfd.readouterr().err
    (tmp_path / "piece0.wav").unlink()
    (tmp_path / "piece1.wav").unlink()
    made, _ = data(tmp_path)
    with pytest.raises(InputError, match="no clip in which anything is to be heard"):
        made.setup()


def test_a_recording_shorter_than_a_frame_is_refused_by_name(tmp_path: Path) -> None:
    tone(tmp_path / "blip.wav", 0.015)
    made, _ = data(tmp_path)
    with pytest.raises(InputError, match=r"blip.wav: 120 samples from 0 s on are fewer than the 160 of one frame"):
        made.train_dataloader()


def test_a_missing_caption_is_said_and_unconditional(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, 2)
    (tmp_path / "piece0.txt").unlink()
    (tmp_path / "piece1.txt").write_text("  \n", encoding="utf-8")
    made, encoder = data(tmp_path)
    made.train_dataloader()
    assert encoder.said == [""]
    assert "2 clips have no caption" in capfd.readouterr().err


def test_words_are_dropped_by_chance_and_the_same_for_a_seed(tmp_path: Path) -> None:
    folder(tmp_path, 4)
    texts = []
    for _ in range(2):
        made, encoder = data(tmp_path, word_dropout=0.5, caption_dropout=0.2)
        torch.manual_seed(7)
        batches = list(made.train_dataloader())
        texts.append(torch.cat([batch["text"] for batch in batches]))
        assert len(set(encoder.said)) > 4
    assert torch.equal(*texts)


def test_an_adapter_s_record_names_its_recordings_and_their_licence(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    (tmp_path / "LICENSES.txt").write_text("CC BY", encoding="utf-8")
    made, _ = data(tmp_path)
    made.setup()
    record = made.record()
    assert record["recordings"] == 3
    assert record["licences"] == ["see LICENSES.txt beside the recordings"]
    assert record["caption"].startswith("a tone number")
    assert data("world:train:3")[0].record()["source"] == "world:train:3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seconds": 0}, "data.seconds"),
        ({"seconds": 9.0}, "takes 4 at most"),
        ({"edges": (0.6, 0.5)}, "data.edges"),
        ({"edges": (-0.1, 0.0)}, "data.edges"),
        ({"word_dropout": 1.5}, "data.word_dropout"),
        ({"caption_dropout": -1}, "data.caption_dropout"),
        ({"batch_size": 0}, "data.batch_size"),
    ],
)
def test_settings_that_mean_nothing(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        data("world:train:2", **options)[0].setup()
    with pytest.raises(InputError, match=r"data\.train is empty"):
        MusicData("")


def test_made_sources_are_joined_so_that_old_genres_can_stay_beside_a_new_one() -> None:
    held = open_recordings("world:train:4:raga + world:train:3:old")
    genres = [one.source.genre for one in held.recordings if isinstance(one.source, Piece)]
    assert genres[:4] == ["raga"] * 4
    assert set(genres[4:]) == {"march", "waltz", "song"}
    assert len({one.id for one in held.recordings}) == 7
    with pytest.raises(InputError, match=r"the made genres are .*raga, and old"):
        open_recordings("world:train:4:polka")
