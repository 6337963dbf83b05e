"""The embedded default: its parts belong together and can be made again."""

import random
import subprocess
import sys
from types import SimpleNamespace

import torch

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.evaluation import pictures
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.tiny import autoencoder, pretraining
from domains.personalized_diffusion.tiny import networks as small
from domains.personalized_diffusion.tiny.pool import draw_pool
from suite import hub
from suite.training.plain import Schedule

DIGEST = """
from domains.personalized_diffusion.tiny import networks as small
from domains.personalized_diffusion.tiny.pool import draw_pool
print(sorted(small.tokenizer().get_vocab().items()))
"""


def test_the_builders_tokenizer_is_the_shipped_one_in_every_process():
    vocabulary = small.tokenizer().get_vocab()
    shipped = pipelines.load("tiny").tokenizers[0]
    assert shipped.get_vocab() == vocabulary
    assert all(len(shipped.tokenize(word)) == 1 for word in world.vocabulary())
    other = subprocess.run([sys.executable, "-W", "ignore", "-c", DIGEST], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(sorted(vocabulary.items()))


def test_the_shipped_folder_is_small_and_whole():
    folder = hub.resolve("tiny", "personalized_diffusion", kind="base")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size <= 8e6
    assert (folder / "encoders" / "clip").is_dir() and (folder / "encoders" / "vision").is_dir()


def test_held_out_pictures_stand_in_the_order_of_the_prompts():
    """A column of a comparison is one scene, from the photo down to what each method draws."""
    trigger, base = SimpleNamespace(token="sks", noun="robot", phrase="sks robot"), SimpleNamespace(family="tiny")
    shown, prompts = pictures.held_out(SimpleNamespace(trigger=trigger, base=base), None, None)
    by_scene = {one.scene: world.draw(one) for one in world.subject_photos("robot", 8, pictures.HELD_OUT)}
    scenes = [prompt.removeprefix("a sks robot ") for prompt in prompts]
    assert [by_scene[scene].tobytes() for scene in scenes] == [picture.tobytes() for picture in shown]


def test_pre_training_never_shows_a_subjects_looks():
    rng = random.Random(0)
    made = [world.individual(rng) for _ in range(500)]
    subjects = {(one.markings, one.head) for one in world.SUBJECTS.values()}
    assert subjects == set(world.HELD_OUT) and not subjects & {(one.markings, one.head) for one in made}


def test_every_word_of_a_caption_is_known():
    rng = random.Random(1)
    said = {word for _ in range(500) for word in world.sample(rng).caption(rng).split()}
    assert said <= set(world.vocabulary())


def test_a_caption_claims_what_its_picture_shows_and_nothing_else():
    rng = random.Random(2)
    for shown in (world.sample(rng) for _ in range(200)):
        facts = pretraining._facts(shown)
        assert {claim for claim in pretraining._claims(shown.caption(rng)) if claim in pretraining.FACTS} <= facts
    one = world.Sprite(world.SUBJECTS["robot"], "on a red carpet", 0.5, 0.5, 0.9, False, 0.0, 0)
    other = "a red robot with blue hat on a red carpet"
    assert set(pretraining.FACTS) & (pretraining._claims(other) - pretraining._facts(one)) == {
        ("colour", "red"),
        ("look", "hat"),
    }


def test_the_stages_of_pre_training_fit_together(tmp_path):
    """One step of each: what comes out draws, and its autoencoder keeps to the latents that it is taught."""
    short, pool, tokens = Schedule(1, 4), draw_pool(4), small.tokenizer()
    components = autoencoder.Components.of(pool)
    latents = components(pool.batch(torch.arange(8), flip=False))
    assert latents.shape == (8, small.LATENT_CHANNELS, 8, 8)
    torch.testing.assert_close(latents.var(dim=(0, 2, 3)).mean(), torch.tensor(1.0), atol=1e-3, rtol=0)
    clip, vision = pretraining.train_clip(pool, tokens, short), pretraining.train_vision(pool, short)
    vae = autoencoder.train_autoencoder(pool, components, short, short)
    deviation = vae.encode(pool.batch(torch.arange(2))).latent_dist.std
    torch.testing.assert_close(deviation, torch.full_like(deviation, autoencoder.DEVIATION))
    text = small.text_encoder(clip)
    unet = pretraining.train_unet(pool, text, tokens, components, short)
    pipe = small.pipeline({"unet": unet, "vae": vae, "text_encoder": text}, tokens)
    folder = small.save(tmp_path / "base", pipe, clip, vision)
    [picture] = pipelines.load(folder).pipeline()("a red cat", num_inference_steps=2).images
    assert picture.size == (world.SIZE, world.SIZE)
