"""`evaluate` and `elo`: sets beside sets, what hears them, votes to ratings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.music.data import world
from domains.music.data.sources import open_recordings
from domains.music.evaluation import panns, vggish
from domains.music.evaluation.embeddings import Panns, Spectral, VGGish, open_embedder
from domains.music.evaluation.evaluate import evaluate
from domains.music.evaluation.scoring import Heard, heard_of, made_means, of_waves, score
from domains.music.predict import MusicGenerator
from suite.errors import InputError
from suite.media import audio
from tests.music.made import FakeComposer, tone
from tests.music.test_prepare import told


def heard(genre: str, count: int = 6, split: str = "test") -> list[Heard]:
    return heard_of(open_recordings(f"world:{split}:{count}:{genre}"))


def test_the_spectral_distance_tells_genres_apart() -> None:
    reference = heard("raga", 16)
    same = score(reference, heard("raga", 16, "train"), [Spectral()])
    other = score(reference, heard("march", 16, "train"), [Spectral()])
    assert same.metrics["frechet_spectral"] < 0.7 * other.metrics["frechet_spectral"]
    assert any("spectral-2 (ours)" in notice and "singular" not in notice for notice in same.notices)
    assert same.metrics["spectral_reference_embeddings"] == 16 * 7


def test_noise_that_nobody_hears_is_next_to_nothing_beside_another_genre() -> None:
    ragas = heard("raga", 16)
    noise = np.random.default_rng(0)

    def noisy(one: Heard) -> tuple[str, str, np.ndarray, int]:
        wave = one.sound(one.rate)
        return one.name, one.caption, wave + 10 ** (-70 / 20) * noise.standard_normal(wave.shape), one.rate

    whispered = score(ragas, of_waves(map(noisy, ragas)), [Spectral()])
    other = score(ragas, heard("march", 16), [Spectral()])
    assert whispered.metrics["frechet_spectral"] < 0.01 * other.metrics["frechet_spectral"]


def test_pairs_of_one_name_are_compared_and_others_are_told() -> None:
    reference = heard("raga", 3)
    itself = score(reference, reference[:2], [])
    assert itself.metrics["chroma"] == pytest.approx(1)
    assert itself.metrics["pairs"] == 2
    assert "without a partner are 1 targets" in itself.notices[0]
    alone = score(reference, heard("raga", 2, "train"), [])
    assert "no name is on both sides" in alone.notices[0]
    with pytest.raises(InputError, match="on both sides"):
        score(reference, [], [])


def test_a_long_recording_is_heard_in_parts_and_a_caption_is_made_of_what_is_known(tmp_path: Path) -> None:
    tone(tmp_path / "long.wav", 70.0)
    (tmp_path / "table.csv").write_text("path,raga,instrument\nlong.wav,Jog,Sitar\n", encoding="utf-8")
    found = heard_of(open_recordings(str(tmp_path / "table.csv")))
    assert [one.name for one in found] == ["long", "long_30000", "long_60000"]
    assert all("Sitar instruments, Jog raga" in one.caption for one in found)
    assert [one.sound(4000).shape for one in found] == [(1, 120000), (1, 120000), (1, 40000)]


def test_made_pieces_are_judged_by_their_own_captions() -> None:
    good = [("a", piece.caption, piece.sound(), 8000) for piece in [world.piece("test", 1, "raga")]]
    means, rows = made_means(of_waves(good))
    assert means["in_scale"] > 0.95 and means["in_cycle"] > 0.9
    swapped = [("a", "a fast raga in bibhas for organ", world.piece("test", 3, "march").sound(), 8000)]
    means, _ = made_means(of_waves(swapped))
    assert means["in_cycle"] < 0.3
    assert made_means(of_waves([("a", "a sentence", np.zeros((1, 8000), np.float32), 8000)])) == ({}, [])
    silent = [("a", "a fast raga in bibhas for organ", np.zeros((1, 8000), np.float32), 8000)]
    assert made_means(of_waves(silent))[0] == {"in_scale": 0.0, "in_cycle": 0.0}
    assert rows[0]["caption"] == good[0][1]


def test_an_adapter_is_scored_and_its_pieces_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    composer = FakeComposer()
    monkeypatch.setattr(MusicGenerator, "from_pretrained", classmethod(lambda cls, *_: cls(composer)))
    said = evaluate("world:test:4", out=tmp_path, seconds=4.0, batch_size=3)
    assert said["in_scale"] > 0.9 and said["pairs"] == 4
    assert [len(prompts) for prompts, _, _ in composer.calls] == [3, 1]
    assert [seeds for _, seeds, _ in composer.calls] == [[0, 1, 2], [3]]
    assert len(list((tmp_path / "pieces").glob("*.wav"))) == 4
    assert "number" in json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    base = evaluate("world:test:4", frozen=True, seconds=4.0)
    assert all(frozen for _, _, frozen in composer.calls[2:])
    assert base["in_cycle"] < said["in_cycle"]
    kept = evaluate("world:test:4", generated=tmp_path / "pieces")
    assert kept["frechet_spectral"] == pytest.approx(said["frechet_spectral"], rel=0.02)


def test_as_published_is_said_and_halves_rates_without_a_filter(tmp_path: Path) -> None:
    """A tone above half the new rate is folded back by leaving out samples, and silent after a filter."""
    tone(tmp_path / "a" / "x.wav", 2.0, rate=16000, hertz=5000)
    tone(tmp_path / "b" / "x.wav", 2.0, rate=16000, hertz=5000)
    waves = []

    class Listening(Spectral):
        def embed(self, wave):
            waves.append(wave)
            return super().embed(wave)

    sets = [heard_of(open_recordings(str(tmp_path / name))) for name in "ab"]
    scored = score(*sets, [Listening()], as_published=True)
    assert "as published" in scored.notices[-1]
    score(*sets, [Listening()])
    assert [round(float(np.abs(wave[:, 200:-200]).max()), 1) for wave in (waves[0], waves[2])] == [0.4, 0.0]


# What hears


def test_embedders_have_their_published_sizes() -> None:
    with torch.device("meta"):
        assert sum(one.numel() for one in vggish.VGGish().parameters()) == 72_141_184
        assert sum(one.numel() for one in panns.Cnn14().parameters()) == 80_753_615


def small_panns(path: Path) -> Path:
    """A released file's names and layout, every weight one of a seed."""
    torch.manual_seed(0)
    network = panns.Cnn14()
    names = {
        "real": "spectrogram_extractor.stft.conv_real.weight",
        "imaginary": "spectrogram_extractor.stft.conv_imag.weight",
        "mel": "logmel_extractor.melW",
    }
    state = {names.get(name, name): value for name, value in network.state_dict().items()}
    window = torch.hann_window(512)
    angles = 2 * torch.pi * torch.arange(257)[:, None] * torch.arange(512) / 512
    state[names["real"]] = (window * torch.cos(angles))[:, None]
    state[names["imaginary"]] = (-window * torch.sin(angles))[:, None]
    state[names["mel"]] = torch.rand(257, 64)
    torch.save({"model": state, "iteration": 1}, path)
    return path


