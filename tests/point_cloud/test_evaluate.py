import json

import numpy as np
import pytest
import torch

from domains.point_cloud.data import world
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.inspect import inspect
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation import scoring
from domains.point_cloud.evaluation.evaluate import evaluate
from suite.errors import InputError
from tests.point_cloud.small import CLASSES, classifier, segmenter, write_adapter

OPTIONS = Options(npoints=256, parts=True)


@pytest.fixture(scope="module")
def clouds():
    return open_set("shapes:test:16", OPTIONS)


@pytest.fixture(scope="module")
def small():
    return classifier()


def test_accuracies_are_those_of_the_single_predictions(small, clouds):
    scored = scoring.classification(small, clouds, batch_size=5)
    found = [small(clouds.load(i)[0]).label for i in range(len(clouds))]
    wanted = [clouds.classes[label] for label in clouds.labels]
    hits = np.array([a == b for a, b in zip(found, wanted, strict=True)])
    assert scored.metrics["overall accuracy"] == pytest.approx(hits.mean())
    assert scored.confusion.sum() == 16 and scored.per_class.keys() == set(CLASSES)
    assert scored.metrics["mean-class accuracy"] == pytest.approx(np.mean(list(scored.per_class.values())))


def test_votes_name_their_passes_and_the_best_round_says_that_it_is_optimistic(small, clouds):
    clouds = clouds.take(np.arange(8))
    one = scoring.classification(small, clouds, vote=2, seed=3)
    assert next(iter(one.metrics)) == "overall accuracy (vote of 2)" and one.notices == ()
    assert one.metrics == scoring.classification(small, clouds, vote=2, seed=3).metrics
    several = scoring.classification(small, clouds, vote=2, rounds=3, seed=3)
    assert list(several.metrics)[:2] == [
        "overall accuracy, mean (vote of 2, 3 rounds)",
        "overall accuracy, sample std (vote of 2, 3 rounds)",
    ]
    best = scoring.classification(small, clouds, vote=2, rounds=3, seed=3, report="best")
    [name, _] = best.metrics
    assert "best round, chosen on the scored data" in name and "optimistic" in best.notices[0]
    rounds = [next(iter(scoring.classification(small, clouds, vote=2, seed=s).metrics.values())) for s in (3, 4, 5)]
    assert best.metrics[name] == max(rounds) and np.isclose(next(iter(several.metrics.values())), np.mean(rounds))
    with pytest.raises(InputError, match="one plain pass are the same"):
        scoring.classification(small, clouds, rounds=3)


def test_part_segmentation_reports_both_means_by_name(clouds):
    scored = scoring.segmentation(segmenter(), clouds)
    assert list(scored.metrics)[:2] == ["instance mIoU", "class mIoU"] and scored.per_class.keys() == set(CLASSES)
    perfect = segmenter()
    answers = {clouds.load(i)[0].tobytes(): torch.from_numpy(clouds.load(i)[1]) for i in range(len(clouds))}
    perfect.logits = lambda points, category: torch.stack(
        [torch.nn.functional.one_hot(answers[p.numpy().tobytes()], 20).float() for p in points]
    )
    perfect.settings = type(perfect.settings)(CLASSES, 256, False, perfect.settings.parts)
    assert scoring.segmentation(perfect, clouds).metrics["instance mIoU"] == 1.0


def test_an_adapter_is_scored_from_its_folder_with_pictures(tmp_path):
    base, adapter = write_adapter(tmp_path)
    given = {"adapter": str(adapter), "base": str(base), "batch_size": 8}
    record = evaluate("shapes:test:8", out=tmp_path / "out", **given)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "confusion.png", "report.html"}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["clouds"] == 8
    assert record["provenance"]["split"] == "made world, test seeds" and "overall accuracy" in record["message"]
    assert evaluate("shapes:test:8", frozen=True, **given)["provenance"]["adapter"] == "off"
    (tmp_path / "mine" / "sofa").mkdir(parents=True)
    for number in range(5):
        np.save(tmp_path / "mine" / "sofa" / f"{number}.npy", world.make("chair", number, 130).points)
    with pytest.raises(InputError, match="class 'sofa', which the adapter does not know"):
        evaluate(str(tmp_path / "mine"), **given)


