"""The embedded default: its parts belong together and can be made again."""

import subprocess
import sys

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.tiny import networks as small
from suite import hub

DIGEST = """
from domains.personalized_diffusion.tiny import networks as small
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