def test_panns_reads_a_released_file_and_gives_figures_of_both_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panns, "WIDTHS", (4, 4, 4, 4, 8, 16))
    hearing = open_embedder(f"panns:{small_panns(tmp_path / 'Cnn14_16k.pth')}")
    assert isinstance(hearing, Panns) and hearing.rate == 16000
    wave = audio.resample(world.piece("test", 0).sound(1.0), 8000, 16000)
    assert hearing.embed(wave).shape == (1, 16)
    assert hearing.classify(wave).shape == (527,)
    one = of_waves([("a", "", wave, 16000), ("b", "", wave[:, ::-1], 16000)])
    found = score(one, one, [hearing]).metrics
    assert found["fd"] == pytest.approx(0, abs=1e-3)
    assert found["kl_softmax"] == pytest.approx(0, abs=1e-2)
    # The spectrum is that of numpy, whatever the file's convolution.
    level = hearing.network.log_mel(torch.from_numpy(wave))
    padded = np.pad(wave[0], 256, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::160] * torch.hann_window(512).numpy()
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 @ hearing.network.mel.numpy()
    np.testing.assert_allclose(level[0].numpy(), 10 * np.log10(power.clip(1e-10)), atol=2e-3)


def test_vggish_hears_0_96_seconds_at_a_time() -> None:
    examples = vggish.examples(np.zeros((1, 16000 * 3), np.float32))
    assert examples.shape == (3, 1, 96, 64)
    assert torch.allclose(examples, torch.log(torch.tensor(0.01)))
    assert vggish.examples(np.zeros((1, 100), np.float32)).shape == (1, 1, 96, 64)
    tone_at = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)[None]
    loudest = int(vggish.examples(tone_at)[0, 0, 10].argmax())
    mels = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)
    assert abs(loudest - int(np.abs(mels[1:-1] - 1127 * np.log1p(1000 / 700)).argmin())) <= 1


def test_clap_hears_at_its_own_rate_and_compares_with_captions(tmp_path: Path) -> None:
    hearing = open_embedder(f"clap:{small_clap(tmp_path / 'clap')}")
    assert hearing.rate == 48000
    wave = audio.resample(world.piece("test", 0).sound(1.0), 8000, 48000)
    assert hearing.embed(wave).shape == (1, 16)
    pieces = of_waves([("a", "a waltz", wave, 48000), ("b", "a march", wave, 48000)])
    found = score(pieces, pieces, [hearing]).metrics
    assert -1 <= found["clap_agreement"] <= 1
    assert found["frechet_clap"] == pytest.approx(0, abs=1e-3)


