"""DreamBooth's own prompts file, and prompts as users write them."""

import pytest

from domains.personalized_diffusion.data.dreambooth import LIVE_CLASSES, fill, parse_protocol, read_protocol
from domains.personalized_diffusion.data.prompts import (
    Prompt,
    name_of,
    parse_line,
    parse_size,
    read_prompts,
)
from domains.personalized_diffusion.model.manifest import TriggerWords
from suite.errors import InputError
from suite.prediction.inputs import Names, slug
from tests.real_data import real_data

LIVE = {"cat", "cat2", "dog", "dog2", "dog3", "dog5", "dog6", "dog7", "dog8"}


@pytest.fixture(scope="module")
def protocol():
    return read_protocol(real_data("dreambooth/prompts_and_classes.txt"))


def test_acceptance_12_7_the_real_file_has_30_subjects_and_two_lists_of_25_prompts(protocol):
    assert len(protocol.classes) == 30 and len(set(protocol.classes.values())) == 15
    assert len(protocol.object_prompts) == len(protocol.live_prompts) == 25
    assert len(set(protocol.object_prompts)) == len(set(protocol.live_prompts)) == 25
    assert protocol.noun("bear_plushie") == "stuffed animal" and protocol.noun("pink_sunglasses") == "glasses"
    assert "dog4" not in protocol.classes


def test_acceptance_12_7_every_subject_gets_the_right_list(protocol):
    assert {subject for subject in protocol.classes if protocol.is_live(subject)} == LIVE
    for subject, noun in protocol.classes.items():
        prompts = protocol.prompts(subject, "sks")
        assert len(prompts) == 25 and prompts[0] == f"a sks {noun} in the jungle"
        assert (f"a sks {noun} wearing a santa hat" in prompts) == (noun in LIVE_CLASSES)
        assert (f"a sks {noun} floating on top of water" in prompts) == (noun not in LIVE_CLASSES)
    assert protocol.prompts("dog6")[0] == "a dog in the jungle"
    assert protocol.prompts("vase")[-1] == "a cube shaped vase"


def test_an_unknown_subject_and_damaged_files_are_told(protocol, tmp_path):
    with pytest.raises(InputError, match="no subject 'dog4'"):
        protocol.prompts("dog4")
    text = real_data("dreambooth/prompts_and_classes.txt").read_text()
    with pytest.raises(InputError, match="line 35: 'something else'"):
        parse_protocol(text.replace("Prompts\n", "something else\nPrompts\n", 1), "x")
    with pytest.raises(InputError, match="no lines under live"):
        parse_protocol(text.partition("Live Subject Prompts")[0], "x")
    with pytest.raises(InputError, match="twice"):
        parse_protocol(text.replace("vase,vase", "can,can"), "x")
    with pytest.raises(InputError, match="no such prompts file"):
        read_protocol(tmp_path / "absent.txt")


def test_a_template_cannot_reach_into_objects():
    assert fill("a {0.__class__} {1} {0}", "sks", "dog") == "a {0.__class__} dog sks"


def test_the_protocol_fills_an_adapters_trigger(tmp_path):
    path = real_data("dreambooth/prompts_and_classes.txt")
    prompts = list(read_prompts(path, TriggerWords("sks", "dog"), "dog6"))
    assert [prompt.number for prompt in prompts] == list(range(25))
    assert prompts[12].text == "a sks dog wearing a rainbow scarf" and prompts[12].subject == "dog6"
    assert name_of(prompts[3], Names()) == "dog6/03"
    [only] = {prompt.subject for prompt in read_prompts(path, TriggerWords("sks", "vase"))}
    assert only == "vase"
    [unclear] = read_prompts(path, TriggerWords("sks", "dog"))
    assert "7 subjects of class 'dog'" in unclear.error and "--subject" in unclear.error


def test_a_prompt_file_has_one_prompt_a_line_with_settings_of_its_own(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(
        "# samples\n\na photo of sks dog --w 512 --h 768 --d 7 --s 30 --l 6.5 --n blurry, dark\n"
        '{"prompt": "sks dog in the snow", "seed": 3, "size": "64x32"}\nsks-dog--style, well-known\n'
    )
    first, second, third = read_prompts(path)
    assert first == Prompt(
        "a photo of sks dog", f"{path}:3", seed=7, steps=30, guidance=6.5, size=(512, 768), negative="blurry, dark"
    )
    assert (second.text, second.seed, second.size) == ("sks dog in the snow", 3, (64, 32))
    assert third.text == "sks-dog--style, well-known"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a dog --q 3", "option --q is not known"),
        ("a dog --d three", "seed 'three' is no number"),
        ("a dog --w 30", "size 30 x 30"),
        ("--d 3", "holds no prompt"),
        ('{"prompt": "a dog", "cfg": 3}', "keys cfg are not known"),
        ('{"prompt": "a dog"', "not JSON"),
        ('{"prompt": "a dog", "seed": 1.5}', "seed 1.5 is no number"),
        ('{"prompt": "a dog", "seed": Infinity}', "seed inf is no number"),
        ('{"prompt": null}', "prompt None is no text"),
        ('{"prompt": "a dog", "negative": ["fog"]}', "negative ['fog'] is no text"),
        ("a dog --l nan", "guidance nan"),
        ("a dog --d -1", "seed -1 must not be negative"),
        ("a dog --s 0", "0 steps"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_the_next_ones_are_read(tmp_path, line, complaint):
    path = tmp_path / "prompts.txt"
    path.write_text(f"{line}\na good dog\n")
    bad, good = read_prompts(path)
    assert complaint in bad.error and bad.source == f"{path}:1" and "\n" not in bad.error
    assert good.text == "a good dog" and good.error is None


def test_files_that_are_no_prompts_are_refused(tmp_path):
    empty, binary = tmp_path / "empty.txt", tmp_path / "x.png"
    empty.write_text("\n# nothing\n")
    binary.write_bytes(b"\x89PNG\r\n")
    found = list(read_prompts([empty, "a dog outside", binary, tmp_path / "absent"]))
    assert [bool(prompt.error) for prompt in found] == [True, False, True, True]
    assert "no prompt in it" in found[0].error and "not UTF-8" in found[2].error and "no such file" in found[3].error


def test_the_trigger_is_a_word_of_its_own():
    trigger = TriggerWords("sks", "dog")
    assert trigger.missing_from("a photo of sksdog") and trigger.missing_from("a dog")
    assert not trigger.missing_from("A photo of SKS dog, sitting")
    assert not TriggerWords().missing_from("a dog")


def test_names_of_folders_are_safe_and_unique():
    names = Names()
    assert [name_of(Prompt(text, ""), names) for text in ("a dog!", "a dog?", "A dog.")] == [
        "a_dog",
        "a_dog-2",
        "A_dog-3",
    ]
    assert slug("../../etc/passwd") == "etc_passwd" and slug("..") == "unnamed" and len(slug("x" * 500)) == 60
    assert slug("собака в снегу") == "собака_в_снегу"


def test_sizes_are_checked():
    assert parse_size("512") == (512, 512) and parse_size("64x128") == (64, 128)
    for text in ("0", "100x100", "64x", "9999999", "100000x100000", "-64"):
        with pytest.raises(InputError, match="size"):
            parse_size(text)
    assert parse_line("a dog --w 64", "x").size == (64, 64)
