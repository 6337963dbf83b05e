"""Counts, labels, stopping, figures and assembled programs of the study and its benchmarks."""

from __future__ import annotations

import pytest

from domains.unit_tests import metrics
from domains.unit_tests.data import java_classes, mining
from domains.unit_tests.data.java_sources import JavaContext
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.data.readers.humaneval_x import read
from domains.unit_tests.inference import java_repair
from domains.unit_tests.inference.braces import BraceStop, brace_values, closed_at
from domains.unit_tests.model import encoding, study
from suite.code import codebleu
from suite.code.dataflow import flow, shapes
from suite.code.syntax import parse, without_comments
from tests.golden.registry import Case, kind
from tests.real_data import real_data


@kind("unit_tests/trainable_counts")
def trainable_counts(case: Case) -> None:
    data = case.json()
    named = {name.lower(): base for name, base in study.BASES.items()}
    assert len(data["models"]) == len(named) == 13
    misprints = []
    for model in data["models"]:
        base = named[model["base"].lower()]
        known = data["configs"][model["base"]]
        assert {key: value for key, value in base.architecture.items() if known.get(key) != value} == {}
        theirs = {"lora": model["lora"], "ia3": model["ia3"], "prompt_tuning": model["prompt_tuning_20"]}
        for row in study.rows([base.reference]):
            assert (row["trainable"], row["total"]) == (theirs[row["method"]], model["total"]), row
            misprints += [(base.reference, row["method"])] if row["remark"] else []
        published = model["published"]
        assert base.published == {
            "total": published["pre-trained"],
            "lora": published["lora"],
            "ia3": published["ia3"],
            "prompt_tuning": published["prompt-tuning"],
        }
        assert list(base.targets.lora) == model["lora_targets"]
        assert {*base.targets.attention, *base.targets.feedforward} == set(model["ia3_targets"])
        assert list(base.targets.feedforward) == model["ia3_ff"]
    # Two misprints: LoRA of the 14B, and the total of the largest StarCoder2 beside each of its methods.
    assert {name for name, _ in misprints} == {"Qwen/Qwen2.5-Coder-14B", "bigcode/starcoder2-15b"}


@kind("unit_tests/brace_stop")
def brace_stop(case: Case) -> None:
    data = case.json()
    vocabulary = data["vocab"]
    values = brace_values(vocabulary.items())
    assert values == {vocabulary[text]: value for text, value in data["values"].items() if value is not None}
    for run in data["cases"]:
        stop = BraceStop(values, level=run["start_level"], exact=True)
        kept: list[list[int]] = [[] for _ in run["ids"]]
        after = None
        for step in run["steps"]:
            number = step["after"]
            tokens, ended = stop.step([ids[number - 1] for ids in run["ids"]], pad=vocabulary["<pad>"])
            for row, token in zip(kept, tokens, strict=True):
                row.append(token)
            assert kept == step["ids_now"], (run["name"], number)
            assert (stop.stopped, stop.counts) == (step["stopped"], step["count"]), (run["name"], number)
            assert ended == step["returns_stop_all"]
            after = number if ended and after is None else after
        assert after == run["batch_stops_after"], run["name"]


class Characters:
    """The golden's tokenizer: one token a character, one special token before a text."""

    eos_token_id = 2

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        ids = [ord(character) + 3 for character in text]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}


@kind("unit_tests/labels")
def labels(case: Case) -> None:
    data = case.json()
    for expected in data["cases"]:
        columns = [data["examples"][name] for name in expected["text_columns"]]
        sources = ["".join(parts) for parts in zip(*columns, strict=True)]
        targets = data["examples"][expected["target_column"]] if expected["target_column"] else [None] * len(sources)
        made = [encoding.sample(Characters(), *pair) for pair in zip(sources, targets, strict=True)]
        assert [sample.input_ids for sample in made] == expected["input_ids"]
        assert [sample.labels for sample in made] == expected["labels"]
        assert encoding.kept(made, expected["block_size"]) == expected["kept"]
    for row in data["prompt_tuning_block_size"]:
        assert encoding.block_size(row["block_size"], row["virtual"], row["pad_multiple"]) == row["result"]