def small_clap(folder: Path) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    words = {word: place for place, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "waltz", "march"])}
    bare = Tokenizer(WordLevel(words, "<unk>"))
    bare.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    text = dict(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, projection_dim=16,
    )  # fmt: skip
    sound = dict(
        patch_embeds_hidden_size=16, hidden_size=64, depths=[1, 1, 1], num_attention_heads=[1, 2, 4],
        projection_dim=16, spec_size=256, num_mel_bins=64, enable_fusion=False,
    )  # fmt: skip
    ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=16)).save_pretrained(folder)
    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["vggish", "panns"])
@pytest.mark.parametrize("content", ["words", "other tensors", "pickle"])
def test_files_that_hold_something_else_are_refused(tmp_path: Path, kind: str, content: str) -> None:
    path = tmp_path / "weights.pth"
    if content == "words":
        path.write_text("no weights", encoding="utf-8")
    elif content == "other tensors":
        torch.save({"a.weight": torch.zeros(2)}, path)
    else:
        torch.save({"a": Path("x")}, path)
    with pytest.raises(InputError, match=r"weights\.pth") as refusal:
        open_embedder(f"{kind}:{path}")
    assert "\n" not in str(refusal.value)


def test_references_that_name_nothing(tmp_path: Path) -> None:
    for reference, said in (
        ("vggish", "give vggish:PATH"),
        ("mfcc:x", "give vggish:PATH"),
        (f"vggish:{tmp_path / 'none'}", "does not exist; the weights of vggish are the user's to get"),
        (f"clap:{tmp_path}", "holds no CLAP"),
    ):
        with pytest.raises(InputError, match=said):
            open_embedder(reference)


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    state = {name: torch.zeros(1) for name in vggish.VGGish().state_dict()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match="has the shape"):
        VGGish(tmp_path / "w.pth")


# Votes


def votes(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_votes_become_ratings_of_each_question(tmp_path: Path) -> None:
    table = votes(
        tmp_path / "votes.csv",
        "a,b,listener,item,overall,melody\n"
        "old,new,ann,1,A < B,A > B\n"
        "new,old,bob,1,A >> B,A = B\n"
        "old,new,ann,2,None,B >> A\n",
    )
    code, out, _ = told("elo", table, "--out", tmp_path / "out", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["ratings"]["overall"]["new"] > 1510 > 1490 > said["ratings"]["overall"]["old"]
    assert said["ratings"]["melody"]["old"] == pytest.approx(1500, abs=1)
    assert said["agreement"]["overall"] == {"agreement": 1.0, "kappa": pytest.approx(1.0), "pairs": 1}
    assert "1 vote names the loser first" in said["notices"][0]
    assert {"metrics.json", "ratings.csv", "agreement.csv", "ratings.png", "report.html"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    long = votes(tmp_path / "long.tsv", "a\tb\tquestion\tvote\nold\tnew\trhythm\tB > A\n")
    assert "rhythm: new 1507.5, old 1492.5" in told("elo", long)[1]


@pytest.mark.parametrize(
    ("option", "said"), [("--start", "start is nan"), ("--k", "k is nan"), ("--chance", "chance is nan")]
)
def test_numbers_that_no_rating_can_be_of(tmp_path: Path, option: str, said: str) -> None:
    code, _, err = told("elo", votes(tmp_path / "votes.csv", "a,b,vote\nx,y,A > B\n"), option, "nan")
    assert code == 2 and said in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nx,y\n", "the columns a, b and vote"),
        ("", "line 1 names nothing"),
        ("a,b,vote\n", "holds no vote"),
        ("a,b,vote\nx,y,better\n", "line 2: vote 'better'"),
        ("a,b,vote\nx,x,A > B\n", "line 2: a and b name two models"),
        ("a,b,vote\nx,,A > B\n", "line 2: a and b name two models"),
    ],
)
def test_a_broken_table_of_votes_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    code, _, err = told("elo", votes(tmp_path / "votes.csv", text), "--out", tmp_path / "out")
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": "world:test:2:polka"}, "the made genres are"),
        ({"data": "/nowhere"}, "no such file or folder"),
        ({"data": "world:test:2", "embedding": ("mfcc",)}, "give vggish:PATH"),
        ({"data": "world:test:2", "generated": Path("/nowhere")}, "no such file or folder"),
    ],
)
def test_what_cannot_be_scored_is_said(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(**options)


def test_a_table_of_votes_that_is_not_there_is_one_line() -> None:
    code, _, err = told("elo", "/nowhere.csv")
    assert code == 2 and "/nowhere.csv: cannot be read" in err and len(err.strip().splitlines()) == 1
