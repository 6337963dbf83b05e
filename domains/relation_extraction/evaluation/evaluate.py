"""The verb `evaluate`: AutoRE's and DocRED's scores of an adapter, of one step alone, or of the gold answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from domains.relation_extraction.evaluation.docred import TrainFacts, official_evaluate_benchmark, train_facts
from domains.relation_extraction.evaluation.gold import Component, default_schema, gold_documents
from domains.relation_extraction.evaluation.gold import oracle as gold_answers
from domains.relation_extraction.evaluation.peers import read_submission
from domains.relation_extraction.evaluation.scores import Evaluation
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import OFFICIAL
from domains.relation_extraction.model.schema import Schema
from suite.domain import Alias
from suite.errors import InputError
from suite.scores import Scores


def evaluate(
    data: str,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    server: str | None = None,
    oracle: bool = False,
    paradigm: Annotated[str | None, Alias("protocol")] = None,
    protocol_templates: Path | None = None,
    component: Component | None = None,
    frozen: bool = False,
    schema: str | None = None,
    relation_descriptions: Path | None = None,
    mode: Literal["auto", "strict", "lenient"] = "auto",
    constrained: bool | None = None,
    decoding: Literal["greedy", "official"] = "greedy",
    seed: int = 0,
    max_new_tokens: int = 1024,
    batch_size: int = 0,
    submission: Path | None = None,
    train_annotated: Path | None = None,
    train_distant: Path | None = None,
    resamples: int = 1000,
    format: str = "auto",
    encoding: str = "utf-8",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled documents: AutoRE's F1 and DocRED's F1 from the passage alone.

    Args:
        data: a labelled file of any format that the suite reads, a part of one (`dev.json[:100]`), or a split of the
            made world (`tiny:test`).
        adapter: reference of the adapter.
        base: reference of its base; the one that the adapter names by default.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        server: address of a server that speaks OpenAI's protocol and answers in place of a model on this machine.
        oracle: score the gold answers, read by AutoRE's own parser: the upper bound of a paradigm; needs no model.
        paradigm: with --oracle the version to bound (D_R_H_F_desc by default); else `zero-shot` or the adapter's own.
        protocol_templates: JSON file with the wording of an official protocol that is not shipped (see the docs).
        component: test one step alone: relation; subject with gold relations; facts with gold relations and heads.
        frozen: ask the base without its adapters, with the same prompts.
        schema: relations of the data; the adapter's by default (with --oracle redocred, or tiny for the made world).
        relation_descriptions: JSON file `{relation: description}` in place of the schema's.
        mode: how answers are read; auto is strict (AutoRE's parser) for its own protocols, lenient for ours.
        constrained: allow well-formed answers only; by default for our protocols.
        decoding: greedy, or official: sampled with the values of AutoRE's code.
        seed: of the sampling.
        max_new_tokens: longest answer.
        batch_size: calls side by side; 0 chooses by free memory.
        submission: score this file of DocRED predictions, `[{title, h_idx, t_idx, r}]`, as the official script does;
            needs no model.
        train_annotated: DocRED's annotated train file, for Ign F1.
        train_distant: DocRED's distantly supervised train file, for Ign F1.
        resamples: of the bootstrap interval of F1.
        format: of the data, where it cannot be told from it.
        encoding: of the data.
        out: folder for metrics.json, per_relation.csv and the DocRED submission.

    Returns:
        AutoRE's `tp`, `fp`, `miss`, `precision`, `recall`, `f1`, `macro`, `f1_interval`; DocRED's under `docred`;
        dropped lines by step and reason; calls, tokens and seconds.

    Raises:
        InputError: data, adapter or options are wrong.
    """
    if oracle and (component or frozen):
        raise InputError("--oracle bounds a whole paradigm; leave out --component and --frozen")
    if resamples < 0:
        raise InputError(f"--resamples {resamples}: give 0 (no interval) or more")
    if oracle or submission is not None:
        asked: dict[str, Any] = {
            "adapter": adapter != "tiny",
            "base": base,
            "server": server,
            "decoding": decoding != "greedy",
        }
        asked |= {"seed": seed, "batch-size": batch_size, "max-new-tokens": max_new_tokens != 1024}
        asked |= {"constrained": constrained is not None}
        if given := [name for name, is_given in asked.items() if is_given]:
            how = "--oracle" if oracle else "--submission"
            raise InputError(f"{how} asks no model; leave out --{' --'.join(given)}")
    facts = [_train_facts(path) for path in (train_annotated, train_distant)]
    if submission is not None:
        if oracle or component or frozen:
            raise InputError("--submission is scored as it is; leave out --oracle, --component and --frozen")
        return score_submission(data, submission, *facts).answer(out)
    start = time.perf_counter()
    if oracle:
        evaluation, about = _oracle(data, paradigm, schema, format, encoding)
    else:
        query = {
            "schema": schema,
            "relation_descriptions": relation_descriptions,
            "constrained": constrained,
            "decoding": decoding,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
            "batch_size": batch_size,
            "paradigm": paradigm,
            "protocol_templates": protocol_templates,
        }
        from domains.relation_extraction.evaluation.judge import judge

        evaluation, about = judge(
            data,
            {"adapter": adapter, "base": base, "device": device, "dtype": dtype, "server": server},
            query,
            mode=mode,
            component=component,
            frozen=frozen,
            format=format,
            encoding=encoding,
        )
    figures = evaluation.to_dict(resamples, *facts)
    figures["seconds"] = round(time.perf_counter() - start, 3)
    return evaluation.scores_of(about, figures).answer(out)