@kind("unit_tests/exec_metrics")
def exec_metrics(case: Case) -> None:
    data = case.json()
    jacoco, pit = java_reports.parse(data["jacoco_xml"]), java_reports.parse(data["pit_xml"])
    for row in data["coverage"]:
        given = (jacoco, "com.x", "Calc", row["identifier"], row["signature"])
        if "error" in row["result"]:
            # The study's code fails on a type variable, and the row goes; ours finds the method by its erasure.
            assert java_reports.coverage(*given)["METHOD_DESC"] == "()Ljava/lang/Object;"
        else:
            assert java_reports.coverage(*given) == row["result"]
    for row in data["mutation"]:
        assert java_reports.mutation(pit, "com.x.Calc", row["focal"], row["test"]) == row["result"], row
    for row in data["paths"]:
        found = java_reports.package_and_class(row["path"])
        assert list(found or (None, None)) == row["package_class"]
    for row in data["descriptors"]:
        # Of a method with varargs and nested generics the study makes one that no report can have.
        right = {"(LMap;LList;Llong///;)[LString;": "(LMap;[J)[LString;"}.get(row["descriptor"], row["descriptor"])
        assert java_reports.descriptor(row["signature"]) == right
    summed, wanted = metrics.execution(data["rows"], data["predictions"]), data["aggregate"]
    for name, value in wanted.items():
        assert getattr(summed, name) == pytest.approx(value, abs=1e-9), name


@kind("unit_tests/humaneval_x")
def humaneval_x(case: Case) -> None:
    data = case.json()
    for row in data["pass_at_k"]:
        assert metrics.pass_at_k(row["n"], row["c"], row["k"]) == pytest.approx(row["value"], abs=1e-12)
    for row in data["assembly"]:
        language = row["task_id"].partition("/")[0].lower()
        problems = read(real_data(f"code/humaneval_{language}.jsonl.gz"))
        problem = next(problem for problem in problems if problem.task == row["task_id"])
        assert problem.program(row["generation"]) == row["test_code"], row["task_id"]


@kind("unit_tests/codebleu")
def codebleu_cases(case: Case) -> None:
    data = case.json()
    for language in ("java", "python"):
        known = data[language]
        assert set(known["keywords"]) == codebleu.KEYWORDS[language]
        for one in known["cases"]:
            for side in ("reference", "prediction"):
                bare = without_comments(one[side], language)
                assert str(parse(bare, language)) == one[f"{side}_sexp"], (one["name"], side)
                # Where sources are joined the published code numbers them by the order of a set.
                edges = [(relation, len(sources)) for _, relation, sources in shapes(flow(bare, language))]
                known_edges = [(relation, len(sources)) for _, relation, sources in one[f"{side}_dataflow"]]
                assert edges == known_edges, (one["name"], side)
            for tokenizer, name in (("blanks", "whitespace"), ("13a", "tok13a")):
                scored = codebleu.codebleu([one["prediction"]], [one["reference"]], language, tokenizer)
                check_parts(scored, one[name], one["observed_dataflow_match_scores"])
        predictions, references = (
            [one["prediction"] for one in known["cases"]],
            [one["reference"] for one in known["cases"]],
        )
        observed = known["corpus"]["observed_dataflow_match_scores"]
        for tokenizer, weights, name in (
            ("blanks", codebleu.EQUAL, "whitespace"),
            ("13a", codebleu.EQUAL, "tok13a"),
            ("blanks", (0.1, 0.1, 0.4, 0.4), "weights_0.1_0.1_0.4_0.4"),
        ):
            scored = codebleu.codebleu(predictions, references, language, tokenizer, weights)
            check_parts(scored, known["corpus"][name], observed, weights)
        two = known["two_references"]
        for tokenizer in ("blanks",):
            scored = codebleu.codebleu([two["prediction"]], two["references"], language, tokenizer)
            check_parts(scored, two["score"], [two["score"]["dataflow_match_score"]])


def check_parts(scored: codebleu.CodeBleu, wanted: dict, observed: list[float], weights=codebleu.EQUAL) -> None:
    found = {"ngram": scored.ngram, "weighted_ngram": scored.weighted_ngram, "syntax": scored.syntax}
    for name, value in found.items():
        assert value == pytest.approx(wanted[f"{name}_match_score"], abs=1e-9), name
    assert any(scored.dataflow == pytest.approx(value, abs=1e-9) for value in observed), (scored.dataflow, observed)
    moved = weights[3] * ((scored.dataflow or 1) - (wanted["dataflow_match_score"] or 1))
    assert scored.codebleu == pytest.approx(wanted["codebleu"] + moved, abs=1e-9)