def test_inspect_finds_what_is_wrong_with_a_folder(tmp_path):
    for name, count in (("mug", 5), ("table", 5)):
        for number in range(count):
            path = tmp_path / "train" / name / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, world.make(name, number, 100).points)
    first = tmp_path / "train" / "mug"
    (first / "broken.ply").write_text("hello")
    np.save(first / "few.npy", np.eye(3))
    np.save(first / "again.npy", np.load(first / "0.npy"))
    report = inspect(f"{tmp_path}:trainval")
    [split] = report["splits"].values()
    assert split["classes"] == {"mug": 8, "table": 5} and split["points"] == (3, 100, 100)
    assert [name.rsplit("/", 1)[1] for name in split["few"]] == ["few.npy"] and len(split["duplicates"]) == 1
    assert report["exit_code"] == 2 and "damaged or not .ply" in report["message"]


def test_inspect_takes_loose_files_and_made_worlds(tmp_path):
    np.save(tmp_path / "cloud.npy", world.make("mug", 0, 100).points)
    assert inspect(str(tmp_path))["splits"]["files"]["classes"] == {"unlabelled": 1}
    assert list(inspect("shapes:test:8")["splits"]) == ["test"]
    with pytest.raises(InputError, match="no such file or folder"):
        inspect("./nowhere")


def test_inspect_reads_as_many_loose_files_as_it_is_told(tmp_path):
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", world.make("mug", number, 100).points + number)
    assert inspect(str(tmp_path), most=2)["splits"]["files"]["high"][0] > 3
    (tmp_path / "1.npy").write_bytes(b"")
    assert inspect(str(tmp_path))["exit_code"] == 2 and inspect(str(tmp_path), most=2)["exit_code"] == 0
    for number in range(4):
        (tmp_path / f"{number}.npy").write_bytes(b"")
    assert (
        "points 0 to 0" not in inspect(str(tmp_path))["message"]
    )  # nothing could be read, so that nothing is measured
    with pytest.raises(InputError, match="most -1"):
        inspect(str(tmp_path), most=-1)
    with pytest.raises(InputError, match="names the split test, --split val"):
        inspect("shapes:test:8", split="val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "segmentation", "vote": 3}, "segmentation has no votes"),
        ({"task": "segmentation", "seed": 3}, "segmentation has no votes"),
        ({"task": "segmentation", "batch_size": 0}, "batch_size must be at least 1"),
        ({"passes": 2}, "leave out --passes"),
        ({"report": "best"}, "give --vote-rounds 2 or more"),
    ],
)
def test_options_of_the_other_task_are_refused_before_anything_is_loaded(options, message):
    with pytest.raises(InputError, match=message):
        evaluate("./nowhere", adapter="./nowhere", **options)


def test_inspect_names_the_splits_that_there_are(tmp_path):
    with pytest.raises(InputError, match="no split 'nosuch'; there is train"):
        inspect("shapes:nosuch:8")
    np.save(tmp_path / "a.npy", world.make("mug", 1, 100).points)
    with pytest.raises(InputError, match="clouds without labels have no splits"):
        inspect(str(tmp_path), split="val")


@pytest.mark.parametrize(
    ("adapter", "task", "message"),
    [
        ("tiny", "segmentation", "tiny classifies whole clouds"),
        ("tiny-parts", "classification", "tiny-parts cuts clouds into parts; give --task segmentation"),
    ],
)
def test_an_adapter_of_the_other_task_is_refused(adapter, task, message):
    with pytest.raises(InputError, match=message):
        evaluate("shapes:test:2", adapter=adapter, task=task)