def _oracle(
    data: str, paradigm: str | None, schema: str | None, format: str, encoding: str
) -> tuple[Evaluation, dict[str, Any]]:
    asked = paradigm or "D_R_H_F_desc"
    chosen = find_protocol(asked if "/" in asked else f"{OFFICIAL}/{asked}")
    relations = Schema.load(schema or default_schema(data))
    gold = [one for one in gold_documents(data, relations, format=format, encoding=encoding) if one.groups]
    evaluation = Evaluation(relations)
    for one, extraction in zip(gold, gold_answers(gold, chosen, relations), strict=True):
        evaluation.add(one, [extraction])
    return evaluation, {"data": data, "oracle": True, "protocol": chosen.id}


def score_submission(data: str, submission: Path, annotated: TrainFacts, distant: TrainFacts) -> Scores:
    """DocRED's official scores of a submission: on the records of the file as they are, no name repaired.

    Raises:
        InputError: the data is no DocRED file with labels, or the submission is none.
    """
    truth = read_json_list(Path(data))
    try:
        score = official_evaluate_benchmark(read_submission(submission), truth, annotated, distant).to_dict()
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{data}: not a DocRED file with labels ({type(error).__name__}: {error}); give dev.json or the like"
        ) from error
    message = (
        f"{len(truth)} documents, submission {submission}\n"
        f"DocRED  P {score['precision']:.4f}  R {score['recall']:.4f}  F1 {score['f1']:.4f}  "
        f"Ign F1 {score['ign_f1_annotated']:.4f} (annotated)  {score['ign_f1_distant']:.4f} (distant)  "
        f"evidence F1 {score['evidence_f1']:.4f}"
    )
    return Scores({"docred": score}, {"data": data, "submission": str(submission)}, message=message)


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects.

    Raises:
        InputError: the file holds none.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a DocRED file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); give a DocRED file") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path}: expected a list of documents; give a DocRED file")
    return records


def _train_facts(path: Path | None) -> TrainFacts:
    if path is None:
        return frozenset()
    try:
        return train_facts(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give DocRED's train file") from error
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a DocRED train file ({type(error).__name__}: {error}); give its JSON") from error