@kind("unit_tests/published_codebleu")
def published_codebleu(case: Case) -> None:
    for run in case.json()["runs"]:
        predictions = [pair["prediction"] for pair in run["pairs"]]
        references = [pair["reference"] for pair in run["pairs"]]
        scored = codebleu.codebleu(predictions, references, "java")
        assert scored.codebleu == pytest.approx(run["published_codebleu"], abs=run["tolerance"])
        for name, value in (("ngram", scored.ngram), ("weighted", scored.weighted_ngram), ("syntax", scored.syntax)):
            assert value == pytest.approx(run["recomputed_components"][name], abs=1e-9), name
        moves = 4 * run["tolerance"]  # a quarter of the score
        assert scored.dataflow == pytest.approx(run["recomputed_components"]["dataflow"], abs=moves)
        statuses = [{"id": name, "status": status} for name, status in run["statuses"]]
        assert (metrics.execution(statuses).passing_rate or 0.0) == pytest.approx(run["published_pass_at_1"], abs=1e-9)
        if run["tolerance"] == 1e-9:
            # Nothing is right in it: 0.25 of what was published is a data flow of 0 that counts as 1.
            assert scored.dataflow == 0.0 and scored.strict < 0.01


@kind("unit_tests/methods2test_map")
def methods2test_map(case: Case) -> None:
    data = case.json()
    for path, wanted in data["parsed_classes"].items():
        found = java_classes.classes(data["files"][path])
        for one, record in zip(found, wanted, strict=True):
            ours = {**one.to_dict(methods=False), "argument_list": ""}
            ours["methods"] = [{**method.to_dict(), "class": one.name} for method in one.methods]
            assert ours == record, path
    mined = mining.mine(data["files"], parity=True)
    assert {name: getattr(mined, name) for name in data["stats"]} == data["stats"]
    by_test = {pair["test_case"]["identifier"]: pair for pair in data["pairs"]}
    ours = {pair.test.name: pair.to_dict(data["pairs"][0]["repository"]) for pair in mined.pairs}
    assert ours == by_test
    # Without parity a project whose tests lie at its top is mapped, and a name that has `test` in it.
    more = {pair.focal_class.name for pair in mining.mine(data["files"]).pairs}
    assert more == {"Stack", "Root", "Attestation"}


@kind("unit_tests/java_fix")
def java_fix(case: Case) -> None:
    data = case.json()
    assert data["prefix"] == java_repair.WRAPPER
    for one in data["cases"]:
        found = java_repair.error_line(java_repair.WRAPPER + one["prediction"])
        assert [found is None, found] == one["unrepaired_parse"], one["prediction"]
        fixed = java_repair.repair(one["prediction"], parity=True)
        assert (fixed.body, fixed.valid) == (one["fixed"], one["counts_as_valid"]), one["prediction"]
    share = java_repair.valid_share([one["prediction"] for one in data["cases"]], parity=True)
    assert share == pytest.approx(data["valid_syntax"])


@kind("unit_tests/m2t_samples")
def m2t_samples(case: Case) -> None:
    """Real records are put together again from their parts, byte for byte; their targets close what they open."""
    rows = case.lines()
    for row in rows:
        assert closed_at(row["target"], level=2) is not None, row["id"]
        assert parts_of(row["source"]).source() == row["source"], row["id"]
    assert len(rows) == 20


def parts_of(source: str) -> JavaContext:
    """The parts of a record's source, told by how their lines look."""
    focal_text, test_text = source.split("\n\n}\n\n", 1)
    header, *groups = focal_text.split(" {\n\n", 1)
    name = header.split()[1].partition("<")[0]
    focal, rest = groups[0], ""
    # The focal method is the first group, and may hold empty lines: it ends where its braces close.
    opened = groups[0].find("{")
    if opened >= 0 and (end := closed_at(groups[0][opened + 1 :], level=1)) is not None:
        focal, rest = groups[0][: opened + 1 + end], groups[0][opened + 1 + end :].lstrip("\n")
    found: dict[str, list[str]] = {"constructors": [], "methods": [], "fields": []}
    for group in rest.split("\n\n") if rest else []:
        if all(f" {name}(" in line and "=" not in line.partition("(")[0] for line in group.split("\n")):
            found["constructors"] += group.split("\n")
        elif (
            not found["methods"] and ");" in group.split("\n")[0] and "=" not in group.split("\n")[0].partition("(")[0]
        ):
            found["methods"] += group.split("\n")
        else:
            found["fields"] += ["\n\n".join([found["fields"].pop(), group])] if found["fields"] else [group]
    test_class, test = test_text.split(" {\n\n", 1)
    *fields, head = test.removesuffix("\n").split("\n\n")
    return JavaContext(
        header,
        focal,
        tuple(found["constructors"]),
        tuple(found["methods"]),
        tuple(found["fields"]),
        test_class,
        ("\n\n".join(fields),) if fields else (),
        head,
    )
