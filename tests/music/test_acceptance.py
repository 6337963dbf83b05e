"""The acceptance list of music: what is not proved beside the code that it is of.

Beside it stand 2 and 10 in `test_official.py` (released files to golden tokens; nothing of audiocraft is imported), 3
to 6 in `test_musicgen.py` (causal and streamed, identity at the start, the loss on delayed labels, counts) and 7 in
`test_training.py` (real recordings to codes, 20 steps, resume, a file of the right length and rate).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from domains.music.data import captions
from domains.music.data.clips import clips_of
from domains.music.data.recordings import drawn, id_of
from domains.music.data.sources import open_recordings
from domains.music.metrics.divergence import kl_by_name
from domains.music.metrics.frechet import frechet
from tests.golden.registry import discover, golden_folder, run_official
from tests.music.made import MBIDS, tone
from tests.real_data import real_data


@pytest.mark.parametrize(
    "kind",
    ["metrics", "delay_pattern", "adapters", "encodec_small", "musicgen_lm_small", "mustango_unet_adapters", "keys"],
)
def test_1_golden_cases(kind: str) -> None:
    run_official(f"music/{kind}")


def test_8_no_recording_is_in_two_splits_and_captions_are_the_same_for_a_seed(tmp_path: Path) -> None:
    for mbid in MBIDS:
        for start in (0, 30000):
            tone(tmp_path / f"Raga_{mbid}_{start}.wav", 0.3)
    rows = [f"Raga_{mbid}_{start}.wav,{mbid},Bhairav,Tabla" for mbid in MBIDS for start in (0, 30000)]
    (tmp_path / "table.csv").write_text("path,mbid,raga,instrument\n" + "\n".join(rows) + "\n", encoding="utf-8")
    sides = {}
    for split in ("train", "val", "test"):
        held = open_recordings(f"{tmp_path / 'table.csv'}:{split}", seed=5)
        for one in held.recordings:
            assert sides.setdefault(one.id, split) == split
        said = [[clip.caption for clip in clips_of(held.recordings, 1.0, seed=5)] for _ in range(2)]
        assert said[0] == said[1]
    assert set(sides) == set(MBIDS)
    assert sides == drawn(MBIDS, seed=5)


def test_8_the_published_makam_captions_are_found_swapped_and_put_back() -> None:
    lines = real_data("music/metadata_test_makam.json").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["main_caption"] for line in lines]
    found = [slots for caption in said if (slots := captions.slots(caption)) is not None]
    assert (len(lines), len(found)) == (2869, 1990)
    assert sum(slots.swapped for slots in found) >= 1959
    mended = [captions.slots(captions.unswapped(caption)) for caption in said]
    assert not any(slots is not None and slots.swapped for slots in mended)


def test_8_the_published_hindustani_files_share_no_recording() -> None:
    sides = []
    for name in ("val", "test"):
        path = real_data(f"music/metadata_{name}_hindustani.json")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        sides.append({id_of(row["location"]) for row in rows})
    assert [len(side) for side in sides] == [119, 240]
    assert not sides[0] & sides[1]


def test_9_the_standard_distance_differs_from_the_published_one_as_in_the_golden_case() -> None:
    cases = [case for _, case in discover(golden_folder()) if case.kind == "music/metrics"]
    if not cases:
        pytest.skip("no golden case of kind music/metrics (set GOLDEN_DIR)")
    content = cases[0].json()
    one, other = (np.array(content["input"][f"embeddings_{side}"]) for side in "ab")
    wanted = content["output"]
    figures = frechet(one, other), frechet(one, other, as_published=True)
    assert figures[0] == pytest.approx(wanted["frechet_standard"], rel=1e-6)
    assert figures[1] == pytest.approx(wanted["frechet_published_rowvar_true_equal_n"], rel=1e-6)
    assert figures[1] > 8 * figures[0]


def test_9_names_are_matched_in_any_order() -> None:
    rng = np.random.default_rng(0)
    logits = {f"{number}.wav": rng.normal(size=5) for number in range(6)}
    generated = {name: rng.normal(size=5) for name in reversed(logits)}
    assert kl_by_name(logits, generated) == kl_by_name(dict(sorted(logits.items(), reverse=True)), generated)
